//! Latencies as histograms keep them.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are kept to three digits from a nanosecond to an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const LATENCY_DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
        .unwrap_or_else(|error| unreachable!("constant bounds are right: {error}"))
}

/// A time as histograms take it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
