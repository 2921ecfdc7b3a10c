//! `.npy` arrays: one dimension becomes a plain column, two a column of vectors.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use ringtake_vectors::npy::{Descr, Header, read_header};

use super::element::Element;
use super::input::Input;
use super::{RowSource, SourceError, batch_rows};

/// Reads one `.npy` file.
pub(crate) struct Npy {
    input: Input,
    element: Element,
    /// None for a one-dimensional array.
    dimension: Option<u32>,
    rows: u64,
    rows_read: u64,
    schema: SchemaRef,
}

impl Npy {
    /// Reads the header and checks it against the length of the file. The column is named `column`,
    /// or by default `vector` or `value`.
    pub(crate) fn open(mut input: Input, column: Option<&str>) -> Result<Npy, SourceError> {
        if input.total_bytes() == Some(0) {
            return Err(SourceError::Empty {
                origin: input.origin().to_owned(),
                format: "npy",
            });
        }
        let origin = input.origin().to_owned();
        let malformed = |reason| SourceError::Malformed {
            origin: origin.clone(),
            format: "npy",
            reason,
        };
        let header = read_header(
            |out, part| input.read_exact(out, || part.to_owned()),
            malformed,
        )?;
        let element = element(&header).map_err(malformed)?;
        let (rows, dimension) = shape(&header, element).map_err(malformed)?;
        let row_bytes = u64::from(dimension.unwrap_or(1)) * element.bytes() as u64;
        let expected = rows
            .checked_mul(row_bytes)
            .and_then(|bytes| bytes.checked_add(input.offset()));
        if let Some(total) = input.total_bytes().filter(|total| Some(*total) != expected) {
            return Err(malformed(format!(
                "its header says {rows} rows of {row_bytes} bytes, but {} bytes follow the header",
                total - input.offset()
            )));
        }
        let field = match dimension {
            Some(dimension) => Field::new(
                column.unwrap_or(super::VECTOR_COLUMN),
                element.vector_type(dimension),
                false,
            ),
            None => Field::new(
                column.unwrap_or(super::VALUE_COLUMN),
                element.data_type(),
                false,
            ),
        };
        Ok(Npy {
            input,
            element,
            dimension,
            rows,
            rows_read: 0,
            schema: Arc::new(Schema::new(vec![field])),
        })
    }
}

impl RowSource for Npy {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let row_bytes = self.dimension.unwrap_or(1) as usize * self.element.bytes();
        let rows = (batch_rows(row_bytes) as u64).min(self.rows - self.rows_read);
        if rows == 0 {
            return Ok(None);
        }
        let first = self.rows_read;
        let values = self
            .input
            .read_buffer(rows as usize * row_bytes, || format!("rows {first} and on"))?;
        self.rows_read += rows;
        let array = match self.dimension {
            Some(dimension) => self.element.vectors(values, dimension),
            None => self.element.array(values),
        };
        super::batch(self.input.origin(), "npy", &self.schema, array).map(Some)
    }
}

/// The number type that `descr` names, or the reason why it cannot be imported.
fn element(header: &Header) -> Result<Element, String> {
    let descr = match &header.descr {
        Descr::Plain(descr) => descr.as_str(),
        Descr::Structured => {
            return Err(
                "it is a structured array; save each field as an array of its own".to_owned(),
            );
        }
    };
    let (order, kind) = match descr.chars().next() {
        Some(order @ ('<' | '>' | '=' | '|')) => (order, &descr[1..]),
        _ => ('=', descr),
    };
    let element = match kind {
        "?" | "b1" => Element::Bool,
        "i1" => Element::Int8,
        "i2" => Element::Int16,
        "i4" => Element::Int32,
        "i8" => Element::Int64,
        "u1" => Element::UInt8,
        "u2" => Element::UInt16,
        "u4" => Element::UInt32,
        "u8" => Element::UInt64,
        "f2" => Element::Float16,
        "f4" => Element::Float32,
        "f8" => Element::Float64,
        _ if kind.starts_with('O') => {
            return Err(
                "it holds Python objects; convert the array to a number type, such as \
                 a.astype(\"float32\")"
                    .to_owned(),
            );
        }
        _ => {
            return Err(format!(
                "its element type {descr:?} is not a number of 1 to 8 bytes; convert the array, \
                 such as a.astype(\"float32\")"
            ));
        }
    };
    if order == '>' && element.bytes() > 1 {
        return Err(
            "its numbers are big-endian; convert the array with a.astype(a.dtype.newbyteorder(\"<\"))"
                .to_owned(),
        );
    }
    Ok(element)
}

/// Number of rows, and the dimension of a vector.
fn shape(header: &Header, element: Element) -> Result<(u64, Option<u32>), String> {
    match *header.shape.as_slice() {
        // One dimension has the same bytes in either order.
        [rows] => Ok((rows, None)),
        [_, _] if header.fortran_order => Err(
            "it is in Fortran order; save it in C order with np.save(file, np.ascontiguousarray(a))"
                .to_owned(),
        ),
        [_, _] if element == Element::Bool => {
            Err("vectors of booleans are not supported; convert with a.astype(\"uint8\")".to_owned())
        }
        [rows, dimension] => match u32::try_from(dimension) {
            Ok(dimension) if (1..=super::DIMENSION_MAX).contains(&dimension) => {
                Ok((rows, Some(dimension)))
            }
            _ => Err(format!(
                "its vectors have {dimension} dimensions, from 1 to {} make sense",
                super::DIMENSION_MAX
            )),
        },
        ref shape => Err(format!(
            "it has {} axes; reshape it to rows, or to rows and dimensions",
            shape.len()
        )),
    }
}

#[cfg(test)]
mod tests;
