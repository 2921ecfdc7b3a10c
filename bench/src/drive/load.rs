//! The load on a subject: how many clients, where they are, when they ask and when they stop.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// No query is asked after this time; those in flight are waited for.
    Time(Duration),
    /// The number of queries.
    Queries(u64),
}

/// The load of a closed loop, and the end of any.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Client threads.
    pub threads: NonZeroUsize,
    /// Queries each of them keeps in flight.
    pub in_flight: NonZeroUsize,
    /// When they stop.
    pub bound: Bound,
}

/// Where the clients of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientPlace {
    /// On threads of their own.
    #[default]
    Threads,
    /// In each shard, beside the rows it owns.
    InShard,
}

/// When queries are asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Each when one before it has come back.
    Closed,
    /// As `Closed`, on the CPUs of an open loop, to measure its capacity.
    Capacity,
    /// At times planned beforehand.
    Open {
        /// Queries per second, on average.
        rate_per_s: f64,
        /// Chooses the times.
        seed: u64,
    },
}

/// How fast queries arrive in an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Queries per second.
    PerSecond(f64),
    /// A share of the rate of a closed loop with the same load, which is measured first.
    OfCapacity(f64),
}

impl Pace {
    /// The pace of each of `threads` threads.
    pub(crate) fn for_one_of(self, threads: usize) -> Pace {
        match self {
            Pace::Closed | Pace::Capacity => self,
            Pace::Open { rate_per_s, seed } => Pace::Open {
                rate_per_s: rate_per_s / threads as f64,
                seed,
            },
        }
    }
}
