//! Rows as JSON, one object per line, nulls written out.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::json::writer::{LineDelimited, Writer, WriterBuilder};

use super::{RowWriter, encode};
use crate::failure::Failure;
use crate::output::OutputWriter;

const FORMAT: &str = "JSON lines";

/// Writes JSON lines.
pub(super) struct JsonLines(Writer<OutputWriter, LineDelimited>);

impl JsonLines {
    pub(super) fn new(writer: OutputWriter) -> Self {
        JsonLines(WriterBuilder::new().with_explicit_nulls(true).build(writer))
    }
}

impl RowWriter for JsonLines {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.0.write(batch).map_err(encode(FORMAT))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.0.finish().map_err(encode(FORMAT))?;
        self.0.get_mut().flush().map_err(encode(FORMAT))
    }
}
