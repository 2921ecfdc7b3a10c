//! Metrics as text for Prometheus, written by its client library.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Latencies, QueueSample, ShardMetrics, StoreMetrics};

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
        let counters: Vec<_> = shards.iter().map(|shard| shard.stats.by_name()).collect();
        for place in 0..counters.first().map_or(0, Vec::len) {
            let (name, help, _) = counters[0][place];
            let help = help.trim_end_matches('.');
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, counters) in counters.iter().enumerate() {
                let value = ConstCounter::new(counters[place].2);
                value.encode(family.encode_family(&of_shard(shard))?)?;
            }
        }
        let (kind, unit) = (MetricType::Counter, Some(&Unit::Seconds));
        let help = "Time of the shard's thread by what it does";
        let mut family = encoder.encode_descriptor("shard_time", help, unit, kind)?;
        for (shard, metrics) in shards.iter().enumerate() {
            let [label] = of_shard(shard);
            for (stage, nanoseconds) in metrics.time.by_name() {
                let labels = [label.clone(), ("stage", stage.to_owned())];
                let value = ConstCounter::new(nanoseconds as f64 / NANOSECONDS);
                value.encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, of) in HISTOGRAMS {
            let kind = MetricType::Histogram;
            let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
            for (shard, metrics) in shards.iter().enumerate() {
                histogram(family.encode_family(&of_shard(shard))?, of(metrics))?;
            }
        }
        let (kind, callers) = (MetricType::Histogram, &self.0.callers);
        let help = "Time of queries on their callers' side by stage, of those that are timed";
        let mut family = encoder.encode_descriptor("caller_stage", help, unit, kind)?;
        for (stage, latencies) in callers.by_name() {
            histogram(family.encode_family(&[("stage", stage)])?, latencies)?;
        }
        let (kind, help) = (MetricType::Counter, "Queries slower than the threshold");
        let seen = ConstCounter::new(self.0.slow_queries_seen);
        seen.encode(encoder.encode_descriptor("slow_queries", help, None, kind)?)?;
        for (name, help, value) in self.0.permits.by_name() {
            let kind = MetricType::Gauge;
            let value = ConstGauge::new(value);
            value.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        for (name, help, unit, of) in GAUGES {
            let kind = MetricType::Gauge;
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            for (shard, metrics) in shards.iter().enumerate() {
                let value = ConstGauge::new(of(metrics));
                value.encode(family.encode_family(&of_shard(shard))?)?;
            }
        }
        Ok(())
    }
}

fn of_shard(shard: usize) -> [(&'static str, String); 1] {
    [("shard", shard.to_string())]
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

type OfLatencies = fn(&ShardMetrics) -> &Latencies;
type Gauge = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&ShardMetrics) -> f64,
);

const HISTOGRAMS: [(&str, &str, OfLatencies); 4] = [
    (
        "inbox_wait",
        "From the sending of a part to its being taken on",
        |shard| &shard.inbox_wait,
    ),
    (
        "submit_latency",
        "From the planning of a read to its being handed to the kernel",
        |shard| &shard.submit_latency,
    ),
    (
        "device_latency",
        "From there to its being fetched",
        |shard| &shard.device_latency,
    ),
    (
        "read_latency",
        "From the planning of a read to its being fetched",
        |shard| &shard.read_latency,
    ),
];

const GAUGES: [Gauge; 4] = [
    ("inbox_messages", "Messages in the inbox", None, |shard| {
        last(shard, |sample| sample.inbox)
    }),
    ("waiting_parts", "Parts with reads to plan", None, |shard| {
        last(shard, |sample| sample.waiting_parts)
    }),
    ("reads_in_flight", "Reads in flight", None, |shard| {
        last(shard, |sample| sample.in_flight)
    }),
    (
        "longest_stall",
        "The longest time that the shard was away from its ring",
        Some(Unit::Seconds),
        |shard| shard.longest_stall.duration_ns as f64 / NANOSECONDS,
    ),
];

/// From the last sample of the queues.
fn last(shard: &ShardMetrics, of: fn(&QueueSample) -> u32) -> f64 {
    shard.queues.last().map_or(0.0, |sample| of(sample).into())
}
