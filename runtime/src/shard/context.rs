//! Everything that a shard is made from. Code of callers that runs on the shard sees it too.

use std::sync::{Arc, OnceLock};

use ringtake_storage::dataset::Dataset;

use crate::admission::Admission;
use crate::config::ResolvedConfig;
use crate::device::control::shared_rings::SharedRings;
use crate::device::files::Files;
use crate::doorbell::Doorbell;
use crate::index::opened::OpenIndex;
use crate::memory::results::ResultMemory;
use crate::metrics::ShardMeter;
use crate::metrics::stats::ShardCounters;
use crate::ownership::{Ownership, ShardId};
use crate::shard::cache::pinned::PinnedPages;

/// One shard's view of its store: the dataset, the choices made at open, and what it shares.
#[derive(Debug)]
pub(crate) struct ShardContext {
    pub(crate) shard: ShardId,
    /// The store's.
    pub(crate) config: Arc<ResolvedConfig>,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) files: Arc<Files>,
    pub(crate) ownership: Ownership,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) doorbell: Arc<Doorbell>,
    /// The rings of the store, where that is the read path.
    pub(crate) rings: Option<Arc<SharedRings>>,
    /// The pages of a pinned cache, once it is loaded.
    pub(crate) pinned: Arc<OnceLock<PinnedPages>>,
    pub(crate) results: Option<Arc<ResultMemory>>,
    pub(crate) indexes: Arc<[Arc<OpenIndex>]>,
    pub(crate) meter: Arc<ShardMeter>,
    /// Limits of code that runs on this shard. They are its own, so that it waits for no other
    /// shard.
    pub(crate) local_admission: Arc<Admission>,
}

impl ShardContext {
    /// The CPU that the shard is pinned to, if it is.
    pub(crate) fn cpu(&self) -> Option<usize> {
        self.config.cpus.get(self.shard.0).copied()
    }
}
