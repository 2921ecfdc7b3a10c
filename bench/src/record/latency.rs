//! Latencies of a run, as a record has them.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::record::series::Percentile;

/// Latency of queries, from asking to answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct LatencyUs {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl LatencyUs {
    pub(crate) fn of(latency_ns: &Histogram<u64>) -> LatencyUs {
        let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        LatencyUs {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p999: us(0.999),
            max: latency_ns.max() as f64 / 1e3,
        }
    }
}

/// The latency of queries from the median on, in steps of an eighth of a nine.
pub(crate) fn percentiles(latency_ns: &Histogram<u64>) -> Vec<Percentile> {
    if latency_ns.is_empty() {
        return Vec::new();
    }
    let slower = |eighths: i32| 10_f64.powf(-f64::from(eighths) / 8.0);
    // From half of the queries on, until less than one is slower.
    let steps = (0..).map(slower).skip_while(|slower| *slower > 0.5);
    let steps = steps.take_while(|slower| slower * latency_ns.len() as f64 >= 1.0);
    let at = |share| Percentile {
        share,
        us: latency_ns.value_at_quantile(share) as f64 / 1e3,
    };
    let longest = Percentile {
        share: 1.0,
        us: latency_ns.max() as f64 / 1e3,
    };
    let from_half = std::iter::once(0.5).chain(steps.map(|slower| 1.0 - slower));
    from_half.map(at).chain([longest]).collect()
}
