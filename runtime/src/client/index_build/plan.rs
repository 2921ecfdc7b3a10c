//! The plan of a build: its options, checked against the column.

use std::thread::{Scope, ScopedJoinHandle};

use ringtake_storage::dataset::Dataset;
use ringtake_storage::vector::VectorColumn;
use ringtake_storage::vector::index::{CODES_MAX, INDEXED_ROWS_MAX, PARTITIONS_MAX};
use ringtake_storage::vector::kernels::Kernels;

use super::options::IndexOptions;
use crate::error::shortage::{Asked, shortage};
use crate::error::{ConfigError, Error, Result};
use crate::host::cpus::allowed_cpus;

/// Rows read, assigned and coded at once.
pub(super) const CHUNK_ROWS: u64 = 1024;

/// Reads the stored vectors of rows, in the order of their ids, into a buffer of exactly their size.
pub(super) type ReadRows<'a> = dyn Fn(&[u64], &mut [u8]) -> Result<()> + Sync + 'a;

/// A checked build: the column, the options as they came out, and where rows are read.
pub(super) struct IndexPlan<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) read_rows: &'a ReadRows<'a>,
    pub(super) options: &'a IndexOptions,
    pub(super) column: VectorColumn,
    pub(super) rows: u64,
    pub(super) partitions: usize,
    pub(super) pieces: usize,
    pub(super) threads: usize,
    pub(super) kernels: Kernels,
}

impl<'a> IndexPlan<'a> {
    /// Checks the options against the column named `name`.
    ///
    /// # Errors
    /// No such column, a column without vectors, an option that cannot work.
    pub(super) fn new(
        dataset: &'a Dataset,
        read_rows: &'a ReadRows<'a>,
        name: &str,
        options: &'a IndexOptions,
    ) -> Result<IndexPlan<'a>> {
        let column = VectorColumn::named(dataset.schema(), name)?;
        let rows = options.rows.unwrap_or(u64::MAX).min(dataset.rows());
        let refuse = |field, value: u64, reason: String| {
            Err(Error::Config(ConfigError {
                field,
                value: value.to_string(),
                reason,
            }))
        };
        if rows > INDEXED_ROWS_MAX {
            let reason =
                format!("an index counts rows in 32 bits, so it has at most {INDEXED_ROWS_MAX}");
            return refuse("rows", rows, reason);
        }
        let partitions = match options.partitions {
            None => {
                nearest_power_of_two(rows / IndexOptions::PARTITION_ROWS).min(PARTITIONS_MAX as u64)
            }
            Some(partitions) => partitions.into(),
        };
        if partitions == 0 || partitions > PARTITIONS_MAX as u64 {
            let reason = format!("there are 1 to {PARTITIONS_MAX}");
            return refuse("partitions", partitions, reason);
        }
        let code_bytes = match options.code_bytes {
            None => {
                let bytes = column.dims.div_ceil(IndexOptions::ELEMENTS_PER_CODE_BYTE);
                (bytes + IndexOptions::CODE_BYTES_MORE).max(IndexOptions::CODE_BYTES_MIN)
            }
            Some(code_bytes) => code_bytes as usize,
        };
        if code_bytes == 0 || code_bytes > CODES_MAX / 2 {
            let reason = format!("a code has 1 to {} bytes", CODES_MAX / 2);
            return refuse("code_bytes", code_bytes as u64, reason);
        }
        if options.sample_rows_per_partition == 0 {
            let reason = "partitions are made from a sample, so it needs at least 1";
            return refuse("sample_rows_per_partition", 0, reason.to_owned());
        }
        if options.threads == Some(0) {
            let reason = "a build needs at least 1; leave it out for one per allowed CPU";
            return refuse("threads", 0, reason.to_owned());
        }
        let threads = options.threads.unwrap_or_else(|| allowed_cpus().usable());
        Ok(IndexPlan {
            dataset,
            read_rows,
            options,
            column,
            rows,
            partitions: partitions as usize,
            pieces: (code_bytes * 2 - 1).min(column.dims),
            threads,
            kernels: Kernels::best(),
        })
    }

    /// Runs `work` on pieces of `vectors`, on all threads.
    pub(super) fn spread(
        &self,
        vectors: &mut [f32],
        work: impl Fn(&mut [f32]) + Sync,
    ) -> Result<()> {
        let dims = self.column.dims;
        let share = (vectors.len() / dims).div_ceil(self.threads).max(1) * dims;
        std::thread::scope(|scope| {
            for rows in vectors.chunks_mut(share) {
                start(scope, || {
                    rows.chunks_mut(CHUNK_ROWS as usize * dims).for_each(&work);
                })?;
            }
            Ok(())
        })
    }
}

/// Starts a thread that builds beside the caller.
pub(super) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let started = std::thread::Builder::new()
        .name("rt-index".to_owned())
        .spawn_scoped(scope, work);
    started.map_err(|error| Error::NoThread {
        reason: shortage(&error, Asked::Thread),
    })
}

fn nearest_power_of_two(n: u64) -> u64 {
    let above = n.max(1).next_power_of_two();
    // Nearest by ratio.
    match above > 1 && n * n < above * above / 2 {
        true => above / 2,
        false => above,
    }
}

/// Subtracts `centroid` from `vector`.
pub(super) fn subtract(vector: &mut [f32], centroid: &[f32]) {
    for (x, c) in vector.iter_mut().zip(centroid) {
        *x -= c;
    }
}

#[cfg(test)]
mod tests {
    use super::nearest_power_of_two;

    #[test]
    fn partitions_are_the_nearest_power_of_two() {
        for (n, nearest) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (5, 4),
            (6, 8),
            (244, 256),
            (2441, 2048),
        ] {
            assert_eq!(nearest_power_of_two(n), nearest, "{n}");
        }
    }
}
