//! Sources of rows for a new dataset: files of several formats, standard input, or generated rows.
//! Every source streams batches of bounded size.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;

pub(crate) use self::chain::open;
pub(crate) use self::error::SourceError;
pub(crate) use self::format::Format;
pub(crate) use self::options::ReadOptions;

mod chain;
mod element;
mod error;
mod fbin;
mod format;
#[cfg(fuzzing)]
pub(crate) mod fuzzed;
mod guard;
mod input;
mod ipc;
mod npy;
mod options;
mod parquet;
mod reader;
pub(crate) mod synthetic;
mod vecs;
pub(crate) mod vectors;

/// Target size of a batch in bytes: large enough to spread its cost, small enough that a few
/// batches take little memory.
const BATCH_BYTES: usize = 8 << 20;
/// Most rows of a batch; it limits batches of narrow rows.
const BATCH_ROWS_MAX: usize = 65_536;
/// Largest dimension of a vector. A file with a larger one is reported as damaged.
const DIMENSION_MAX: u32 = 1 << 20;
/// Default name of a column of vectors from a file without names.
pub(crate) const VECTOR_COLUMN: &str = "vector";
/// Default name of a column of single values from a file without names.
const VALUE_COLUMN: &str = "value";

/// A stream of rows, batch by batch.
pub(crate) trait RowSource {
    /// The schema of every batch.
    fn schema(&self) -> SchemaRef;

    /// Total number of rows, if it is known before the end.
    fn rows(&self) -> Option<u64>;

    /// The next rows; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError>;
}

/// Rows of a batch whose rows take about `row_bytes`.
fn batch_rows(row_bytes: usize) -> usize {
    (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS_MAX)
}

/// Bytes of a value of a type of fixed width.
fn fixed_bytes(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        DataType::FixedSizeList(item, items) => {
            Some(fixed_bytes(item.data_type())? * usize::try_from(*items).ok()?)
        }
        other => other.primitive_width(),
    }
}

/// Place in `schema` of each of `columns`.
fn column_places(
    origin: &str,
    schema: &Schema,
    columns: &[String],
) -> Result<Vec<usize>, SourceError> {
    let mut places = Vec::with_capacity(columns.len());
    for column in columns {
        let mut found = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| field.name() == column)
            .map(|(place, _)| place);
        let place = found.next().ok_or_else(|| SourceError::UnknownColumn {
            origin: origin.to_owned(),
            column: column.clone(),
            available: listed(schema),
        })?;
        if found.next().is_some() {
            return Err(SourceError::AmbiguousColumn {
                origin: origin.to_owned(),
                column: column.clone(),
            });
        }
        if places.contains(&place) {
            return Err(SourceError::ColumnNamedTwice {
                column: column.clone(),
            });
        }
        places.push(place);
    }
    Ok(places)
}

/// The names of a schema's columns, for messages.
fn listed(schema: &Schema) -> String {
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| format!("`{}`", field.name()))
        .collect();
    if names.is_empty() {
        return "no columns".to_owned();
    }
    names.join(", ")
}

/// A batch of the one column of a raw format.
fn batch(
    origin: &str,
    format: &'static str,
    schema: &SchemaRef,
    column: Result<ArrayRef, ArrowError>,
) -> Result<RecordBatch, SourceError> {
    column
        .and_then(|column| RecordBatch::try_new(Arc::clone(schema), vec![column]))
        .map_err(|cause| SourceError::Malformed {
            origin: origin.to_owned(),
            format,
            reason: cause.to_string(),
        })
}
