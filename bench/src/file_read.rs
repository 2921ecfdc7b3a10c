//! `bench file-read`: the store as a subject, opened as the flags say.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use ringtake_runtime::{
    CacheChoice, Checksums, Config, CpuChoice, IoMode, LatencyClass, Projection, ReadPathChoice,
    Scheduler, ShardStats, Store, StoreMetrics, TakeOptions, WhenFull, allowed_cpus,
};
use ringtake_storage::layout::PAGE_BYTES;
use thread_local::ThreadLocal;

use crate::cli::FileReadArgs;
use crate::clocks::Clocks;
use crate::dataset::DatasetFiles;
use crate::distribution::CacheSize;
use crate::driver::{Clients, InShard, Load};
use crate::environment::memory_available_bytes;
use crate::error::Error;
use crate::measure::{MIXED_HIT_SHARE, Options, Rate};
use crate::proof::Cache;
use crate::record::Record;
use crate::subject::{Facts, Subject};

/// A cache keeps more than the bytes of its rows: a quarter, and this much.
const CACHE_SLACK_BYTES: u64 = 64 << 20;

/// The longest a store lets shards look for work: longer than between two arrivals.
const IN_SHARD_SPIN: Duration = Duration::from_secs(1);

/// Share of the available memory a warm run may take, in percent.
const MEMORY_PERCENT_MAX: u64 = 90;

/// Takes the measurement that `args` ask for.
pub(crate) fn measure(args: &FileReadArgs, interrupted: &AtomicBool) -> Result<Record, Error> {
    measure_or_part(args, interrupted)?.whole()
}

/// The same; of a run that is interrupted, what was measured until then.
pub(crate) fn measure_or_part(
    args: &FileReadArgs,
    interrupted: &AtomicBool,
) -> Result<Record, Error> {
    check_clients(args)?;
    let files = DatasetFiles::of(&args.dataset, &args.columns)?;
    let rows = args
        .rows
        .map_or(files.rows, |rows| rows.get().min(files.rows));
    let config = store_config(args, &files, rows)?;
    let options = options(args, &files, rows);
    let open = || StoreSubject::open(args, config);
    crate::measure::measure_inside(&options, interrupted, open, |subject| match args.clients {
        Clients::Threads => None,
        Clients::InShard => Some(subject.inside(rows)),
    })
}

/// Refuses what clients inside the shards cannot do.
fn check_clients(args: &FileReadArgs) -> Result<(), Error> {
    match (args.clients, args.rate) {
        (Clients::Threads, _) => Ok(()),
        _ if args.rows_per_query.get() > 1 => Err(Error::InShardRows),
        (Clients::InShard, Some(Rate::PerSecond(_))) => Ok(()),
        (Clients::InShard, _) => Err(Error::InShardRate),
    }
}

/// How long shards look for work before they sleep.
fn spin(args: &FileReadArgs) -> Duration {
    match (args.spin, args.clients) {
        (Some(spin), _) => spin,
        (None, Clients::InShard) => IN_SHARD_SPIN,
        (None, Clients::Threads) => Config::default().spin_before_park,
    }
}

fn options(args: &FileReadArgs, files: &DatasetFiles, rows: u64) -> Options {
    Options {
        workload: "file-read",
        cache: args.cache,
        load: Load {
            threads: args.threads,
            in_flight: args.in_flight,
            bound: args.bound(),
        },
        rate: args.rate,
        deadline: args.deadline,
        dataset_rows: files.rows,
        rows,
        rows_per_query: args.rows_per_query.get(),
        query_pool: None,
        distribution: args.distribution,
        seed: args.seed,
        attempts: args.attempts,
        dataset: args.dataset.clone(),
        columns: files.columns.clone(),
        row_bytes: files.row_bytes,
        device_row_bytes: None,
        memory_bytes: None,
    }
}

/// The configuration of the store that `args` ask for.
pub(crate) fn store_config(
    args: &FileReadArgs,
    files: &DatasetFiles,
    rows: u64,
) -> Result<Config, Error> {
    let default = Config::default();
    if args.cache == Cache::Cold && args.cache_bytes.is_some() {
        return Err(Error::ColdCache);
    }
    Ok(Config {
        shards: Some(args.shards.unwrap_or_else(|| allowed_cpus().usable())),
        cpus: cpus(args).map_or(CpuChoice::Allowed, CpuChoice::These),
        queue_depth: args.queue_depth.unwrap_or(default.queue_depth),
        depth_control: args.depth_control,
        merge_gap_bytes: args.merge_gap.unwrap_or(default.merge_gap_bytes),
        spin_before_park: spin(args),
        metrics: !args.skip_metrics,
        perf_counters: args.perf_counters,
        takes_in_flight_max: args
            .takes_in_flight_max
            .map_or(default.takes_in_flight_max, |takes| takes as usize),
        result_memory_bytes: args.result_memory.unwrap_or(default.result_memory_bytes),
        cache: match (args.cache, args.io) {
            (Cache::Cold, _) | (_, IoMode::Buffered) => CacheChoice::Off,
            (Cache::Warm | Cache::Mixed, IoMode::Direct) => cache_choice(args, files, rows)?,
        },
        io: args.io,
        read_path: args.read_path,
        scheduler: args.scheduler,
        checksums: if args.skip_checksums {
            Checksums::Skip
        } else {
            Checksums::Verify
        },
        ..default
    })
}

/// The CPUs for shards of an open loop, where not all can tell the time.
fn cpus(args: &FileReadArgs) -> Option<Vec<usize>> {
    args.rate?;
    let clocks = Clocks::of_this_machine();
    match args.clients {
        Clients::Threads => clocks.cpus_for_shards(),
        Clients::InShard => clocks.cpus_for_shards_with_clients(),
    }
}

/// What the rows need in the caches, or those of them that bring the share of hits of a mixed
/// run, if the machine has it.
fn cache_choice(
    args: &FileReadArgs,
    files: &DatasetFiles,
    rows: u64,
) -> Result<CacheChoice, Error> {
    let share = rows as f64 / files.rows.max(1) as f64;
    let rows_bytes = (files.bytes as f64 * share) as u64;
    let cache_bytes = match (args.cache_bytes, args.cache) {
        // The store itself refuses what does not fit.
        (Some(choice @ (CacheChoice::Pinned | CacheChoice::Off)), _) => return Ok(choice),
        (Some(CacheChoice::Bytes(bytes)), _) => bytes,
        (None, Cache::Mixed) => {
            let size = CacheSize::for_hits(rows, args.distribution, MIXED_HIT_SHARE);
            // Popular rows are scattered, so each takes a page of the cache.
            (size.rows * (files.bytes / files.rows.max(1)).max(PAGE_BYTES)).min(rows_bytes)
        }
        (None, Cache::Cold | Cache::Warm) => rows_bytes + rows_bytes / 4 + CACHE_SLACK_BYTES,
    };
    if let Some(available_bytes) = memory_available_bytes()
        && cache_bytes > available_bytes / 100 * MEMORY_PERCENT_MAX
    {
        return Err(Error::TooLittleMemory {
            cache_bytes,
            available_bytes,
        });
    }
    Ok(CacheChoice::Bytes(cache_bytes))
}

/// The read path as records name it: the usual scheduler goes without saying.
pub(crate) fn read_path_name(read_path: ReadPathChoice, scheduler: Scheduler) -> String {
    match scheduler {
        Scheduler::Batched => read_path.to_string(),
        other => format!("{read_path} ({other})"),
    }
}

/// The store under measurement and the columns taken from it.
#[derive(Clone)]
pub(crate) struct StoreSubject {
    store: Store,
    /// Each client thread has its own: see [`Projection`].
    projections: Arc<ThreadLocal<Projection>>,
    dataset: PathBuf,
    columns: Vec<String>,
    class: LatencyClass,
    deadline: Option<Duration>,
    when_full: WhenFull,
}

impl StoreSubject {
    /// The store that `args` ask for.
    pub(crate) fn of(args: &FileReadArgs) -> Result<StoreSubject, Error> {
        let files = DatasetFiles::of(&args.dataset, &args.columns)?;
        StoreSubject::open(args, store_config(args, &files, files.rows)?)
    }

    /// The same store, its rows taken in `class`.
    pub(crate) fn with_class(&self, class: LatencyClass) -> StoreSubject {
        StoreSubject {
            class,
            ..self.clone()
        }
    }

    /// The store itself.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Rows of the dataset.
    pub(crate) fn rows(&self) -> u64 {
        self.store.row_count()
    }

    /// The same takes asked for inside the shards, of the first `rows` rows.
    fn inside(&self, rows: u64) -> InShard {
        let options = TakeOptions {
            class: self.class,
            when_full: self.when_full,
            ..TakeOptions::default()
        };
        InShard::new(&self.store, rows, &self.columns, options, self.deadline)
    }

    async fn take_with(&self, row_ids: &[u64], options: TakeOptions) -> Result<RecordBatch, Error> {
        let columns = || columns_of(&self.store, &self.columns);
        let projection = self.projections.get_or_try(columns)?;
        let take = self.store.take_borrowed(row_ids, projection, options);
        Ok(take.await?)
    }

    fn open(args: &FileReadArgs, config: Config) -> Result<StoreSubject, Error> {
        if args.cache == Cache::Cold && args.io == IoMode::Buffered {
            // The warm-up that follows asks for other rows.
            DatasetFiles::of(&args.dataset, &args.columns)?.drop_from_page_cache();
        }
        let store = Store::open(&args.dataset, config)?;
        let projections = Arc::new(ThreadLocal::new());
        projections.get_or_try(|| columns_of(&store, &args.columns))?;
        Ok(StoreSubject {
            store,
            projections,
            dataset: args.dataset.clone(),
            columns: args.columns.clone(),
            class: LatencyClass::default(),
            deadline: args.deadline,
            when_full: match args.refuse {
                true => WhenFull::Refuse,
                false => WhenFull::Wait,
            },
        })
    }
}

/// What the store writes down of its time, if it does.
pub(crate) fn metrics(store: &Store) -> Option<StoreMetrics> {
    store.config().metrics.then(|| store.metrics())
}

/// The columns named, or all if none is.
fn columns_of(store: &Store, names: &[String]) -> Result<Projection, Error> {
    match names {
        [] => Ok(store.all_columns()),
        names => Ok(store.projection(names)?),
    }
}

impl Subject for StoreSubject {
    type Answer = RecordBatch;

    fn take(&self, row_ids: &[u64]) -> impl Future<Output = Result<RecordBatch, Error>> {
        let options = TakeOptions {
            class: self.class,
            ..TakeOptions::default()
        };
        self.take_with(row_ids, options)
    }

    fn take_due(
        &self,
        row_ids: &[u64],
        due: Instant,
    ) -> impl Future<Output = Result<RecordBatch, Error>> {
        let options = TakeOptions {
            class: self.class,
            when_full: self.when_full,
            deadline: self.deadline.and_then(|limit| due.checked_add(limit)),
            ..TakeOptions::default()
        };
        self.take_with(row_ids, options)
    }

    fn read_path(&self) -> String {
        read_path_name(self.store.config().read_path, self.store.config().scheduler)
    }

    /// Looked up after the store was opened: one opened while the dataset was being replaced has
    /// the newer ones.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(DatasetFiles::of(&self.dataset, &self.columns)?.paths)
    }

    fn counters(&self) -> Option<ShardStats> {
        let shards = self.store.stats();
        Some(
            shards
                .into_iter()
                .fold(ShardStats::default(), |sum, shard| sum + shard),
        )
    }

    fn metrics(&self) -> Option<StoreMetrics> {
        metrics(&self.store)
    }

    fn permits_held(&self) -> Option<u64> {
        Some(self.store.permits().windows)
    }

    fn spin(&self) -> Duration {
        self.store.config().spin_before_park
    }

    fn warnings(&self) -> Vec<String> {
        self.store.info().warnings.clone()
    }

    fn facts(&self) -> Option<Facts> {
        let config = self.store.config();
        Some(Facts {
            shards: config.shards,
            queue_depth: config.queue_depth as usize,
        })
    }

    fn configuration(&self) -> serde_json::Value {
        serde_json::to_value(self.store.config()).unwrap_or_default()
    }

    fn description(&self) -> serde_json::Value {
        serde_json::to_value(self.store.info()).unwrap_or_default()
    }
}
