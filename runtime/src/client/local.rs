//! Code of callers inside a shard: it takes the shard's own rows without a hop.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::{Missing, Projection};

use crate::admission::{Admission, Terms};
use crate::client::take::route::{Request, Route};
use crate::error::Result;
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

impl<'a> Route<'a> for &'a LocalShard {
    fn shards(self) -> Range<usize> {
        self.context.shard.0..self.context.shard.0 + 1
    }

    fn admission(self) -> &'a Arc<Admission> {
        &self.context.local_admission
    }

    fn pinned(self, _: usize) -> Option<&'a PinnedPages> {
        self.context.pinned.get()
    }

    fn send(self, _: usize, part: Part) {
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

    pub(crate) fn row_count(&self) -> u64 {
        self.dataset().rows()
    }

    pub(crate) fn owner(&self, row: u64) -> ShardId {
        ShardId(self.context.ownership.owner(row))
    }

    pub(crate) fn request<'a>(
        &'a self,
        ids: &'a [u64],
        projection: &'a Projection,
        missing: Missing,
        terms: Terms,
    ) -> Request<'a> {
        Request {
            dataset: self.dataset(),
            ownership: self.context.ownership,
            align_bytes: self.context.config.align_bytes,
            results: self.context.results.as_ref(),
            checksums: self.context.config.lab.checksums,
            ids,
            projection,
            missing,
            terms,
        }
    }

    /// Whether a take of `rows` rows that ended with `outcome` should let others run: one of
    /// pinned rows ends without waiting for anything.
    pub(crate) fn turn_is_over(&self, rows: usize, outcome: &Result<RecordBatch>) -> bool {
        self.context.pinned.get().is_some() && {
            let bytes = outcome
                .as_ref()
                .map_or(0, RecordBatch::get_array_memory_size);
            self.queue.turn_is_over(rows as u64, bytes as u64)
        }
    }
}
