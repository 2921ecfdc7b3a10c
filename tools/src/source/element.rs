//! The number types of the raw formats, and Arrow arrays made from their little-endian bytes.

use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, BooleanArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

/// Number type of a raw file, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Bool,
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
}

impl Element {
    /// Bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::Bool | Element::Int8 | Element::UInt8 => 1,
            Element::Int16 | Element::UInt16 | Element::Float16 => 2,
            Element::Int32 | Element::UInt32 | Element::Float32 => 4,
            Element::Int64 | Element::UInt64 | Element::Float64 => 8,
        }
    }

    /// The Arrow type.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Element::Bool => DataType::Boolean,
            Element::Int8 => DataType::Int8,
            Element::Int16 => DataType::Int16,
            Element::Int32 => DataType::Int32,
            Element::Int64 => DataType::Int64,
            Element::UInt8 => DataType::UInt8,
            Element::UInt16 => DataType::UInt16,
            Element::UInt32 => DataType::UInt32,
            Element::UInt64 => DataType::UInt64,
            Element::Float16 => DataType::Float16,
            Element::Float32 => DataType::Float32,
            Element::Float64 => DataType::Float64,
        }
    }

    /// The element with this Arrow type; `None` for booleans, which are bits in Arrow and bytes in
    /// files.
    pub(crate) fn of(data_type: &DataType) -> Option<Element> {
        let numbers = [
            Element::Int8,
            Element::Int16,
            Element::Int32,
            Element::Int64,
            Element::UInt8,
            Element::UInt16,
            Element::UInt32,
            Element::UInt64,
            Element::Float16,
            Element::Float32,
            Element::Float64,
        ];
        numbers
            .into_iter()
            .find(|element| element.data_type() == *data_type)
    }

    /// The Arrow type of a column of vectors of `dimension` such numbers.
    pub(crate) fn vector_type(self, dimension: u32) -> DataType {
        DataType::FixedSizeList(
            Arc::new(Field::new_list_field(self.data_type(), false)),
            dimension.cast_signed(),
        )
    }

    /// An array over `values`, whose length is a multiple of the element's.
    pub(crate) fn array(self, values: Buffer) -> Result<ArrayRef, ArrowError> {
        let length = values.len() / self.bytes();
        if self == Element::Bool {
            let bits = BooleanBuffer::collect_bool(length, |at| values[at] != 0);
            return Ok(Arc::new(BooleanArray::new(bits, None)));
        }
        let array = ArrayData::builder(self.data_type())
            .len(length)
            .add_buffer(values)
            .build()?;
        Ok(make_array(array))
    }

    /// A vector array over `values`, whose length is a multiple of a vector's.
    pub(crate) fn vectors(self, values: Buffer, dimension: u32) -> Result<ArrayRef, ArrowError> {
        let rows = values.len() / (self.bytes() * dimension as usize);
        let items = self.array(values)?;
        let array = ArrayData::builder(self.vector_type(dimension))
            .len(rows)
            .add_child_data(items.to_data())
            .build()?;
        Ok(make_array(array))
    }
}
