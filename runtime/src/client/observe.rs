//! Observing an open store: what it runs on, its counters, times and permits.

use crate::admission::{AdmissionStats, PermitsHeld};
use crate::client::info::StoreInfo;
use crate::client::store::Store;
use crate::config::ResolvedConfig;
use crate::metrics::stats::ShardStats;
use crate::metrics::{self, ShardMeter, StoreMetrics};
use crate::shard::cache::pinned::PinnedPages;

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
