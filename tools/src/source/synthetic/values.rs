//! Random values of each kind of column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, GenericBinaryArray, GenericStringArray,
    OffsetSizeTrait, PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    Time32MillisecondType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;
use ringtake_vectors::Mixture;

use super::{Kind, VectorType};
use crate::source::element::Element;

/// Longest generated string or binary value, in bytes.
const VALUE_BYTES_MAX: usize = 64;
/// Characters of strings: mostly of one byte, some of two, three and four.
const ALPHABET: &[char] = &[
    'a',
    'b',
    'c',
    'd',
    'e',
    'f',
    'g',
    'h',
    'i',
    'j',
    'k',
    'l',
    'm',
    'n',
    'o',
    'p',
    'q',
    'r',
    's',
    't',
    'u',
    'v',
    'w',
    'x',
    'y',
    'z',
    ' ',
    '0',
    '1',
    '\u{e4}',
    '\u{4e2d}',
    '\u{1f40d}',
];
const DAY_MS: i64 = 86_400_000;
/// Days since 1970 below which dates are drawn.
const DAYS_MAX: i64 = 54_787;
const DAY_US: i64 = DAY_MS * 1_000;

impl Kind {
    /// Draws `rows` values, without nulls.
    pub(super) fn values(
        self,
        numbers: &mut ChaCha8Rng,
        rows: usize,
    ) -> Result<ArrayRef, ArrowError> {
        if let Kind::Vector(element, dimension) = self {
            let values = elements(numbers, element.element(), rows * dimension as usize);
            return element.element().vectors(values, dimension);
        }
        if let Some(element) = Element::of(&self.data_type()) {
            return element.array(elements(numbers, element, rows));
        }
        Ok(match self.data_type() {
            DataType::Boolean => {
                let bits = BooleanBuffer::collect_bool(rows, |_| numbers.random());
                Arc::new(BooleanArray::new(bits, None))
            }
            DataType::Date32 => primitive::<Date32Type>(numbers, rows, |numbers| {
                numbers.random_range(0..DAYS_MAX as i32)
            }),
            DataType::Date64 => primitive::<Date64Type>(numbers, rows, |numbers| {
                numbers.random_range(0..DAYS_MAX) * DAY_MS
            }),
            DataType::Time32(_) => primitive::<Time32MillisecondType>(numbers, rows, |numbers| {
                numbers.random_range(0..DAY_MS as i32)
            }),
            DataType::Time64(_) => primitive::<Time64MicrosecondType>(numbers, rows, |numbers| {
                numbers.random_range(0..DAY_US)
            }),
            DataType::Timestamp(..) => {
                primitive::<TimestampMicrosecondType>(numbers, rows, |numbers| {
                    numbers.random_range(0..DAYS_MAX * DAY_US)
                })
            }
            DataType::Duration(_) => {
                primitive::<DurationMicrosecondType>(numbers, rows, |numbers| {
                    numbers.random_range(-DAY_US..DAY_US)
                })
            }
            DataType::Decimal128(precision, scale) => {
                let bound = 10_i128.pow(u32::from(precision));
                let values = (0..rows).map(|_| numbers.random_range(1 - bound..bound));
                let array = PrimitiveArray::<Decimal128Type>::from_iter_values(values);
                Arc::new(array.with_precision_and_scale(precision, scale)?)
            }
            DataType::FixedSizeBinary(width) => {
                let mut values = MutableBuffer::from_len_zeroed(rows * width as usize);
                numbers.fill_bytes(values.as_slice_mut());
                Arc::new(FixedSizeBinaryArray::try_new(width, values.into(), None)?)
            }
            DataType::Utf8 => strings::<i32>(numbers, rows),
            DataType::LargeUtf8 => strings::<i64>(numbers, rows),
            DataType::Binary => binaries::<i32>(numbers, rows),
            DataType::LargeBinary => binaries::<i64>(numbers, rows),
            other => {
                return Err(ArrowError::NotYetImplemented(format!(
                    "{other} cannot be made up"
                )));
            }
        })
    }
}

/// Draws `rows` vectors of a mixture.
pub(super) fn clustered(
    numbers: &mut ChaCha8Rng,
    mixture: &Mixture,
    vector_type: VectorType,
    rows: usize,
) -> Result<ArrayRef, ArrowError> {
    let mut drawn = vec![0.0_f32; rows * mixture.dims()];
    mixture.draw(numbers, &mut drawn);
    let element = vector_type.element();
    let mut values = MutableBuffer::with_capacity(drawn.len() * element.bytes());
    for value in drawn {
        match vector_type {
            VectorType::F16 => values.extend_from_slice(&half::f16::from_f32(value).to_le_bytes()),
            VectorType::F64 => values.extend_from_slice(&f64::from(value).to_le_bytes()),
            _ => values.extend_from_slice(&value.to_le_bytes()),
        }
    }
    // The check of the shape ensures that a dimension fits into 32 bits.
    element.vectors(values.into(), mixture.dims() as u32)
}

/// Raw numbers: any bits for integers, from -1 up to 1 for floats.
fn elements(numbers: &mut ChaCha8Rng, element: Element, count: usize) -> Buffer {
    let mut values = MutableBuffer::from_len_zeroed(count * element.bytes());
    let bytes = values.as_slice_mut();
    match element {
        Element::Float16 => {
            for value in bytes.as_chunks_mut::<2>().0 {
                let drawn: f32 = numbers.random_range(-1.0..1.0);
                *value = half::f16::from_f32(drawn).to_le_bytes();
            }
        }
        Element::Float32 => {
            for value in bytes.as_chunks_mut::<4>().0 {
                *value = numbers.random_range(-1.0_f32..1.0).to_le_bytes();
            }
        }
        Element::Float64 => {
            for value in bytes.as_chunks_mut::<8>().0 {
                *value = numbers.random_range(-1.0_f64..1.0).to_le_bytes();
            }
        }
        _ => numbers.fill_bytes(bytes),
    }
    values.into()
}

fn primitive<T: ArrowPrimitiveType>(
    numbers: &mut ChaCha8Rng,
    rows: usize,
    draw: impl Fn(&mut ChaCha8Rng) -> T::Native,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(
        (0..rows).map(|_| draw(numbers)),
    ))
}

fn strings<O: OffsetSizeTrait>(numbers: &mut ChaCha8Rng, rows: usize) -> ArrayRef {
    let values = (0..rows).map(|_| {
        let length = numbers.random_range(0..=VALUE_BYTES_MAX / 2);
        let letters = (0..length).map(|_| ALPHABET[numbers.random_range(0..ALPHABET.len())]);
        letters.collect::<String>()
    });
    Arc::new(GenericStringArray::<O>::from_iter_values(values))
}

fn binaries<O: OffsetSizeTrait>(numbers: &mut ChaCha8Rng, rows: usize) -> ArrayRef {
    let values = (0..rows).map(|_| {
        let mut value = vec![0; numbers.random_range(0..=VALUE_BYTES_MAX)];
        numbers.fill_bytes(&mut value);
        value
    });
    Arc::new(GenericBinaryArray::<O>::from_iter_values(values))
}
