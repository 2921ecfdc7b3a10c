//! The values of one column of one batch as plain bytes in Arrow's buffers, whatever the offset of
//! the array, with dictionaries, run-end encodings and views unpacked.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::Result;
use crate::column::{ColumnShape, OffsetWidth};

/// One column of some rows, ready to be stored.
#[derive(Debug)]
pub(super) struct ColumnValues {
    /// Number of rows.
    pub(super) rows: usize,
    /// Validity of the rows; `None` if no row is null.
    pub(super) nulls: Option<NullBuffer>,
    /// The values.
    pub(super) values: Values,
}

/// Buffers of the values of a column.
#[derive(Debug)]
pub(super) enum Values {
    /// Values of one width, back to back.
    Plain {
        bytes: Buffer,
        width_bytes: usize,
        items: Option<Items>,
    },
    /// One bit per value.
    Bits(BooleanBuffer),
    /// Values of variable width.
    Variable { offsets: Offsets, bytes: Buffer },
}

/// The items of a column of lists of which some are null.
#[derive(Debug)]
pub(super) struct Items {
    /// Items per value.
    pub(super) per_value: usize,
    /// Bytes per item.
    pub(super) item_bytes: usize,
    /// Validity of the items; the items of a null value count as valid.
    pub(super) nulls: NullBuffer,
}

/// Offsets of values of variable width: one more than there are rows.
#[derive(Debug)]
pub(super) enum Offsets {
    I32(arrow::buffer::ScalarBuffer<i32>),
    I64(arrow::buffer::ScalarBuffer<i64>),
}

impl Offsets {
    /// Range of the value of `row`.
    #[inline]
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        // Arrow's arrays have offsets that are neither negative nor falling.
        match self {
            Offsets::I32(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Offsets::I64(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        }
    }
}

impl ColumnValues {
    /// The values of `array`, whose unpacked type has `shape`.
    pub(super) fn of(array: &ArrayRef, shape: ColumnShape) -> Result<ColumnValues> {
        let array = unpack(array.clone())?;
        let nulls = array
            .nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .cloned();
        let values = match shape {
            ColumnShape::Boolean => Values::Bits(array.as_boolean().values().clone()),
            ColumnShape::Plain { width_bytes } => Values::Plain {
                bytes: plain_bytes(&array, width_bytes as usize),
                width_bytes: width_bytes as usize,
                items: None,
            },
            ColumnShape::List { items, item_bytes } => {
                let (per_value, item_bytes) = (items as usize, item_bytes as usize);
                let children = array.as_fixed_size_list().values();
                Values::Plain {
                    bytes: plain_bytes(children, item_bytes),
                    width_bytes: per_value * item_bytes,
                    items: item_nulls(children.nulls(), nulls.as_ref(), per_value).map(|nulls| {
                        Items {
                            per_value,
                            item_bytes,
                            nulls,
                        }
                    }),
                }
            }
            ColumnShape::Variable { offsets, utf8 } => variable_values(&array, offsets, utf8),
        };
        Ok(ColumnValues {
            rows: array.len(),
            nulls,
            values,
        })
    }
}

/// Unpacks the encodings of an array, one after the other.
fn unpack(mut array: ArrayRef) -> Result<ArrayRef> {
    loop {
        let plainer = match array.data_type() {
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            DataType::RunEndEncoded(_, values) => values.data_type().clone(),
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            _ => return Ok(array),
        };
        array = cast(&array, &plainer)?;
    }
}

fn plain_bytes(array: &ArrayRef, width_bytes: usize) -> Buffer {
    let data = array.to_data();
    data.buffers()[0].slice_with_length(data.offset() * width_bytes, data.len() * width_bytes)
}

fn variable_values(array: &ArrayRef, offsets: OffsetWidth, utf8: bool) -> Values {
    let (offsets, bytes) = match (offsets, utf8) {
        (OffsetWidth::I32, true) => {
            let array = array.as_string::<i32>();
            (
                Offsets::I32(array.offsets().inner().clone()),
                array.values(),
            )
        }
        (OffsetWidth::I32, false) => {
            let array = array.as_binary::<i32>();
            (
                Offsets::I32(array.offsets().inner().clone()),
                array.values(),
            )
        }
        (OffsetWidth::I64, true) => {
            let array = array.as_string::<i64>();
            (
                Offsets::I64(array.offsets().inner().clone()),
                array.values(),
            )
        }
        (OffsetWidth::I64, false) => {
            let array = array.as_binary::<i64>();
            (
                Offsets::I64(array.offsets().inner().clone()),
                array.values(),
            )
        }
    };
    Values::Variable {
        offsets,
        bytes: bytes.clone(),
    }
}

/// Validity of the items of values that are not null; `None` if no such item is null.
fn item_nulls(
    items: Option<&NullBuffer>,
    values: Option<&NullBuffer>,
    per_value: usize,
) -> Option<NullBuffer> {
    let items = items.filter(|items| items.null_count() > 0)?;
    let valid = match values {
        None => items.clone(),
        Some(values) => NullBuffer::new(items.inner() | &!values.expand(per_value).inner()),
    };
    (valid.null_count() > 0).then_some(valid)
}
