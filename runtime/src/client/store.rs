//! The store's handle, and what the handle and its futures share.
//!
//! `open.rs` makes it, `observe.rs` reads its counters, `run_on.rs` runs code on its shards.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use futures_lite::future::block_on;
use ringtake_storage::assemble;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::{Missing, Projection};
use tracing::Instrument as _;

use crate::admission::Admission;
use crate::client::info::StoreInfo;
use crate::client::search::{self, SearchParams, Searcher};
use crate::client::take::{self, Flight, Inboxes, Request, TakeOptions, in_place};
use crate::config::ResolvedConfig;
use crate::doorbell::Doorbell;
use crate::error::search::SearchError;
use crate::error::{Error, Result};
use crate::host::fork::Origin;
use crate::host::lock::lock;
use crate::index::opened::IndexInfo;
use crate::index::opened::Indexes;
use crate::memory::outputs::{ColumnBuffer, Outputs};
use crate::memory::results::ResultMemory;
use crate::metrics::stats::ShardCounters;
use crate::metrics::{CallerMeter, CallerStage, QueryKind, ShardMeter, Watch};
use crate::ownership::{Ownership, ShardId};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::inbox::{Inbox, Message};

/// Spans of queries have this target, and the level of debugging.
const QUERY_SPANS: &str = "ringtake::query";

/// An open dataset with its shards. Cheap to clone; the shards end with the last clone and the
/// last future made from it.
#[derive(Clone)]
pub struct Store {
    pub(super) core: Arc<Core>,
}

/// What the handle and its futures share.
pub(super) struct Core {
    pub(super) dataset: Arc<Dataset>,
    pub(super) ownership: Ownership,
    pub(super) inboxes: Vec<Inbox>,
    pub(super) admission: Arc<Admission>,
    /// Of takes by code on each shard.
    pub(super) local_admissions: Vec<Arc<Admission>>,
    pub(super) results: Option<Arc<ResultMemory>>,
    pub(super) counters: Vec<Arc<ShardCounters>>,
    /// Of each shard.
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

    /// Takes rows by id and waits for them. The batch has one row per id, in the order of
    /// `ids`, duplicates included.
    ///
    /// # Errors
    /// An id past the end; rows that cannot be read or fail their checksum, each named with its
    /// file, page and column group; a projection of another dataset; a closed store.
    pub fn take(&self, ids: &[u64], projection: &Projection) -> Result<RecordBatch> {
        self.take_with(ids, projection, TakeOptions::default())
    }

    /// [`Store::take`] with a policy for ids past the end, for a store at its limits and for
    /// rows that come too late.
    ///
    /// # Errors
    /// As [`Store::take`]; [`Error::Overloaded`] and [`Error::DeadlineExceeded`] where the
    /// options ask for it.
    pub fn take_with(
        &self,
        ids: &[u64],
        projection: &Projection,
        options: TakeOptions,
    ) -> Result<RecordBatch> {
        block_on(self.core.take(ids, projection, options))
    }

    /// [`Store::take`] as a future that needs no runtime: any executor on any thread may poll
    /// it. Dropping it gives its place up if it waits, and cancels reads that have not been
    /// submitted. [`Error::Overloaded`] gives the ids back.
    pub fn take_async(
        &self,
        ids: &[u64],
        projection: &Projection,
        options: TakeOptions,
    ) -> impl Future<Output = Result<RecordBatch>> + Send + 'static + use<> {
        let (core, ids, projection) = (self.core.clone(), ids.to_vec(), projection.clone());
        async move {
            match core.take(&ids, &projection, options).await {
                Err(Error::Overloaded { .. }) => Err(Error::Overloaded { ids }),
                outcome => outcome,
            }
        }
    }

    /// [`Store::take_async`] for code that keeps the ids and the projection while it waits, so
    /// that neither they nor the handle are cloned first. Dropping it gives up and cancels as there. The ids of
    /// [`Error::Overloaded`] are empty, since the caller has them.
    ///
    /// # Errors
    /// As [`Store::take_with`].
    pub async fn take_borrowed(
        &self,
        ids: &[u64],
        projection: &Projection,
        options: TakeOptions,
    ) -> Result<RecordBatch> {
        self.core.take(ids, projection, options).await
    }

    /// Takes rows into the caller's own buffers, one for each column of the projection, and
    /// waits for them. Missing rows are not allowed.
    ///
    /// # Errors
    /// As [`Store::take`], and buffers that do not fit. After an error the buffers' contents are
    /// undefined, though initialised.
    pub fn take_into(
        &self,
        ids: &[u64],
        projection: &Projection,
        buffers: &mut [ColumnBuffer<'_>],
    ) -> Result<()> {
        self.take_into_with(ids, projection, buffers, TakeOptions::default())
    }

    /// [`Store::take_into`] with options.
    ///
    /// # Errors
    /// As [`Store::take_into`] and [`Store::take_with`]. Missing rows are an error whatever the
    /// options say of them.
    pub fn take_into_with(
        &self,
        ids: &[u64],
        projection: &Projection,
        buffers: &mut [ColumnBuffer<'_>],
        options: TakeOptions,
    ) -> Result<()> {
        let core = &self.core;
        core.check_open()?;
        let options = TakeOptions {
            missing: Missing::Error,
            ..options
        };
        let watch = core.callers.watch(QueryKind::Take, ids.len());
        let request = core.request(ids, projection, options, &watch);
        request.check()?;
        let route = core.route();
        if in_place::may_fill(&request, &route) {
            // SAFETY: the buffers are borrowed for the whole of this function, and these outputs
            // stay in this block.
            let mut outputs =
                unsafe { Outputs::borrow(request.dataset, projection, ids, buffers)? };
            if in_place::fill(&request, &route, &mut outputs) {
                return Ok(());
            }
        }
        let drained = Drained(Flight::new(options));
        // SAFETY: the buffers are borrowed for the whole of this function, and `Drained` keeps
        // it from returning or unwinding before every shard has let go of the outputs.
        let borrow = || unsafe { Outputs::borrow(request.dataset, projection, ids, buffers) };
        core.told(block_on(drained.0.fill(&request, route, borrow)).map(drop))
    }

    /// The indexes that searches can use: those that lay beside the dataset when it was opened.
    pub fn indexes(&self) -> &[IndexInfo] {
        &self.core.index_info
    }

    /// Finds the `k` rows nearest to `query`, a vector of as many elements as the column's have,
    /// and waits for them. The batch has the row ids (`_rowid`, UInt64), the distances
    /// (`_distance`, Float32; see [`Metric`](ringtake_storage::vector::Metric)) and the columns of
    /// the projection, the nearest row first; fewer than `k` rows only if no more may be returned.
    ///
    /// With a `refine_factor`, that many times `k` rows are read, checked and measured exactly on
    /// the shards that own them; without, the distances are those of the codes.
    ///
    /// # Errors
    /// [`Error::Search`] for what cannot be searched for; otherwise as [`Store::take_with`].
    pub fn search(&self, query: &[f32], params: SearchParams) -> Result<RecordBatch> {
        block_on(self.search_borrowed(query, &params))
    }

    /// [`Store::search`] as a future that needs no runtime. Dropping it gives its place up if it
    /// waits, and cancels what has not been scanned or submitted.
    pub fn search_async(
        &self,
        query: &[f32],
        params: SearchParams,
    ) -> impl Future<Output = Result<RecordBatch>> + Send + 'static + use<> {
        let (store, query) = (self.clone(), query.to_vec());
        async move { store.search_borrowed(&query, &params).await }
    }

    /// [`Store::search_async`] for code that keeps the query while it waits.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search_borrowed(
        &self,
        query: &[f32],
        params: &SearchParams,
    ) -> Result<RecordBatch> {
        let core = &self.core;
        core.check_open()?;
        if let Some(projection) = &params.projection
            && !projection.belongs_to(&core.dataset)
        {
            return Err(Error::ForeignProjection);
        }
        search::check_names(params, self.schema())?;
        let watch = core.callers.watch(QueryKind::Search, params.k);
        let span = tracing::debug_span!(target: QUERY_SPANS, "search", k = params.k);
        let searcher = core.searcher();
        let search = searcher.search(query, params, &watch);
        let found = core.told(search.instrument(span.clone()).await)?;
        let columns = match &params.projection {
            None => None,
            Some(projection) => {
                let ids: Vec<u64> = found.iter().map(|neighbour| neighbour.row).collect();
                let options = TakeOptions {
                    deadline: params.deadline,
                    class: params.class,
                    ..TakeOptions::default()
                };
                let request = core.request(&ids, projection, options, &Watch::NONE);
                let take = take::batch(&request, core.route());
                let columns = core.told(take.instrument(span).await)?;
                watch.mark(CallerStage::Assemble);
                Some(columns)
            }
        };
        search::answer(&found, columns)
    }

    /// Searches for each of `queries` (row-major) and waits for all; all of them are in flight
    /// together.
    ///
    /// # Errors
    /// As [`Store::search`], of the first that fails.
    pub fn search_batch(&self, queries: &[f32], params: &SearchParams) -> Result<Vec<RecordBatch>> {
        let dims = self.core.searcher().dims(params)?;
        if !queries.len().is_multiple_of(dims) {
            let given = queries.len();
            return Err(SearchError::PartOfQuery { given, dims }.into());
        }
        let several = queries.len() > dims;
        let searches = queries
            .chunks_exact(dims)
            .enumerate()
            .map(|(place, query)| async move {
                let answer = self.search_borrowed(query, params).await;
                answer.map_err(|error| match error {
                    Error::Search(reason) if several && reason.is_of_query() => {
                        let reason = Box::new(reason);
                        SearchError::OfBatch {
                            query: place,
                            reason,
                        }
                        .into()
                    }
                    error => error,
                })
            });
        block_on(search::all(searches))
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

/// Ends a borrowed take before its buffers are given back, whatever happens.
struct Drained(Flight);

impl Drop for Drained {
    fn drop(&mut self) {
        self.0.drain();
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

    /// The outcome as callers hear it: shards that end because the store was closed have not failed.
    pub(super) fn told<T>(&self, outcome: Result<T>) -> Result<T> {
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

    async fn take(
        &self,
        ids: &[u64],
        projection: &Projection,
        options: TakeOptions,
    ) -> Result<RecordBatch> {
        self.check_open()?;
        let watch = self.callers.watch(QueryKind::Take, ids.len());
        let span = tracing::debug_span!(target: QUERY_SPANS, "take", rows = ids.len());
        let request = self.request(ids, projection, options, &watch);
        self.told(take::batch(&request, self.route()).instrument(span).await)
    }

    pub(super) fn request<'a>(
        &'a self,
        ids: &'a [u64],
        projection: &'a Projection,
        options: TakeOptions,
        watch: &'a Watch<'a>,
    ) -> Request<'a> {
        Request {
            dataset: &self.dataset,
            ownership: self.ownership,
            align_bytes: self.config.align_bytes,
            results: self.results.as_ref(),
            checksums: self.config.lab.checksums,
            ids,
            projection,
            options,
            watch,
        }
    }

    fn close(&self) {
        // In a fork there is nobody to end, or to wait for.
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
