//! Observing an open store: what it runs on, its counters, times and permits.

use std::path::PathBuf;

use serde::Serialize;

use crate::admission::{AdmissionStats, PermitsHeld};
use crate::client::store::Store;
use crate::config::{ReadPathChoice, ResolvedConfig, Scheduler};
use crate::metrics::stats::ShardStats;
use crate::metrics::{self, ShardMeter, StoreMetrics};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::start::ShardInfo;

/// The dataset, read path, shards and warnings of an open store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreInfo {
    /// The dataset's directory.
    pub path: PathBuf,
    /// Row count.
    pub rows: u64,
    /// Bytes of tables (offsets, validity, checksums), which are in memory.
    pub table_bytes: u64,
    /// The read path in use, never `auto`.
    pub read_path: ReadPathChoice,
    /// How reads get to the read path and back.
    pub scheduler: Scheduler,
    /// Whether reads bypass the page cache.
    pub direct: bool,
    /// The shards.
    pub shards: Vec<ShardInfo>,
    /// Warnings from opening, one sentence each.
    pub warnings: Vec<String>,
}

impl Store {
    /// The dataset, read path, shards and warnings of the store.
    pub fn info(&self) -> &StoreInfo {
        &self.core.info
    }

    /// The configuration as it came out on this machine.
    pub fn config(&self) -> &ResolvedConfig {
        &self.core.config
    }

    /// Counters of each shard since the store was opened.
    pub fn stats(&self) -> Vec<ShardStats> {
        let shards = 0..self.core.counters.len();
        shards
            .map(|shard| self.with_rows_in_place(shard, self.core.counters[shard].snapshot()))
            .collect()
    }

    /// The counters of a shard with what callers copied from its pages.
    fn with_rows_in_place(&self, shard: usize, of_shard: ShardStats) -> ShardStats {
        let pinned = self.core.pinned[shard].get();
        let rows_in_place = pinned.map_or(0, PinnedPages::rows_in_place);
        ShardStats {
            rows: of_shard.rows + rows_in_place,
            cache_hits: of_shard.cache_hits + rows_in_place,
            rows_in_place,
            ..of_shard
        }
    }

    /// Counters, times, waits and queues of each shard since the store was opened. A shard that
    /// never rests is paused briefly.
    pub fn metrics(&self) -> StoreMetrics {
        let until = ShardMeter::patience();
        let shards = self.core.meters.iter().zip(&self.core.counters).enumerate();
        let shards = shards.map(|(shard, (meter, counters))| {
            let mut seen = meter.look(counters, until);
            seen.stats = self.with_rows_in_place(shard, seen.stats);
            seen
        });
        let (slow_queries, slow_queries_seen) = self.core.callers.slow();
        StoreMetrics {
            shards: shards.collect(),
            admission: self.admission(),
            permits: self.permits(),
            callers: self.core.callers.stages(),
            slow_queries,
            slow_queries_seen,
        }
    }

    /// Permits held now, by takes of code on shards too.
    pub fn permits(&self) -> PermitsHeld {
        let local = self.core.local_admissions.iter();
        local.fold(self.core.admission.held(), |sum, admission| {
            sum + admission.held()
        })
    }

    /// [`Store::metrics`] in the text form of OpenMetrics, which Prometheus reads: names begin with
    /// `ringtake_`, times are in seconds, and `shard` is a label.
    pub fn metrics_text(&self) -> String {
        metrics::text(&self.metrics())
    }

    /// Counts of admission since the store was opened, with takes by code on shards.
    pub fn admission(&self) -> AdmissionStats {
        self.core
            .local_admissions
            .iter()
            .fold(self.core.admission.stats(), |sum, local| {
                sum + local.stats()
            })
    }
}
