//! Rows as comma-separated values. A vector is a JSON array in one cell.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, RecordBatch, StringArray};
use arrow::csv::{Writer, WriterBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{RowWriter, encode};
use crate::failure::Failure;
use crate::output::OutputWriter;

const FORMAT: &str = "CSV";

/// Writes CSV with a header.
pub(super) struct Csv {
    writer: Writer<OutputWriter>,
    schema: SchemaRef,
}

impl Csv {
    pub(super) fn new(writer: OutputWriter, schema: &SchemaRef) -> Result<Self, Failure> {
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                DataType::FixedSizeList(..) => Field::new(field.name(), DataType::Utf8, true),
                _ => field.as_ref().clone(),
            })
            .collect();
        let mut sink = Csv {
            writer: WriterBuilder::new().with_header(true).build(writer),
            schema: Arc::new(Schema::new(fields)),
        };
        // The header is written even without rows.
        let empty = RecordBatch::new_empty(Arc::clone(&sink.schema));
        sink.writer.write(&empty).map_err(encode(FORMAT))?;
        Ok(sink)
    }
}

impl RowWriter for Csv {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let columns: Result<Vec<ArrayRef>, ArrowError> = batch
            .columns()
            .iter()
            .map(|column| match column.as_fixed_size_list_opt() {
                Some(lists) => Ok(Arc::new(json_arrays(lists)?) as ArrayRef),
                None => Ok(Arc::clone(column)),
            })
            .collect();
        columns
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns))
            .and_then(|batch| self.writer.write(&batch))
            .map_err(encode(FORMAT))
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.writer.into_inner().flush().map_err(encode(FORMAT))
    }
}

/// Each list as the text of a JSON array.
fn json_arrays(lists: &FixedSizeListArray) -> Result<StringArray, ArrowError> {
    let items = lists.values();
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(items.as_ref(), &options)?;
    let quoted = !items.data_type().is_numeric();
    let length = usize::try_from(lists.value_length()).unwrap_or(0);
    let texts = (0..lists.len()).map(|row| {
        lists.is_valid(row).then(|| {
            let start = lists.value_offset_at(row);
            let cells = (start..start + length).map(|at| {
                let text = formatter.value(at).to_string();
                match text.as_str() {
                    // JSON has no such numbers.
                    "NaN" | "inf" | "-inf" => "null".to_owned(),
                    _ if quoted && items.is_valid(at) => format!("\"{text}\""),
                    _ => text,
                }
            });
            format!("[{}]", cells.collect::<Vec<_>>().join(","))
        })
    });
    Ok(texts.collect())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Float32Type;

    use super::*;

    #[test]
    fn vectors_become_json_arrays_with_nulls() {
        let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            [
                Some(vec![Some(1.5), None, Some(f32::NAN)]),
                None,
                Some(vec![Some(-2.0), Some(0.1), Some(3e20)]),
            ],
            3,
        );
        for (lists, expected) in [
            (
                lists.clone(),
                vec![Some("[1.5,null,null]"), None, Some("[-2.0,0.1,3e20]")],
            ),
            (lists.slice(2, 1), vec![Some("[-2.0,0.1,3e20]")]),
        ] {
            let texts = json_arrays(&lists).unwrap();
            assert_eq!(texts.iter().collect::<Vec<_>>(), expected);
        }
    }
}
