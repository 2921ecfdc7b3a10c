//! Generated rows. A value depends only on the seed, the place of its column and its row: neither
//! the number of rows nor the other columns change it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::concat;
use arrow::datatypes::{Field, Schema, SchemaRef};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ringtake_vectors::Mixture;

pub(crate) use self::column::{Kind, VectorType, parse_columns};
use super::{RowSource, SourceError, batch_rows};

mod column;
mod values;

/// Rows drawn from one state of the generator. It is part of the definition of the values: another
/// number would give other rows for the same seed.
const BLOCK_ROWS: u64 = 1_024;

/// Most clusters.
const CLUSTERS_MAX: u32 = 100_000;

/// Shape of the generated rows.
#[derive(Debug, Clone)]
pub(crate) struct RowShape {
    pub(crate) rows: u64,
    /// Dimension and number type of the column `vector`.
    pub(crate) vector: Option<(u32, VectorType)>,
    /// Number of clusters, Gaussians, that the vectors are drawn from; by default their numbers are
    /// independent.
    pub(crate) clusters: Option<u32>,
    /// Each kind of column, and the number of such columns.
    pub(crate) columns: Vec<(Kind, u32)>,
    /// Share of values that are null, 0 to 1.
    pub(crate) null_share: f64,
    pub(crate) seed: u64,
}

/// A source of generated rows.
pub(crate) struct Synthetic {
    columns: Vec<Kind>,
    /// Distribution of clustered vectors.
    mixture: Option<Mixture>,
    schema: SchemaRef,
    rows: u64,
    next_row: u64,
    batch_rows: u64,
    null_share: f64,
    seed: u64,
}

impl Synthetic {
    /// Names and types the columns: `vector`, then `int64_0`, `int64_1`, and so on.
    pub(crate) fn new(shape: &RowShape) -> Result<Synthetic, SourceError> {
        if !(0.0..=1.0).contains(&shape.null_share) {
            return Err(SourceError::Shape(format!(
                "--null-share is {}, from 0 to 1 make sense",
                shape.null_share
            )));
        }
        let mut named = Vec::new();
        if let Some((dimension, element)) = shape.vector {
            if dimension == 0 || dimension > super::DIMENSION_MAX {
                return Err(SourceError::Shape(format!(
                    "--vector is {dimension}, from 1 to {} dimensions make sense",
                    super::DIMENSION_MAX
                )));
            }
            let kind = Kind::Vector(element, dimension);
            named.push((super::VECTOR_COLUMN.to_owned(), kind));
        }
        let mixture = mixture(shape)?;
        let mut taken = std::collections::HashMap::<Kind, u32>::new();
        for &(kind, count) in &shape.columns {
            for _ in 0..count {
                let ordinal = taken.entry(kind).or_default();
                named.push((format!("{}_{ordinal}", kind.name()), kind));
                *ordinal += 1;
            }
        }
        if named.is_empty() {
            return Err(SourceError::Shape(
                "there is no column to generate; give --vector DIM, --columns, or both".to_owned(),
            ));
        }
        let nullable = shape.null_share > 0.0;
        let fields: Vec<Field> = named
            .iter()
            .map(|(name, kind)| Field::new(name, kind.data_type(), nullable))
            .collect();
        let columns: Vec<Kind> = named.into_iter().map(|(_, kind)| kind).collect();
        let row_bytes = columns.iter().map(|kind| kind.bytes()).sum();
        // Whole blocks, so that every batch starts with a fresh state.
        let batch_rows = (batch_rows(row_bytes) as u64 / BLOCK_ROWS).max(1) * BLOCK_ROWS;
        Ok(Synthetic {
            columns,
            mixture,
            schema: Arc::new(Schema::new(fields)),
            rows: shape.rows,
            next_row: 0,
            batch_rows,
            null_share: shape.null_share,
            seed: shape.seed,
        })
    }

    /// Values of one column in the first `rows` rows of a block.
    fn block(&self, place: usize, block: u64, rows: usize) -> Result<ArrayRef, SourceError> {
        let failed = |cause: arrow::error::ArrowError| SourceError::Shape(cause.to_string());
        let mut numbers = self.numbers(place, block, Purpose::Values);
        let values = match (self.columns[place], &self.mixture) {
            (Kind::Vector(element, _), Some(mixture)) => {
                values::clustered(&mut numbers, mixture, element, rows)
            }
            (kind, _) => kind.values(&mut numbers, rows),
        }
        .map_err(failed)?;
        if self.null_share == 0.0 {
            return Ok(values);
        }
        let mut numbers = self.numbers(place, block, Purpose::Nulls);
        let valid = BooleanBuffer::collect_bool(rows, |_| !numbers.random_bool(self.null_share));
        let nulls = NullBuffer::new(valid);
        let masked = values.to_data().into_builder().nulls(Some(nulls));
        Ok(make_array(masked.build().map_err(failed)?))
    }

    fn numbers(&self, place: usize, block: u64, purpose: Purpose) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(place as u64).to_le_bytes());
        key[16] = purpose as u8;
        let mut numbers = ChaCha8Rng::from_seed(key);
        numbers.set_stream(block);
        numbers
    }
}

/// Distribution of the vectors, if `shape` has clusters.
fn mixture(shape: &RowShape) -> Result<Option<Mixture>, SourceError> {
    let Some((clusters, (dimension, element))) = shape.clusters.zip(shape.vector) else {
        return Ok(None);
    };
    if clusters == 0 || clusters > CLUSTERS_MAX {
        return Err(SourceError::Shape(format!(
            "--clusters is {clusters}, from 1 to {CLUSTERS_MAX} make sense"
        )));
    }
    if matches!(element, VectorType::I8 | VectorType::U8) {
        return Err(SourceError::Shape(
            "--clusters makes floats; give --vector-type f16, f32 or f64 with it".to_owned(),
        ));
    }
    let shape_of = ringtake_vectors::MixtureShape {
        dims: dimension as usize,
        clusters: clusters as usize,
    };
    Ok(Some(Mixture::new(shape_of, shape.seed)))
}

/// Purpose of random numbers. Each has its own, so that nulls do not shift the values of a column.
enum Purpose {
    Values,
    Nulls,
}

impl RowSource for Synthetic {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let rows = self.batch_rows.min(self.rows - self.next_row);
        if rows == 0 {
            return Ok(None);
        }
        let failed = |cause: arrow::error::ArrowError| SourceError::Shape(cause.to_string());
        let first_block = self.next_row / BLOCK_ROWS;
        let mut columns = Vec::with_capacity(self.columns.len());
        for place in 0..self.columns.len() {
            let mut blocks = Vec::new();
            for block in 0..rows.div_ceil(BLOCK_ROWS) {
                let block_rows = BLOCK_ROWS.min(rows - block * BLOCK_ROWS) as usize;
                blocks.push(self.block(place, first_block + block, block_rows)?);
            }
            let parts: Vec<&dyn Array> = blocks.iter().map(AsRef::as_ref).collect();
            columns.push(concat(&parts).map_err(failed)?);
        }
        self.next_row += rows;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map(Some)
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests;
