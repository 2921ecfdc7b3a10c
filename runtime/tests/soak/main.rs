//! A store under load for as long as `RINGTAKE_SOAK_SECONDS` says (five by default). Runs of a
//! minute and more are held to their memory and latency; shorter ones see too little of them.

#![allow(clippy::unwrap_used)]

mod data;
mod mixed;
mod overload;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs};

use histogram::{AtomicHistogram, Histogram};

const JUDGED: Duration = Duration::from_secs(60);

fn lasts() -> Duration {
    let seconds = env::var("RINGTAKE_SOAK_SECONDS").map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// One test at a time: each looks at the memory of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A histogram of nanoseconds, to within a hundredth, up to a minute.
fn latencies() -> AtomicHistogram {
    AtomicHistogram::new(7, 36).unwrap()
}

fn p99(latencies: &Histogram) -> Duration {
    let bucket = latencies.quantile_bucket(0.99).unwrap();
    Duration::from_nanos(bucket.map_or(0, |bucket| bucket.end()))
}

/// Resident memory of this process that is backed by no file.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let words = line.unwrap().split_whitespace().nth(1).unwrap();
    words.parse::<u64>().unwrap() << 10
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The first and the most bytes seen.
#[derive(Clone, Copy, Default)]
struct Memory {
    first: u64,
    most: u64,
}

impl Memory {
    fn look(&mut self) {
        let now = resident_bytes();
        if self.first == 0 {
            self.first = now;
        }
        self.most = self.most.max(now);
    }

    fn assert_flat(self) {
        let Memory { first, most } = self;
        assert!(
            most as f64 <= first as f64 * 1.02,
            "memory grows: {first} to {most}"
        );
    }
}
