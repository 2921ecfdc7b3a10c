//! Rows as a Parquet file, in row groups of bounded memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, IntervalUnit, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{RowWriter, encode};
use crate::failure::Failure;
use crate::output::OutputWriter;

const FORMAT: &str = "Parquet";
/// Encoded bytes at which a row group is closed; until then it is in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes a Parquet file.
pub(super) struct Parquet(ArrowWriter<OutputWriter>);

impl Parquet {
    pub(super) fn new(writer: OutputWriter, schema: &SchemaRef) -> Result<Self, Failure> {
        for field in schema.fields() {
            if *field.data_type() == DataType::Interval(IntervalUnit::MonthDayNano) {
                return Err(Failure::Encode {
                    format: FORMAT,
                    reason: format!(
                        "column `{}` has type {}, which Parquet does not have; choose the Arrow \
                         format, or leave the column out with --columns",
                        field.name(),
                        field.data_type()
                    ),
                });
            }
        }
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = ArrowWriter::try_new(writer, Arc::clone(schema), Some(properties))
            .map_err(encode(FORMAT))?;
        Ok(Parquet(writer))
    }
}

impl RowWriter for Parquet {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.0.write(batch).map_err(encode(FORMAT))?;
        if self.0.in_progress_size() >= ROW_GROUP_BYTES {
            self.0.flush().map_err(encode(FORMAT))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        use std::io::Write;
        let mut writer = self.0.into_inner().map_err(encode(FORMAT))?;
        writer.flush().map_err(encode(FORMAT))
    }
}
