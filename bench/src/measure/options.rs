//! The options of a measurement.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ringtake_storage::layout::PAGE_BYTES;

use crate::drive::load::{Bound, Load, Rate};
use crate::error::Error;
use crate::record::proof::Cache;
use crate::workload::Workload;
use crate::workload::distribution::{CacheSize, Distribution, MIXED_HIT_SHARE};

/// Bytes of memory in which 90 of 100 accesses to `rows` rows of `row_bytes` bytes hit, if it
/// keeps the rows asked for last. Popular rows are scattered, so each takes whole pages.
pub fn mixed_memory_bytes(rows: u64, row_bytes: u64, distribution: Distribution) -> u64 {
    let size = CacheSize::for_hits(rows, distribution, MIXED_HIT_SHARE);
    size.rows * row_bytes.next_multiple_of(PAGE_BYTES)
}

/// The workload, the load and the proof of a measurement. The default has no dataset: `dataset`,
/// `dataset_rows` and `rows` must be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of the workload in the record.
    pub workload: &'static str,
    /// Where the rows must come from.
    pub cache: Cache,
    /// Client threads, queries in flight and the end of the run.
    pub load: Load,
    /// The rate of an open loop; `None` is a closed loop.
    pub rate: Option<Rate>,
    /// In an open loop, the time from the arrival after which a query is cancelled.
    pub deadline: Option<Duration>,
    /// Rows of the dataset.
    pub dataset_rows: u64,
    /// Only the first of them are used; at most `dataset_rows`.
    pub rows: u64,
    /// Rows of each query, none of them twice.
    pub rows_per_query: u64,
    /// Queries in the pool of a subject that searches, which gets the number of a query instead of
    /// row ids; `rows_per_query` is then the cost of a query.
    pub query_pool: Option<u64>,
    /// How popular rows are. A uniform run takes no row twice, unless it is mixed.
    pub distribution: Distribution,
    /// Chooses the order of the rows.
    pub seed: u64,
    /// The most attempts while other programs read the drive and spoil the proof.
    pub attempts: u32,
    /// The dataset, as the record names it.
    pub dataset: PathBuf,
    /// The columns taken, as the record names them.
    pub columns: Vec<String>,
    /// Bytes of those columns in one row, where every one is of fixed width.
    pub row_bytes: Option<u64>,
    /// The least bytes that the drive moves for such a row, where that is more, as in a page cache.
    /// Proves a cold run of a subject that does not count its reads.
    pub device_row_bytes: Option<u64>,
    /// Memory in which a subject that does not count its reads may hold rows; a mixed run is
    /// proven against it.
    pub memory_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            workload: "file-read",
            cache: Cache::Cold,
            load: Load {
                threads: NonZeroUsize::MIN,
                in_flight: NonZeroUsize::MIN.saturating_add(3),
                bound: Bound::Time(Duration::from_secs(10)),
            },
            rate: None,
            deadline: None,
            dataset_rows: 0,
            rows: 0,
            rows_per_query: 500,
            query_pool: None,
            distribution: Distribution::Uniform,
            seed: 1,
            attempts: 3,
            dataset: PathBuf::new(),
            columns: Vec::new(),
            row_bytes: None,
            device_row_bytes: None,
            memory_bytes: None,
        }
    }
}

impl Options {
    /// The queries.
    pub(crate) fn workload(&self) -> Result<Workload, Error> {
        match self.query_pool {
            Some(pool) => Workload::new(pool, 1, self.seed),
            None => self.workload_of(self.rows_per_query),
        }
    }

    /// A share of accesses cannot hit unless rows are asked for again.
    pub(crate) fn workload_of(&self, rows_per_query: u64) -> Result<Workload, Error> {
        match (self.distribution, self.cache) {
            (Distribution::Uniform, Cache::Cold | Cache::Warm) => {
                Workload::new(self.rows, rows_per_query, self.seed)
            }
            (distribution, _) => {
                Workload::drawn(self.rows, rows_per_query, self.seed, distribution)
            }
        }
    }
}
