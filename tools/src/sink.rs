//! Where taken and exported rows go: a table for people, four formats for programs.

use arrow::array::RecordBatch;

use crate::failure::Failure;

pub(crate) use self::format::{RowFormat, arrow_file};

mod arrow_ipc;
mod csv;
mod format;
mod jsonl;
mod parquet;
mod table;

/// Takes rows, batch by batch.
pub(crate) trait Sink {
    /// Writes some rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure>;

    /// Writes what comes after the last row, and flushes.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// For `map_err` on what a format's writer reports.
fn encode<E: std::fmt::Display>(format: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::Encode {
        format,
        reason: cause.to_string(),
    }
}
