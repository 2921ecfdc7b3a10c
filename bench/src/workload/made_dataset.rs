//! Writing a dataset of vectors that the bench makes up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use ringtake_storage::layout::{GroupOptions, LayoutPolicy, PAGE_BYTES};
use ringtake_storage::write::{WriteOptions, Writer};

use crate::error::Error;
use crate::numbers::whole;
use crate::progress::progress_bar;

/// The column of vectors.
pub(crate) const VECTOR_COLUMN: &str = "vector";

/// Rows written at a time.
pub(crate) const BATCH_ROWS: u64 = 4096;

/// The dataset to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatasetSpec {
    pub(crate) rows: u64,
    /// Numbers of a vector.
    pub(crate) dims: u32,
    /// The time after which writing ends, once there are enough rows.
    pub(crate) time_max: Option<(Duration, u64)>,
}

impl DatasetSpec {
    /// Bytes of its rows on the drive: a row crosses a page only if it is larger than one.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let row_bytes = u64::from(self.dims) * size_of::<f32>() as u64;
        if row_bytes > PAGE_BYTES {
            return self
                .rows
                .saturating_mul(row_bytes.next_multiple_of(PAGE_BYTES));
        }
        let rows_per_page = PAGE_BYTES / row_bytes.max(1);
        self.rows.div_ceil(rows_per_page).saturating_mul(PAGE_BYTES)
    }
}

/// Writes the dataset at `path`; `fill` gets the first of the rows whose numbers it makes.
pub(crate) fn write_vectors(
    path: &Path,
    spec: DatasetSpec,
    interrupted: &AtomicBool,
    mut fill: impl FnMut(u64, &mut [f32]),
) -> Result<(), Error> {
    let DatasetSpec { rows, dims, .. } = spec;
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let vector = DataType::FixedSizeList(item.clone(), dims.cast_signed());
    let schema = Arc::new(Schema::new(vec![Field::new(VECTOR_COLUMN, vector, false)]));
    let options = WriteOptions {
        grouping: GroupOptions {
            policy: LayoutPolicy::Page,
            ..GroupOptions::default()
        },
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &schema, options)?;
    let (started, bar) = (Instant::now(), progress_bar(rows, "writing"));
    let mut written = 0;
    while written < rows {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if let Some((time_max, rows_min)) = spec.time_max
            && started.elapsed() > time_max
            && written >= rows_min
        {
            eprintln!(
                "warning: the drive is slow to write; going on with {} rows",
                whole(written)
            );
            break;
        }
        let batch_rows = BATCH_ROWS.min(rows - written);
        let mut numbers = vec![0.0; (batch_rows * u64::from(dims)) as usize];
        fill(written, &mut numbers);
        let vectors = FixedSizeListArray::new(
            item.clone(),
            dims.cast_signed(),
            Arc::new(Float32Array::from(numbers)),
            None,
        );
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(vectors) as ArrayRef])
            .unwrap_or_else(|error| unreachable!("the batch was made for its schema: {error}"));
        writer.write(&batch)?;
        written += batch_rows;
        bar.inc(batch_rows);
    }
    bar.finish_and_clear();
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fill_pages_and_do_not_cross_them() {
        for (dims, bytes) in [
            (768, 100 * 4096),
            (32, 4 * 4096),
            (1_024, 100 * 4096),
            (1_025, 200 * 4096),
        ] {
            let spec = DatasetSpec {
                rows: 100,
                dims,
                time_max: None,
            };
            assert_eq!(spec.stored_bytes(), bytes, "{dims}");
        }
    }
}
