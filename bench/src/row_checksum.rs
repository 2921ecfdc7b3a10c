//! A checksum over the rows a workload returns.
//!
//! Each row is hashed with its id, and the hashes are added up, so the sum does
//! not depend on the order of the queries, on threads, on shards or on the way
//! the rows were read. Two programs that take the same rows from equal data
//! print the same number.
//!
//! The bytes hashed for a row are its id (u64), then for each column in the
//! order of the projection: one byte that is 1 for a value and 0 for null; for a
//! value of variable width its length (u64) and its bytes; for one of fixed
//! width its bytes as Arrow stores them; for a boolean one byte. A null has no
//! bytes. Items of a list are written like columns. Integers are little-endian.

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::DataType;
use ringtake_storage::checksum::xxh3;

use crate::error::Error;

/// The running sum.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsChecksum {
    sum: u64,
    rows: u64,
}

impl RowsChecksum {
    /// Adds the rows of one result, `row_ids` naming them in order.
    pub(crate) fn add(&mut self, row_ids: &[u64], batch: &RecordBatch) -> Result<(), Error> {
        if row_ids.len() != batch.num_rows() {
            return Err(Error::RowsLost {
                asked: row_ids.len(),
                returned: batch.num_rows(),
            });
        }
        let columns = batch
            .columns()
            .iter()
            .zip(batch.schema().fields())
            .map(|(array, field)| Values::of(field.name(), array))
            .collect::<Result<Vec<_>, _>>()?;
        let mut bytes = Vec::new();
        for (position, row_id) in row_ids.iter().enumerate() {
            bytes.clear();
            bytes.extend_from_slice(&row_id.to_le_bytes());
            for column in &columns {
                column.append(position, &mut bytes);
            }
            self.sum = self.sum.wrapping_add(xxh3(&bytes));
        }
        self.rows += row_ids.len() as u64;
        Ok(())
    }

    /// Rows that went in.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum as 16 hex digits.
    pub(crate) fn hex(&self) -> String {
        format!("{:016x}", self.sum)
    }
}

/// One column, its type looked at once.
struct Values {
    array: ArrayRef,
    data: ArrayData,
    kind: Kind,
}

enum Kind {
    Bits,
    Fixed(usize),
    Offsets32,
    Offsets64,
    List(Box<Values>, usize),
}

impl Values {
    fn of(column: &str, array: &ArrayRef) -> Result<Values, Error> {
        let data = array.to_data();
        let kind = match data.data_type() {
            DataType::Boolean => Kind::Bits,
            DataType::Utf8 | DataType::Binary => Kind::Offsets32,
            DataType::LargeUtf8 | DataType::LargeBinary => Kind::Offsets64,
            DataType::FixedSizeBinary(width) => Kind::Fixed(usize::try_from(*width).unwrap_or(0)),
            DataType::FixedSizeList(_, items) => {
                let items = usize::try_from(*items).unwrap_or(0);
                let child = data.child_data()[0].slice(data.offset() * items, data.len() * items);
                Kind::List(Box::new(Values::of(column, &make_array(child))?), items)
            }
            other => match other.primitive_width() {
                Some(width) => Kind::Fixed(width),
                None => {
                    return Err(Error::ColumnType {
                        column: column.to_owned(),
                        data_type: other.to_string(),
                    });
                }
            },
        };
        Ok(Values {
            array: array.clone(),
            data,
            kind,
        })
    }

    fn append(&self, row: usize, bytes: &mut Vec<u8>) {
        if self.array.is_null(row) {
            bytes.push(0);
            return;
        }
        bytes.push(1);
        let at = self.data.offset() + row;
        match &self.kind {
            Kind::Bits => {
                let bits = self.data.buffers()[0].as_slice();
                bytes.push((bits[at / 8] >> (at % 8)) & 1);
            }
            Kind::Fixed(width) => {
                let start = at * width;
                bytes.extend_from_slice(&self.data.buffers()[0].as_slice()[start..start + width]);
            }
            Kind::Offsets32 => {
                let offsets: &[i32] = self.data.buffers()[0].typed_data();
                self.append_variable(i64::from(offsets[at]), i64::from(offsets[at + 1]), bytes);
            }
            Kind::Offsets64 => {
                let offsets: &[i64] = self.data.buffers()[0].typed_data();
                self.append_variable(offsets[at], offsets[at + 1], bytes);
            }
            Kind::List(child, items) => {
                for item in row * items..(row + 1) * items {
                    child.append(item, bytes);
                }
            }
        }
    }

    fn append_variable(&self, start: i64, end: i64, bytes: &mut Vec<u8>) {
        let (start, end) = (start as usize, end as usize);
        bytes.extend_from_slice(&((end - start) as u64).to_le_bytes());
        bytes.extend_from_slice(&self.data.buffers()[1].as_slice()[start..end]);
    }
}

/// Reads one byte of every row of every column, so that no part of a result can
/// be left unmade, at the price of one cache line a row.
pub(crate) fn touch(batch: &RecordBatch) -> u64 {
    batch
        .columns()
        .iter()
        .map(|column| touch_array(&column.to_data(), batch.num_rows()))
        .fold(0, u64::wrapping_add)
}

fn touch_array(data: &ArrayData, rows: usize) -> u64 {
    if let Some(child) = data.child_data().first() {
        return touch_array(child, rows);
    }
    let Some(buffer) = data.buffers().last() else {
        return 0;
    };
    let bytes = buffer.as_slice();
    let step = (bytes.len() / rows.max(1)).max(1);
    bytes
        .iter()
        .step_by(step)
        .map(|byte| u64::from(*byte))
        .fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int64Array,
        LargeStringArray, ListArray, StringArray,
    };
    use arrow::datatypes::{Field, Int32Type, Schema};

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(index, array)| Field::new(format!("c{index}"), array.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn vectors(values: Vec<f32>, width: i32) -> ArrayRef {
        let field = Arc::new(Field::new("item", DataType::Float32, true));
        Arc::new(FixedSizeListArray::new(
            field,
            width,
            Arc::new(Float32Array::from(values)),
            None,
        ))
    }

    fn every_kind() -> RecordBatch {
        batch(vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])),
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None,
                Some(true),
            ])),
            Arc::new(StringArray::from(vec![
                Some("a"),
                Some(""),
                None,
                Some("ddd"),
            ])),
            Arc::new(LargeStringArray::from(vec!["w", "xx", "", "zzzz"])),
            Arc::new(
                FixedSizeBinaryArray::try_from_iter([[1u8, 2], [3, 4], [5, 6], [7, 8]].iter())
                    .unwrap(),
            ),
            vectors((0u8..12).map(f32::from).collect(), 3),
        ])
    }

    fn sum(row_ids: &[u64], batch: &RecordBatch) -> RowsChecksum {
        let mut checksum = RowsChecksum::default();
        checksum.add(row_ids, batch).unwrap();
        checksum
    }

    #[test]
    fn order_and_cutting_of_the_rows_do_not_matter() {
        let whole = every_kind();
        let expected = sum(&[10, 11, 12, 13], &whole);
        let mut pieces = RowsChecksum::default();
        pieces.add(&[13], &whole.slice(3, 1)).unwrap();
        pieces.add(&[11, 12], &whole.slice(1, 2)).unwrap();
        pieces.add(&[10], &whole.slice(0, 1)).unwrap();
        assert_eq!(pieces, expected);
        assert_eq!(expected.rows(), 4);
    }

    #[test]
    fn rows_swapped_between_two_ids_are_noticed() {
        let whole = every_kind();
        assert_ne!(
            sum(&[10, 11, 12, 13], &whole),
            sum(&[11, 10, 12, 13], &whole)
        );
    }

    #[test]
    fn a_changed_value_a_null_and_an_empty_string_each_change_the_sum() {
        let of = |values: Vec<Option<&str>>| {
            sum(&[0, 1], &batch(vec![Arc::new(StringArray::from(values))])).hex()
        };
        let sums = [
            of(vec![Some("ab"), Some("c")]),
            of(vec![Some("a"), Some("bc")]),
            of(vec![Some(""), Some("abc")]),
            of(vec![None, Some("abc")]),
        ];
        for (index, one) in sums.iter().enumerate() {
            assert!(!sums[..index].contains(one), "{sums:?}");
        }
    }

    #[test]
    fn bytes_under_a_null_do_not_count() {
        let nulls = arrow::buffer::NullBuffer::from(vec![true, false]);
        let column = |hidden| -> RecordBatch {
            batch(vec![Arc::new(Int64Array::new(
                vec![1, hidden].into(),
                Some(nulls.clone()),
            ))])
        };
        assert_eq!(sum(&[0, 1], &column(5)), sum(&[0, 1], &column(9)));
    }

    #[test]
    fn result_with_rows_missing_is_an_error() {
        let refused = RowsChecksum::default().add(&[1, 2], &every_kind());
        assert!(matches!(
            refused,
            Err(Error::RowsLost {
                asked: 2,
                returned: 4
            })
        ));
    }

    #[test]
    fn column_of_an_unknown_type_is_named() {
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1)]),
        ]));
        let refused = RowsChecksum::default().add(&[0], &batch(vec![lists]));
        assert!(matches!(refused, Err(Error::ColumnType { column, .. }) if column == "c0"));
    }

    #[test]
    fn touch_reads_bytes_of_every_row() {
        let zeros = touch(&batch(vec![vectors(vec![0.0; 12], 3)]));
        assert_eq!(zeros, 0);
        // The first byte of each row is set: three rows, one each.
        let mut values = vec![0.0; 9];
        for row in 0..3 {
            values[row * 3] = f32::from_bits(1);
        }
        assert_eq!(touch(&batch(vec![vectors(values, 3)])), 3);
        assert_eq!(touch(&batch(vec![vectors(Vec::new(), 3)])), 0);
    }
}
