//! Output of taken and exported rows: a table for people, four formats for programs.

use arrow::array::RecordBatch;

use crate::failure::Failure;

pub(crate) use self::format::{RowFormat, arrow_file};

mod arrow_ipc;
mod csv;
mod format;
mod jsonl;
mod parquet;
mod table;

/// A writer of rows, batch by batch.
pub(crate) trait RowWriter {
    /// Writes some rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure>;

    /// Writes the end of the format, and flushes.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// Makes a failure of an error of a format's writer; for `map_err`.
fn encode<E: std::fmt::Display>(format: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::Encode {
        format,
        reason: cause.to_string(),
    }
}
