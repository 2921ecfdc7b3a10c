//! A take with all that it needs of the store, and the way of its parts to the shards.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::{Missing, Projection};

use crate::admission::{Admission, Terms};
use crate::config::Checksums;
use crate::error::{Error, Result};
use crate::memory::results::ResultMemory;
use crate::ownership::Ownership;
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::inbox::{Inbox, Message};
use crate::shard::part::Part;

/// A take with all that it needs of the store.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) ownership: Ownership,
    pub(crate) align_bytes: u32,
    pub(crate) results: Option<&'a Arc<ResultMemory>>,
    pub(crate) checksums: Checksums,
    pub(crate) ids: &'a [u64],
    pub(crate) projection: &'a Projection,
    pub(crate) missing: Missing,
    pub(crate) terms: Terms,
}

impl Request<'_> {
    /// Rejects a take that cannot be served, before anything is done.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.projection.belongs_to(self.dataset) {
            return Err(Error::ForeignProjection);
        }
        let rows = self.dataset.rows();
        if self.missing == Missing::Error
            && let Some(&id) = self.ids.iter().find(|&&id| id >= rows)
        {
            return Err(Error::NoSuchRow { id, rows });
        }
        Ok(())
    }
}

/// How parts reach their shards.
pub(crate) trait Route<'a>: Copy {
    /// The shards to choose from: all of them, or the one whose thread this is.
    fn shards(self) -> Range<usize>;
    /// Where a window gets its permit.
    fn admission(self) -> &'a Arc<Admission>;
    /// The pages of a shard, if they are pinned.
    fn pinned(self, shard: usize) -> Option<&'a PinnedPages>;
    /// Hands a part over. If that fails the part is dropped, which fails the take.
    fn send(self, shard: usize, part: Part);
}

/// The route from any thread, through the inboxes.
#[derive(Clone, Copy)]
pub(crate) struct Inboxes<'a> {
    pub(crate) inboxes: &'a [Inbox],
    pub(crate) admission: &'a Arc<Admission>,
    pub(crate) pinned: &'a [Arc<OnceLock<PinnedPages>>],
}

impl<'a> Route<'a> for Inboxes<'a> {
    fn shards(self) -> Range<usize> {
        0..self.inboxes.len()
    }

    fn admission(self) -> &'a Arc<Admission> {
        self.admission
    }

    fn pinned(self, shard: usize) -> Option<&'a PinnedPages> {
        self.pinned[shard].get()
    }

    fn send(self, shard: usize, part: Part) {
        drop(self.inboxes[shard].send(Message::Take(part)));
    }
}
