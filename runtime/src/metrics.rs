//! Metrics of a store: the time of its shards by stage, the waits of reads and messages, and the
//! queues. They are cheap enough to be always on.
//!
//! A shard writes `metrics/meter.rs` once per round of its loop, never per row; callers write
//! `metrics/callers.rs` once per query; `metrics/text.rs` prints the snapshot of
//! [`Store::metrics`](crate::Store::metrics) in the form that Prometheus reads.

mod callers;
mod counters;
mod latencies;
mod meter;
mod shard_meter;
pub(crate) mod stats;
mod text;

use serde::Serialize;

use crate::admission::{AdmissionStats, PermitsHeld};
use crate::metrics::stats::ShardStats;

pub(crate) use callers::{CallerMeter, CallerStage, Watch};
pub use callers::{CallerMetrics, QueryKind, SlowQuery};
pub use latencies::Latencies;
pub(crate) use meter::{Meter, Phase};
pub(crate) use shard_meter::ShardMeter;
pub(crate) use text::text;

/// A snapshot of a store's metrics: counts and times since it was opened. The difference of two
/// snapshots covers the time between them.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StoreMetrics {
    /// The shards, in order.
    pub shards: Vec<ShardMetrics>,
    /// Counts of admission, with takes by code on shards.
    pub admission: AdmissionStats,
    /// Permits held now.
    pub permits: PermitsHeld,
    /// Times of queries on the threads of their callers.
    pub callers: CallerMetrics,
    /// Number of queries that took at least [`Observe::slow_query`](crate::Observe::slow_query).
    pub slow_queries_seen: u64,
    /// The newest of those queries, the oldest first.
    pub slow_queries: Vec<SlowQuery>,
}

/// One shard's part of [`StoreMetrics`], taken at one instant between two rounds of its loop.
///
/// Exceptions: [`ShardStats::system_calls`], [`ShardStats::sleeps`], [`ShardStats::page_cache_hits`]
/// and rows that callers copy themselves also change while the shard waits. A shard that loses its
/// CPU in the middle of a round for too long is read in that state. Times are zero if
/// [`Observe::metrics`](crate::Observe::metrics) is off.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// Time of the snapshot, in nanoseconds since the shard was started.
    pub at_ns: u64,
    /// Counters.
    pub stats: ShardStats,
    /// Time of its thread by stage.
    pub time: ShardTime,
    /// Durations of single visits to each stage. Stages that alternate row by row are timed in a
    /// sample of the rounds, the others always.
    pub pieces: Vec<Pieces>,
    /// Time from sending a part of a take or search until the shard accepts it.
    pub inbox_wait: Latencies,
    /// Time from planning a read until it is submitted to the kernel, in steps of a round: fio's
    /// slat.
    pub submit_latency: Latencies,
    /// Time from submitting a read until its completion is fetched: clat.
    pub device_latency: Latencies,
    /// The sum of both: lat.
    pub read_latency: Latencies,
    /// The longest time between two looks at the ring.
    pub longest_stall: Stall,
    /// Counters of the thread; empty unless [`Observe::perf_counters`](crate::Observe::perf_counters)
    /// is set.
    pub counters: Vec<ThreadCounter>,
    /// Samples of the queues over the last seconds of work, the oldest first. A sleeping shard takes
    /// none.
    pub queues: Vec<QueueSample>,
}

/// A counter of the processor or the kernel for a shard's thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ThreadCounter {
    /// Its name in perf(1); `task-clock` is in nanoseconds.
    pub name: &'static str,
    /// Its value since the shard was started, scaled up if it did not run all the time; `None` if it
    /// is missing.
    pub value: Option<u64>,
    /// Share of the time in which it ran, from 0 to 1.
    pub ran: Option<f64>,
    /// The reason why it is missing, and the remedy.
    pub missing: Option<String>,
    /// Its count by stage in a sample of the rounds. Stages that alternate row by row count as the
    /// stage that names their phase: scan, plan, submit or decode.
    pub by_stage: Vec<(&'static str, u64)>,
}

/// Durations of single visits to a stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pieces {
    /// The stage, by its name in [`ShardTime`].
    pub stage: &'static str,
    /// One entry for each visit.
    pub latencies: Latencies,
}

/// The longest time that a shard was away from its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Stall {
    /// Its duration in nanoseconds.
    pub duration_ns: u64,
    /// The stage that took most of it, by its name in [`ShardTime`]; empty without a stall.
    pub stage: &'static str,
}

/// The queues of a shard at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct QueueSample {
    /// Time of the sample, in nanoseconds since the shard was started.
    pub at_ns: u64,
    /// Messages in its inbox.
    pub inbox: u32,
    /// Parts of takes with rows whose reads are not planned yet.
    pub waiting_parts: u32,
    /// Reads in flight.
    pub in_flight: u32,
    /// Completions fetched by the last look at the ring.
    pub completions: u32,
}

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $stage:ident $name:ident,)+) => {
        /// A stage of a shard's work. Its thread is in exactly one at any time.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Stage {
            $($(#[doc = $doc])+ $stage,)+
        }

        const STAGES: usize = Stage::ALL.len();

        impl Stage {
            const ALL: [Stage; [$(Stage::$stage),+].len()] = [$(Stage::$stage),+];
        }

        const NAMES: [&str; STAGES] = [$(stringify!($name)),+];

        /// Nanoseconds of a shard's thread by stage: all of the time since it was started, without
        /// gaps. Stages that alternate row by row are timed in a sample of the rounds; the time of
        /// the other rounds is divided in the same proportions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct ShardTime {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl ShardTime {
            fn of(nanoseconds: [u64; STAGES]) -> ShardTime {
                ShardTime { $($name: nanoseconds[Stage::$stage as usize],)+ }
            }

            /// Each stage's name and time.
            pub fn by_name(&self) -> [(&'static str, u64); STAGES] {
                [$((stringify!($name), self.$name)),+]
            }
        }

        impl std::ops::Sub for ShardTime {
            type Output = ShardTime;

            fn sub(self, earlier: ShardTime) -> ShardTime {
                ShardTime { $($name: self.$name.saturating_sub(earlier.$name),)+ }
            }
        }
    };
}

stages! {
    /// Accepting messages.
    Accept accept,
    /// Summing distances from codes, for searches.
    Scan scan,
    /// Choosing candidates among the rows scanned.
    Select select,
    /// Planning reads, and looking for rows in memory.
    Plan plan,
    /// Submitting reads to the kernel and fetching completions. On a device in memory it includes
    /// the reads themselves.
    Submit submit,
    /// Waiting for the device, with a full queue.
    Device device,
    /// Comparing rows that were read with their checksums.
    Checksum checksum,
    /// Copying the columns of rows to their places in results and in the cache.
    Decode decode,
    /// Computing exact distances of rows, for searches.
    Refine refine,
    /// Finishing completed reads and waking callers.
    Reply reply,
    /// Code of callers on the shard's thread.
    Callers callers,
    /// Sleeping or polling for work.
    Idle idle,
}

impl ShardTime {
    /// Time of all stages but `device` and `idle`.
    pub fn busy(&self) -> u64 {
        self.total() - self.device - self.idle
    }

    /// Time of all stages.
    pub fn total(&self) -> u64 {
        self.by_name().iter().map(|(_, time)| time).sum()
    }
}
