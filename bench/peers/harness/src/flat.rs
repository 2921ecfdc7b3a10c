//! Rows as flat bytes, for peers that know nothing of columns: the values of a row one after
//! another, as Arrow stores them. Fixed width only, without nulls.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, RecordBatch, make_array};
use arrow::datatypes::{DataType, Schema};
use ringtake_bench::{Answer, RowBytes, RowsChecksum};

use crate::error::{Error, Result};

/// Where the columns of a row are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLayout {
    columns: Vec<Column>,
    row_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    bytes: usize,
    /// Bytes of an item, if the column is a list.
    item_bytes: Option<usize>,
}

impl RowLayout {
    /// The layout for rows of `schema`.
    ///
    /// # Errors
    /// A column of variable width, or a boolean, which Arrow keeps in bits.
    pub fn of(schema: &Schema) -> Result<RowLayout> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| {
                Column::of(field.data_type()).ok_or_else(|| Error::NotFlat {
                    column: field.name().clone(),
                    data_type: field.data_type().to_string(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(RowLayout {
            row_bytes: columns.iter().map(|column| column.bytes).sum(),
            columns,
        })
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The rows of `batch`, one after another.
    ///
    /// # Errors
    /// A null.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let mut rows = vec![0; batch.num_rows() * self.row_bytes];
        let mut at = 0;
        for (index, column) in self.columns.iter().enumerate() {
            let values = column
                .values(&batch.column(index).to_data())
                .ok_or_else(|| Error::Nulls {
                    column: batch.schema().field(index).name().clone(),
                })?;
            let row_of = rows.chunks_exact_mut(self.row_bytes);
            for (row, value) in row_of.zip(values.chunks_exact(column.bytes)) {
                row[at..at + column.bytes].copy_from_slice(value);
            }
            at += column.bytes;
        }
        Ok(rows)
    }
}

impl Column {
    fn of(data_type: &DataType) -> Option<Column> {
        let width = |data_type: &DataType| match data_type {
            DataType::FixedSizeBinary(bytes) => usize::try_from(*bytes).ok(),
            other => other.primitive_width(),
        };
        if let DataType::FixedSizeList(item, items) = data_type {
            let item_bytes = width(item.data_type())?;
            return Some(Column {
                bytes: item_bytes * usize::try_from(*items).ok()?,
                item_bytes: Some(item_bytes),
            });
        }
        Some(Column {
            bytes: width(data_type)?,
            item_bytes: None,
        })
    }

    /// The values of the column, one after another; `None` if one is null.
    fn values(&self, array: &ArrayData) -> Option<Vec<u8>> {
        if make_array(array.clone()).logical_null_count() > 0 {
            return None;
        }
        let Some(item_bytes) = self.item_bytes else {
            let start = array.offset() * self.bytes;
            let end = start + array.len() * self.bytes;
            return Some(array.buffers()[0].as_slice()[start..end].to_vec());
        };
        let items = self.bytes / item_bytes;
        let child = array.child_data()[0].slice(array.offset() * items, array.len() * items);
        let item = Column {
            bytes: item_bytes,
            item_bytes: None,
        };
        item.values(&child)
    }
}

/// Rows of one query, copied out one after another.
#[derive(Debug)]
pub struct FlatRows {
    layout: Arc<RowLayout>,
    bytes: Vec<u8>,
}

impl FlatRows {
    /// Rows that lie one after another in `bytes`.
    pub fn new(layout: &Arc<RowLayout>, bytes: Vec<u8>) -> FlatRows {
        FlatRows {
            layout: Arc::clone(layout),
            bytes,
        }
    }
}

impl Answer for FlatRows {
    fn rows(&self) -> usize {
        self.bytes.len() / self.layout.row_bytes.max(1)
    }

    fn touch(&self) -> u64 {
        let mut sum = 0_u64;
        for row in self.bytes.chunks_exact(self.layout.row_bytes) {
            let mut at = 0;
            for column in &self.layout.columns {
                sum = sum.wrapping_add(u64::from(row[at]));
                at += column.bytes;
            }
        }
        sum
    }

    fn add_to(
        &self,
        checksum: &mut RowsChecksum,
        row_ids: &[u64],
    ) -> std::result::Result<(), ringtake_bench::Error> {
        let mut bytes = RowBytes::default();
        let rows = self.bytes.chunks_exact(self.layout.row_bytes);
        for (row_id, row) in row_ids.iter().zip(rows) {
            bytes.begin(*row_id);
            let mut rest = row;
            for column in &self.layout.columns {
                let (value, after) = rest.split_at(column.bytes);
                match column.item_bytes {
                    Some(item_bytes) => bytes.list(value, item_bytes),
                    None => bytes.fixed(value),
                }
                rest = after;
            }
            checksum.add_row(&bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{ArrayRef, Float32Array, Int16Array, StringArray};

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn sliced_columns_are_encoded_from_their_first_row() {
        let batch = batch(vec![
            ("a", Arc::new(Int16Array::from(vec![1, 2, 3])) as ArrayRef),
            ("b", Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]))),
        ]);
        let layout = RowLayout::of(&batch.schema()).unwrap();
        assert_eq!(layout.row_bytes(), 6);
        let mut expected = vec![3, 0];
        expected.extend_from_slice(&3.0_f32.to_le_bytes());
        assert_eq!(layout.encode(&batch.slice(2, 1)).unwrap(), expected);
    }

    #[test]
    fn nulls_and_strings_are_refused_by_name() {
        let nulls = batch(vec![(
            "a",
            Arc::new(Int16Array::from(vec![Some(1), None])) as ArrayRef,
        )]);
        let layout = RowLayout::of(&nulls.schema()).unwrap();
        assert!(matches!(layout.encode(&nulls), Err(Error::Nulls { column }) if column == "a"));
        let strings = batch(vec![(
            "s",
            Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
        )]);
        assert!(
            matches!(RowLayout::of(&strings.schema()), Err(Error::NotFlat { column, .. }) if column == "s")
        );
    }
}
