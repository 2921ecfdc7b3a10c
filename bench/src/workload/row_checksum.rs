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
pub struct RowsChecksum {
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
        let mut bytes = RowBytes::default();
        for (position, row_id) in row_ids.iter().enumerate() {
            bytes.begin(*row_id);
            for column in &columns {
                column.append(position, &mut bytes);
            }
            self.add_row(&bytes);
        }
        Ok(())
    }

    /// Adds one row.
    pub fn add_row(&mut self, row: &RowBytes) {
        self.sum = self.sum.wrapping_add(xxh3(&row.bytes));
        self.rows += 1;
    }

    /// Adds which rows were found for the query of that number, in their order.
    pub fn add_found(&mut self, query: u64, found: &[u64]) {
        let mut bytes = RowBytes::default();
        for (place, row) in found.iter().enumerate() {
            bytes.begin(query);
            bytes.fixed(&(place as u64).to_le_bytes());
            bytes.fixed(&row.to_le_bytes());
            self.add_row(&bytes);
        }
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

/// The bytes hashed for a row, to be reused from row to row: [`RowBytes::begin`], then one call
/// for each column.
#[derive(Debug, Default, Clone)]
pub struct RowBytes {
    bytes: Vec<u8>,
}

impl RowBytes {
    /// Starts the row `row_id`.
    pub fn begin(&mut self, row_id: u64) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&row_id.to_le_bytes());
    }

    /// A null of any type.
    pub fn null(&mut self) {
        self.bytes.push(0);
    }

    /// A value of fixed width, as Arrow stores it; a boolean is one byte.
    pub fn fixed(&mut self, value: &[u8]) {
        self.bytes.push(1);
        self.bytes.extend_from_slice(value);
    }

    /// A value of variable width: a string or bytes.
    pub fn variable(&mut self, value: &[u8]) {
        self.bytes.push(1);
        self.bytes
            .extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// A list of a fixed number of items without nulls, `item_bytes` each.
    pub fn list(&mut self, items: &[u8], item_bytes: usize) {
        self.begin_list();
        for item in items.chunks_exact(item_bytes) {
            self.fixed(item);
        }
    }

    /// A list; its items follow, one call each.
    fn begin_list(&mut self) {
        self.bytes.push(1);
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

    fn append(&self, row: usize, bytes: &mut RowBytes) {
        if self.array.is_null(row) {
            return bytes.null();
        }
        let at = self.data.offset() + row;
        let variable =
            |start: i64, end: i64| &self.data.buffers()[1].as_slice()[start as usize..end as usize];
        match &self.kind {
            Kind::Bits => {
                let bits = self.data.buffers()[0].as_slice();
                bytes.fixed(&[(bits[at / 8] >> (at % 8)) & 1]);
            }
            Kind::Fixed(width) => {
                let start = at * width;
                bytes.fixed(&self.data.buffers()[0].as_slice()[start..start + width]);
            }
            Kind::Offsets32 => {
                let offsets: &[i32] = self.data.buffers()[0].typed_data();
                bytes.variable(variable(offsets[at].into(), offsets[at + 1].into()));
            }
            Kind::Offsets64 => {
                let offsets: &[i64] = self.data.buffers()[0].typed_data();
                bytes.variable(variable(offsets[at], offsets[at + 1]));
            }
            Kind::List(child, items) => {
                bytes.begin_list();
                for item in row * items..(row + 1) * items {
                    child.append(item, bytes);
                }
            }
        }
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
    fn rows_written_by_hand_have_the_sum_of_the_batch() {
        let mut expected = RowsChecksum::default();
        let mut row = RowBytes::default();
        for (position, row_id) in [10_u64, 11, 12, 13].into_iter().enumerate() {
            row.begin(row_id);
            match [Some(1_i64), None, Some(3), Some(4)][position] {
                Some(value) => row.fixed(&value.to_le_bytes()),
                None => row.null(),
            }
            match [Some(1), Some(0), None, Some(1)][position] {
                Some(value) => row.fixed(&[value]),
                None => row.null(),
            }
            match [Some("a"), Some(""), None, Some("ddd")][position] {
                Some(value) => row.variable(value.as_bytes()),
                None => row.null(),
            }
            row.variable(["w", "xx", "", "zzzz"][position].as_bytes());
            row.fixed(&[[1, 2], [3, 4], [5, 6], [7, 8]][position]);
            let first = position as u8 * 3;
            let items: Vec<u8> = (first..first + 3)
                .flat_map(|item| f32::from(item).to_le_bytes())
                .collect();
            row.list(&items, 4);
            expected.add_row(&row);
        }
        assert_eq!(sum(&[10, 11, 12, 13], &every_kind()), expected);
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
