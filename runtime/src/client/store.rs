//! The store's handle, and what the handle and its futures share.
//!
//! `open.rs` makes it, `observe.rs` reads its counters, `run_on.rs` runs code on its shards.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use ringtake_storage::assemble;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::{Missing, Projection};

use crate::admission::{Admission, Terms};
use crate::client::info::StoreInfo;
use crate::client::search::searcher::Searcher;
use crate::client::take::route::{Inboxes, Request};
use crate::config::ResolvedConfig;
use crate::doorbell::Doorbell;
use crate::error::{Error, Result};
use crate::host::fork::Origin;
use crate::host::lock::lock;
use crate::index::opened::IndexInfo;
use crate::index::opened::Indexes;
use crate::memory::results::ResultMemory;
use crate::metrics::stats::ShardCounters;
use crate::metrics::{CallerMeter, ShardMeter};
use crate::ownership::{Ownership, ShardId};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::inbox::{Inbox, Message};
use crate::shard::own_thread;

/// Spans of queries have this target, and the level of debugging.
pub(super) const QUERY_SPANS: &str = "ringtake::query";

/// An open dataset with its shards. Cheap to clone; the shards end with the last clone and the
/// last future made from it.
#[derive(Clone)]
pub struct Store {
    pub(super) core: Arc<Core>,
}

/// The state that the handles of a store share.
pub(super) struct Core {
    pub(super) dataset: Arc<Dataset>,
    pub(super) ownership: Ownership,
    pub(super) inboxes: Vec<Inbox>,
    pub(super) admission: Arc<Admission>,
    /// Admission of takes by code on each shard.
    pub(super) local_admissions: Vec<Arc<Admission>>,
    pub(super) results: Option<Arc<ResultMemory>>,
    pub(super) counters: Vec<Arc<ShardCounters>>,
    /// Pinned pages of each shard, once it has read them.
    pub(super) pinned: Vec<Arc<OnceLock<PinnedPages>>>,
    pub(super) threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    pub(super) closed: AtomicBool,
    pub(super) origin: Origin,
    pub(super) config: Arc<ResolvedConfig>,
    pub(super) info: StoreInfo,
    pub(super) indexes: Indexes,
    pub(super) index_info: Vec<IndexInfo>,
    pub(super) doorbells: Arc<[Arc<Doorbell>]>,
    pub(super) callers: CallerMeter,
    pub(super) meters: Vec<Arc<ShardMeter>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("info", &self.core.info)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The dataset's schema.
    pub fn schema(&self) -> &SchemaRef {
        self.core.dataset.schema()
    }

    /// Row count. Row ids run from 0 up to it.
    pub fn row_count(&self) -> u64 {
        self.core.dataset.rows()
    }

    /// The dataset's metadata.
    pub fn dataset(&self) -> &Dataset {
        &self.core.dataset
    }

    /// A projection of the columns named `names`, in that order.
    ///
    /// # Errors
    /// A name that the dataset does not have, a name given twice, no name.
    pub fn projection<S: AsRef<str>>(&self, names: &[S]) -> Result<Projection> {
        Ok(Projection::named(&self.core.dataset, names)?)
    }

    /// A projection of all columns.
    pub fn all_columns(&self) -> Projection {
        Projection::all(&self.core.dataset)
    }

    /// The shard that owns `row`.
    pub fn shard_of(&self, row: u64) -> ShardId {
        ShardId(self.core.ownership.owner(row))
    }

    /// The indexes that searches can use: those that lay beside the dataset when it was opened.
    pub fn indexes(&self) -> &[IndexInfo] {
        &self.core.index_info
    }

    /// Which of `ids` are null in `column` of the projection; `None` if none is.
    ///
    /// # Panics
    /// If the projection is of another dataset or has no such column.
    pub fn nulls(&self, ids: &[u64], projection: &Projection, column: usize) -> Option<NullBuffer> {
        let dataset = &self.core.dataset;
        assert!(
            projection.belongs_to(dataset),
            "a projection of another dataset"
        );
        let column = &dataset.columns()[projection.columns()[column]];
        assemble::nulls(column, self.row_count(), Missing::Null, ids)
    }

    /// Whether no take and no answer holds memory for results.
    #[cfg(test)]
    pub(crate) fn results_are_whole(&self) -> bool {
        let results = self.core.results.as_deref();
        results.is_none_or(ResultMemory::is_whole)
    }

    /// Ends the shards and waits for them. What they have been handed already is finished
    /// first; a take that has more to send, and every later one, fails with [`Error::Closed`].
    /// Pinned rows stay in memory until the last handle is gone.
    pub fn close(&self) {
        self.core.close();
    }
}

impl Core {
    pub(super) fn check_open(&self) -> Result<()> {
        if self.origin.is_elsewhere() {
            return Err(Error::Forked);
        }
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// Rejects a call that blocks on the thread of one of this store's shards.
    pub(super) fn check_may_block(&self) -> Result<()> {
        if own_thread::is_marked(&self.dataset) {
            return Err(Error::WouldDeadlock);
        }
        Ok(())
    }

    /// The outcome as callers see it: shards that end because the store was closed have not failed.
    pub(super) fn as_closed<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(Error::ShardEnded { .. }) => self.check_open().and(outcome),
            outcome => outcome,
        }
    }

    pub(super) fn route(&self) -> Inboxes<'_> {
        Inboxes {
            inboxes: &self.inboxes,
            admission: &self.admission,
            pinned: &self.pinned,
        }
    }

    pub(super) fn searcher(&self) -> Searcher<'_> {
        Searcher {
            dataset: &self.dataset,
            indexes: &self.indexes,
            inboxes: &self.inboxes,
            doorbells: &self.doorbells,
            admission: &self.admission,
            align_bytes: self.config.align_bytes,
        }
    }

    pub(super) fn request<'a>(
        &'a self,
        ids: &'a [u64],
        projection: &'a Projection,
        missing: Missing,
        terms: Terms,
    ) -> Request<'a> {
        Request {
            dataset: &self.dataset,
            ownership: self.ownership,
            align_bytes: self.config.align_bytes,
            results: self.results.as_ref(),
            checksums: self.config.lab.checksums,
            ids,
            projection,
            missing,
            terms,
        }
    }

    fn close(&self) {
        // In a fork there is no shard to end, or to wait for.
        if self.closed.swap(true, Ordering::AcqRel) || self.origin.is_elsewhere() {
            return;
        }
        for inbox in &self.inboxes {
            // A shard that has ended already needs no word.
            let _ = inbox.send(Message::Stop);
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // The last handle may be dropped by code that runs on a shard.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.close();
    }
}
