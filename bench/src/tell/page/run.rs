//! One run: its parameters, its limit, and its time by stage.

use maud::{Markup, html};

use super::charts::{COLOURS, css};
use super::over_time;
use super::tables::{numbers, table};
use crate::numbers::{NOT_AVAILABLE, latency, rounded, rounded_or_not, whole};
use crate::record::archive::ArchivedRecord;
use crate::record::series::{Observations, ShardObserved, StageKind};

pub(super) fn section(run: &ArchivedRecord, name: &str, number: usize) -> Markup {
    let seen = run.observations();
    html! {
        section.run id=(format!("run-{number}")) {
            h2 { (name) }
            p.what { (what(run)) }
            (state(run))
            (verdict(run))
            (headline(run))
            @if seen == Observations::default() {
                p.note { "This record does not say what was seen during the run." }
            } @else {
                (over_time::over_time(&seen, run))
                (by_stage(&seen.shards))
                (waits(&seen.shards))
                (counters(&seen.shards, run))
            }
            (surroundings(run))
        }
    }
}

/// The dataset and the parameters of a run.
fn what(run: &ArchivedRecord) -> String {
    let parts = [
        ("rows", "config.rows_used"),
        ("bytes a row", "config.row_bytes"),
        ("rows a query", "config.rows_per_query"),
        ("client threads", "config.threads"),
        ("queries in flight of each", "config.in_flight"),
    ];
    let numbers = parts.into_iter().filter_map(|(name, path)| {
        let number = run.number(path)?;
        Some(format!("{name} {}", whole(number as u64)))
    });
    let dataset = run.text("config.dataset").map(str::to_owned);
    let read_path = run.text("read_path");
    let read_path = read_path.map(|path| format!("read path {path}"));
    let seconds = run.number("duration_s");
    let seconds = seconds.map(|seconds| format!("{} s", rounded(seconds)));
    let all = dataset.into_iter().chain(numbers);
    let all: Vec<String> = all.chain(read_path).chain(seconds).collect();
    all.join(", ")
}

/// Whether it counts.
fn state(run: &ArchivedRecord) -> Markup {
    html! {
        @if run.is_partial() {
            p.bad { "Partial: the run was ended before its time." }
        }
        @if run.is_valid() {
            p.good { "Proven by the drive's own counters." }
        } @else {
            p.bad { "Not proven: " (run.text("invalid_reason").unwrap_or("the record does not say why")) }
        }
        @for warning in run.sentences("warnings") { p.note { "Warning: " (warning) } }
        @for note in run.sentences("notes") { p.note { "Note: " (note) } }
    }
}

fn verdict(run: &ArchivedRecord) -> Markup {
    html! {
        @if let Some(verdict) = run.verdict() {
            div.verdict {
                p { (verdict.words) }
                ul { @for line in &verdict.rests_on { li { (line) } } }
            }
        }
    }
}

/// The numbers above the charts: a name, and the path in a record.
const HEADLINE: [(&str, &str); 12] = [
    ("rows/s", "rows_per_s"),
    ("queries/s", "queries_per_s"),
    ("recall", "recall_at_k"),
    ("rows/s and core", "rows_per_s_per_core"),
    ("CPU µs a row", "cpu_us_per_row"),
    ("of it in the kernel", "sys_us_per_row"),
    ("CPUs busy", "cores_busy"),
    ("CPUs busy, all programs", "machine_cores_busy"),
    ("drive reads a row", "device_reads_per_row"),
    ("drive bytes a row", "device_bytes_per_row"),
    ("context switches a row", "context_switches_per_row"),
    ("system calls a row", "syscalls_per_row"),
];

fn headline(run: &ArchivedRecord) -> Markup {
    let latencies = ["p50", "p99", "p999", "max"];
    html! {
        div.figures {
            @for (name, path) in HEADLINE {
                @if let Some(number) = run.number(path) {
                    div { b { (rounded(number)) } span { (name) } }
                }
            }
            @for name in latencies {
                @if let Some(us) = run.number(&format!("latency_us.{name}")) {
                    div { b { (latency(us)) } span { (name) " of queries" } }
                }
            }
        }
    }
}

/// A colour for each stage; waiting and idling are grey.
fn colour(name: &str, kind: StageKind, place: usize) -> String {
    match (name, kind) {
        (_, StageKind::Wait) => "#8a9097".to_owned(),
        (_, StageKind::Idle) => "#c9cdd2".to_owned(),
        (_, StageKind::Busy) => {
            let (red, green, blue) = COLOURS[place % COLOURS.len()];
            // The second round of the colours is lighter.
            let lighter = |part: u8| part / 2 + 120;
            match place < COLOURS.len() {
                true => css((red, green, blue)),
                false => css((lighter(red), lighter(green), lighter(blue))),
            }
        }
    }
}

fn by_stage(shards: &[ShardObserved]) -> Markup {
    let Some(first) = shards.first() else {
        return html! {};
    };
    let stages = || first.stages.iter().enumerate();
    let seen = |name: &str| {
        let mut all = shards.iter().flat_map(|shard| &shard.stages);
        all.any(|stage| stage.name == name && stage.share >= 0.0005)
    };
    let rows = shards.iter().flat_map(|shard| {
        let stages = shard
            .stages
            .iter()
            .filter(|stage| stage.times > 0 || stage.share > 0.0);
        stages.map(move |stage| {
            let us = |us: Option<f64>| us.map_or_else(|| NOT_AVAILABLE.to_owned(), latency);
            vec![
                format!("{} on shard {}", stage.name, shard.shard),
                format!("{:.1}%", stage.share * 100.0),
                format!("{} s", rounded(stage.seconds)),
                whole(stage.times),
                us(stage.p50_us),
                us(stage.p99_us),
                us(stage.max_us),
            ]
        })
    });
    let head = [
        "stage",
        "of the time",
        "time",
        "times timed",
        "p50",
        "p99",
        "longest",
    ];
    html! {
        h3 { "Time by stage" }
        p.note {
            @for (place, stage) in stages().filter(|(_, stage)| seen(&stage.name)) {
                span.key { i style=(format!("background:{}", colour(&stage.name, stage.kind, place))) {} (stage.name) }
            }
        }
        @for shard in shards {
            div.what { "Shard " (shard.shard) }
            div.bar role="img" aria-label=(format!("time of shard {} by stage", shard.shard)) {
                @for (place, stage) in shard.stages.iter().enumerate() {
                    i title=(format!("{} {:.1}%", stage.name, stage.share * 100.0))
                        style=(format!("width:{:.2}%;background:{}", stage.share * 100.0, colour(&stage.name, stage.kind, place))) {}
                }
            }
        }
        (numbers(&head, &rows.collect::<Vec<_>>()))
    }
}

fn waits(shards: &[ShardObserved]) -> Markup {
    let us = |us: Option<f64>| us.map_or_else(|| NOT_AVAILABLE.to_owned(), latency);
    let rows: Vec<Vec<String>> = shards
        .iter()
        .flat_map(|shard| {
            shard.waits.iter().map(move |wait| {
                vec![
                    format!("{} on shard {}", wait.name, shard.shard),
                    whole(wait.times),
                    us(wait.mean_us),
                    us(wait.p50_us),
                    us(wait.p90_us),
                    us(wait.p99_us),
                    us(wait.p999_us),
                    us(wait.max_us),
                ]
            })
        })
        .collect();
    let head = ["", "times", "mean", "p50", "p90", "p99", "p99.9", "longest"];
    html! {
        @if !rows.is_empty() {
            h3 { "Waits" }
            p.note {
                "Messages wait in the inbox; reads from their planning to the kernel (slat), from there \
                 until they are fetched (clat), and both together (lat)."
            }
            (table(&head, &rows))
            @for shard in shards.iter().filter(|shard| shard.longest_stall_us > 0.0) {
                p.note {
                    "Shard " (shard.shard) " was away from its ring for " (latency(shard.longest_stall_us))
                    " at the longest, most of it in " (shard.longest_stall_stage) "."
                }
            }
        }
    }
}

/// Counters of all shards over rows, and instructions over cycles.
fn derived(shards: &[ShardObserved], rows: f64) -> Vec<Vec<String>> {
    let sum = |name: &str| -> Option<f64> {
        let all = shards.iter().flat_map(|shard| &shard.counters);
        let named = all.filter(|one| one.name == name);
        named.map(|one| one.value).sum()
    };
    let names = shards.first().map_or(&[][..], |shard| &shard.counters);
    let per_row = names.iter().filter(|_| rows > 0.0).filter_map(|one| {
        let (name, unit) = match &*one.name {
            "task-clock" => ("CPU µs", 1e3),
            name => (name, 1.0),
        };
        let value = sum(&one.name)? / rows / unit;
        Some(vec![format!("{name} a row"), rounded(value)])
    });
    let ipc = sum("instructions")
        .zip(sum("cycles"))
        .filter(|(_, cycles)| *cycles > 0.0);
    let ipc = ipc.map(|(instructions, cycles)| {
        vec![
            "instructions a cycle".to_owned(),
            rounded(instructions / cycles),
        ]
    });
    per_row.chain(ipc).collect()
}

fn counters(shards: &[ShardObserved], run: &ArchivedRecord) -> Markup {
    let derived = derived(shards, run.number("rows").unwrap_or(0.0));
    let counted = || {
        shards
            .iter()
            .flat_map(|shard| shard.counters.iter().map(move |one| (shard.shard, one)))
    };
    let rows: Vec<Vec<String>> = counted()
        .map(|(shard, one)| {
            let shares = one.by_stage.iter().filter(|(_, share)| *share >= 0.005);
            let shares = shares.map(|(stage, share)| format!("{stage} {:.0}%", share * 100.0));
            vec![
                format!("{} on shard {shard}", one.name),
                rounded_or_not(one.value),
                one.ran.map_or_else(
                    || NOT_AVAILABLE.to_owned(),
                    |ran| format!("{:.0}%", ran * 100.0),
                ),
                shares.collect::<Vec<_>>().join(", "),
                one.missing.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["counter", "value", "ran", "by stage", "why it is missing"];
    html! {
        @if !rows.is_empty() {
            h3 { "Counters of the processor and the kernel" }
            @if !derived.is_empty() { (table(&["on all shards", ""], &derived)) }
            div.words { (table(&head, &rows)) }
        }
    }
}

/// Everything about the machine and the configuration.
fn surroundings(run: &ArchivedRecord) -> Markup {
    let part = |title: &str, path: &str| {
        let rows = run.at(path).map(flat).unwrap_or_default();
        html! {
            @if !rows.is_empty() {
                details { summary { (title) } div.words { (table(&["", ""], &rows)) } }
            }
        }
    };
    html! {
        h3 { "Surroundings" }
        (part("Environment", "environment"))
        (part("Configuration", "config"))
        (part("Counters of the store", "store_counters"))
        p.note { "From " (run.path.display().to_string()) }
    }
}

/// Names with dots between them, and their values.
fn flat(value: &serde_json::Value) -> Vec<Vec<String>> {
    use serde_json::Value;
    fn walk(name: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
        let below = |part: &str| match name.is_empty() {
            true => part.to_owned(),
            false => format!("{name}.{part}"),
        };
        match value {
            Value::Object(fields) => {
                for (part, value) in fields {
                    walk(&below(part), value, rows);
                }
            }
            Value::Array(list) if list.iter().any(|item| item.is_object()) => {
                for (place, value) in list.iter().enumerate() {
                    walk(&below(&place.to_string()), value, rows);
                }
            }
            Value::String(text) => rows.push(vec![name.to_owned(), text.clone()]),
            other => rows.push(vec![name.to_owned(), other.to_string()]),
        }
    }
    let mut rows = Vec::new();
    walk("", value, &mut rows);
    rows
}
