//! Histograms of nanoseconds: the buckets that are written, and their snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use histogram::Histogram;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::metrics::stats::Counter;

/// Each power of two has two to this many buckets, so that a value is known to an eighth.
const GROUPING_POWER: u8 = 3;
/// Values up to two to this: eighteen minutes.
const MAX_VALUE_POWER: u8 = 40;

const BUCKETS: usize = (MAX_VALUE_POWER - GROUPING_POWER + 1) as usize * (1 << GROUPING_POWER);

/// Buckets that only one shard writes.
#[derive(Debug)]
pub(super) struct Buckets {
    counts: Box<[Counter]>,
    sum: Counter,
}

impl Buckets {
    pub(super) fn new() -> Buckets {
        Buckets {
            counts: (0..BUCKETS).map(|_| Counter::default()).collect(),
            sum: Counter::default(),
        }
    }

    /// Only the owning shard may call it.
    #[inline]
    pub(super) fn record(&self, nanoseconds: u64) {
        let kept = nanoseconds.min((1 << MAX_VALUE_POWER) - 1);
        self.counts[bucket(kept)].add(1);
        self.sum.add(nanoseconds);
    }

    pub(super) fn snapshot(&self) -> Latencies {
        let counts = self.counts.iter().map(Counter::get).collect();
        Latencies::of(counts, self.sum.get())
    }
}

/// Buckets that any thread may write.
#[derive(Debug)]
pub(super) struct SharedBuckets {
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl SharedBuckets {
    pub(super) fn new() -> SharedBuckets {
        SharedBuckets {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, nanoseconds: u64) {
        let kept = nanoseconds.min((1 << MAX_VALUE_POWER) - 1);
        self.counts[bucket(kept)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Latencies {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Latencies::of(self.counts.iter().map(get).collect(), get(&self.sum))
    }
}

/// The place of a value in the buckets of an H2 histogram, which are those of the `histogram`
/// crate: up to twice the buckets of a power of two each value has its own, then each power of
/// two is divided evenly.
#[inline]
fn bucket(value: u64) -> usize {
    let grouping = u32::from(GROUPING_POWER);
    if value < 2 << grouping {
        return value as usize;
    }
    let power = value.ilog2();
    let place = (value >> (power - grouping)) - (1 << grouping);
    (u64::from(power - grouping + 1) << grouping) as usize + place as usize
}

/// A histogram of durations. Each duration is known to an eighth of its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    histogram: Histogram,
    sum: u64,
}

impl Latencies {
    fn of(counts: Vec<u64>, sum: u64) -> Latencies {
        let histogram = Histogram::from_buckets(GROUPING_POWER, MAX_VALUE_POWER, counts);
        Latencies {
            histogram: histogram.unwrap_or_else(|error| {
                unreachable!("as many buckets as the two powers ask for: {error}")
            }),
            sum,
        }
    }

    /// Number of durations.
    pub fn count(&self) -> u64 {
        self.histogram.as_slice().iter().sum()
    }

    /// Sum of all durations, in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Mean duration in nanoseconds; `None` without durations.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The duration, in nanoseconds, that at least this share of them, from 0 to 1, does not exceed.
    /// `None` without durations.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let found = self.histogram.quantile_bucket(share).ok().flatten();
        found.map(|bucket| bucket.end())
    }

    /// The durations recorded since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let histogram = self.histogram.wrapping_sub(&earlier.histogram);
        Latencies {
            histogram: histogram
                .unwrap_or_else(|error| unreachable!("both have the same buckets: {error}")),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    /// The number of durations in each range up to the next power of two, with its end.
    pub(super) fn by_power(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut counts = self.histogram.as_slice().chunks(1 << GROUPING_POWER);
        let mut end = 1_u64 << GROUPING_POWER;
        std::iter::from_fn(move || {
            let count = counts.next()?.iter().sum();
            let upper = end;
            end <<= 1;
            Some((upper, count))
        })
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Latencies", 7)?;
        fields.serialize_field("count", &self.count())?;
        fields.serialize_field("mean_ns", &self.mean())?;
        for (name, share) in [
            ("p50_ns", 0.5),
            ("p90_ns", 0.9),
            ("p99_ns", 0.99),
            ("p999_ns", 0.999),
            ("max_ns", 1.0),
        ] {
            fields.serialize_field(name, &self.quantile(share))?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_library() {
        let values = (0..MAX_VALUE_POWER).flat_map(|power| {
            [
                (1_u64 << power) - 1,
                1 << power,
                (1 << power) + (1 << power) / 3,
            ]
        });
        for value in values.chain(0..1000) {
            let mut expected = Histogram::new(GROUPING_POWER, MAX_VALUE_POWER).unwrap();
            expected.increment(value).unwrap();
            let buckets = Buckets::new();
            buckets.record(value);
            assert_eq!(buckets.snapshot().histogram, expected, "{value}");
        }
    }

    #[test]
    fn quantiles_are_right_to_an_eighth_and_longer_times_count_as_the_longest() {
        let buckets = Buckets::new();
        for value in 1..=1000 {
            buckets.record(value * 1000);
        }
        let seen = buckets.snapshot();
        assert_eq!((seen.count(), seen.sum()), (1000, 500_500_000));
        for (share, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = seen.quantile(share).unwrap() as f64;
            assert!((exact..=exact * 1.125).contains(&found), "{share}: {found}");
        }
        buckets.record(u64::MAX >> 1);
        let later = buckets.snapshot().since(&seen);
        assert_eq!(later.count(), 1);
        assert_eq!(later.quantile(0.5), Some((1 << MAX_VALUE_POWER) - 1));
    }

    #[test]
    fn powers_of_two_count_what_is_below_them() {
        let buckets = Buckets::new();
        for value in [3, 7, 8, 15, 16, 1000, 1023, 1024] {
            buckets.record(value);
        }
        let seen: Vec<(u64, u64)> = buckets
            .snapshot()
            .by_power()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(seen, [(8, 2), (16, 2), (32, 1), (1024, 2), (2048, 1)]);
    }
}
