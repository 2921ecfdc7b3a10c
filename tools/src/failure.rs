//! Failures of a command: one sentence for the user and an exit status.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::interrupt;
use crate::row_ids::RowIdError;
use crate::source::SourceError;

/// Exit status of every failure but those below.
const FAILURE: u8 = 1;
/// Exit status for a wrong command line, the same as clap's.
const USAGE: u8 = 2;

/// Reason why a command failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error(transparent)]
    RowSource(SourceError),

    #[error(transparent)]
    Storage(#[from] ringtake_storage::Error),

    #[error(transparent)]
    Runtime(#[from] ringtake_runtime::Error),

    #[error(transparent)]
    RowIds(#[from] RowIdError),

    #[error("cannot {operation} {path}: {cause}")]
    Io {
        operation: &'static str,
        path: PathBuf,
        cause: io::Error,
    },

    #[error("cannot write {format}: {reason}")]
    Encode {
        format: &'static str,
        reason: String,
    },

    #[error("column `{column}` has type {data_type}, which a dataset cannot hold; {remedy}")]
    UnsupportedColumn {
        column: String,
        data_type: String,
        remedy: String,
    },

    #[error(
        "{0} has no column of vectors to index: a fixed-size list of Float32, Float16, Int8 or UInt8; import a column of lists with --vector"
    )]
    NoVectors(PathBuf),

    #[error("{0} exists already; choose another name, or replace it with --force")]
    OutputExists(PathBuf),

    #[error("{0} was replaced while it was being verified; run the command again")]
    Replaced(PathBuf),

    /// A query that cannot be searched.
    #[error("{0}")]
    Query(String),

    /// A wrong command line that clap's rules do not catch.
    #[error("{0}")]
    Usage(String),

    /// Failures that the command has already reported.
    #[error("")]
    Reported,

    #[error("stopped by {}", if *.0 == signal_hook::consts::SIGINT { "Ctrl-C" } else { "a signal" })]
    Interrupted(i32),
}

impl From<SourceError> for Failure {
    fn from(cause: SourceError) -> Failure {
        match (&cause, interrupt::pending()) {
            (SourceError::Interrupted, Some(number)) => Failure::Interrupted(number),
            _ => Failure::RowSource(cause),
        }
    }
}

impl Failure {
    /// Makes a failure of an I/O error; for `map_err`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        let path = path.to_owned();
        move |cause| Failure::Io {
            operation,
            path,
            cause,
        }
    }

    /// Exit status of the process.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Interrupted(number) => {
                u8::try_from(interrupt::exit_status(*number)).unwrap_or(FAILURE)
            }
            _ => FAILURE,
        }
    }
}
