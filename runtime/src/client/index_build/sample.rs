//! Reading vectors: a sample of them, and the rows that are coded.

use rand::SeedableRng as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use ringtake_storage::vector::kmeans::mean;
use ringtake_storage::vector::{Metric, is_measurable, normalise};

use super::plan::{CHUNK_ROWS, IndexPlan, subtract};
use super::progress::{Watch, report};
use crate::error::Result;

impl IndexPlan<'_> {
    /// Vectors chosen at random, row-major, without those that cannot be indexed.
    pub(super) fn sample(&self, watch: &mut Watch<'_>) -> Result<Vec<f32>> {
        let vector_bytes = (self.column.dims * size_of::<f32>()) as u64;
        let wanted = u64::from(self.options.sample_rows_per_partition) * self.partitions as u64;
        let room = self.options.sample_bytes_max / vector_bytes;
        let rows = wanted.min(room).clamp(1, self.rows.max(1)).min(self.rows) as usize;
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed);
        let mut ids: Vec<u64> = match rows as u64 == self.rows {
            true => (0..self.rows).collect(),
            false => {
                let ids = sample(&mut random, self.rows as usize, rows);
                ids.into_iter().map(|row| row as u64).collect()
            }
        };
        ids.sort_unstable();
        let mut reader = Reader::new(self, None);
        let mut vectors = Vec::with_capacity(rows * self.column.dims);
        let mut done = 0;
        for chunk in ids.chunks(CHUNK_ROWS as usize) {
            reader.read(chunk)?;
            vectors.extend_from_slice(&reader.vectors);
            done += chunk.len() as u64;
            report(watch, "sampling", done, rows as u64)?;
        }
        Ok(vectors)
    }

    /// The mean of the sample, rounded, if distances are squared ones. They are computed from
    /// products, which lose precision where vectors are far from zero; vectors less their mean are
    /// not.
    pub(super) fn origin(&self, sample: &[f32]) -> Option<Vec<f32>> {
        let dims = self.column.dims;
        if self.options.metric != Metric::L2 || sample.is_empty() {
            return None;
        }
        // Rounded to eight significant bits: differences between whole numbers stay whole numbers,
        // whose sums are the same in any order, so that the bytes of an index do not depend on the
        // number of threads.
        let round = |x: f32| f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xffff_0000);
        Some(mean(dims, sample).into_iter().map(round).collect())
    }
}

/// Keeps at most `rows_max` of `vectors`, evenly spread.
pub(super) fn keep_spread(vectors: &mut Vec<f32>, dims: usize, rows_max: usize) {
    let rows = vectors.len() / dims;
    if rows <= rows_max {
        return;
    }
    for row in 0..rows_max {
        let from = row * rows / rows_max * dims;
        vectors.copy_within(from..from + dims, row * dims);
    }
    vectors.truncate(rows_max * dims);
}

/// Reads vectors of rows, reusing its memory.
pub(super) struct Reader<'a> {
    plan: &'a IndexPlan<'a>,
    /// Subtracted from each vector.
    origin: Option<&'a [f32]>,
    bytes: Vec<u8>,
    /// Row-major, of the rows that can be indexed.
    pub(super) vectors: Vec<f32>,
    /// The ids of those rows.
    pub(super) rows: Vec<u32>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(plan: &'a IndexPlan<'a>, origin: Option<&'a [f32]>) -> Reader<'a> {
        Reader {
            plan,
            origin,
            bytes: Vec::new(),
            vectors: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, ids: &[u64]) -> Result<()> {
        let IndexPlan {
            dataset, column, ..
        } = self.plan;
        let width = column.dims * column.element.bytes();
        self.bytes.resize(ids.len() * width, 0);
        (self.plan.read_rows)(ids, &mut self.bytes)?;
        let stored_column = &dataset.columns()[column.column];
        self.vectors.clear();
        self.rows.clear();
        let mut vector = vec![0.0; column.dims];
        for (&row, stored) in ids.iter().zip(self.bytes.chunks_exact(width)) {
            if !column.has_vector(stored_column, row) {
                continue;
            }
            self.plan.kernels.widen(column.element, stored, &mut vector);
            // A longer one has no finite distance, and would pull centroids away.
            let squared: f32 = vector.iter().map(|x| x * x).sum();
            let direction = squared.is_normal() || self.plan.options.metric != Metric::Cosine;
            let measurable = match self.plan.options.metric {
                Metric::Cosine => squared.is_finite(),
                Metric::L2 | Metric::Dot => is_measurable(squared),
            };
            if !measurable || !direction {
                continue;
            }
            if self.plan.options.metric == Metric::Cosine && !normalise(&mut vector) {
                continue;
            }
            if let Some(origin) = &self.origin {
                subtract(&mut vector, origin);
            }
            self.vectors.extend_from_slice(&vector);
            self.rows.push(row as u32);
        }
        Ok(())
    }
}
