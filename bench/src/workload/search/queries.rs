//! The queries that a run draws from.
//!
//! Best are queries that were asked in earnest (a file). Those of a dataset of the bench's own come
//! from the mixture its rows come from, and are none of them. For any other dataset, rows are
//! moved away from where they are: their nearest neighbours are then mostly those of a row,
//! which makes the search easier than a query that is like none; the record says so.

use std::path::{Path, PathBuf};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use ringtake_storage::checksum::StreamingXxh3;
use ringtake_storage::vector::kernels::Kernels;
use ringtake_vectors::{Mixture, npy};
use serde::Serialize;

use crate::error::Error;
use crate::workload::permutation::Permutation;
use crate::workload::search::stored_vectors::StoredVectors;

/// A made-up query is so far from its row, over how far the rows are from their mean.
const NOISE_SHARE: f32 = 0.25;

/// Rows moved at a time.
const ROWS_AT_ONCE: usize = 1024;

/// No row of the dataset is drawn from this stream.
const QUERY_STREAM: u64 = u64::MAX;

/// Chooses the rows that are moved and whereto.
const NOISE_SEED: u64 = 0x51;

/// Where queries come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySource {
    /// The mixture that the rows come from.
    SameMixture,
    /// A file of the user's.
    File(PathBuf),
    /// Random rows with noise added.
    NoisyRows,
}

/// Queries of one length; the first of them are those that the recall is found with.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    dims: usize,
    numbers: Vec<f32>,
    pub(crate) source: QuerySource,
}

impl Queries {
    /// Draws `count` of them.
    pub(crate) fn of_mixture(mixture: &Mixture, seed: u64, count: usize) -> Queries {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(QUERY_STREAM);
        let mut numbers = vec![0.0; count * mixture.dims()];
        mixture.draw(&mut random, &mut numbers);
        Queries {
            dims: mixture.dims(),
            numbers,
            source: QuerySource::SameMixture,
        }
    }

    /// The queries of the `.npy` file at `path`.
    pub(crate) fn of_file(path: &Path, column: &str, dims: usize) -> Result<Queries, Error> {
        let vectors = npy::read_vectors(path)?;
        if vectors.dims != dims {
            return Err(Error::QueryDims {
                path: path.to_path_buf(),
                given: vectors.dims,
                column: column.to_owned(),
                dims,
            });
        }
        Ok(Queries {
            dims,
            numbers: vectors.numbers,
            source: QuerySource::File(path.to_path_buf()),
        })
    }

    /// Moves as many rows as there are, or `count` of them.
    pub(crate) fn of_rows(stored: &StoredVectors<'_>, count: usize) -> Result<Queries, Error> {
        let rows = stored.rows();
        let shuffle = Permutation::new(rows, NOISE_SEED);
        let ids: Vec<u64> = (0..rows.min(count as u64))
            .map(|at| shuffle.at(at))
            .collect();
        let column = stored.column();
        let mut numbers = Vec::with_capacity(ids.len() * column.dims);
        let mut vector = vec![0.0; column.dims];
        for ids in ids.chunks(ROWS_AT_ONCE) {
            let piece = stored.rows_of(ids.to_vec())?;
            for (_, row) in (0..piece.len()).map(|position| piece.get(position)) {
                let Some(row) = row else { continue };
                Kernels::best().widen(column.element, row, &mut vector);
                if vector.iter().all(|number| number.is_finite()) {
                    numbers.extend_from_slice(&vector);
                }
            }
        }
        add_noise(&mut numbers, column.dims);
        Ok(Queries {
            dims: column.dims,
            numbers,
            source: QuerySource::NoisyRows,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.numbers.len() / self.dims
    }

    /// The query of that number.
    pub(crate) fn get(&self, number: usize) -> &[f32] {
        &self.numbers[number * self.dims..][..self.dims]
    }

    /// A hash over the first `count` of them.
    pub(crate) fn hash(&self, count: usize) -> u64 {
        let mut hash = StreamingXxh3::default();
        hash.update(&(self.dims as u64).to_le_bytes());
        for number in &self.numbers[..count * self.dims] {
            hash.update(&number.to_le_bytes());
        }
        hash.value()
    }
}

/// Moves each of `vectors` by a share of how far they spread, in each dimension by its own.
fn add_noise(vectors: &mut [f32], dims: usize) {
    let count = (vectors.len() / dims).max(1) as f32;
    let (mut means, mut deviations) = (vec![0.0_f32; dims], vec![0.0_f32; dims]);
    for vector in vectors.chunks_exact(dims) {
        means
            .iter_mut()
            .zip(vector)
            .for_each(|(mean, x)| *mean += x / count);
    }
    for vector in vectors.chunks_exact(dims) {
        for ((sum, x), mean) in deviations.iter_mut().zip(vector).zip(&means) {
            *sum += (x - mean) * (x - mean) / count;
        }
    }
    deviations.iter_mut().for_each(|sum| *sum = sum.sqrt());
    let mut random = ChaCha8Rng::seed_from_u64(NOISE_SEED);
    for vector in vectors.chunks_exact_mut(dims) {
        for (number, deviation) in vector.iter_mut().zip(&deviations) {
            let normal: f32 = random.sample(StandardNormal);
            *number += NOISE_SHARE * deviation * normal;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringtake_vectors::MixtureShape;

    fn of_mixture(count: usize) -> Queries {
        let shape = MixtureShape {
            dims: 6,
            clusters: 3,
        };
        Queries::of_mixture(&Mixture::new(shape, 1), 1, count)
    }

    #[test]
    fn more_queries_begin_with_the_fewer_and_the_hash_tells_others_apart() {
        let (few, many) = (of_mixture(10), of_mixture(20));
        assert_eq!((few.count(), many.count()), (10, 20));
        assert_eq!(few.get(9), many.get(9));
        assert_eq!(few.hash(10), many.hash(10));
        assert_ne!(many.hash(10), many.hash(11));
        let mut other = of_mixture(10);
        other.numbers[3] += 1.0;
        assert_ne!(other.hash(10), few.hash(10));
    }

    #[test]
    fn noise_moves_every_vector_by_a_share_of_the_spread() {
        let dims = 200;
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let before: Vec<f32> = (0..50 * dims)
            .map(|_| 10.0 + 2.0 * random.sample::<f32, _>(StandardNormal))
            .collect();
        let mut after = before.clone();
        add_noise(&mut after, dims);
        for (one, two) in before.chunks_exact(dims).zip(after.chunks_exact(dims)) {
            let squared: f32 = one.iter().zip(two).map(|(x, y)| (x - y) * (x - y)).sum();
            let moved = (squared / dims as f32).sqrt() / 2.0;
            assert!((moved - NOISE_SHARE).abs() < 0.08, "{moved}");
        }
    }
}
