//! `.fvecs`, `.bvecs`, `.ivecs`: each vector is its dimension, an i32, and then its numbers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::MutableBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::element::Element;
use super::input::Input;
use super::{RowSource, SourceError, batch_rows};

/// Bytes of the dimension before each vector.
const PREFIX_BYTES: usize = 4;

/// Reads one file of vectors, each with its dimension in front.
pub(crate) struct Vecs {
    input: Input,
    element: Element,
    dimension: u32,
    rows: Option<u64>,
    rows_read: u64,
    /// Whether the prefix of the next vector has been consumed, as after `open`.
    prefix_read: bool,
    schema: SchemaRef,
}

impl Vecs {
    /// Reads the dimension of the first vector; the others must have the same.
    pub(crate) fn open(
        mut input: Input,
        element: Element,
        column: &str,
    ) -> Result<Vecs, SourceError> {
        let mut prefix = [0; PREFIX_BYTES];
        let filled = input.read_up_to(&mut prefix)?;
        if filled == 0 {
            return Err(SourceError::Empty {
                origin: input.origin().to_owned(),
                format: "a vecs file",
            });
        }
        if filled < PREFIX_BYTES {
            return Err(SourceError::CutShort {
                origin: input.origin().to_owned(),
                offset: 0,
                wanted: PREFIX_BYTES as u64,
                found: filled as u64,
                what: "the dimension of vector 0".to_owned(),
            });
        }
        let claimed = i32::from_le_bytes(prefix);
        let dimension = u32::try_from(claimed)
            .ok()
            .filter(|dimension| (1..=super::DIMENSION_MAX).contains(dimension))
            .ok_or_else(|| SourceError::Malformed {
                origin: input.origin().to_owned(),
                format: "a vecs file",
                reason: format!(
                    "vector 0 says {claimed} dimensions, from 1 to {} make sense",
                    super::DIMENSION_MAX
                ),
            })?;
        let row_bytes = (PREFIX_BYTES + dimension as usize * element.bytes()) as u64;
        let field = Field::new(column, element.vector_type(dimension), false);
        Ok(Vecs {
            rows: input.total_bytes().map(|total| total / row_bytes),
            input,
            element,
            dimension,
            rows_read: 0,
            prefix_read: true,
            schema: Arc::new(Schema::new(vec![field])),
        })
    }

    /// Consumes the prefix of the next vector. Returns false at the end of the file.
    fn read_prefix(&mut self) -> Result<bool, SourceError> {
        if std::mem::take(&mut self.prefix_read) {
            return Ok(true);
        }
        let offset = self.input.offset();
        let mut prefix = [0; PREFIX_BYTES];
        let filled = self.input.read_up_to(&mut prefix)?;
        if filled == 0 {
            return Ok(false);
        }
        if filled < PREFIX_BYTES {
            return Err(SourceError::CutShort {
                origin: self.input.origin().to_owned(),
                offset,
                wanted: PREFIX_BYTES as u64,
                found: filled as u64,
                what: format!("the dimension of vector {}", self.rows_read),
            });
        }
        let found = i32::from_le_bytes(prefix);
        if i64::from(found) != i64::from(self.dimension) {
            return Err(SourceError::DimensionChanges {
                origin: self.input.origin().to_owned(),
                ordinal: self.rows_read,
                expected: self.dimension,
                found,
            });
        }
        Ok(true)
    }
}

impl RowSource for Vecs {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let vector_bytes = self.dimension as usize * self.element.bytes();
        let rows_max = batch_rows(vector_bytes);
        let mut values = MutableBuffer::new(0);
        let mut rows = 0;
        while rows < rows_max && self.read_prefix()? {
            let start = values.len();
            values.resize(start + vector_bytes, 0);
            let ordinal = self.rows_read;
            self.input
                .read_exact(&mut values.as_slice_mut()[start..], || {
                    format!("vector {ordinal}")
                })?;
            self.rows_read += 1;
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        super::batch(
            self.input.origin(),
            "a vecs file",
            &self.schema,
            self.element.vectors(values.into(), self.dimension),
        )
        .map(Some)
    }
}

#[cfg(test)]
mod tests;
