//! From columns of bytes to a [`RecordBatch`]: the last step of a take, on the caller's thread.
//!
//! Validity comes from the tables in memory, so nulls cost no read. Arrow validates every array
//! (UTF-8 included): bytes from a drive never become a string unchecked.

use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, FixedSizeListArray, RecordBatch, RecordBatchOptions, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{DataType, Field};

use crate::Result;
use crate::column::{ColumnShape, OffsetWidth};
use crate::dataset::{Column, Dataset};
use crate::projection::{Missing, Projection};
use crate::{Error, dataset::BadOffsets};

/// The bytes of one output column, in the order of the ids.
#[derive(Debug)]
pub enum ColumnBytes {
    /// `ids * width` bytes; booleans as one byte each.
    Fixed(Buffer),
    /// Arrow offsets (`ids + 1` of the column's width) and the values.
    Variable {
        /// Offsets into `values`.
        offsets: Buffer,
        /// Values back to back.
        values: Buffer,
    },
}

/// Builds the batch of rows `ids` from the bytes of each column of `projection`.
///
/// # Errors
/// [`Error::Arrow`] if the bytes are not valid for their type, such as text that is not UTF-8.
pub fn record_batch(
    dataset: &Dataset,
    projection: &Projection,
    missing: Missing,
    ids: &[u64],
    columns: Vec<ColumnBytes>,
) -> Result<RecordBatch> {
    let schema = projection.schema(missing);
    let mut arrays = Vec::with_capacity(columns.len());
    for ((&column, bytes), field) in projection
        .columns()
        .iter()
        .zip(columns)
        .zip(schema.fields())
    {
        arrays.push(array(dataset, column, field, missing, ids, bytes)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

fn array(
    dataset: &Dataset,
    column: usize,
    field: &Field,
    missing: Missing,
    ids: &[u64],
    bytes: ColumnBytes,
) -> Result<ArrayRef> {
    let rows = dataset.rows();
    let column = &dataset.columns()[column];
    let nulls = nulls(column, rows, missing, ids);
    let builder = || ArrayData::builder(field.data_type().clone()).len(ids.len());
    let built = match (column.shape, bytes) {
        (ColumnShape::Boolean, ColumnBytes::Fixed(values)) => {
            let values = values.as_slice();
            let bits = BooleanBuffer::collect_bool(ids.len(), |place| values[place] != 0);
            builder().add_buffer(bits.into_inner())
        }
        (ColumnShape::List { items, .. }, ColumnBytes::Fixed(values)) => {
            let DataType::FixedSizeList(item, size) = field.data_type() else {
                return Err(wrong_bytes(field));
            };
            let item_values = ArrayData::builder(item.data_type().clone())
                .len(ids.len() * items as usize)
                .add_buffer(values)
                .nulls(item_nulls(column, rows, items, ids))
                .build()?;
            if *size > 0 {
                let values = make_array(item_values);
                let lists = FixedSizeListArray::try_new(item.clone(), *size, values, nulls)?;
                return Ok(Arc::new(lists));
            }
            // Lists without items have no bytes, so their number comes from the length alone.
            builder().add_child_data(item_values)
        }
        (ColumnShape::Plain { .. }, ColumnBytes::Fixed(values)) => builder().add_buffer(values),
        (ColumnShape::Variable { .. }, ColumnBytes::Variable { offsets, values }) => {
            builder().add_buffer(offsets).add_buffer(values)
        }
        _ => return Err(wrong_bytes(field)),
    };
    Ok(make_array(built.nulls(nulls).build()?))
}

fn wrong_bytes(field: &Field) -> Error {
    Error::SchemaMismatch {
        what: format!("column `{}` was given bytes of another shape", field.name()),
    }
}

/// Validity of a column for `ids`, one bit per id; `None` if no row is null.
pub fn nulls(column: &Column, rows: u64, missing: Missing, ids: &[u64]) -> Option<NullBuffer> {
    let valid = column.valid();
    if valid.is_none() && missing == Missing::Error {
        return None;
    }
    let bits = BooleanBuffer::collect_bool(ids.len(), |place| {
        let id = ids[place];
        id < rows && valid.is_none_or(|valid| bit(valid, id))
    });
    Some(NullBuffer::new(bits)).filter(|nulls| nulls.null_count() > 0)
}

fn item_nulls(column: &Column, rows: u64, items: u32, ids: &[u64]) -> Option<NullBuffer> {
    let valid = column.items()?;
    let items = items as usize;
    let bits = BooleanBuffer::collect_bool(ids.len() * items, |place| {
        let id = ids[place / items];
        id >= rows || bit(valid, id * items as u64 + (place % items) as u64)
    });
    Some(NullBuffer::new(bits)).filter(|nulls| nulls.null_count() > 0)
}

#[inline]
fn bit(bitmap: &[u8], index: u64) -> bool {
    bitmap[(index / 8) as usize] >> (index % 8) & 1 == 1
}

/// Calls `end` with the end of the value of each id in the output, in the order of the ids, and
/// returns the bytes of all values. Missing ids take no bytes.
///
/// # Errors
/// [`BadOffsets`] of a damaged dataset.
pub fn value_ends(
    dataset: &Dataset,
    column: usize,
    ids: &[u64],
    mut end: impl FnMut(u64),
) -> Result<u64, BadOffsets> {
    let locator = dataset.locator(dataset.columns()[column].group);
    let mut total = 0_u64;
    for &id in ids {
        if id < dataset.rows() {
            total += u64::from(locator.value_bytes(id)?);
        }
        end(total);
    }
    Ok(total)
}

/// The Arrow offsets of a variable-width column for `ids`, and the bytes of its values.
///
/// # Errors
/// More bytes than 32-bit offsets express; impossible offsets in the dataset.
pub fn value_offsets(
    dataset: &Dataset,
    column: usize,
    offsets: OffsetWidth,
    ids: &[u64],
) -> Result<(Buffer, u64)> {
    let damaged = |bad: BadOffsets| {
        let group = dataset.columns()[column].group;
        Error::damaged(
            dataset.file_path(group, 0).with_extension("ends"),
            bad.to_string(),
        )
    };
    match offsets {
        OffsetWidth::I64 => {
            let mut ends = Vec::with_capacity(ids.len() + 1);
            ends.push(0_i64);
            let total =
                value_ends(dataset, column, ids, |end| ends.push(end as i64)).map_err(damaged)?;
            Ok((Buffer::from_vec(ends), total))
        }
        OffsetWidth::I32 => {
            let mut ends = Vec::with_capacity(ids.len() + 1);
            ends.push(0_i32);
            let total =
                value_ends(dataset, column, ids, |end| ends.push(end as i32)).map_err(damaged)?;
            if total > i32::MAX as u64 {
                return Err(Error::OffsetOverflow {
                    column: dataset.schema().field(column).name().clone(),
                    rows: ids.len(),
                    bytes: total,
                });
            }
            Ok((Buffer::from_vec(ends), total))
        }
    }
}
