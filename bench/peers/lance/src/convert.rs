//! Rows from the project's version of Arrow to Lance's, through the IPC format, which both know.

use std::io::Cursor;
use std::sync::Arc;

use arrow::ipc::writer::StreamWriter;
use arrow_ipc::reader::StreamReader;
use arrow_schema::SchemaRef;
use ringtake_peers_harness::{Error, Result};

/// The schema as Lance's version has it.
pub(crate) fn schema(schema: &arrow::datatypes::Schema) -> Result<SchemaRef> {
    let empty = arrow::array::RecordBatch::new_empty(Arc::new(schema.clone()));
    Ok(batch(&empty)?.schema())
}

/// The same rows as Lance's version has them.
pub(crate) fn batch(batch: &arrow::array::RecordBatch) -> Result<arrow_array::RecordBatch> {
    let mut stream = Vec::new();
    let schema = batch.schema();
    StreamWriter::try_new(&mut stream, &schema)
        .and_then(|mut writer| {
            writer.write(batch)?;
            writer.finish()
        })
        .map_err(Error::peer("arrow"))?;
    let mut reader =
        StreamReader::try_new(Cursor::new(stream), None).map_err(Error::peer("arrow"))?;
    match reader.next() {
        Some(batch) => batch.map_err(Error::peer("arrow")),
        None => Ok(arrow_array::RecordBatch::new_empty(reader.schema())),
    }
}
