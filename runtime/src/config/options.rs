//! The options of a store, with their defaults.

use std::time::Duration;

use serde::Serialize;

use super::cache::CacheChoice;
use super::choices::{Alignment, Checksums, CpuChoice, DepthControl, IoMode, Scheduler};
use super::read_path::ReadPathChoice;

/// How a store is opened. The defaults suit most; [`ResolvedConfig`](crate::ResolvedConfig) is what it comes to.
///
/// ```
/// use ringtake_runtime::{CacheChoice, Config, Limits};
///
/// let config = Config {
///     cache: CacheChoice::Bytes(4 << 30),
///     limits: Limits {
///         takes_in_flight_max: 256,
///         ..Limits::default()
///     },
///     ..Config::default()
/// };
/// assert_eq!(config.queue_depth, Config::QUEUE_DEPTH);
/// ```
// Serialised as part of `ResolvedConfig`, which has the skipped fields as they came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Shards. The default, `None`, is one for each CPU of `cpus`. More shards than CPUs share
    /// them.
    #[serde(skip)]
    pub shards: Option<usize>,
    /// The CPUs that shards are pinned to. By default those that the process may use.
    #[serde(skip)]
    pub cpus: CpuChoice,
    /// The rows that the shards keep in memory. By default none. A larger cache saves reads and
    /// takes memory.
    pub cache: CacheChoice,
    /// Whether reads bypass the kernel's page cache. By default they do.
    pub io: IoMode,
    /// How rows are read. By default a ring per shard.
    #[serde(skip)]
    pub read_path: ReadPathChoice,
    /// Reads in flight per shard at most. Default: [`Config::QUEUE_DEPTH`]. A deeper queue serves
    /// more reads per second, up to the drive's full rate, and beyond it only adds to their wait.
    pub queue_depth: u32,
    /// How the number of reads in flight is chosen. By default it is always `queue_depth`.
    pub depth_control: DepthControl,
    /// Rows of one take that are at most this many bytes apart are read together, with the bytes
    /// between them. Default: [`Config::MERGE_GAP_BYTES`]. A larger gap saves reads and reads more
    /// bytes that no row needs.
    pub merge_gap_bytes: u32,
    /// Bytes of memory reserved for results: faulted in once, registered with the rings, and used
    /// again when the arrays in it are dropped. Default: [`Config::RESULT_MEMORY_BYTES`]. Results
    /// that do not fit come from the heap, which is slower; 0 reserves none.
    pub result_memory_bytes: u64,
    /// How long an idle shard polls for work before it sleeps. By default it sleeps at once. A
    /// longer time saves takes the wake-up of a thread, and keeps the shard's CPU busy meanwhile.
    /// The read path `glommio` always sleeps at once.
    pub spin_before_park: Duration,
    /// Limits of the work in flight, over all callers.
    #[serde(flatten)]
    pub limits: Limits,
    /// Measurements while the store is in use.
    #[serde(flatten)]
    pub observe: Observe,
    /// Settings for measurements, which no service needs.
    #[serde(flatten)]
    pub lab: Lab,
}

impl Config {
    /// The default of `queue_depth`.
    pub const QUEUE_DEPTH: u32 = 128;
    /// The default of `merge_gap_bytes`.
    pub const MERGE_GAP_BYTES: u32 = 4096;
    /// The default of `result_memory_bytes`.
    pub const RESULT_MEMORY_BYTES: u64 = 32 << 20;
}

impl Default for Config {
    fn default() -> Self {
        Config {
            shards: None,
            cpus: CpuChoice::Allowed,
            cache: CacheChoice::Off,
            io: IoMode::Direct,
            read_path: ReadPathChoice::Auto,
            queue_depth: Config::QUEUE_DEPTH,
            depth_control: DepthControl::Fixed,
            merge_gap_bytes: Config::MERGE_GAP_BYTES,
            result_memory_bytes: Config::RESULT_MEMORY_BYTES,
            spin_before_park: Duration::ZERO,
            limits: Limits::default(),
            observe: Observe::default(),
            lab: Lab::default(),
        }
    }
}

/// Limits of the work in flight, over all callers of a store. Further work waits or is rejected, as
/// its request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Takes, or windows of large takes. Default: [`Limits::TAKES_IN_FLIGHT_MAX`]. More of them
    /// keep more drives and shards busy, and each takes longer.
    pub takes_in_flight_max: usize,
    /// Rows times column groups of those takes. Default: [`Limits::READS_IN_FLIGHT_MAX`]. A larger
    /// take is cut into windows that fit, so a higher limit means fewer windows.
    pub reads_in_flight_max: u64,
    /// Bytes of memory that those takes need: for the ids of their rows, their reads as aligned,
    /// and their part of the output. Default: [`Limits::BYTES_IN_FLIGHT_MAX`]. A higher limit lets
    /// more in and takes more memory. A single row that needs more is read alone.
    pub bytes_in_flight_max: u64,
}

impl Limits {
    /// The default of `takes_in_flight_max`.
    pub const TAKES_IN_FLIGHT_MAX: usize = 1024;
    /// The default of `reads_in_flight_max`.
    pub const READS_IN_FLIGHT_MAX: u64 = 1 << 22;
    /// The default of `bytes_in_flight_max`.
    pub const BYTES_IN_FLIGHT_MAX: u64 = 4 << 30;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            takes_in_flight_max: Limits::TAKES_IN_FLIGHT_MAX,
            reads_in_flight_max: Limits::READS_IN_FLIGHT_MAX,
            bytes_in_flight_max: Limits::BYTES_IN_FLIGHT_MAX,
        }
    }
}

/// Measurements while a store is in use, for [`Store::metrics`](crate::Store::metrics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Observe {
    /// Whether shards and callers record their time and the waits of messages and reads. By default
    /// they do: it costs a few looks at the clock for each round of a shard's loop and for some
    /// queries, none for most rows.
    pub metrics: bool,
    /// Queries that take at least this long are kept with the times of their stages, if `metrics`
    /// is set. The default, `None`, keeps none and leaves most takes untimed.
    pub slow_query: Option<Duration>,
    /// Whether each shard counts cycles, instructions, cache misses and context switches of its
    /// thread (perf_event_open(2)), if `metrics` is set. By default it does not: it costs some
    /// system calls in a small share of the rounds.
    pub perf_counters: bool,
}

impl Default for Observe {
    fn default() -> Self {
        Observe {
            metrics: true,
            slow_query: None,
            perf_counters: false,
        }
    }
}

/// Settings for measurements: each turns off, or replaces, something that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Lab {
    /// How reads reach the read path. By default many at a time.
    pub scheduler: Scheduler,
    /// Whether rows are checked against their checksum. By default they are.
    pub checksums: Checksums,
    /// The alignment of reads. By default the drive's. A larger one reads more bytes for each row.
    #[serde(skip)]
    pub alignment: Alignment,
}
