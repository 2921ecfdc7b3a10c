//! Rows of every type that a dataset can hold, made up from a seed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int32Array, IntervalDayTimeArray,
    IntervalYearMonthArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::datatypes::*;
use half::f16;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Ordinal, name: small and readable.
pub(crate) fn small(rows: usize) -> RecordBatch {
    let ids = Int32Array::from_iter_values(0..rows as i32);
    let names =
        StringArray::from_iter((0..rows).map(|row| (row % 3 != 2).then(|| format!("name {row}"))));
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..rows).map(|row| Some(vec![Some(row as f32), Some(0.5)])),
        2,
    );
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("name", Arc::new(names), true),
        ("vector", Arc::new(vectors), true),
    ])
    .unwrap()
}

struct Maker {
    random: StdRng,
    rows: usize,
    null_share: f64,
}

impl Maker {
    fn some<T>(&mut self, draw: impl Fn(&mut StdRng) -> T) -> Vec<Option<T>> {
        (0..self.rows)
            .map(|_| {
                let value = draw(&mut self.random);
                (!self.random.random_bool(self.null_share)).then_some(value)
            })
            .collect()
    }

    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        data_type: DataType,
        draw: impl Fn(&mut StdRng) -> T::Native,
    ) -> ArrayRef {
        let values = self.some(draw);
        Arc::new(PrimitiveArray::<T>::from_iter(values).with_data_type(data_type))
    }

    fn lists<T: ArrowPrimitiveType>(
        &mut self,
        length: i32,
        draw: impl Fn(&mut StdRng) -> T::Native,
    ) -> ArrayRef {
        let null_share = self.null_share / 2.0;
        let lists = self.some(|random| {
            (0..length)
                .map(|_| {
                    let value = draw(random);
                    (!random.random_bool(null_share)).then_some(value)
                })
                .collect::<Vec<_>>()
        });
        Arc::new(FixedSizeListArray::from_iter_primitive::<T, _, _>(
            lists, length,
        ))
    }

    fn bytes(&mut self) -> Vec<Option<Vec<u8>>> {
        self.some(|random| {
            let length = random.random_range(0..40);
            (0..length).map(|_| random.random()).collect()
        })
    }

    fn texts(&mut self) -> Vec<Option<String>> {
        self.some(|random| {
            let length = random.random_range(0..20);
            (0..length)
                .map(|_| char::from_u32(random.random_range(1..0xd800)).unwrap())
                .collect()
        })
    }
}

impl Maker {
    /// Integers, floats and booleans.
    fn numbers(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut push = |column: ArrayRef| columns.push(column);
        macro_rules! integers {
            ($($kind:ident)*) => {
                $(push(self.primitive::<$kind>($kind::DATA_TYPE, |random| random.random()));)*
            };
        }
        integers!(Int8Type Int16Type Int32Type Int64Type UInt8Type UInt16Type UInt32Type UInt64Type);
        push(Arc::new(Float16Array::from(
            self.some(|random| f16::from_bits(random.random())),
        )));
        push(Arc::new(Float32Array::from(
            self.some(|random| f32::from_bits(random.random())),
        )));
        push(Arc::new(Float64Array::from(
            self.some(|random| f64::from_bits(random.random())),
        )));
        push(Arc::new(BooleanArray::from(
            self.some(|random| random.random()),
        )));
        columns
    }

    /// Dates, times, timestamps, durations and intervals.
    fn times(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut push = |column: ArrayRef| columns.push(column);
        // Days that a calendar of this program can show.
        push(self.primitive::<Date32Type>(DataType::Date32, |random| {
            random.random_range(-90_000_000..90_000_000)
        }));
        push(self.primitive::<Date64Type>(DataType::Date64, |random| {
            random.random_range(-40_000..40_000) * 86_400_000
        }));
        push(
            self.primitive::<Time32SecondType>(Time32SecondType::DATA_TYPE, |random| {
                random.random_range(0..86_400)
            }),
        );
        push(
            self.primitive::<Time32MillisecondType>(Time32MillisecondType::DATA_TYPE, |random| {
                random.random_range(0..86_400_000)
            }),
        );
        push(
            self.primitive::<Time64MicrosecondType>(Time64MicrosecondType::DATA_TYPE, |random| {
                random.random_range(0..86_400_000_000)
            }),
        );
        push(
            self.primitive::<Time64NanosecondType>(Time64NanosecondType::DATA_TYPE, |random| {
                random.random_range(0..86_400_000_000_000)
            }),
        );
        let seconds = |random: &mut StdRng| random.random_range(-4_000_000_000_i64..4_000_000_000);
        let zone: Option<Arc<str>> = Some("Europe/Berlin".into());
        for zone in [None, zone] {
            let of = |unit| DataType::Timestamp(unit, zone.clone());
            push(self.primitive::<TimestampSecondType>(of(TimeUnit::Second), seconds));
            push(self.primitive::<TimestampMillisecondType>(of(TimeUnit::Millisecond), seconds));
            push(self.primitive::<TimestampMicrosecondType>(of(TimeUnit::Microsecond), seconds));
            push(self.primitive::<TimestampNanosecondType>(of(TimeUnit::Nanosecond), seconds));
        }
        push(self.primitive::<DurationSecondType>(DurationSecondType::DATA_TYPE, seconds));
        push(
            self.primitive::<DurationMillisecondType>(DurationMillisecondType::DATA_TYPE, seconds),
        );
        push(
            self.primitive::<DurationMicrosecondType>(DurationMicrosecondType::DATA_TYPE, seconds),
        );
        push(self.primitive::<DurationNanosecondType>(DurationNanosecondType::DATA_TYPE, seconds));
        let months = self.some(|random| random.random());
        push(Arc::new(IntervalYearMonthArray::from(months)));
        let day_times = self.some(|random| IntervalDayTime::new(random.random(), random.random()));
        push(Arc::new(IntervalDayTimeArray::from(day_times)));
        columns
    }

    /// Decimals, lists, texts, bytes and dictionaries.
    fn others(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut push = |column: ArrayRef| columns.push(column);
        push(
            self.primitive::<Decimal128Type>(DataType::Decimal128(38, 10), |random| {
                random.random_range(-10_i128.pow(37)..10_i128.pow(37))
            }),
        );
        push(
            self.primitive::<Decimal128Type>(DataType::Decimal128(7, 2), |random| {
                random.random_range(-9_999_999..9_999_999)
            }),
        );
        let fixed = self.some(|random| random.random::<[u8; 5]>());
        push(Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed.into_iter(), 5).unwrap(),
        ));
        push(self.lists::<Float16Type>(3, |random| f16::from_bits(random.random())));
        push(self.lists::<Float32Type>(7, |random| random.random()));
        push(self.lists::<Float64Type>(1, |random| random.random()));
        push(self.lists::<Int8Type>(16, |random| random.random()));
        push(self.lists::<UInt8Type>(5, |random| random.random()));
        push(self.lists::<Int64Type>(2, |random| random.random()));
        push(Arc::new(StringArray::from_iter(self.texts())));
        push(Arc::new(LargeStringArray::from_iter(self.texts())));
        push(Arc::new(BinaryArray::from_iter(self.bytes())));
        push(Arc::new(LargeBinaryArray::from_iter(self.bytes())));
        push(Arc::new(StringViewArray::from_iter(self.texts())));
        let words = self.some(|random| ["red", "green", ""][random.random_range(0..3)]);
        push(Arc::new(
            words.into_iter().collect::<DictionaryArray<Int32Type>>(),
        ));
        columns
    }
}

/// Every type, with nulls.
pub(crate) fn every_type(rows: usize, null_share: f64, seed: u64) -> RecordBatch {
    let mut make = Maker {
        random: StdRng::seed_from_u64(seed),
        rows,
        null_share,
    };
    let columns = [make.numbers(), make.times(), make.others()].concat();
    let named = columns.into_iter().enumerate().map(|(ordinal, column)| {
        let name = format!("c{ordinal}_{}", column.data_type());
        (name, column, true)
    });
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}
