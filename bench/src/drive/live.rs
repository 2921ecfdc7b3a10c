//! Answers counted while the clients run, for the sampler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use histogram::{AtomicHistogram, Histogram};

/// Each power of two of nanoseconds has two to this many buckets.
const GROUPING_POWER: u8 = 5;
/// Latencies up to two to this many nanoseconds: eighteen minutes.
const MAX_VALUE_POWER: u8 = 40;

/// One client thread. Only it writes.
#[derive(Debug)]
pub(crate) struct Tally {
    queries: AtomicU64,
    rows: AtomicU64,
    latency_ns: AtomicHistogram,
}

impl Tally {
    /// A query has come back.
    pub(crate) fn answered(&self, rows: u64, latency_ns: u64) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let kept = latency_ns.min((1 << MAX_VALUE_POWER) - 1);
        // Whatever is at most that has a bucket.
        let _ = self.latency_ns.increment(kept);
    }
}

impl Default for Tally {
    fn default() -> Tally {
        let histogram = AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER);
        Tally {
            queries: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            latency_ns: histogram
                .unwrap_or_else(|error| unreachable!("constant powers are right: {error}")),
        }
    }
}

/// All client threads of a run.
#[derive(Debug, Default)]
pub(crate) struct Live {
    clients: Mutex<Vec<Arc<CachePadded<Tally>>>>,
}

/// Sums over all clients since the run began.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) queries: u64,
    pub(crate) rows: u64,
    pub(crate) latency_ns: Histogram,
}

impl Live {
    /// A tally for one more client thread.
    pub(crate) fn join(&self) -> Arc<CachePadded<Tally>> {
        let tally = Arc::default();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.push(Arc::clone(&tally));
        tally
    }

    pub(crate) fn done(&self) -> Done {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Done {
            queries: 0,
            rows: 0,
            latency_ns: Tally::default().latency_ns.load(),
        };
        for client in &*clients {
            done.queries += client.queries.load(Ordering::Relaxed);
            done.rows += client.rows.load(Ordering::Relaxed);
            if let Ok(sum) = done.latency_ns.wrapping_add(&client.latency_ns.load()) {
                done.latency_ns = sum;
            }
        }
        done
    }
}

impl Done {
    /// The latency that 99 of 100 of the queries since `earlier` did not exceed, in microseconds;
    /// `None` if there were none.
    pub(crate) fn p99_us_since(&self, earlier: &Done) -> Option<f64> {
        let since = self.latency_ns.wrapping_sub(&earlier.latency_ns).ok()?;
        let bucket = since.quantile_bucket(0.99).ok().flatten()?;
        Some(bucket.end() as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_all_clients_are_summed_and_those_since_are_told_apart() {
        let live = Live::default();
        let (one, two) = (live.join(), live.join());
        for _ in 0..100 {
            one.answered(500, 1_000_000);
        }
        let earlier = live.done();
        assert_eq!((earlier.queries, earlier.rows), (100, 50_000));
        assert_eq!(earlier.p99_us_since(&earlier), None);
        two.answered(1, 9_000_000);
        let later = live.done();
        assert_eq!((later.queries, later.rows), (101, 50_001));
        let p99_us = later.p99_us_since(&earlier).unwrap_or_default();
        assert!((9_000.0..9_300.0).contains(&p99_us), "{p99_us}");
        two.answered(1, u64::MAX);
        assert_eq!(live.done().queries, 102);
    }
}
