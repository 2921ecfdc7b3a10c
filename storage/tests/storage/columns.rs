//! Columns of every type that a dataset can hold, filled by a seed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BinaryArray, DictionaryArray, Int8Array, Int32Array,
    LargeBinaryArray, LargeStringArray, RunArray, StringArray, StringViewArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, IntervalUnit, TimeUnit};

/// Numbers that follow from a seed (splitmix64, Steele and others 2014).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

pub(crate) fn list(item: DataType, items: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), items)
}

/// Every type that can be stored, and those that are unpacked first.
pub(crate) fn all_types() -> Vec<DataType> {
    use DataType::*;
    let dictionary = |value| Dictionary(Box::new(Int8), Box::new(value));
    let runs = |value| {
        RunEndEncoded(
            Arc::new(Field::new("run_ends", Int32, false)),
            Arc::new(Field::new("values", value, true)),
        )
    };
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
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Microsecond, None),
        Timestamp(TimeUnit::Second, Some("Europe/Lisbon".into())),
        Duration(TimeUnit::Millisecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
        Decimal32(9, 2),
        Decimal64(18, 2),
        Decimal128(38, 10),
        Decimal256(76, 10),
        FixedSizeBinary(3),
        FixedSizeBinary(700),
        list(Float32, 3),
        list(Float16, 5),
        list(UInt8, 9),
        list(Int8, 600),
        list(Decimal128(38, 0), 2),
        list(Float32, 1100),
        Utf8,
        LargeUtf8,
        Binary,
        LargeBinary,
        Utf8View,
        BinaryView,
        dictionary(Utf8),
        dictionary(Int64),
        runs(Utf8),
        runs(Float64),
    ]
}

/// How many nulls a column has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Nulls {
    None,
    /// One in this number of rows.
    Some(u64),
    All,
}

fn validity(rows: usize, nulls: Nulls, seeded: &mut Seeded) -> Option<NullBuffer> {
    let valid: Vec<bool> = match nulls {
        Nulls::None => return None,
        Nulls::Some(share) => (0..rows).map(|_| seeded.below(share) != 0).collect(),
        Nulls::All => vec![false; rows],
    };
    Some(NullBuffer::new(BooleanBuffer::from(valid)))
}

/// An array whose values under nulls are not zeros, and whose offset need not be zero.
pub(crate) fn array(
    data_type: &DataType,
    rows: usize,
    nulls: Nulls,
    seeded: &mut Seeded,
) -> ArrayRef {
    let skipped = seeded.below(20) as usize;
    let whole = whole_array(data_type, rows + skipped, nulls, seeded);
    whole.slice(skipped, rows)
}

fn whole_array(data_type: &DataType, rows: usize, nulls: Nulls, seeded: &mut Seeded) -> ArrayRef {
    let plain = |width: usize, seeded: &mut Seeded| {
        let valid = validity(rows, nulls, seeded);
        let bytes = seeded.bytes(rows * width);
        let data = ArrayData::builder(data_type.clone())
            .len(rows)
            .nulls(valid)
            .add_buffer(Buffer::from_vec(bytes))
            .align_buffers(true);
        // Decimals of too many digits are for Arrow to refuse, not for storage.
        make_array(data.build().unwrap())
    };
    match data_type {
        DataType::Boolean => plain(1, seeded),
        DataType::FixedSizeBinary(width) => plain(*width as usize, seeded),
        DataType::FixedSizeList(item, items) => {
            let children = whole_array(item.data_type(), rows * *items as usize, nulls, seeded);
            let share = match nulls {
                Nulls::All => Nulls::Some(2),
                other => other,
            };
            let data = ArrayData::builder(data_type.clone())
                .len(rows)
                .nulls(validity(rows, share, seeded))
                .add_child_data(children.to_data())
                .build();
            make_array(data.unwrap())
        }
        DataType::Utf8 => Arc::new(StringArray::from(texts(rows, nulls, seeded))),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from(texts(rows, nulls, seeded))),
        DataType::Utf8View => Arc::new(StringViewArray::from(texts(rows, nulls, seeded))),
        DataType::Binary => with_bytes_under_nulls(
            Arc::new(BinaryArray::from_iter_values(blobs(rows, seeded))),
            nulls,
            seeded,
        ),
        DataType::LargeBinary => with_bytes_under_nulls(
            Arc::new(LargeBinaryArray::from_iter_values(blobs(rows, seeded))),
            nulls,
            seeded,
        ),
        DataType::BinaryView => {
            let binary = whole_array(&DataType::Binary, rows, nulls, seeded);
            cast(&binary, data_type).unwrap()
        }
        DataType::Dictionary(_, values) => {
            let values = whole_array(values, 17, Nulls::Some(5), seeded);
            let valid = validity(rows, nulls, seeded);
            let keys = (0..rows).map(|_| seeded.below(17) as i8).collect();
            let keys = Int8Array::new(keys, valid);
            Arc::new(DictionaryArray::<Int8Type>::new(keys, values))
        }
        DataType::RunEndEncoded(_, values) => {
            let runs = rows.div_ceil(7).max(1);
            let values = whole_array(values.data_type(), runs, nulls, seeded);
            let last = rows.max(1) as i32;
            let run_ends: Int32Array = (1..=runs as i32).map(|run| (run * 7).min(last)).collect();
            Arc::new(RunArray::<Int32Type>::try_new(&run_ends, values.as_ref()).unwrap())
        }
        other => plain(other.primitive_width().unwrap(), seeded),
    }
}

fn blobs(rows: usize, seeded: &mut Seeded) -> Vec<Vec<u8>> {
    let blob = |_| {
        let bytes = match seeded.below(40) {
            0 => seeded.below(9000),
            1..10 => 0,
            _ => seeded.below(30),
        };
        seeded.bytes(bytes as usize)
    };
    (0..rows).map(blob).collect()
}

fn texts(rows: usize, nulls: Nulls, seeded: &mut Seeded) -> Vec<Option<String>> {
    let valid = validity(rows, nulls, seeded);
    let text = |row| {
        let words = seeded.below(12) as usize;
        let valid = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        valid.then(|| ["a", "ß", "漢", "🦀", ""].repeat(words)[..words].concat())
    };
    (0..rows).map(text).collect()
}

fn with_bytes_under_nulls(array: ArrayRef, nulls: Nulls, seeded: &mut Seeded) -> ArrayRef {
    let valid = validity(array.len(), nulls, seeded);
    let data = array.to_data().into_builder().nulls(valid).build();
    make_array(data.unwrap())
}
