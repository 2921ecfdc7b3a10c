//! Where shards spend their time, how long reads and messages wait, and how long the queues are:
//! cheap enough to be always on.
//!
//! A shard writes `metrics/meter.rs` once per round of its loop, never per row; callers write
//! `metrics/callers.rs` once per query; `metrics/text.rs`
//! prints what [`Store::metrics`](crate::Store::metrics) returns in the form that Prometheus reads.

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

/// A snapshot of a store: counts and times since it was opened. Two of them subtracted are those
/// of the time in between.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StoreMetrics {
    /// The shards, in order.
    pub shards: Vec<ShardMetrics>,
    /// What admission has done, takes by code on shards included.
    pub admission: AdmissionStats,
    /// What is at work now.
    pub permits: PermitsHeld,
    /// What queries take on their callers' side.
    pub callers: CallerMetrics,
    /// Queries that took longer than [`Observe::slow_query`](crate::Observe::slow_query).
    pub slow_queries_seen: u64,
    /// The newest 64 of them, the oldest first.
    pub slow_queries: Vec<SlowQuery>,
}

/// One shard's part of [`StoreMetrics`]. All of it is of one instant between two rounds of the
/// shard's loop, but for what moves while it waits: [`ShardStats::system_calls`],
/// [`ShardStats::sleeps`], [`ShardStats::page_cache_hits`], and rows that callers copy themselves. A
/// shard that loses its CPU for a second in the middle of a round is read as it is. Times are zero
/// where [`Observe::metrics`](crate::Observe::metrics) is off.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// When this was seen: nanoseconds since the shard was started.
    pub at: u64,
    /// Counters.
    pub stats: ShardStats,
    /// Where the time of its thread goes.
    pub time: ShardTime,
    /// How long the pieces of each stage were, of those that were timed: all of accepting, calling
    /// and looking for work; of stages that alternate row by row, one round in 61.
    pub pieces: Vec<Pieces>,
    /// From the sending of a part of a take or search to the shard's taking it on.
    pub inbox_wait: Latencies,
    /// From the planning of a read to its being handed to the kernel: what fio calls slat, in
    /// steps of a round.
    pub submit_latency: Latencies,
    /// From there to its being fetched from the ring: clat.
    pub device_latency: Latencies,
    /// Both: lat.
    pub read_latency: Latencies,
    /// The longest time without a look at the ring.
    pub longest_stall: Stall,
    /// Counters of the thread; empty unless [`Observe::perf_counters`](crate::Observe::perf_counters)
    /// is set.
    pub counters: Vec<ThreadCounter>,
    /// Queues over the last ten seconds or so of work, the oldest first. A shard that sleeps takes
    /// no samples.
    pub queues: Vec<QueueSample>,
}

/// What the processor or the kernel counted for a shard's thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ThreadCounter {
    /// By perf's name; `task-clock` is in nanoseconds.
    pub name: &'static str,
    /// Since the shard was started, scaled up where it did not run all the time; `None` where it
    /// cannot be had.
    pub value: Option<u64>,
    /// Share of the time in which it ran, from 0 to 1.
    pub ran: Option<f64>,
    /// Why it cannot be had, and what to do.
    pub missing: Option<String>,
    /// What it counted in each stage, in one round of 61; a phase of a round whose stages alternate
    /// counts as the stage that names it: scan, plan, submit or decode.
    pub by_stage: Vec<(&'static str, u64)>,
}

/// How long a stage took at a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pieces {
    /// By the names of [`ShardTime`].
    pub stage: &'static str,
    /// One entry for each time.
    pub latencies: Latencies,
}

/// The longest time that a shard was away from its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Stall {
    /// How long, in nanoseconds.
    pub nanoseconds: u64,
    /// What took most of it, by the names of [`ShardTime`]; empty if there was none.
    pub stage: &'static str,
}

/// The queues of a shard at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct QueueSample {
    /// Nanoseconds since the shard was started.
    pub at: u64,
    /// Messages in its inbox.
    pub inbox: u32,
    /// Parts of takes with rows whose reads are not planned yet.
    pub waiting_parts: u32,
    /// Reads in flight.
    pub in_flight: u32,
    /// Reads that came with the last look at the ring.
    pub completions: u32,
}

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $stage:ident $name:ident,)+) => {
        /// What a shard does; each moment of its thread is of one kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Stage {
            $($(#[doc = $doc])+ $stage,)+
        }

        const STAGES: usize = Stage::ALL.len();

        impl Stage {
            const ALL: [Stage; [$(Stage::$stage),+].len()] = [$(Stage::$stage),+];
        }

        const NAMES: [&str; STAGES] = [$(stringify!($name)),+];

        /// Nanoseconds of a shard's thread by what it did: all of the time since it was started,
        /// without gaps. Stages that alternate row by row are told apart in one round of 61; the
        /// time of the others is divided as theirs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct ShardTime {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl ShardTime {
            fn of(nanoseconds: [u64; STAGES]) -> ShardTime {
                ShardTime { $($name: nanoseconds[Stage::$stage as usize],)+ }
            }

            /// Each by its name.
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
    /// Taking on what has come.
    Accept accept,
    /// Sums of codes, for searches.
    Scan scan,
    /// Choosing candidates among the rows scanned.
    Select select,
    /// Planning reads, and looking for rows in memory.
    Plan plan,
    /// In the kernel: submitting reads and fetching completions, which takes the time of the reads
    /// themselves where the device is memory.
    Submit submit,
    /// Waiting for the device, with a full queue.
    Device device,
    /// Comparing rows that were read with their checksums.
    Checksum checksum,
    /// Copying the columns of rows to their places in results and in the cache.
    Decode decode,
    /// Exact distances of rows, for searches.
    Refine refine,
    /// Bookkeeping of reads that are complete, and telling callers.
    Reply reply,
    /// Code of callers on the shard's thread.
    Callers callers,
    /// Nothing: asleep, or looking for work.
    Idle idle,
}

impl ShardTime {
    /// All but waiting and idling.
    pub fn busy(&self) -> u64 {
        self.total() - self.device - self.idle
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.by_name().iter().map(|(_, time)| time).sum()
    }
}
