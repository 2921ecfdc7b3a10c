//! Parquet files. Only the wanted columns are read, in batches of bounded size.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;

use super::input::{open_file, origin};
use super::{RowSource, SourceError, batch_rows, column_places, fixed_bytes};

const FORMAT: &str = "Parquet";

/// Reads one Parquet file.
pub(crate) struct Parquet {
    origin: String,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    rows: u64,
    rows_read: u64,
}

impl Parquet {
    /// Reads the footer. `columns` are the columns that will be read, in any order.
    pub(crate) fn open(path: &Path, columns: Option<&[String]>) -> Result<Parquet, SourceError> {
        let origin = origin(path);
        let (file, file_bytes) = open_file(path)?;
        let Some(file_bytes) = file_bytes else {
            return Err(SourceError::ParquetNeedsFile);
        };
        if file_bytes == 0 {
            return Err(SourceError::Empty {
                origin,
                format: FORMAT,
            });
        }
        let malformed = |reason: String| SourceError::Malformed {
            origin: origin.clone(),
            format: FORMAT,
            reason,
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|cause| malformed(cause.to_string()))?;
        let rows = check(builder.metadata(), file_bytes).map_err(malformed)?;
        let places = match columns {
            Some(columns) => column_places(&origin, builder.schema(), columns)?,
            None => (0..builder.schema().fields().len()).collect(),
        };
        let fields = builder.schema().fields();
        let widths = places
            .iter()
            .map(|place| fixed_bytes(fields[*place].data_type()));
        let fixed: usize = widths.flatten().sum();
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let row_bytes = row_bytes_max(builder.metadata(), &mask).max(fixed);
        let batch_rows = batch_rows(row_bytes).min(usize::try_from(rows).unwrap_or(usize::MAX));
        let reader = builder
            .with_projection(mask)
            .with_batch_size(batch_rows.max(1))
            .build()
            .map_err(|cause| malformed(cause.to_string()))?;
        use arrow::record_batch::RecordBatchReader as _;
        Ok(Parquet {
            schema: reader.schema(),
            origin,
            reader,
            rows,
            rows_read: 0,
        })
    }
}

impl RowSource for Parquet {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        match self.reader.next() {
            Some(Ok(batch)) => {
                self.rows_read += batch.num_rows() as u64;
                Ok(Some(batch))
            }
            Some(Err(cause)) => Err(SourceError::Malformed {
                origin: self.origin.clone(),
                format: FORMAT,
                reason: cause.to_string(),
            }),
            None if self.rows_read != self.rows => Err(SourceError::RowsDiffer {
                origin: self.origin.clone(),
                claimed: self.rows,
                found: self.rows_read,
            }),
            None => Ok(None),
        }
    }
}

/// Number of rows, if the counts in the footer agree and its ranges lie within the file. The
/// Parquet reader trusts them and sizes its memory by them.
fn check(metadata: &ParquetMetaData, file_bytes: u64) -> Result<u64, String> {
    let mut rows = 0_u64;
    for (ordinal, group) in metadata.row_groups().iter().enumerate() {
        let group_rows = u64::try_from(group.num_rows())
            .map_err(|_| format!("row group {ordinal} claims {} rows", group.num_rows()))?;
        rows = rows
            .checked_add(group_rows)
            .ok_or_else(|| "its row groups claim too many rows".to_owned())?;
        for column in group.columns() {
            let start = column
                .dictionary_page_offset()
                .map_or(column.data_page_offset(), |dictionary| {
                    dictionary.min(column.data_page_offset())
                });
            let end = start.checked_add(column.compressed_size());
            let fits = start >= 0
                && column.compressed_size() >= 0
                && end.is_some_and(|end| u64::try_from(end).is_ok_and(|end| end <= file_bytes));
            if !fits {
                return Err(format!(
                    "column \"{}\" of row group {ordinal} is said to lie outside the file",
                    column.column_path().string()
                ));
            }
        }
    }
    let claimed = metadata.file_metadata().num_rows();
    if u64::try_from(claimed) != Ok(rows) {
        return Err(format!(
            "its footer claims {claimed} rows and its row groups {rows}"
        ));
    }
    Ok(rows)
}

/// Bytes of a row in the row group whose rows are the largest.
fn row_bytes_max(metadata: &ParquetMetaData, mask: &ProjectionMask) -> usize {
    let groups = metadata
        .row_groups()
        .iter()
        .filter(|group| group.num_rows() > 0);
    let row_bytes = groups.map(|group| {
        let columns = group.columns().iter().enumerate();
        let bytes: u64 = columns
            .filter(|(leaf, _)| mask.leaf_included(*leaf))
            .map(|(_, column)| {
                // Encoded bytes understate repeated strings, but there is no better estimate.
                let decoded = column.unencoded_byte_array_data_bytes().unwrap_or(0);
                u64::try_from(column.uncompressed_size().max(decoded)).unwrap_or(0)
            })
            .fold(0, u64::saturating_add);
        bytes.div_ceil(group.num_rows().unsigned_abs())
    });
    usize::try_from(row_bytes.max().unwrap_or(1)).unwrap_or(usize::MAX)
}
