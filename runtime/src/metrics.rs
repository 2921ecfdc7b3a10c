//! Where shards spend their time, how long reads and messages wait, and how long the queues are:
//! cheap enough to be always on.
//!
//! A shard writes `metrics/meter.rs` once per round of its loop, never per row; `metrics/text.rs`
//! prints what [`Store::metrics`](crate::Store::metrics) returns in the form that Prometheus reads.

mod latencies;
mod meter;
mod text;

use serde::Serialize;

use crate::admission::AdmissionStats;
use crate::stats::ShardStats;

pub use latencies::Latencies;
pub(crate) use meter::{Meter, ShardMeter};
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
}

/// One shard's part of [`StoreMetrics`]. All of it is of one instant between two rounds of the
/// shard's loop, but for what moves while it waits: [`ShardStats::system_calls`],
/// [`ShardStats::sleeps`], [`ShardStats::page_cache_hits`], and rows that callers copy themselves. Up
/// to a millisecond of waiting and idling may be missing. A shard that loses its CPU for a second
/// in the middle of a round is read as it is. Times are zero where [`Config::metrics`](crate::Config::metrics) is off.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// Counters.
    pub stats: ShardStats,
    /// Where the time of its thread goes.
    pub time: ShardTime,
    /// From the sending of a part of a take or search to the shard's taking it on.
    pub inbox_wait: Latencies,
    /// From the planning of a read to its being fetched from the ring: what fio calls lat, in steps
    /// of a round.
    pub read_latency: Latencies,
    /// The longest time without a look at the ring.
    pub longest_stall: Stall,
    /// Queues over the last ten seconds or so of work, the oldest first. A shard that sleeps takes
    /// no samples.
    pub queues: Vec<QueueSample>,
}

/// The longest time that a shard was away from its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Stall {
    /// How long, in nanoseconds.
    pub nanoseconds: u64,
    /// What took most of it, by the names of [`ShardTime`]; empty if there was none.
    pub activity: &'static str,
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

macro_rules! activities {
    ($($(#[doc = $doc:literal])+ $activity:ident $name:ident,)+) => {
        /// What a shard does; each moment of its thread is of one kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Activity {
            $($(#[doc = $doc])+ $activity,)+
        }

        const ACTIVITIES: usize = [$(Activity::$activity),+].len();

        const NAMES: [&str; ACTIVITIES] = [$(stringify!($name)),+];

        /// Nanoseconds of a shard's thread by what it did: all of the time since it was started,
        /// without gaps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct ShardTime {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl ShardTime {
            fn of(nanoseconds: [u64; ACTIVITIES]) -> ShardTime {
                ShardTime { $($name: nanoseconds[Activity::$activity as usize],)+ }
            }

            /// Each by its name.
            pub fn by_name(&self) -> [(&'static str, u64); ACTIVITIES] {
                [$((stringify!($name), self.$name)),+]
            }
        }

        impl std::ops::Sub for ShardTime {
            type Output = ShardTime;

            fn sub(self, earlier: ShardTime) -> ShardTime {
                ShardTime { $($name: self.$name - earlier.$name,)+ }
            }
        }
    };
}

activities! {
    /// Taking on what has come.
    Accept accept,
    /// Scanning codes for searches.
    Scan scan,
    /// Planning reads, and delivering what the cache has.
    Plan plan,
    /// Submitting reads and looking for completions.
    Ring ring,
    /// Waiting for the device, with a full queue.
    Wait wait,
    /// Checking, decoding and measuring rows that have been read, and telling callers.
    Decode decode,
    /// Code of callers on the shard's thread.
    Callers callers,
    /// Nothing: asleep, or looking for work.
    Idle idle,
}

impl ShardTime {
    /// All but waiting and idling.
    pub fn busy(&self) -> u64 {
        self.accept + self.scan + self.plan + self.ring + self.decode + self.callers
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.busy() + self.wait + self.idle
    }
}
