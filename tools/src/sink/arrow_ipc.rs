//! Rows as an Arrow IPC stream or file.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use std::io::Write;

use super::{RowWriter, encode};
use crate::failure::Failure;
use crate::output::OutputWriter;

const FORMAT: &str = "Arrow IPC";

/// Writes an IPC stream.
pub(super) struct ArrowStream(StreamWriter<OutputWriter>);

impl ArrowStream {
    pub(super) fn new(writer: OutputWriter, schema: &SchemaRef) -> Result<Self, Failure> {
        let writer = StreamWriter::try_new(writer, schema).map_err(encode(FORMAT))?;
        Ok(ArrowStream(writer))
    }
}

impl RowWriter for ArrowStream {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.0.write(batch).map_err(encode(FORMAT))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.0.finish().map_err(encode(FORMAT))?;
        self.0.get_mut().flush().map_err(encode(FORMAT))
    }
}

/// Writes an IPC file.
pub(super) struct ArrowFile(FileWriter<OutputWriter>);

impl ArrowFile {
    pub(super) fn new(writer: OutputWriter, schema: &SchemaRef) -> Result<Self, Failure> {
        let writer = FileWriter::try_new(writer, schema).map_err(encode(FORMAT))?;
        Ok(ArrowFile(writer))
    }
}

impl RowWriter for ArrowFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.0.write(batch).map_err(encode(FORMAT))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.0.finish().map_err(encode(FORMAT))?;
        self.0.get_mut().flush().map_err(encode(FORMAT))
    }
}
