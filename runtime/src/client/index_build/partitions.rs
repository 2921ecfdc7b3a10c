//! Partitions: k-means over the sample.

use crossbeam_channel::{Sender, bounded};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use ringtake_storage::vector::kmeans::{Assigned, Centroids, Sums};

use super::plan::{CHUNK_ROWS, IndexPlan, start};
use super::progress::{Watch, report};
use crate::error::Result;

impl IndexPlan<'_> {
    /// The centroids of the partitions.
    pub(super) fn partition(&self, sample: &[f32], watch: &mut Watch<'_>) -> Result<Centroids> {
        let dims = self.column.dims;
        let rows = sample.len() / dims;
        let partitions = self.partitions.min(rows).max(1);
        if rows == 0 {
            return Ok(Centroids::new(dims, vec![0.0; dims]));
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed);
        let first = rand::seq::index::sample(&mut random, rows, partitions);
        let first = first
            .into_iter()
            .flat_map(|row| &sample[row * dims..][..dims]);
        let mut centroids = Centroids::new(dims, first.copied().collect());
        let of = rows as u64 * u64::from(self.options.iterations);
        let mut done = 0;
        for _ in 0..self.options.iterations {
            let mut sums = self.sums(sample, &centroids, &mut |rows| {
                done += rows;
                report(watch, "clustering", done, of)
            })?;
            sums.apply(&mut centroids);
        }
        Ok(centroids)
    }

    /// The sums of the rows nearest to each centroid, on all threads. `done` gets the
    /// number of rows of each chunk that is done.
    fn sums(
        &self,
        sample: &[f32],
        centroids: &Centroids,
        done: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Sums> {
        let (dims, partitions) = (self.column.dims, centroids.len());
        let share = (sample.len() / dims).div_ceil(self.threads) * dims;
        let sum = |rows: &[f32], send: Sender<u64>| {
            let mut sums = Sums::new(dims, partitions);
            let mut assigned = Assigned::default();
            for rows in rows.chunks(CHUNK_ROWS as usize * dims) {
                centroids.assign(self.kernels, rows, &mut assigned);
                sums.add(rows, &assigned.nearest);
                if send.send((rows.len() / dims) as u64).is_err() {
                    break;
                }
            }
            sums
        };
        let (send, receive) = bounded(self.threads * 2);
        let mut sums = Sums::new(dims, partitions);
        std::thread::scope(|scope| {
            let shares = sample.chunks(share).map(|rows| {
                let (send, sum) = (send.clone(), &sum);
                start(scope, move || sum(rows, send))
            });
            let shares = shares.collect::<Result<Vec<_>>>()?;
            drop(send);
            // Dropped at the first error, which ends the threads.
            for rows in receive {
                done(rows)?;
            }
            for part in shares {
                match part.join() {
                    Ok(part) => sums.merge(&part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(sums)
        })
    }
}
