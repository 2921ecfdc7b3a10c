//! Where taken and exported rows go: a table for people, four formats for programs.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::failure::Failure;
use crate::output::OutputWriter;

mod arrow_ipc;
mod csv;
mod jsonl;
mod parquet;
mod table;

/// A format to write rows in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RowFormat {
    /// Columns side by side for people, long values shortened
    Table,
    /// One JSON object per line
    Jsonl,
    /// Comma-separated values, vectors as JSON arrays
    Csv,
    /// Arrow IPC stream
    Arrow,
    /// Parquet
    Parquet,
}

/// Takes rows, batch by batch.
pub(crate) trait Sink {
    /// Writes some rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure>;

    /// Writes what comes after the last row, and flushes.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

impl RowFormat {
    /// A sink for rows of `schema` on a stream.
    pub(crate) fn stream(
        self,
        writer: OutputWriter,
        schema: &SchemaRef,
    ) -> Result<Box<dyn Sink>, Failure> {
        Ok(match self {
            RowFormat::Table => Box::new(table::Table::new(writer, schema)),
            RowFormat::Jsonl => Box::new(jsonl::JsonLines::new(writer)),
            RowFormat::Csv => Box::new(csv::Csv::new(writer, schema)?),
            RowFormat::Arrow => Box::new(arrow_ipc::ArrowStream::new(writer, schema)?),
            RowFormat::Parquet => Box::new(parquet::Parquet::new(writer, schema)?),
        })
    }
}

/// A sink for an Arrow IPC file, which unlike a stream can be read from the middle.
pub(crate) fn arrow_file(
    writer: OutputWriter,
    schema: &SchemaRef,
) -> Result<Box<dyn Sink>, Failure> {
    Ok(Box::new(arrow_ipc::ArrowFile::new(writer, schema)?))
}

/// For `map_err` on what a format's writer reports.
fn encode<E: std::fmt::Display>(format: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::Encode {
        format,
        reason: cause.to_string(),
    }
}
