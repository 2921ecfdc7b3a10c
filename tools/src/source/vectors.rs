//! Columns of variable-length lists of one length, read as vectors. Many Parquet writers have no
//! fixed-size lists.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::{DIMENSION_MAX, RowSource, SourceError, listed};

/// A source that converts some columns of lists to vectors.
pub(crate) struct Vectors {
    source: Box<dyn RowSource>,
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Batches read while the dimensions were determined.
    ahead: VecDeque<RecordBatch>,
    rows_read: u64,
}

/// A column to convert.
struct Column {
    place: usize,
    name: String,
    item: FieldRef,
    dimension: Option<i32>,
}

impl Vectors {
    /// Reads until the first list of each column in `names`; its length is the dimension.
    pub(crate) fn of(
        mut source: Box<dyn RowSource>,
        names: &[String],
    ) -> Result<Vectors, SourceError> {
        let schema = source.schema();
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            columns.push(column(&schema, name)?);
        }
        let mut ahead = VecDeque::new();
        while columns.iter().any(|column| column.dimension.is_none()) {
            let Some(batch) = source.next_batch()? else {
                break;
            };
            for column in columns
                .iter_mut()
                .filter(|column| column.dimension.is_none())
            {
                let lists = batch.column(column.place);
                column.dimension = (0..lists.len()).find_map(|row| length(lists, row));
            }
            ahead.push_back(batch);
        }
        let mut fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        for column in &columns {
            let dimension = column.checked_dimension()?;
            let vector = DataType::FixedSizeList(Arc::clone(&column.item), dimension);
            let field = &mut fields[column.place];
            field.set_data_type(vector);
        }
        Ok(Vectors {
            source,
            schema: Arc::new(Schema::new(fields)),
            columns,
            ahead,
            rows_read: 0,
        })
    }
}

impl RowSource for Vectors {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        self.source.rows()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let batch = match self.ahead.pop_front() {
            Some(batch) => batch,
            None => match self.source.next_batch()? {
                Some(batch) => batch,
                None => return Ok(None),
            },
        };
        let mut arrays = batch.columns().to_vec();
        for column in &self.columns {
            arrays[column.place] = column.convert(&arrays[column.place], self.rows_read)?;
        }
        self.rows_read += batch.num_rows() as u64;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map(Some)
            .map_err(|cause| SourceError::Shape(cause.to_string()))
    }
}

impl Column {
    fn checked_dimension(&self) -> Result<i32, SourceError> {
        let name = &self.name;
        match self.dimension {
            None => Err(SourceError::Shape(format!(
                "column `{name}` has no list that could tell the dimension of its vectors; leave \
                 it out with --columns"
            ))),
            Some(dimension) if (1..=DIMENSION_MAX.cast_signed()).contains(&dimension) => {
                Ok(dimension)
            }
            Some(dimension) => Err(SourceError::Shape(format!(
                "the first list of column `{name}` has {dimension} items; vectors have from 1 to \
                 {DIMENSION_MAX}"
            ))),
        }
    }

    fn convert(&self, lists: &ArrayRef, first_row: u64) -> Result<ArrayRef, SourceError> {
        let dimension = self.checked_dimension()?;
        let other = (0..lists.len())
            .filter_map(|row| Some((row, length(lists, row)?)))
            .find(|(_, length)| *length != dimension);
        if let Some((row, length)) = other {
            return Err(SourceError::Shape(format!(
                "row {} of column `{}` has {length} items where the ones before have {dimension}; \
                 all vectors of a column need the same dimension",
                first_row + row as u64,
                self.name
            )));
        }
        let vector = DataType::FixedSizeList(Arc::clone(&self.item), dimension);
        let strictly = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(lists, &vector, &strictly)
            .map_err(|cause| SourceError::Shape(format!("column `{}`: {cause}", self.name)))
    }
}

fn column(schema: &Schema, name: &str) -> Result<Column, SourceError> {
    let (place, field) =
        schema
            .column_with_name(name)
            .ok_or_else(|| SourceError::UnknownColumn {
                origin: "the input".to_owned(),
                column: name.to_owned(),
                available: listed(schema),
            })?;
    match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) => Ok(Column {
            place,
            name: name.to_owned(),
            item: Arc::clone(item),
            dimension: None,
        }),
        other => Err(SourceError::Shape(format!(
            "column `{name}` has type {other}, which is not a list; --vector is for columns of lists"
        ))),
    }
}

/// Number of items of one list; `None` for a null.
fn length(lists: &ArrayRef, row: usize) -> Option<i32> {
    if lists.is_null(row) {
        return None;
    }
    match lists.data_type() {
        DataType::List(_) => Some(lists.as_list::<i32>().value_length(row)),
        _ => {
            let length = lists.as_list::<i64>().value_length(row);
            Some(i32::try_from(length).unwrap_or(i32::MAX))
        }
    }
}
