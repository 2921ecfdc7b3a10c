//! Several files read as one: their schemas compared, the wanted columns in the wanted order,
//! batches cut to bounded bytes, and a limit on rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::input::{is_standard_input, origin};
use super::options::ReadOptions;
use super::{BATCH_BYTES, BATCH_ROWS_MAX, RowSource, SourceError, column_places, reader};

/// Fewest rows of a piece; smaller pieces would cost more than they save.
const PIECE_ROWS_MIN: usize = 64;

/// Opens every file once to compare the schemas, and returns them as one source.
pub(crate) fn open(options: ReadOptions) -> Result<Box<dyn RowSource>, SourceError> {
    Ok(Box::new(Chain::open(options)?))
}

/// Files one after another.
struct Chain {
    options: ReadOptions,
    schema: SchemaRef,
    rows: Option<u64>,
    rows_left: u64,
    /// The file being read, and its place in the list.
    current: Option<(usize, Box<dyn RowSource>)>,
    /// A source that is already open and cannot be opened twice: standard input, or the only file.
    opened: Option<(usize, Box<dyn RowSource>)>,
    next_file: usize,
    /// The rest of a batch that was too large to return whole, and the rows of a piece.
    rest: Option<(RecordBatch, usize)>,
}

impl Chain {
    fn open(options: ReadOptions) -> Result<Chain, SourceError> {
        let mut fields: Option<(String, Vec<Field>)> = None;
        let mut rows = Some(0_u64);
        let mut opened = None;
        for (place, path) in options.paths.iter().enumerate() {
            let source = reader::open(path, &options)?;
            let schema = wanted_schema(&origin(path), &source.schema(), &options)?;
            fields = Some(match fields {
                None => (
                    origin(path),
                    schema.fields().iter().map(|f| f.as_ref().clone()).collect(),
                ),
                Some((first, fields)) => {
                    let merged = merge(&first, fields, &origin(path), &schema)?;
                    (first, merged)
                }
            });
            rows = rows
                .zip(source.rows())
                .map(|(sum, more)| sum.saturating_add(more));
            if is_standard_input(path) && opened.is_some() {
                return Err(SourceError::StandardInputTwice);
            }
            if is_standard_input(path) || options.paths.len() == 1 {
                opened = Some((place, source));
            }
        }
        let fields = fields.map(|(_, fields)| fields).unwrap_or_default();
        let limit = options.limit.unwrap_or(u64::MAX);
        Ok(Chain {
            schema: Arc::new(Schema::new(fields)),
            rows: rows.map(|rows| rows.min(limit)),
            rows_left: limit,
            current: None,
            opened,
            next_file: 0,
            rest: None,
            options,
        })
    }

    /// The next batch of the files, of any size, in the chain's schema.
    fn read(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            if let Some((place, source)) = &mut self.current {
                let origin = origin(&self.options.paths[*place]);
                let Some(batch) = source.next_batch()? else {
                    self.current = None;
                    continue;
                };
                return self.conform(&origin, &batch).map(Some);
            }
            let Some(path) = self.options.paths.get(self.next_file) else {
                return Ok(None);
            };
            let place = self.next_file;
            self.next_file += 1;
            let source = match self.opened.take() {
                Some((opened, source)) if opened == place => source,
                other => {
                    self.opened = other;
                    reader::open(path, &self.options)?
                }
            };
            self.current = Some((place, source));
        }
    }

    /// Puts the columns of a batch into the order of the chain's schema.
    fn conform(&self, origin: &str, batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
        let names: Vec<String> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let places = column_places(origin, &batch.schema(), &names)?;
        let columns = places
            .iter()
            .map(|place| batch.column(*place).clone())
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|cause| {
            SourceError::Malformed {
                origin: origin.to_owned(),
                format: "rows of one schema",
                reason: cause.to_string(),
            }
        })
    }
}

impl RowSource for Chain {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        if self.rows_left == 0 {
            return Ok(None);
        }
        let (batch, piece_rows) = loop {
            let next = match self.rest.take() {
                Some(rest) => Some(rest),
                None => self.read()?.map(|batch| {
                    let rows = piece_rows(&batch);
                    (batch, rows)
                }),
            };
            match next {
                None => return Ok(None),
                Some((batch, _)) if batch.num_rows() == 0 => {}
                Some(next) => break next,
            }
        };
        let mut rows = piece_rows.min(batch.num_rows());
        rows = usize::try_from(self.rows_left).map_or(rows, |left| rows.min(left));
        if rows < batch.num_rows() {
            let rest = batch.slice(rows, batch.num_rows() - rows);
            self.rest = Some((rest, piece_rows));
        }
        self.rows_left -= rows as u64;
        Ok(Some(batch.slice(0, rows)))
    }
}

/// Rows of the pieces that a batch is cut into, computed once per batch. A slice reports the whole
/// of the buffers that it shares, so the estimate errs towards small pieces.
fn piece_rows(batch: &RecordBatch) -> usize {
    let row_bytes = batch.get_array_memory_size() / batch.num_rows().max(1);
    (BATCH_BYTES / row_bytes.max(1)).clamp(PIECE_ROWS_MIN, BATCH_ROWS_MAX)
}

/// The schema after the choice of columns.
fn wanted_schema(
    origin: &str,
    schema: &Schema,
    options: &ReadOptions,
) -> Result<Schema, SourceError> {
    let names: Vec<String> = match &options.columns {
        Some(columns) => columns.clone(),
        None => schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect(),
    };
    if names.is_empty() {
        return Err(SourceError::NoColumns {
            origin: origin.to_owned(),
        });
    }
    let places = column_places(origin, schema, &names)?;
    let fields: Vec<Field> = places
        .iter()
        .map(|place| schema.field(*place).clone())
        .collect();
    Ok(Schema::new(fields))
}

/// The fields of the first file, made nullable if those of this file are.
fn merge(
    first: &str,
    mut fields: Vec<Field>,
    origin: &str,
    schema: &Schema,
) -> Result<Vec<Field>, SourceError> {
    let missing = |column: &str, with: &str, without: &str| SourceError::ColumnMissing {
        column: column.to_owned(),
        with: with.to_owned(),
        without: without.to_owned(),
    };
    for field in &mut fields {
        let Ok(other) = schema.field_with_name(field.name()) else {
            return Err(missing(field.name(), first, origin));
        };
        if other.data_type() != field.data_type() {
            return Err(SourceError::TypesDiffer {
                origin: origin.to_owned(),
                first: first.to_owned(),
                column: field.name().clone(),
                expected: field.data_type().clone(),
                found: other.data_type().clone(),
            });
        }
        let nullable = field.is_nullable() || other.is_nullable();
        field.set_nullable(nullable);
    }
    for other in schema.fields() {
        if !fields.iter().any(|field| field.name() == other.name()) {
            return Err(missing(other.name(), origin, first));
        }
    }
    Ok(fields)
}
