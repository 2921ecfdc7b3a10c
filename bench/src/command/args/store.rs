//! Flags of the store under measurement, and the configuration they come to.

use std::time::Duration;

use clap::Args;
use ringtake_runtime::{
    CacheChoice, Checksums, Config, CpuChoice, DepthControl, IoMode, Lab, Limits, Observe,
    ReadPathChoice, Scheduler, allowed_cpus,
};
use ringtake_storage::layout::PAGE_BYTES;

use crate::count::clocks::Clocks;
use crate::count::environment::memory_available_bytes;
use crate::drive::load::ClientPlace;
use crate::error::Error;
use crate::record::proof::Cache;
use crate::workload::dataset::DatasetFiles;
use crate::workload::distribution::{CacheSize, Distribution, MIXED_HIT_SHARE};

/// A cache keeps more than the bytes of its rows: a quarter, and this much.
const CACHE_SLACK_BYTES: u64 = 64 << 20;

/// The longest time that shards may poll for work: longer than between two arrivals.
const IN_SHARD_SPIN: Duration = Duration::from_secs(1);

/// Share of the available memory a warm run may take, in percent.
const MEMORY_PERCENT_MAX: u64 = 90;

/// The store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// Microseconds that idle shards, and in an open loop the clients, poll for work before they
    /// sleep [default: the store's, which is 0]
    #[arg(long, value_name = "US", value_parser = parse_microseconds)]
    pub(crate) spin: Option<Duration>,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    pub(crate) shards: Option<usize>,
    #[arg(long, value_name = "P", default_value = "auto", help = format!("How rows are read: {}", ReadPathChoice::NAMES))]
    pub(crate) read_path: ReadPathChoice,
    /// Reads that each shard keeps in flight
    #[arg(long, value_name = "D")]
    pub(crate) queue_depth: Option<u32>,
    /// Memory for the caches of a warm or mixed run, such as 4GiB, or `pinned` to load every row
    /// when the store is opened [default: what the rows need]
    #[arg(long, value_name = "SIZE", value_parser = parse_cache_bytes)]
    pub(crate) cache_bytes: Option<CacheChoice>,
    /// Whether reads bypass the kernel's page cache or go through it: direct, buffered
    #[arg(long, value_name = "MODE", default_value = "direct")]
    pub(crate) io: IoMode,
    /// Do not measure the time and waits of shards and callers, to see what measuring costs
    #[arg(long)]
    pub(crate) skip_metrics: bool,
    /// Count cycles, instructions, cache misses, context switches and the like of each shard
    #[arg(long, conflicts_with = "skip_metrics")]
    pub(crate) perf_counters: bool,
}

/// How the store reads.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadArgs {
    /// Takes admitted at once [default: the store's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    takes_in_flight_max: Option<u32>,
    /// How reads reach the read path: batched or per-read
    #[arg(long, value_name = "S", default_value = "batched")]
    pub(crate) scheduler: Scheduler,
    /// How the queue depth is chosen: always --queue-depth, or the smallest below it that keeps the
    /// drive's full rate: fixed or knee
    #[arg(long, value_name = "C", default_value = "fixed")]
    depth_control: DepthControl,
    /// Rows of a query at most this far apart are read together [default: the store's]
    #[arg(long, value_name = "BYTES")]
    merge_gap: Option<u32>,
    /// Memory for results, 0 for none [default: the store's]
    #[arg(long, value_name = "BYTES")]
    result_memory: Option<u64>,
    /// Do not check rows against their checksums, to see what checking costs
    #[arg(long)]
    skip_checksums: bool,
}

/// The rows that a store under measurement serves, and to which clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) files: &'a DatasetFiles,
    /// The first rows, which are the ones used.
    pub(crate) rows: u64,
    pub(crate) cache: Cache,
    pub(crate) distribution: Distribution,
    /// Where the clients of an open loop run; `None` for a closed loop.
    pub(crate) open_loop: Option<ClientPlace>,
}

impl StoreArgs {
    /// The configuration of a store for `contents`.
    pub(crate) fn config(&self, contents: Contents<'_>) -> Result<Config, Error> {
        let default = Config::default();
        if contents.cache == Cache::Cold && self.cache_bytes.is_some() {
            return Err(Error::ColdCache);
        }
        Ok(Config {
            shards: Some(self.shards.unwrap_or_else(|| allowed_cpus().usable())),
            cpus: cpus(contents.open_loop).map_or(CpuChoice::Allowed, CpuChoice::These),
            queue_depth: self.queue_depth.unwrap_or(default.queue_depth),
            spin_before_park: match (self.spin, contents.open_loop) {
                (Some(spin), _) => spin,
                (None, Some(ClientPlace::InShard)) => IN_SHARD_SPIN,
                (None, _) => default.spin_before_park,
            },
            observe: Observe {
                metrics: !self.skip_metrics,
                perf_counters: self.perf_counters,
                ..default.observe
            },
            cache: match (contents.cache, self.io) {
                (Cache::Cold, _) | (_, IoMode::Buffered) => CacheChoice::Off,
                (Cache::Warm | Cache::Mixed, IoMode::Direct) => self.cache_choice(contents)?,
            },
            io: self.io,
            read_path: self.read_path,
            ..default
        })
    }

    /// The cache that holds the rows, or enough of them for the share of hits of a mixed run.
    ///
    /// # Errors
    /// A cache larger than the available memory.
    fn cache_choice(&self, contents: Contents<'_>) -> Result<CacheChoice, Error> {
        let Contents { files, rows, .. } = contents;
        let share = rows as f64 / files.rows.max(1) as f64;
        let rows_bytes = (files.bytes as f64 * share) as u64;
        let cache_bytes = match (self.cache_bytes, contents.cache) {
            // The store itself rejects what does not fit.
            (Some(choice @ (CacheChoice::Pinned | CacheChoice::Off)), _) => return Ok(choice),
            (Some(CacheChoice::Bytes(bytes)), _) => bytes,
            (None, Cache::Mixed) => {
                let size = CacheSize::for_hits(rows, contents.distribution, MIXED_HIT_SHARE);
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
}

impl ReadArgs {
    /// `config` with these flags.
    pub(crate) fn refine(&self, config: Config) -> Config {
        Config {
            limits: Limits {
                takes_in_flight_max: self
                    .takes_in_flight_max
                    .map_or(config.limits.takes_in_flight_max, |takes| takes as usize),
                ..config.limits
            },
            lab: Lab {
                scheduler: self.scheduler,
                checksums: if self.skip_checksums {
                    Checksums::Skip
                } else {
                    Checksums::Verify
                },
                ..config.lab
            },
            depth_control: self.depth_control,
            merge_gap_bytes: self.merge_gap.unwrap_or(config.merge_gap_bytes),
            result_memory_bytes: self.result_memory.unwrap_or(config.result_memory_bytes),
            ..config
        }
    }
}

/// The CPUs for the shards of an open loop, where the clocks of some CPUs are too coarse.
fn cpus(open_loop: Option<ClientPlace>) -> Option<Vec<usize>> {
    let clients = open_loop?;
    let clocks = Clocks::of_this_machine();
    match clients {
        ClientPlace::Threads => clocks.cpus_for_shards(),
        ClientPlace::InShard => clocks.cpus_for_shards_with_clients(),
    }
}

fn parse_microseconds(text: &str) -> Result<Duration, String> {
    text.parse::<u32>()
        .map(|microseconds| Duration::from_micros(microseconds.into()))
        .map_err(|_| "give whole microseconds, such as 50".to_owned())
}

fn parse_cache_bytes(text: &str) -> Result<CacheChoice, String> {
    match text.parse() {
        Ok(choice @ (CacheChoice::Bytes(_) | CacheChoice::Pinned)) => Ok(choice),
        _ => Err("give a size such as 4GiB, or `pinned`; `--cache cold` runs without".to_owned()),
    }
}
