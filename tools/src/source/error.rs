//! Errors of input files, each as one sentence with a remedy.

use std::io;

use arrow::datatypes::DataType;
use thiserror::Error;

/// Reason why rows could not be read from a source. `origin` names the file, or standard input.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum SourceError {
    #[error("cannot open {origin}: {cause}")]
    Open { origin: String, cause: io::Error },

    #[error("cannot read {origin} at byte {offset}: {cause}")]
    Read {
        origin: String,
        offset: u64,
        cause: io::Error,
    },

    #[error("{origin} is empty; {format} needs at least a header")]
    Empty {
        origin: String,
        format: &'static str,
    },

    #[error(
        "{origin} is cut short: {wanted} more bytes were expected at byte {offset} for {what}, \
         {found} were there"
    )]
    CutShort {
        origin: String,
        offset: u64,
        wanted: u64,
        found: u64,
        what: String,
    },

    #[error(
        "cannot tell the format of {origin} from its name; say it with --format \
         (parquet, arrow, npy, fvecs, bvecs, ivecs, fbin, u8bin or i8bin)"
    )]
    UnknownFormat { origin: String },

    #[error("{origin} is not readable as {format}: {reason}")]
    Malformed {
        origin: String,
        format: &'static str,
        reason: String,
    },

    #[error(
        "{origin} is damaged: its {format} reader failed with \"{reason}\"; \
         check the file against its origin"
    )]
    ReaderFailed {
        origin: String,
        format: &'static str,
        reason: String,
    },

    #[error(
        "{origin} claims {claimed} rows but holds {found}; it is damaged or was not closed properly"
    )]
    RowsDiffer {
        origin: String,
        claimed: u64,
        found: u64,
    },

    #[error(
        "Parquet cannot be read from standard input because its index is at its end; \
         save it to a file and name that file"
    )]
    ParquetNeedsFile,

    #[error(
        "vector {ordinal} of {origin} has {found} dimensions where the ones before have {expected}; \
         all vectors of a column need the same dimension"
    )]
    DimensionChanges {
        origin: String,
        ordinal: u64,
        expected: u32,
        found: i32,
    },

    #[error("there is no column `{column}` in {origin}; it has {available}")]
    UnknownColumn {
        origin: String,
        column: String,
        available: String,
    },

    #[error("--columns names `{column}` twice")]
    ColumnNamedTwice { column: String },

    #[error("{origin} has several columns named `{column}`; rename them before the import")]
    AmbiguousColumn { origin: String, column: String },

    #[error("{origin} has no column, so there is nothing to import")]
    NoColumns { origin: String },

    #[error(
        "column `{column}` of {origin} has type {found}, but {expected} in {first}; \
         files imported together need the same columns"
    )]
    TypesDiffer {
        origin: String,
        first: String,
        column: String,
        expected: DataType,
        found: DataType,
    },

    #[error(
        "column `{column}` is in {with} but not in {without}; files imported together need \
         the same columns, or choose common ones with --columns"
    )]
    ColumnMissing {
        column: String,
        with: String,
        without: String,
    },

    #[error("standard input can be named only once")]
    StandardInputTwice,

    #[error("{0}")]
    Shape(String),

    #[error("interrupted")]
    Interrupted,
}
