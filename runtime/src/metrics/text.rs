//! Metrics as text for Prometheus, written by its client library.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Latencies, ShardMetrics, StoreMetrics};

type NoLabels = [(String, String); 0];

/// Shorter and longer times are in the first and the last bucket: a microsecond to a second and
/// a bit, in nanoseconds.
const BOUNDS: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 30;

const NANOSECONDS: f64 = 1e9;

/// `metrics` in OpenMetrics' text form.
pub(crate) fn text(metrics: &StoreMetrics) -> String {
    let mut registry = Registry::with_prefix("ringtake");
    registry.register_collector(Box::new(Snapshot(metrics.clone())));
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        unreachable!("a string takes all that is written to it: {error}");
    }
    text
}

#[derive(Debug)]
struct Snapshot(StoreMetrics);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards = &self.0.shards;
        for (name, help, of) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, metrics) in shards.iter().enumerate() {
                counter(&mut family, &[("shard", shard.to_string())], of(metrics))?;
            }
        }
        let help = "Time of the shard's thread by what it does";
        let mut family = encoder.encode_descriptor(
            "shard_time",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (shard, metrics) in shards.iter().enumerate() {
            for (activity, nanoseconds) in metrics.time.by_name() {
                let labels = [
                    ("shard", shard.to_string()),
                    ("activity", activity.to_owned()),
                ];
                let value = ConstCounter::new(nanoseconds as f64 / NANOSECONDS);
                value.encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, of) in HISTOGRAMS {
            let unit = Some(&Unit::Seconds);
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
            for (shard, metrics) in shards.iter().enumerate() {
                let labels = [("shard", shard.to_string())];
                histogram(family.encode_family(&labels)?, of(metrics))?;
            }
        }
        for (name, help, of) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, metrics) in shards.iter().enumerate() {
                let labels = [("shard", shard.to_string())];
                let value = ConstGauge::new(of(metrics));
                value.encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "The longest time that the shard was away from its ring";
        let unit = Some(&Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("longest_stall", help, unit, MetricType::Gauge)?;
        for (shard, metrics) in shards.iter().enumerate() {
            let labels = [("shard", shard.to_string())];
            let value = ConstGauge::new(metrics.longest_stall.nanoseconds as f64 / NANOSECONDS);
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn counter(
    family: &mut MetricEncoder<'_>,
    labels: &[(&'static str, String); 1],
    value: u64,
) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(labels)?)
}

fn histogram(mut encoder: MetricEncoder<'_>, latencies: &Latencies) -> fmt::Result {
    let mut below = 0;
    let mut buckets = Vec::new();
    for (end, count) in latencies.by_power() {
        below += count;
        if BOUNDS.contains(&end) {
            buckets.push((end as f64 / NANOSECONDS, below));
            below = 0;
        }
    }
    buckets.push((f64::INFINITY, below));
    let sum = latencies.sum() as f64 / NANOSECONDS;
    encoder.encode_histogram::<NoLabels>(sum, latencies.count(), &buckets, None)
}

type Of<T> = fn(&ShardMetrics) -> T;
type OfLatencies = fn(&ShardMetrics) -> &Latencies;

const COUNTERS: [(&str, &str, Of<u64>); 14] = [
    ("parts", "Parts of takes and searches received", |shard| {
        shard.stats.parts
    }),
    ("rows", "Rows decoded, once per column group", |shard| {
        shard.stats.rows
    }),
    ("reads", "Reads submitted", |shard| shard.stats.reads),
    ("urgent_reads", "Reads for urgent takes", |shard| {
        shard.stats.urgent_reads
    }),
    ("read_bytes", "Bytes of all reads", |shard| {
        shard.stats.read_bytes
    }),
    (
        "reads_shared",
        "Reads saved by another in flight",
        |shard| shard.stats.reads_shared,
    ),
    ("reads_placed", "Reads straight into the result", |shard| {
        shard.stats.reads_placed
    }),
    ("cache_hits", "Rows found in the shard's cache", |shard| {
        shard.stats.cache_hits
    }),
    (
        "page_cache_hits",
        "Reads served by the kernel's page cache",
        |shard| shard.stats.page_cache_hits,
    ),
    (
        "system_calls",
        "System calls to read and to wait",
        |shard| shard.stats.system_calls,
    ),
    ("sleeps", "Times the shard slept", |shard| {
        shard.stats.sleeps
    }),
    ("faults", "Rows that could not be read", |shard| {
        shard.stats.faults
    }),
    (
        "rows_expired",
        "Rows not read since their deadline had passed",
        |shard| shard.stats.rows_expired,
    ),
    (
        "rows_cancelled",
        "Rows not read since their take was dropped",
        |shard| shard.stats.rows_cancelled,
    ),
];

const HISTOGRAMS: [(&str, &str, OfLatencies); 2] = [
    (
        "inbox_wait",
        "From the sending of a part to its being taken on",
        |shard| &shard.inbox_wait,
    ),
    (
        "read_latency",
        "From the planning of a read to its being fetched",
        |shard| &shard.read_latency,
    ),
];

const GAUGES: [(&str, &str, Of<i64>); 3] = [
    ("inbox_messages", "Messages in the inbox", |shard| {
        last(shard, |sample| sample.inbox)
    }),
    ("waiting_parts", "Parts with reads to plan", |shard| {
        last(shard, |sample| sample.waiting_parts)
    }),
    ("reads_in_flight", "Reads in flight", |shard| {
        last(shard, |sample| sample.in_flight)
    }),
];

/// From the last sample of the queues.
fn last(shard: &ShardMetrics, of: fn(&super::QueueSample) -> u32) -> i64 {
    shard
        .queues
        .last()
        .map_or(0, |sample| i64::from(of(sample)))
}
