//! Columns of vectors, distances between vectors, and the index that finds the nearest without
//! reading them all.
//!
//! [`index`] is the file and its checks; [`kmeans`], [`rotation`] and [`quantiser`] are the
//! arithmetic that builds one, without threads. [`distance`] computes exact distances, [`nearest`]
//! keeps the nearest rows, and [`kernels`] are the inner loops.

pub mod distance;
pub mod index;
pub mod kernels;
pub mod kmeans;
pub mod nearest;
pub mod quantiser;
pub mod rotation;

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::dataset::Column;
use crate::layout::column_index;
use crate::{Error, Result};

/// Element type of stored vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// Signed bytes.
    I8,
    /// Unsigned bytes.
    U8,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::I8 => "i8",
            Element::U8 => "u8",
        })
    }
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
            Element::I8 | Element::U8 => 1,
        }
    }

    fn of(data_type: &DataType) -> Option<Element> {
        match data_type {
            DataType::Float32 => Some(Element::F32),
            DataType::Float16 => Some(Element::F16),
            DataType::Int8 => Some(Element::I8),
            DataType::UInt8 => Some(Element::U8),
            _ => None,
        }
    }
}

/// Distance between two vectors; smaller is nearer.
///
/// Partitions and codes are built from squared differences under every metric. Under
/// [`Metric::Dot`] the nearest rows may therefore lie in partitions that are far from the query: if
/// the lengths of vectors differ much, search more partitions. Rows many times longer than most are
/// coded coarsely, except under [`Metric::Cosine`]: use a higher refine factor, or scale them
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The sum of squared differences.
    #[default]
    L2,
    /// One minus the cosine of the angle between them.
    Cosine,
    /// The inner product, negated.
    Dot,
}

impl Metric {
    /// The names of the metrics, for messages.
    pub const NAMES: &str = "l2, cosine or dot";
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::L2 => "l2",
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
        })
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Metric> {
        match name {
            "l2" => Ok(Metric::L2),
            "cosine" => Ok(Metric::Cosine),
            "dot" => Ok(Metric::Dot),
            _ => Err(Error::Option {
                option: "the metric",
                value: format!("`{name}`"),
                allowed: Metric::NAMES.to_owned(),
            }),
        }
    }
}

/// A column of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorColumn {
    /// Ordinal of the column in the schema.
    pub column: usize,
    /// Type of the elements.
    pub element: Element,
    /// Elements of each vector.
    pub dims: usize,
}

impl VectorColumn {
    /// The column named `name`.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`]; [`Error::NotVectors`] if the column holds no vectors.
    pub fn named(schema: &SchemaRef, name: &str) -> Result<VectorColumn> {
        let column = column_index(schema, name)?;
        VectorColumn::at(schema, column).ok_or_else(|| Error::NotVectors {
            column: name.to_owned(),
            data_type: schema.field(column).data_type().to_string(),
        })
    }

    /// Whether `row` of `column` has a vector: neither the row nor any element is null.
    pub fn has_vector(&self, column: &Column, row: u64) -> bool {
        let is_set = |bits: &[u8], at: u64| bits[(at / 8) as usize] >> (at % 8) & 1 == 1;
        let mut elements = row * self.dims as u64..(row + 1) * self.dims as u64;
        column.valid().is_none_or(|valid| is_set(valid, row))
            && column
                .items()
                .is_none_or(|items| elements.all(|at| is_set(items, at)))
    }

    /// The column with ordinal `column`, if it holds vectors.
    pub fn at(schema: &SchemaRef, column: usize) -> Option<VectorColumn> {
        match schema.fields().get(column)?.data_type() {
            DataType::FixedSizeList(item, dims) => Some(VectorColumn {
                column,
                element: Element::of(item.data_type())?,
                dims: usize::try_from(*dims).ok().filter(|&dims| dims > 0)?,
            }),
            _ => None,
        }
    }
}

/// Whether the squared distance between two vectors of this squared length fits an f32.
pub fn is_measurable(squared: f32) -> bool {
    squared <= f32::MAX / 16.0
}

/// Scales `vector` to length one. Returns `false`, and changes nothing, if it has no direction.
pub fn normalise(vector: &mut [f32]) -> bool {
    let squared: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if squared <= 0.0 || !squared.is_finite() {
        return false;
    }
    // In f64, in which the inverse of the shortest length is finite.
    let scale = 1.0 / squared.sqrt();
    for x in vector {
        *x = (f64::from(*x) * scale) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_any_length_but_none_get_length_one() {
        let smallest = f32::from_bits(1);
        for scale in [1.0, f32::MAX / 4.0, f32::MIN_POSITIVE, smallest] {
            let mut vector = [3.0 * scale, 0.0, -4.0 * scale];
            assert!(normalise(&mut vector), "{scale}");
            let near = |(x, unit): (f32, f32)| (x - unit).abs() < 1e-6;
            assert!(
                vector.into_iter().zip([0.6, 0.0, -0.8]).all(near),
                "{vector:?} for {scale}"
            );
        }
        for nothing in [0.0, -0.0, f32::NAN, f32::INFINITY] {
            let mut vector = [nothing, 0.0];
            assert!(!normalise(&mut vector), "{nothing}");
            assert_eq!(vector[0].to_bits(), nothing.to_bits());
        }
    }
}
