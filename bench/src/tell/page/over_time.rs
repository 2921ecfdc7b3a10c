//! The course of a run, as charts with their numbers.

use maud::{Markup, html};

use super::charts::{Across, Line, Up, chart, nines, thinned};
use super::tables::numbers;
use crate::numbers::{NOT_AVAILABLE, latency, rounded, rounded_or_not, whole};
use crate::record::archive::ArchivedRecord;
use crate::record::series::{DeviceSample, Observations, QueueSample, RateSample, ShardObserved};

/// Rows of a table over time.
const ROWS_MAX: usize = 60;

/// Latency, rate, queues and devices.
pub(super) fn over_time(seen: &Observations, run: &ArchivedRecord) -> Markup {
    html! {
        (latencies(seen))
        (rates(&seen.rate))
        (queues(&seen.shards))
        (devices(&seen.device, run))
    }
}

fn latencies(seen: &Observations) -> Markup {
    let below = seen.latency.iter().rev().nth(1).map_or(1.0, |at| at.share);
    let most = nines(below, f64::INFINITY) + 0.125;
    let points = seen.latency.iter().map(|at| (nines(at.share, most), at.us));
    let line = Line {
        name: "latency".to_owned(),
        points: points.collect(),
    };
    let rows = thinned(&seen.latency, ROWS_MAX)
        .into_iter()
        .map(|at| vec![format!("{}%", trimmed_percent(at.share)), latency(at.us)]);
    html! {
        @if !seen.latency.is_empty() {
            h3 { "Latency" }
            div.plots {
                (chart("Latency of queries by percentile", &[line], Across::Nines, Up::Latency))
            }
            (numbers(&["of the queries", "within"], &rows.collect::<Vec<_>>()))
        }
    }
}

fn trimmed_percent(share: f64) -> String {
    let text = format!("{:.5}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A line through the values of `of` for each sample.
fn line<T>(
    name: &str,
    samples: &[T],
    at: impl Fn(&T) -> f64,
    of: impl Fn(&T) -> Option<f64>,
) -> Line {
    let points = samples
        .iter()
        .filter_map(|sample| Some((at(sample), of(sample)?)));
    Line {
        name: name.to_owned(),
        points: points.collect(),
    }
}

fn rates(rate: &[RateSample]) -> Markup {
    let at = |sample: &RateSample| sample.at_s;
    let rows = line("rows/s", rate, at, |sample| Some(sample.rows_per_s));
    let p99 = line("p99", rate, at, |sample| sample.p99_us);
    let permits = line("permits", rate, at, |sample| {
        sample.permits_held.map(|held| held as f64)
    });
    let table = thinned(rate, ROWS_MAX).into_iter().map(|sample| {
        vec![
            format!("{:.1} s", sample.at_s),
            rounded(sample.rows_per_s),
            rounded(sample.queries_per_s),
            sample
                .p99_us
                .map_or_else(|| NOT_AVAILABLE.to_owned(), latency),
            rounded_or_not(sample.permits_held.map(|held| held as f64)),
        ]
    });
    html! {
        @if !rate.is_empty() {
            h3 { "Rate over time" }
            div.plots {
                (chart("Rows per second", &[rows], Across::Seconds, Up::Count))
                (chart("Latency that 99 of 100 queries did not exceed", &[p99], Across::Seconds, Up::Latency))
                (chart("Takes and searches that hold a permit", &[permits], Across::Seconds, Up::Count))
            }
            (numbers(&["until", "rows/s", "queries/s", "p99", "permits held"], &table.collect::<Vec<_>>()))
        }
    }
}

/// A number of a sample.
type OfSample = fn(&QueueSample) -> u32;

fn queues(shards: &[ShardObserved]) -> Markup {
    let of: [(&str, OfSample); 4] = [
        ("reads in flight", |sample| sample.in_flight),
        ("completions to decode", |sample| sample.completions),
        ("messages in the inbox", |sample| sample.inbox),
        ("parts with reads to plan", |sample| sample.waiting_parts),
    ];
    let lines = |shard: &ShardObserved| -> Vec<Line> {
        let lines = of.iter().map(|(name, of)| {
            let at = |sample: &QueueSample| sample.at_s;
            line(name, &shard.queues, at, |sample| Some(of(sample).into()))
        });
        lines.collect()
    };
    let rows = |shard: &ShardObserved| -> Vec<Vec<String>> {
        let samples = thinned(&shard.queues, ROWS_MAX).into_iter();
        let row = |sample: QueueSample| {
            let numbers = of.iter().map(|(_, of)| of(&sample).to_string());
            let at = format!("{:.2} s", sample.at_s);
            std::iter::once(at).chain(numbers).collect()
        };
        samples.map(row).collect()
    };
    let head = ["at", of[0].0, of[1].0, of[2].0, of[3].0];
    html! {
        @if shards.iter().any(|shard| !shard.queues.is_empty()) {
            h3 { "Queues over time" }
            p.note { "A queue that is full waits for what comes after it, one that is empty for what comes before." }
            div.plots {
                @for shard in shards {
                    div {
                        (chart(&format!("Shard {}", shard.shard), &lines(shard), Across::Seconds, Up::Count))
                        (numbers(&head, &rows(shard)))
                    }
                }
            }
        }
    }
}

fn devices(device: &[DeviceSample], run: &ArchivedRecord) -> Markup {
    let at = |sample: &DeviceSample| sample.at_s;
    let reads = line("reads/s", device, at, |sample| Some(sample.reads_per_s));
    let queue = line("queue", device, at, |sample| Some(sample.queue));
    let wait = line("wait", device, at, |sample| sample.wait_us);
    let busy = line("utilisation", device, at, |sample| {
        Some(sample.utilisation * 100.0)
    });
    let table_rows = thinned(device, ROWS_MAX).into_iter().map(|sample| {
        vec![
            format!("{:.1} s", sample.at_s),
            rounded(sample.reads_per_s),
            rounded_or_not(sample.bytes_per_read),
            rounded(sample.merges_per_s),
            rounded(sample.queue),
            sample
                .wait_us
                .map_or_else(|| NOT_AVAILABLE.to_owned(), latency),
            format!("{:.0}%", sample.utilisation * 100.0),
        ]
    });
    let head = [
        "until",
        "reads/s",
        "bytes a read",
        "merged/s",
        "queue",
        "wait",
        "utilisation",
    ];
    html! {
        @if !device.is_empty() {
            h3 { "Device over time" }
            @if let Some(words) = believed(run) { p.note { (words) } }
            div.plots {
                (chart("Reads per second", &[reads], Across::Seconds, Up::Count))
                (chart("Reads at the device", &[queue], Across::Seconds, Up::Count))
                (chart("Time of a read at the device", &[wait], Across::Seconds, Up::Latency))
                (chart("Utilisation, in percent", &[busy], Across::Seconds, Up::Count))
            }
            (numbers(&head, &table_rows.collect::<Vec<_>>()))
        }
    }
}

/// The reads that the store issued beside those of the device.
fn believed(run: &ArchivedRecord) -> Option<String> {
    let issued = run.number("store_counters.reads")?;
    let device = run.number("device_reads_per_row")? * run.number("rows")?;
    Some(format!(
        "The store issued {} reads, the device did {}.",
        whole(issued as u64),
        whole(device.round() as u64)
    ))
}
