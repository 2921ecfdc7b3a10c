//! Clustered vectors as embeddings have them: a mixture of Gaussians whose spread falls off from
//! axis to axis.
//!
//! Independent random numbers make every vector about as far from a query as any other, so no
//! index finds anything; far clusters make any index right. Here clusters overlap and differ in
//! size, and some directions carry much more than others of what distinguishes two vectors. Those
//! are turned against the axes, so that no single number of a vector carries more than the rest.
//!
//! With a million vectors of 768 numbers, 1,000 clusters and 256 partitions, the nearest partition
//! has about half of the nearest 50 vectors, and the nearest 20 have nineteen of twenty.

use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Shape of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureShape {
    /// Dimensions of a vector, at least 1.
    pub dims: usize,
    /// Number of Gaussians, at least 1.
    pub clusters: usize,
}

/// The variance on the hidden axis of rank r is in proportion to r to the power of minus this.
const SPECTRUM_EXPONENT: f32 = 0.9;

/// Spread of the vectors of a cluster, relative to the spread of the centres.
const SPREAD: f32 = 1.25;

/// Standard deviation of the logarithms of the sizes of clusters.
const SIZE_DEVIATION: f32 = 1.0;

/// A mixture of Gaussians; the same for the same shape and seed.
#[derive(Debug, Clone)]
pub struct Mixture {
    dims: usize,
    /// Centres of the clusters, row-major, along the rotated axes.
    centres: Vec<f32>,
    /// Cumulative share of the vectors in the clusters up to each.
    sizes: Vec<f32>,
    /// Deviation on each hidden axis within a cluster.
    deviations: Vec<f32>,
    turn: Turn,
}

impl Mixture {
    /// A mixture of this shape, with clusters drawn from `seed`.
    ///
    /// # Panics
    /// If `shape` has no dimension or no cluster.
    pub fn new(shape: MixtureShape, seed: u64) -> Mixture {
        let MixtureShape { dims, clusters } = shape;
        assert!(dims > 0 && clusters > 0, "{shape:?}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut spectrum: Vec<f32> = (1..=dims)
            .map(|rank| (rank as f32).powf(-SPECTRUM_EXPONENT / 2.0))
            .collect();
        // The centres have length 1 on average, whatever the dimension.
        let length = spectrum.iter().map(|s| s * s).sum::<f32>().sqrt();
        spectrum.iter_mut().for_each(|s| *s /= length);
        let turn = Turn::new(dims, &mut random);
        let mut centres = vec![0.0; clusters * dims];
        for centre in centres.chunks_exact_mut(dims) {
            gauss(&spectrum, &mut random, centre);
            turn.apply(centre);
        }
        let mut sum = 0.0;
        let mut sizes: Vec<f32> = (0..clusters)
            .map(|_| {
                let normal: f32 = random.sample(StandardNormal);
                sum += (SIZE_DEVIATION * normal).exp();
                sum
            })
            .collect();
        sizes.iter_mut().for_each(|size| *size /= sum);
        Mixture {
            dims,
            centres,
            sizes,
            deviations: spectrum.iter().map(|s| s * SPREAD).collect(),
            turn,
        }
    }

    /// Dimensions of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Draws as many vectors as `out` has room for, one after another.
    pub fn draw(&self, random: &mut impl Rng, out: &mut [f32]) {
        for vector in out.chunks_exact_mut(self.dims) {
            let share: f32 = random.random();
            let cluster = self.sizes.partition_point(|size| *size <= share);
            let cluster = cluster.min(self.sizes.len() - 1);
            let centre = &self.centres[cluster * self.dims..][..self.dims];
            gauss(&self.deviations, random, vector);
            self.turn.apply(vector);
            for (number, centre) in vector.iter_mut().zip(centre) {
                *number += centre;
            }
        }
    }
}

/// Independent normal numbers of the deviations given.
fn gauss(deviations: &[f32], random: &mut impl Rng, out: &mut [f32]) {
    for (number, deviation) in out.iter_mut().zip(deviations) {
        let normal: f32 = random.sample(StandardNormal);
        *number = normal * deviation;
    }
}

/// A rotation in as many steps as a fast Fourier transform, which is far cheaper per vector than a
/// full matrix. Each step turns pairs of axes by angles of their own, and after the last step every
/// axis has a part of every other.
#[derive(Debug, Clone)]
struct Turn {
    /// The cosine and sine of each pair, step after step.
    angles: Vec<(f32, f32)>,
}

impl Turn {
    fn new(dims: usize, random: &mut impl Rng) -> Turn {
        let mut angles = Vec::new();
        pairs(dims, |_, _| {
            let angle: f32 = random.random_range(0.0..std::f32::consts::TAU);
            angles.push((angle.cos(), angle.sin()));
        });
        Turn { angles }
    }

    fn apply(&self, vector: &mut [f32]) {
        let mut angles = self.angles.iter();
        pairs(vector.len(), |one, two| {
            if let Some((cos, sin)) = angles.next() {
                let (x, y) = (vector[one], vector[two]);
                vector[one] = cos * x - sin * y;
                vector[two] = sin * x + cos * y;
            }
        });
    }
}

/// Every pair of axes whose numbers differ in one bit, bit after bit.
#[inline]
fn pairs(dims: usize, mut each: impl FnMut(usize, usize)) {
    let mut stride = 1;
    while stride < dims {
        for block in (0..dims).step_by(2 * stride) {
            for one in block..(block + stride).min(dims.saturating_sub(stride)) {
                each(one, one + stride);
            }
        }
        stride *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(shape: MixtureShape, seed: u64, vectors: usize) -> Vec<f32> {
        let mixture = Mixture::new(shape, seed);
        let mut out = vec![0.0; vectors * shape.dims];
        mixture.draw(&mut ChaCha8Rng::seed_from_u64(9), &mut out);
        out
    }

    const SHAPE: MixtureShape = MixtureShape {
        dims: 48,
        clusters: 20,
    };

    #[test]
    fn same_seed_draws_the_same_and_another_seed_others() {
        assert_eq!(drawn(SHAPE, 1, 5), drawn(SHAPE, 1, 5));
        assert_ne!(drawn(SHAPE, 1, 5), drawn(SHAPE, 2, 5));
    }

    #[test]
    fn any_dimension_and_a_single_cluster_are_drawn() {
        for dims in [1, 2, 3, 7, 31, 100] {
            let out = drawn(MixtureShape { dims, clusters: 1 }, 3, 4);
            assert!(
                out.iter()
                    .all(|number| number.is_finite() && *number != 0.0)
            );
        }
    }

    #[test]
    fn turn_keeps_lengths_and_gives_every_axis_a_part_of_every_other() {
        for dims in [2_usize, 3, 24, 48, 768] {
            let turn = Turn::new(dims, &mut ChaCha8Rng::seed_from_u64(1));
            for axis in [0, dims / 2, dims - 1] {
                let mut vector = vec![0.0; dims];
                vector[axis] = 1.0;
                turn.apply(&mut vector);
                let length: f32 = vector.iter().map(|number| number * number).sum();
                assert!((length - 1.0).abs() < 1e-4, "{dims}: {length}");
                let largest = vector.iter().map(|n| n.abs()).fold(0.0, f32::max);
                assert!(dims < 24 || largest < 0.9, "{dims}: {largest}");
            }
        }
    }

    #[test]
    fn neighbours_share_a_cluster_more_often_than_chance_and_clusters_overlap() {
        let out = drawn(SHAPE, 1, 400);
        let vectors: Vec<&[f32]> = out.chunks_exact(SHAPE.dims).collect();
        let distance =
            |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum() };
        let (mut nearest_sum, mut mean_sum) = (0.0, 0.0);
        for (index, vector) in vectors.iter().enumerate() {
            let others = vectors.iter().enumerate().filter(|(i, _)| *i != index);
            let distances: Vec<f32> = others.map(|(_, other)| distance(vector, other)).collect();
            nearest_sum += distances.iter().copied().fold(f32::MAX, f32::min);
            mean_sum += distances.iter().sum::<f32>() / distances.len() as f32;
        }
        let ratio = nearest_sum / mean_sum;
        assert!((0.1..0.6).contains(&ratio), "{ratio}");
    }
}
