//! Codebooks: how the differences between vectors and their centroids are coded.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::bounded;
use ringtake_storage::vector::kmeans::{Assigned, Centroids};
use ringtake_storage::vector::quantiser::{ENTRIES, Quantiser, even_ends, train, train_errors};
use ringtake_storage::vector::rotation::{Rotation, ends_by_variance, principal_axes};

use super::options::Axes;
use super::plan::{IndexPlan, start, subtract};
use super::progress::{Watch, report};
use super::sample::keep_spread;
use crate::error::{Error, Result};

/// Sampled vectors that codebooks are trained on at most.
const CODEBOOK_ROWS_MAX: usize = 1 << 16;
/// Vectors of those by which axes are chosen.
const AXES_ROWS_MAX: usize = 1 << 14;
/// Principal axes are worth their price where the error is at most this share of the error along
/// the column's own.
const PRINCIPAL_ERROR_SHARE: f64 = 0.97;

impl IndexPlan<'_> {
    /// Trains the quantiser of the differences between vectors and their centroids.
    pub(super) fn quantiser(
        &self,
        mut sample: Vec<f32>,
        centroids: &Centroids,
        watch: &mut Watch<'_>,
    ) -> Result<Quantiser> {
        let dims = self.column.dims;
        keep_spread(&mut sample, dims, CODEBOOK_ROWS_MAX);
        self.spread(&mut sample, |rows| {
            let mut assigned = Assigned::default();
            centroids.assign(self.kernels, rows, &mut assigned);
            for (row, &nearest) in rows.chunks_exact_mut(dims).zip(&assigned.nearest) {
                subtract(row, centroids.row(nearest as usize));
            }
        })?;
        let axes = self.choose_axes(&sample, watch)?;
        if let Some((rotation, _)) = &axes {
            self.spread(&mut sample, |rows| {
                let along = rows.to_vec();
                rotation.apply(self.kernels, &along, rows);
            })?;
        }
        let (rotation, ends) = match axes {
            Some((rotation, ends)) => (Some(rotation), ends),
            None => (None, even_ends(dims, self.pieces)),
        };
        let mut trained = 0;
        let codebooks = self.train(&sample, &ends, || {
            trained += 1;
            report(watch, "codebooks", trained, self.pieces as u64)
        })?;
        let quantiser = Quantiser::new(dims, rotation, ends, codebooks, [0.0; ENTRIES]);
        let mut errors = self.errors(&quantiser, &sample)?;
        let errors = train_errors(self.kernels, &mut errors);
        let (rotation, ends) = (quantiser.rotation().cloned(), quantiser.ends().to_vec());
        let codebooks = quantiser.codebooks().to_vec();
        Ok(Quantiser::new(dims, rotation, ends, codebooks, errors))
    }

    /// The principal axes and the ends of pieces along them, where those are worth it.
    fn choose_axes(
        &self,
        differences: &[f32],
        watch: &mut Watch<'_>,
    ) -> Result<Option<(Rotation, Vec<u32>)>> {
        let dims = self.column.dims;
        if self.options.axes == Axes::Given || differences.is_empty() {
            return Ok(None);
        }
        let mut few = differences.to_vec();
        keep_spread(&mut few, dims, AXES_ROWS_MAX);
        let principal = principal_axes(self.kernels, dims, &few);
        if !principal.rotation.is_orthogonal(self.kernels) {
            return Ok(None);
        }
        let (rotation, ends) = (
            principal.rotation,
            ends_by_variance(&principal.variances, self.pieces),
        );
        if self.options.axes == Axes::Principal {
            return Ok(Some((rotation, ends)));
        }
        let mut trained = 0;
        let mut done = || {
            trained += 1;
            report(watch, "axes", trained, 2 * self.pieces as u64)
        };
        let given = self.error(&few, &even_ends(dims, self.pieces), &mut done)?;
        let mut along = vec![0.0; few.len()];
        rotation.apply(self.kernels, &few, &mut along);
        let principal = self.error(&along, &ends, &mut done)?;
        Ok((principal <= given * PRINCIPAL_ERROR_SHARE).then_some((rotation, ends)))
    }

    /// The squared error of coding `vectors` in pieces with these ends.
    fn error(
        &self,
        vectors: &[f32],
        ends: &[u32],
        done: impl FnMut() -> Result<()>,
    ) -> Result<f64> {
        let codebooks = self.train(vectors, ends, done)?;
        let quantiser = Quantiser::new(
            self.column.dims,
            None,
            ends.to_vec(),
            codebooks,
            [0.0; ENTRIES],
        );
        let errors = self.errors(&quantiser, vectors)?;
        Ok(errors.iter().map(|&error| f64::from(error)).sum())
    }

    /// The squared error of each of `vectors`.
    fn errors(&self, quantiser: &Quantiser, vectors: &[f32]) -> Result<Vec<f32>> {
        let dims = self.column.dims;
        let mut errors = vec![0.0; vectors.len() / dims];
        let share = errors.len().div_ceil(self.threads).max(1);
        std::thread::scope(|scope| {
            for (errors, rows) in errors.chunks_mut(share).zip(vectors.chunks(share * dims)) {
                start(scope, move || {
                    for (error, row) in errors.iter_mut().zip(rows.chunks_exact(dims)) {
                        *error = quantiser.error(self.kernels, row);
                    }
                })?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(errors)
    }

    /// Trains the codebooks of all pieces. Calls `done` after each.
    fn train(
        &self,
        vectors: &[f32],
        ends: &[u32],
        mut done: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f32>> {
        let dims = self.column.dims;
        let next = &AtomicU64::new(0);
        let (made, trained) = bounded(ends.len());
        let mut codebooks = vec![0.0; dims * ENTRIES];
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let made = made.clone();
                start(scope, move || {
                    loop {
                        let piece = next.fetch_add(1, Ordering::Relaxed) as usize;
                        let Some(&end) = ends.get(piece) else {
                            return;
                        };
                        let from = piece.checked_sub(1).map_or(0, |before| ends[before]);
                        let range = from as usize..end as usize;
                        let codebook = train(self.kernels, dims, range.clone(), vectors);
                        if made.send((range, codebook)).is_err() {
                            return;
                        }
                    }
                })?;
            }
            drop(made);
            // Dropped at the first error, which ends the threads.
            for (range, codebook) in trained {
                codebooks[range.start * ENTRIES..range.end * ENTRIES].copy_from_slice(&codebook);
                done()?;
            }
            Ok(codebooks)
        })
    }
}
