//! Coding all rows: each is assigned to its partition and its difference from the centroid coded.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::bounded;
use ringtake_storage::vector::kmeans::{Assigned, Centroids};
use ringtake_storage::vector::quantiser::Quantiser;

use super::plan::{CHUNK_ROWS, IndexPlan, start, subtract};
use super::progress::{Watch, report};
use super::sample::Reader;
use super::spill::{Record, Spill};
use crate::error::Result;

impl IndexPlan<'_> {
    /// Codes all rows into a file without a name.
    pub(super) fn code(
        &self,
        origin: Option<&[f32]>,
        centroids: &Centroids,
        quantiser: &Quantiser,
        watch: &mut Watch<'_>,
    ) -> Result<Spill> {
        let mut coded = Spill::new(self.dataset.path(), centroids.len(), quantiser.code_bytes())?;
        let next = AtomicU64::new(0);
        let next = &next;
        let (send, receive) = bounded(self.threads * 2);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let send = send.clone();
                start(scope, move || {
                    let mut reader = Reader::new(self, origin);
                    let mut assigned = Assigned::default();
                    loop {
                        let from = next.fetch_add(CHUNK_ROWS, Ordering::Relaxed);
                        if from >= self.rows {
                            return;
                        }
                        let ids: Vec<u64> = (from..(from + CHUNK_ROWS).min(self.rows)).collect();
                        let chunk = reader.read(&ids).map(|()| {
                            centroids.assign(self.kernels, &reader.vectors, &mut assigned);
                            self.encode(&mut reader, &assigned, centroids, quantiser)
                        });
                        if send.send((ids.len() as u64, chunk)).is_err() {
                            return;
                        }
                    }
                })?;
            }
            drop(send);
            let mut done = 0;
            // Dropped at the first error, which ends the threads.
            for (rows, chunk) in receive {
                coded.push(&chunk?)?;
                done += rows;
                report(watch, "coding", done, self.rows)?;
            }
            Ok(coded)
        })
    }

    fn encode(
        &self,
        reader: &mut Reader<'_>,
        assigned: &Assigned,
        centroids: &Centroids,
        quantiser: &Quantiser,
    ) -> Vec<Record> {
        let dims = self.column.dims;
        for (vector, &partition) in reader.vectors.chunks_exact_mut(dims).zip(&assigned.nearest) {
            subtract(vector, centroids.row(partition as usize));
        }
        let turned = quantiser.rotate(self.kernels, &reader.vectors);
        let rows = turned
            .chunks_exact(dims)
            .zip(&reader.rows)
            .zip(&assigned.nearest);
        rows.map(|((vector, &row), &partition)| {
            let mut code = vec![0; quantiser.code_bytes()];
            quantiser.encode(self.kernels, vector, &mut code);
            Record {
                partition,
                row,
                code,
            }
        })
        .collect()
    }
}
