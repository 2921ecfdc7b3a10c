//! A dataset with a column of every type that can be stored, nulls in each; every value follows
//! from its row and column.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BinaryArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray,
    make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};

use crate::dataset::{self, Shape};

/// Rows of the dataset that [`write`] makes.
pub(crate) const ROWS: u64 = 600;

fn list(item: DataType, items: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), items)
}

fn types() -> Vec<DataType> {
    use DataType::*;
    vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Microsecond, Some("Europe/Lisbon".into())),
        Duration(TimeUnit::Millisecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
        Decimal128(38, 10),
        Decimal256(76, 10),
        FixedSizeBinary(3),
        FixedSizeBinary(700),
        list(Float16, 5),
        list(Float32, 1100),
        list(Int8, 9),
        list(UInt8, 600),
        Utf8,
        LargeUtf8,
        Binary,
        LargeBinary,
    ]
}

/// splitmix64 (Steele and others, 2014) of row, column and place.
fn number(row: u64, column: usize, place: usize) -> u64 {
    let seed = row << 24 | (column as u64) << 16 | place as u64;
    let mut mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn is_valid(row: u64, column: usize) -> bool {
    row < ROWS && !number(row, column, 0xFFFF).is_multiple_of(4)
}

/// Stored values are zeros under nulls, which `wait_into` shows.
fn bytes(row: u64, column: usize, count: usize) -> Vec<u8> {
    if !is_valid(row, column) {
        return vec![0; count];
    }
    (0..count)
        .map(|place| number(row, column, place) as u8)
        .collect()
}

fn text(row: u64, column: usize) -> Option<String> {
    let repeats = number(row, column, 7) % 30;
    is_valid(row, column).then(|| format!("{row}:{column} ").repeat(repeats as usize))
}

fn array(data_type: &DataType, column: usize, ids: &[u64]) -> ArrayRef {
    let texts = ids.iter().map(|&row| text(row, column));
    let valid: BooleanBuffer = ids.iter().map(|&row| is_valid(row, column)).collect();
    let builder = ArrayData::builder(data_type.clone())
        .len(ids.len())
        .nulls(Some(NullBuffer::new(valid)));
    let plain = |width: usize| -> Buffer {
        let values = ids.iter().flat_map(|&row| bytes(row, column, width));
        Buffer::from_vec(values.collect::<Vec<u8>>())
    };
    let data = match data_type {
        DataType::Utf8 => return Arc::new(texts.collect::<StringArray>()),
        DataType::LargeUtf8 => return Arc::new(texts.collect::<LargeStringArray>()),
        DataType::Binary => return Arc::new(texts.collect::<BinaryArray>()),
        DataType::LargeBinary => return Arc::new(texts.collect::<LargeBinaryArray>()),
        DataType::Boolean => {
            let bits: BooleanBuffer = ids
                .iter()
                .map(|&row| is_valid(row, column) && number(row, column, 1) % 2 == 1)
                .collect();
            builder.add_buffer(bits.into_inner())
        }
        DataType::FixedSizeList(item, items) => {
            let items = *items as usize;
            let width = item.data_type().primitive_width().unwrap();
            let here =
                |row: u64, item: usize| row >= ROWS || !number(row, column, item).is_multiple_of(5);
            let item_valid: BooleanBuffer = ids
                .iter()
                .flat_map(|&row| {
                    (0..items).map(move |item| !is_valid(row, column) || here(row, item))
                })
                .collect();
            let mut values = plain(items * width).to_vec();
            for (value, here) in values.chunks_mut(width).zip(&item_valid) {
                if !here {
                    value.fill(0);
                }
            }
            let child = ArrayData::builder(item.data_type().clone())
                .len(ids.len() * items)
                .nulls(Some(NullBuffer::new(item_valid)))
                .add_buffer(Buffer::from_vec(values))
                .align_buffers(true);
            builder.add_child_data(child.build().unwrap())
        }
        DataType::FixedSizeBinary(width) => builder.add_buffer(plain(*width as usize)),
        other => builder.add_buffer(plain(other.primitive_width().unwrap())),
    };
    make_array(data.align_buffers(true).build().unwrap())
}

/// The rows `ids`, made without the code under test; those at or past [`ROWS`] are null.
pub(crate) fn rows(ids: &[u64]) -> RecordBatch {
    let types = types();
    let fields: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(column, data_type)| Field::new(format!("c{column}"), data_type.clone(), true))
        .collect();
    let columns = types
        .iter()
        .enumerate()
        .map(|(column, data_type)| array(data_type, column, ids))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Writes [`ROWS`] rows.
pub(crate) fn write(path: &Path) {
    dataset::write_batches(path, &Shape::of(ROWS), |ids| rows(&ids));
}
