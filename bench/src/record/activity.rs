//! The activity of a store between two snapshots of its metrics, with the samples in between, as a
//! record has it.

use std::time::Duration;

use ringtake_runtime::{Latencies, ShardMetrics, StoreMetrics, ThreadCounter};

use crate::record::series::Series;
use crate::record::series::{Counted, ShardObserved, StageKind, StageTime, Waited};

/// Times and samples of a run, where the subject measures them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    pub(crate) shards: Vec<ShardObserved>,
    /// CPU time of each stage, all shards and the callers of searches together.
    pub(crate) cpu: Vec<(&'static str, Duration)>,
    pub(crate) series: Series,
}

impl Activity {
    /// The activity from `before` to `after`.
    pub(crate) fn between(
        before: Option<StoreMetrics>,
        after: Option<StoreMetrics>,
        mut series: Series,
    ) -> Activity {
        let Some((before, after)) = before.zip(after) else {
            return Activity {
                series,
                ..Activity::default()
            };
        };
        let pairs = || before.shards.iter().zip(&after.shards);
        let mut queues = std::mem::take(&mut series.queues).into_iter();
        let shards = pairs().enumerate().map(|(shard, (before, after))| {
            let queues = queues.next().unwrap_or_default();
            ShardObserved {
                shard,
                queues,
                ..shard_between(before, after)
            }
        });
        Activity {
            shards: shards.collect(),
            cpu: cpu_between(&before, &after),
            series,
        }
    }
}

fn shard_between(before: &ShardMetrics, after: &ShardMetrics) -> ShardObserved {
    let time = after.time - before.time;
    let total = time.total().max(1) as f64;
    let pieces = before.pieces.iter().zip(&after.pieces);
    let stages = time.by_name().into_iter().zip(pieces);
    let stages = stages.map(|((name, nanoseconds), (before, after))| {
        let pieces = after.latencies.since(&before.latencies);
        StageTime {
            name: name.to_owned(),
            kind: kind(name),
            seconds: nanoseconds as f64 / 1e9,
            share: nanoseconds as f64 / total,
            times: pieces.count(),
            p50_us: us(&pieces, 0.5),
            p99_us: us(&pieces, 0.99),
            max_us: us(&pieces, 1.0),
        }
    });
    // One before the run was longer otherwise.
    let stall = Some(after.longest_stall).filter(|stall| *stall != before.longest_stall);
    let waits = [
        ("inbox wait", &before.inbox_wait, &after.inbox_wait),
        ("slat", &before.submit_latency, &after.submit_latency),
        ("clat", &before.device_latency, &after.device_latency),
        ("lat", &before.read_latency, &after.read_latency),
    ];
    ShardObserved {
        stages: stages.collect(),
        waits: waits
            .map(|(name, before, after)| waited(name, &after.since(before)))
            .to_vec(),
        longest_stall_us: stall.map_or(0.0, |stall| stall.duration_ns as f64 / 1e3),
        longest_stall_stage: stall.map_or("", |stall| stall.stage).to_owned(),
        counters: before
            .counters
            .iter()
            .zip(&after.counters)
            .map(counted)
            .collect(),
        ..ShardObserved::default()
    }
}

fn counted((before, after): (&ThreadCounter, &ThreadCounter)) -> Counted {
    let count_before = |stage: &str| {
        let mut stages = before.by_stage.iter();
        stages
            .find(|(name, _)| *name == stage)
            .map_or(0, |(_, count)| *count)
    };
    let by_stage = after.by_stage.iter().map(|(name, count)| {
        let counted = count.saturating_sub(count_before(name));
        (*name, counted as f64)
    });
    let by_stage: Vec<(&str, f64)> = by_stage.collect();
    let sum: f64 = by_stage.iter().map(|(_, count)| count).sum();
    let shares = by_stage.into_iter().filter(|(_, count)| *count > 0.0);
    Counted {
        name: after.name.to_owned(),
        value: after
            .value
            .zip(before.value)
            .map(|(after, before)| after.saturating_sub(before) as f64),
        ran: after.ran,
        missing: after.missing.clone(),
        by_stage: shares
            .map(|(name, count)| (name.to_owned(), count / sum))
            .collect(),
    }
}

fn kind(stage: &str) -> StageKind {
    match stage {
        "device" => StageKind::Wait,
        "idle" => StageKind::Idle,
        _ => StageKind::Busy,
    }
}

fn us(latencies: &Latencies, share: f64) -> Option<f64> {
    Some(latencies.quantile(share)? as f64 / 1e3)
}

fn waited(name: &str, latencies: &Latencies) -> Waited {
    Waited {
        name: name.to_owned(),
        times: latencies.count(),
        mean_us: latencies.mean().map(|mean| mean / 1e3),
        p50_us: us(latencies, 0.5),
        p90_us: us(latencies, 0.9),
        p99_us: us(latencies, 0.99),
        p999_us: us(latencies, 0.999),
        max_us: us(latencies, 1.0),
    }
}

/// Stages that take CPU time. Those of callers are all timed for searches only.
fn cpu_between(before: &StoreMetrics, after: &StoreMetrics) -> Vec<(&'static str, Duration)> {
    let callers = after.callers.since(&before.callers);
    let of_callers = |name: &'static str, latencies: &Latencies| {
        let time = Duration::from_nanos(latencies.sum());
        (!time.is_zero()).then_some((name, time))
    };
    let mut stages: Vec<_> = of_callers("rank", &callers.rank)
        .into_iter()
        .chain(of_callers("tables", &callers.tables))
        .collect();
    let pairs = before.shards.iter().zip(&after.shards);
    let spent = pairs.map(|(before, after)| (after.time - before.time).by_name());
    let spent: Vec<_> = spent.collect();
    for place in 0..spent.first().map_or(0, |stages| stages.len()) {
        let name = spent[0][place].0;
        let nanoseconds = spent.iter().map(|shard| shard[place].1).sum();
        if kind(name) == StageKind::Busy {
            stages.push((name, Duration::from_nanos(nanoseconds)));
        }
    }
    stages.extend(of_callers("merge", &callers.merge));
    stages
}
