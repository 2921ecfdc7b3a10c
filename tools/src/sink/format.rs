//! The formats that rows can be written in, and the sink of each.

use arrow::datatypes::SchemaRef;

use super::RowWriter;
use super::arrow_ipc::{ArrowFile, ArrowStream};
use super::csv::Csv;
use super::jsonl::JsonLines;
use super::parquet::Parquet;
use super::table::Table;
use crate::failure::Failure;
use crate::output::OutputWriter;

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

impl RowFormat {
    /// A sink for rows of `schema` on a stream.
    pub(crate) fn stream(
        self,
        writer: OutputWriter,
        schema: &SchemaRef,
    ) -> Result<Box<dyn RowWriter>, Failure> {
        Ok(match self {
            RowFormat::Table => Box::new(Table::new(writer, schema)),
            RowFormat::Jsonl => Box::new(JsonLines::new(writer)),
            RowFormat::Csv => Box::new(Csv::new(writer, schema)?),
            RowFormat::Arrow => Box::new(ArrowStream::new(writer, schema)?),
            RowFormat::Parquet => Box::new(Parquet::new(writer, schema)?),
        })
    }
}

/// A sink for an Arrow IPC file, which unlike a stream can be read from the middle.
pub(crate) fn arrow_file(
    writer: OutputWriter,
    schema: &SchemaRef,
) -> Result<Box<dyn RowWriter>, Failure> {
    Ok(Box::new(ArrowFile::new(writer, schema)?))
}
