//! Code of callers inside a shard: it takes the shard's own rows without a hop.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::Projection;

use crate::admission::Admission;
use crate::client::take::{self, Request, Route, TakeOptions};
use crate::error::{Error, Result};
use crate::metrics::Watch;
use crate::ownership::ShardId;
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::context::ShardContext;
use crate::shard::local::{LocalContext, LocalQueue};
use crate::shard::part::Part;

/// A shard as code that runs on it sees it. Stays on the shard's thread.
#[derive(Clone)]
pub struct LocalShard {
    context: Arc<ShardContext>,
    queue: Rc<LocalQueue>,
}

impl Route for &LocalShard {
    fn shards(&self) -> Range<usize> {
        self.context.shard.0..self.context.shard.0 + 1
    }

    fn admission(&self) -> &Arc<Admission> {
        &self.context.local_admission
    }

    fn pinned(&self, _: usize) -> Option<&PinnedPages> {
        self.context.pinned.get()
    }

    fn send(&self, _: usize, part: Part) {
        self.queue.push(part);
    }
}

impl std::fmt::Debug for LocalShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalShard({})", self.context.shard)
    }
}

impl LocalShard {
    pub(crate) fn new(LocalContext { shard, queue }: LocalContext) -> LocalShard {
        LocalShard {
            context: shard,
            queue,
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.context.shard
    }

    /// Whether this shard owns `row`.
    pub fn owns(&self, row: u64) -> bool {
        self.context.ownership.owner(row) == self.context.shard.0
    }

    fn dataset(&self) -> &Dataset {
        &self.context.dataset
    }

    /// A projection of the columns named `names`, in that order.
    ///
    /// # Errors
    /// A name that the dataset does not have, a name given twice, no name.
    pub fn projection<S: AsRef<str>>(&self, names: &[S]) -> Result<Projection> {
        Ok(Projection::named(self.dataset(), names)?)
    }

    /// Takes rows that this shard owns. No message is sent and no other thread takes part. Code
    /// on a shard has its share of the store's limits; beyond them a take waits for others of
    /// this shard's.
    ///
    /// # Errors
    /// [`Error::NotOwned`] for a row of another shard; otherwise as [`Store::take`](crate::Store::take).
    pub async fn take(&self, ids: &[u64], projection: &Projection) -> Result<RecordBatch> {
        self.take_with(ids, projection, TakeOptions::default())
            .await
    }

    /// [`LocalShard::take`] with a policy for ids past the end, for a shard at its share of the
    /// limits and for rows that come too late.
    ///
    /// # Errors
    /// As [`LocalShard::take`]; [`Error::Overloaded`] and
    /// [`Error::DeadlineExceeded`] where the options ask for it.
    pub async fn take_with(
        &self,
        ids: &[u64],
        projection: &Projection,
        options: TakeOptions,
    ) -> Result<RecordBatch> {
        let rows = self.dataset().rows();
        if let Some(&id) = ids.iter().find(|&&id| id < rows && !self.owns(id)) {
            return Err(Error::NotOwned {
                id,
                owner: self.context.ownership.owner(id),
                shard: self.context.shard.0,
            });
        }
        let request = Request {
            dataset: self.dataset(),
            ownership: self.context.ownership,
            align_bytes: self.context.config.align_bytes,
            results: self.context.results.as_ref(),
            checksums: self.context.config.lab.checksums,
            ids,
            projection,
            options,
            watch: &Watch::NONE,
        };
        let outcome = take::batch(&request, self).await;
        // A take of pinned rows ends without waiting for anything.
        if self.context.pinned.get().is_some() {
            let bytes = outcome
                .as_ref()
                .map_or(0, RecordBatch::get_array_memory_size);
            if self.queue.turn_is_over(ids.len() as u64, bytes as u64) {
                futures_lite::future::yield_now().await;
            }
        }
        outcome
    }
}
