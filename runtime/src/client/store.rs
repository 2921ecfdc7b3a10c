//! The public handle: opens a dataset, starts its shards, takes rows.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, bounded};
use futures_lite::future::block_on;
use ringtake_storage::assemble;
use ringtake_storage::dataset::{Dataset, TableCheck};
use ringtake_storage::layout::PAGE_BYTES;
use ringtake_storage::projection::{Missing, Projection};
use serde::Serialize;
use tracing::Instrument as _;

use crate::admission::{Admission, AdmissionStats, LatencyClass, Need, PermitsHeld};
use crate::client::index_build::{self, BuildProgress, IndexOptions};
use crate::client::local::LocalShard;
use crate::client::search::{self, SearchParams, Searcher};
use crate::client::take::{self, Flight, Inboxes, Request, TakeOptions, in_place};
use crate::config::{CacheChoice, Checksums, Config, ReadPathChoice, ResolvedConfig, Scheduler};
use crate::device::control::shared_rings::SharedRings;
use crate::device::files::{self, Files};
use crate::device::probe::{NoRing, probe_ring};
use crate::doorbell::Doorbell;
use crate::error::search::SearchError;
use crate::error::shortage;
use crate::host::available_memory;
use crate::host::cpus::allowed_cpus;
use crate::host::fork::Origin;
use crate::host::lock::lock;
use crate::index::opened::IndexInfo;
use crate::index::opened::Indexes;
use crate::memory::outputs::{ColumnBuffer, Outputs};
use crate::memory::results::ResultMemory;
use crate::metrics::stats::{ShardCounters, ShardStats};
use crate::metrics::{self, CallerMeter, CallerStage, QueryKind, ShardMeter, StoreMetrics, Watch};
use crate::ownership::{Ownership, ShardId};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::inbox::{Inbox, LocalFuture, Message, inbox};
use crate::shard::{self, ShardContext, ShardInfo, catch_panic};
use crate::{Error, Result};

/// Spans of queries have this target, and the level of debugging.
const QUERY_SPANS: &str = "ringtake::query";

/// Threads per shard where io_uring is missing and nothing else was asked for.
const FALLBACK_THREADS: u32 = 16;

/// An open dataset with its shards. Cheap to clone; the shards end with the last clone and the
/// last future made from it.
#[derive(Clone)]
pub struct Store {
    core: Arc<Core>,
}

/// What the handle and its futures share.
struct Core {
    dataset: Arc<Dataset>,
    ownership: Ownership,
    inboxes: Vec<Inbox>,
    admission: Arc<Admission>,
    /// Of takes by code on each shard.
    local_admissions: Vec<Arc<Admission>>,
    results: Option<Arc<ResultMemory>>,
    counters: Vec<Arc<ShardCounters>>,
    /// Of each shard.
    pinned: Vec<Arc<OnceLock<PinnedPages>>>,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
    origin: Origin,
    config: ResolvedConfig,
    info: StoreInfo,
    indexes: Indexes,
    index_info: Vec<IndexInfo>,
    doorbells: Arc<[Arc<Doorbell>]>,
    callers: CallerMeter,
    meters: Vec<Arc<ShardMeter>>,
}

/// What an open store is and runs on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreInfo {
    /// The dataset's directory.
    pub path: PathBuf,
    /// Row count.
    pub rows: u64,
    /// Bytes of tables (offsets, validity, checksums), which are in memory.
    pub table_bytes: u64,
    /// The read path in use, which is not the one asked for where that was `auto`.
    pub read_path: ReadPathChoice,
    /// How reads get to the read path and back.
    pub scheduler: Scheduler,
    /// Whether reads go past the page cache.
    pub direct: bool,
    /// The shards.
    pub shards: Vec<ShardInfo>,
    /// Everything that is not as one would wish, in sentences.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("info", &self.core.info)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the dataset at `path` and starts its shards.
    ///
    /// Where io_uring is missing and the configuration leaves the choice, rows are read by a
    /// pool of threads, with a warning in the log and in [`Store::info`].
    ///
    /// # Errors
    /// No dataset, a damaged manifest or table, a configuration that cannot work, io_uring asked
    /// for and not available.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Store> {
        let (shards, cpus) = config.placement(&allowed_cpus())?;
        let check = match config.checksums {
            Checksums::Verify => TableCheck::Verify,
            Checksums::Skip => TableCheck::Skip,
        };
        let (dataset, files, mut warnings) = files::open(path.as_ref(), check, config.io)?;
        let mut align_bytes = config.align_bytes(files.align_bytes)?;
        if config.cache != CacheChoice::Off {
            // The caches keep whole pages, so reads bring whole pages.
            align_bytes = align_bytes.max(PAGE_BYTES as u32);
        }
        if config.cache == CacheChoice::Pinned {
            available_memory::room_for(&dataset)?;
        }
        let indexes = Indexes::open(&dataset, check);
        warnings.extend_from_slice(&indexes.faults);
        let ring = probe_ring();
        let read_path = choose_read_path(config.read_path, &ring, &mut warnings)?;
        let mut plan = Plan {
            config: ResolvedConfig {
                shards,
                cpus,
                queue_depth: config.queue_depth,
                depth_control: config.depth_control,
                cache: config.cache,
                io: config.io,
                read_path,
                scheduler: config.scheduler,
                checksums: config.checksums,
                align_bytes,
                merge_gap_bytes: config.merge_gap_bytes,
                result_memory_bytes: config.result_memory_bytes,
                takes_in_flight_max: config.takes_in_flight_max,
                reads_in_flight_max: config.reads_in_flight_max,
                bytes_in_flight_max: config.bytes_in_flight_max,
                spin_before_park: config.spin_before_park,
                metrics: config.metrics,
                slow_query: config.slow_query,
                perf_counters: config.perf_counters,
            },
            under_glommio: ring.is_ok(),
            dataset: Arc::new(dataset),
            files: Arc::new(files),
            results: result_memory(config.result_memory_bytes, &mut warnings),
            indexes,
        };
        let started = match plan.start() {
            Err(error) if config.read_path == ReadPathChoice::Auto && plan.under_glommio => {
                warnings.push(format!(
                    "{error}; rows are read by a pool of threads instead"
                ));
                plan.under_glommio = false;
                plan.config.read_path = ReadPathChoice::ThreadPool {
                    threads: FALLBACK_THREADS,
                };
                plan.start()
            }
            started => started,
        }?;
        plan.indexes.usable.iter().for_each(|index| index.let_go());
        for (shard, info) in started.shards.iter().enumerate() {
            let told = |warning: &String| format!("shard {shard}: {warning}");
            warnings.extend(info.warnings.iter().map(told));
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(Store {
            core: Arc::new(plan.core(started, warnings)),
        })
    }

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

    /// What the store is and runs on.
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

    /// Counters, times, waits and queues of each shard since the store was opened. A shard without a
    /// moment of rest is held for a fifth of a millisecond at most.
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

    /// What is at work now, takes by code on shards included.
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

    /// What admission has done since the store was opened, takes by code on shards included.
    pub fn admission(&self) -> AdmissionStats {
        self.core
            .local_admissions
            .iter()
            .fold(self.core.admission.stats(), |sum, local| {
                sum + local.stats()
            })
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
            let outputs = unsafe { Outputs::borrow(request.dataset, projection, ids, buffers)? };
            if in_place::fill(&request, &route, &outputs) {
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

    /// Builds the index of the vectors in `column` and puts it beside the dataset, instead of an
    /// older one. Stores opened from then on use it. `watch` is told how far it has come, and ends
    /// the build where it breaks.
    ///
    /// # Errors
    /// A column without vectors, options that cannot work, rows that cannot be read, a dataset
    /// that is being written, the file system's; [`Error::Stopped`] if `watch` ended it. The
    /// dataset then has the index it had, and nothing else is left.
    pub fn build_index(
        &self,
        column: &str,
        options: &IndexOptions,
        watch: &mut dyn FnMut(BuildProgress) -> ControlFlow<()>,
    ) -> Result<IndexInfo> {
        index_build::build(self, column, options, watch)
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

    /// Runs `make`'s future on the thread of shard `shard`, beside its reads. There
    /// [`LocalShard::take`] brings rows without a hop. The code must not block: the shard reads
    /// nothing meanwhile. A panic in it fails this call and leaves the shard at work.
    ///
    /// # Errors
    /// No such shard, a panic, a closed store.
    pub fn run_on<F, Fut, T>(
        &self,
        shard: ShardId,
        make: F,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<F, Fut, T>
    where
        F: FnOnce(LocalShard) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let core = self.core.clone();
        async move {
            core.check_open()?;
            let shards = core.inboxes.len();
            let inbox = core.inboxes.get(shard.0).ok_or(Error::NoSuchShard {
                shard: shard.0,
                shards,
            })?;
            let need = Need {
                windows: 1,
                ..Need::default()
            };
            let class = LatencyClass::Urgent;
            let permit = core
                .admission
                .acquire(class, need, None)
                .await
                .map_err(|refused| refused.into_error(0))?;
            let (answer, answered) = async_channel::bounded(1);
            let run = move |local: LocalShard| -> LocalFuture {
                // The inbox has room again.
                drop(permit);
                Box::pin(async move {
                    let outcome = catch_panic(async move { make(local).await }).await;
                    // There is room for the one answer; a caller that has gone needs none.
                    let _ = answer.try_send(outcome);
                })
            };
            let ended = Error::ShardEnded { shard: shard.0 };
            if inbox.send(Message::Run(Box::new(run))).is_err() {
                return core.told(Err(ended));
            }
            match answered.recv().await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(message)) => Err(Error::Panicked {
                    shard: shard.0,
                    message,
                }),
                Err(_) => core.told(Err(ended)),
            }
        }
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
    fn check_open(&self) -> Result<()> {
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
    fn told<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(Error::ShardEnded { .. }) => self.check_open().and(outcome),
            outcome => outcome,
        }
    }

    fn route(&self) -> Inboxes<'_> {
        Inboxes {
            inboxes: &self.inboxes,
            admission: &self.admission,
            pinned: &self.pinned,
        }
    }

    fn searcher(&self) -> Searcher<'_> {
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

    fn request<'a>(
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
            checksums: self.config.checksums,
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

/// A store about to start.
struct Plan {
    config: ResolvedConfig,
    under_glommio: bool,
    dataset: Arc<Dataset>,
    files: Arc<Files>,
    results: Option<Arc<ResultMemory>>,
    indexes: Indexes,
}

struct Started {
    inboxes: Vec<Inbox>,
    doorbells: Vec<Arc<Doorbell>>,
    counters: Vec<Arc<ShardCounters>>,
    pinned: Vec<Arc<OnceLock<PinnedPages>>>,
    meters: Vec<Arc<ShardMeter>>,
    local_admissions: Vec<Arc<Admission>>,
    threads: Vec<JoinHandle<()>>,
    shards: Vec<ShardInfo>,
}

impl Plan {
    fn ownership(&self) -> Ownership {
        Ownership::new(self.dataset.layout().block_rows, self.config.shards)
    }

    /// Starts the rings that shards share, if that is the read path.
    fn start_rings(&self) -> Result<Option<Arc<SharedRings>>> {
        let ReadPathChoice::SharedRings { rings } = self.config.read_path else {
            return Ok(None);
        };
        let (shards, queue_depth) = (self.config.shards, self.config.queue_depth);
        match SharedRings::start(rings, shards, queue_depth, &self.files) {
            Ok(rings) => Ok(Some(Arc::new(rings))),
            Err(error) => {
                let NoRing { reason, remedy } = error.into();
                Err(Error::NoRing { reason, remedy })
            }
        }
    }

    /// Starts all shards, or none.
    fn start(&self) -> Result<Started> {
        let rings = self.start_rings()?;
        let mut started = Started {
            inboxes: Vec::new(),
            doorbells: Vec::new(),
            counters: Vec::new(),
            pinned: Vec::new(),
            meters: Vec::new(),
            local_admissions: Vec::new(),
            threads: Vec::new(),
            shards: Vec::new(),
        };
        let mut reports = Vec::new();
        for shard in 0..self.config.shards {
            match self.start_shard(shard, rings.clone(), &mut started) {
                Ok(reported) => reports.push(reported),
                Err(error) => return Err(started.abandon(error)),
            }
        }
        for (shard, reported) in reports.into_iter().enumerate() {
            let failed = |reason: String| Error::ShardStart { shard, reason };
            match reported.recv() {
                Ok(Ok(info)) => started.shards.push(info),
                Ok(Err(reason)) => return Err(started.abandon(failed(reason))),
                Err(_) => {
                    return Err(started.abandon(failed("its thread ended at once".to_owned())));
                }
            }
        }
        Ok(started)
    }

    /// Starts the thread of `shard` and notes it; its report comes through the channel returned.
    fn start_shard(
        &self,
        shard: usize,
        rings: Option<Arc<SharedRings>>,
        started: &mut Started,
    ) -> Result<Receiver<Result<ShardInfo, String>>> {
        let config = &self.config;
        let failed = |error: std::io::Error| Error::ShardStart {
            shard,
            reason: shortage(&error),
        };
        let (inbox, messages, doorbell) =
            inbox(config.takes_in_flight_max, config.metrics).map_err(failed)?;
        let counters = Arc::new(ShardCounters::default());
        let pinned = Arc::new(OnceLock::new());
        let meter = Arc::new(ShardMeter::new(config.metrics, config.perf_counters));
        let local_limits = config.in_flight_max().share_of(config.shards as u64);
        let local_admission = Arc::new(Admission::new(local_limits));
        let context = ShardContext {
            shard: ShardId(shard),
            cpu: config.cpus.get(shard).copied(),
            dataset: self.dataset.clone(),
            files: self.files.clone(),
            ownership: self.ownership(),
            counters: counters.clone(),
            doorbell: doorbell.clone(),
            read_path: config.read_path,
            scheduler: config.scheduler,
            rings,
            queue_depth: config.queue_depth,
            depth_control: config.depth_control,
            cache: config.cache.share(config.shards),
            pinned: pinned.clone(),
            checksums: config.checksums,
            align_bytes: config.align_bytes,
            merge_gap_bytes: config.merge_gap_bytes,
            spin_before_park: config.spin_before_park,
            results: self.results.clone(),
            indexes: self.indexes.usable.clone(),
            meter: meter.clone(),
            local_admission: local_admission.clone(),
        };
        let (report, reported) = bounded(1);
        let thread = shard::spawn(context, messages, self.under_glommio, report)?;
        started.threads.push(thread);
        started.inboxes.push(inbox);
        started.doorbells.push(doorbell);
        started.counters.push(counters);
        started.pinned.push(pinned);
        started.meters.push(meter);
        started.local_admissions.push(local_admission);
        Ok(reported)
    }

    fn core(mut self, started: Started, warnings: Vec<String>) -> Core {
        let info = StoreInfo {
            path: self.dataset.path().to_owned(),
            rows: self.dataset.rows(),
            table_bytes: self.dataset.table_bytes(),
            read_path: self.config.read_path,
            scheduler: self.config.scheduler,
            direct: self.files.direct,
            shards: started.shards,
            warnings,
        };
        let index_info = self
            .indexes
            .usable
            .iter()
            .enumerate()
            .map(|(place, index)| {
                let of_shard = |shard: &ShardInfo| shard.codes_bytes[place];
                index.info(info.shards.iter().map(of_shard).sum())
            });
        Core {
            index_info: index_info.collect(),
            indexes: std::mem::take(&mut self.indexes),
            doorbells: started.doorbells.into(),
            callers: CallerMeter::new(self.config.metrics, self.config.slow_query),
            meters: started.meters,
            ownership: self.ownership(),
            dataset: self.dataset,
            inboxes: started.inboxes,
            admission: Arc::new(Admission::new(self.config.in_flight_max())),
            local_admissions: started.local_admissions,
            results: self.results,
            counters: started.counters,
            pinned: started.pinned,
            threads: std::sync::Mutex::new(started.threads),
            closed: AtomicBool::new(false),
            origin: Origin::here(),
            config: self.config,
            info,
        }
    }
}

impl Started {
    /// Ends the shards that did start.
    fn abandon(self, error: Error) -> Error {
        for inbox in &self.inboxes {
            let _ = inbox.send(Message::Stop);
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        error
    }
}

fn result_memory(bytes: u64, warnings: &mut Vec<String>) -> Option<Arc<ResultMemory>> {
    if bytes == 0 {
        return None;
    }
    let made = usize::try_from(bytes)
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))
        .and_then(ResultMemory::new);
    match made {
        Ok(memory) => Some(memory),
        Err(error) => {
            warnings.push(format!(
                "there are no {bytes} bytes of memory for results ({error}), so they come from the heap, which is slower; choose a smaller `result_memory_bytes`"
            ));
            None
        }
    }
}

fn choose_read_path(
    asked: ReadPathChoice,
    ring: &Result<crate::device::probe::RingRung, NoRing>,
    warnings: &mut Vec<String>,
) -> Result<ReadPathChoice> {
    match (asked, ring) {
        (ReadPathChoice::Auto | ReadPathChoice::RingPerShard, Ok(_)) => {
            Ok(ReadPathChoice::RingPerShard)
        }
        (_, Err(NoRing { reason, remedy })) if asked.needs_ring() => Err(Error::NoRing {
            reason: reason.clone(),
            remedy: remedy.clone(),
        }),
        (ReadPathChoice::Auto, Err(NoRing { reason, remedy })) => {
            warnings.push(format!(
                "io_uring is not available ({reason}), so rows are read by a pool of threads, which is slower; {remedy}"
            ));
            Ok(ReadPathChoice::ThreadPool {
                threads: FALLBACK_THREADS,
            })
        }
        _ => Ok(asked),
    }
}
