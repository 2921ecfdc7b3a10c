//! `.fbin`, `.u8bin`, `.i8bin`: a count and a dimension, both u32, then the vectors back to back.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;

use super::element::Element;
use super::input::Input;
use super::{RowSource, SourceError, batch_rows};

/// Bytes of count and dimension.
const HEADER_BYTES: u64 = 8;

/// Reads one file of vectors with a count in front.
pub(crate) struct Fbin {
    input: Input,
    element: Element,
    dimension: u32,
    rows: u64,
    rows_read: u64,
    schema: SchemaRef,
}

impl Fbin {
    /// Reads the header and checks it against the file's length.
    pub(crate) fn open(
        mut input: Input,
        element: Element,
        column: &str,
    ) -> Result<Fbin, SourceError> {
        if input.total_bytes() == Some(0) {
            return Err(SourceError::Empty {
                origin: input.origin().to_owned(),
                format: "fbin",
            });
        }
        let mut header = [0; HEADER_BYTES as usize];
        input.read_exact(&mut header, || "the row count and the dimension".to_owned())?;
        let [r0, r1, r2, r3, d0, d1, d2, d3] = header;
        let rows = u64::from(u32::from_le_bytes([r0, r1, r2, r3]));
        let dimension = u32::from_le_bytes([d0, d1, d2, d3]);
        let malformed = |reason| SourceError::Malformed {
            origin: input.origin().to_owned(),
            format: "fbin",
            reason,
        };
        if dimension == 0 || dimension > super::DIMENSION_MAX {
            return Err(malformed(format!(
                "its header says {dimension} dimensions, from 1 to {} make sense",
                super::DIMENSION_MAX
            )));
        }
        let vector_bytes = u64::from(dimension) * element.bytes() as u64;
        let expected = HEADER_BYTES + rows * vector_bytes;
        if let Some(total) = input.total_bytes().filter(|total| *total != expected) {
            return Err(malformed(format!(
                "its header says {rows} vectors of {dimension} dimensions, which is {expected} \
                 bytes, but the file has {total}"
            )));
        }
        let field = Field::new(column, element.vector_type(dimension), false);
        Ok(Fbin {
            input,
            element,
            dimension,
            rows,
            rows_read: 0,
            schema: Arc::new(Schema::new(vec![field])),
        })
    }
}

impl RowSource for Fbin {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let vector_bytes = self.dimension as usize * self.element.bytes();
        let rows = (batch_rows(vector_bytes) as u64).min(self.rows - self.rows_read);
        if rows == 0 {
            let mut beyond = [0];
            if self.input.read_up_to(&mut beyond)? > 0 {
                return Err(SourceError::Malformed {
                    origin: self.input.origin().to_owned(),
                    format: "fbin",
                    reason: format!("there are bytes after its {} vectors", self.rows),
                });
            }
            return Ok(None);
        }
        let first = self.rows_read;
        let values = self.input.read_buffer(rows as usize * vector_bytes, || {
            format!("vectors {first} and on")
        })?;
        self.rows_read += rows;
        super::batch(
            self.input.origin(),
            "fbin",
            &self.schema,
            self.element.vectors(values, self.dimension),
        )
        .map(Some)
    }
}

#[cfg(test)]
mod tests;
