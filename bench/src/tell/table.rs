//! Records on the terminal: a table whose lines explain themselves, and warnings
//! and notes about the numbers.

use std::fmt::Write as _;

use crate::drive::load::ClientPlace;
use crate::numbers::{NOT_AVAILABLE, bytes, latency, rounded, rounded_or_not, whole};
use crate::record::Record;
use crate::record::configuration::Configuration;
use crate::record::open_loop::OpenLoop;
use crate::record::proof::Cache;
use crate::tell::grid::grid;

/// One line of the table: its name, its value in a record, what it means.
type Line = (&'static str, fn(&Record) -> String, &'static str);

const LINES: [Line; 15] = [
    (
        "rows per second",
        |record| rounded(record.rates.rows_per_s),
        "rows fetched by their ids, in random order",
    ),
    (
        "queries per second",
        |record| rounded(record.rates.queries_per_s),
        "each query fetches all its rows at once",
    ),
    (
        "half of the queries within",
        |record| latency(record.latency_us.p50),
        "from asking to having the answer (p50)",
    ),
    (
        "99 of 100 within",
        |record| latency(record.latency_us.p99),
        "p99; without --rate the store is kept full, so queries wait for each other",
    ),
    (
        "999 of 1000 within",
        |record| latency(record.latency_us.p999),
        "p99.9",
    ),
    (
        "drive reads per row",
        |record| rounded_or_not(record.per_row.device_reads_per_row),
        "counted by the drive; 1 is one read for each row, 0 is none",
    ),
    (
        "drive bytes per row",
        |record| rounded_or_not(record.per_row.device_bytes_per_row),
        "what the drive moved to get one row",
    ),
    (
        "found in the cache",
        |record| {
            record.per_row.cache_hit_share.map_or_else(
                || NOT_AVAILABLE.to_owned(),
                |share| format!("{:.1}%", share * 100.0),
            )
        },
        "of the rows taken",
    ),
    (
        "CPU per row",
        |record| {
            record.per_row.cpu_us_per_row.map_or_else(
                || NOT_AVAILABLE.to_owned(),
                |us| format!("{} µs", rounded(us)),
            )
        },
        "all threads, the clients' too",
    ),
    (
        "  of it in the kernel",
        |record| {
            record.per_row.sys_us_per_row.map_or_else(
                || NOT_AVAILABLE.to_owned(),
                |us| format!("{} µs", rounded(us)),
            )
        },
        "reading costs most of this",
    ),
    (
        "CPUs busy",
        |record| rounded(record.rates.cores_busy),
        "CPU time over time",
    ),
    (
        "rows per second and CPU",
        |record| rounded_or_not(record.rates.rows_per_s_per_core),
        "rows for each second of CPU time",
    ),
    (
        "context switches per row",
        |record| rounded_or_not(record.per_row.context_switches_per_row),
        "how often a thread had to wait or was made to",
    ),
    (
        "system calls per row",
        |record| rounded_or_not(record.per_row.syscalls_per_row),
        "how often the kernel was asked",
    ),
    (
        "proven",
        |record| if record.valid { "yes" } else { "NO, see below" }.to_owned(),
        "whether the drive's own counters bear the run out",
    ),
];

/// The lines of a search, before those of a take.
const SEARCH_LINES: [Line; 5] = [
    (
        "recall",
        |record| {
            let recall = record.search.as_ref().and_then(|search| search.recall_at_k);
            recall.map_or_else(|| NOT_AVAILABLE.to_owned(), |recall| format!("{recall:.4}"))
        },
        "share of the true nearest k rows that are found",
    ),
    (
        "queries per second and CPU",
        |record| rounded_or_not(record.rates.queries_per_s_per_core),
        "queries for each second of CPU time",
    ),
    (
        "drive reads per query",
        |record| rounded_or_not(record.per_query.device_reads_per_query),
        "counted by the drive",
    ),
    (
        "CPU per query",
        |record| {
            record
                .per_query
                .cpu_us_per_query
                .map_or_else(|| NOT_AVAILABLE.to_owned(), latency)
        },
        "all threads, the clients' too",
    ),
    (
        "index bytes per row",
        |record| {
            let search = record.search.as_ref();
            rounded_or_not(search.and_then(|search| search.index_bytes_per_row))
        },
        "in memory",
    ),
];

/// The table over `records`, side by side, and the words about each.
pub fn report(records: &[Record]) -> String {
    let mut text = String::new();
    if let Some(first) = records.first() {
        let _ = writeln!(text, "{}", heading(first));
    }
    let titles: Vec<String> = records.iter().map(column_title).collect();
    let mut head = vec![""];
    head.extend(titles.iter().map(String::as_str));
    head.push("what it says");
    let searches = records.iter().any(|record| record.search.is_some());
    let lines = SEARCH_LINES.iter().filter(|_| searches).chain(&LINES);
    let rows = lines.map(|(name, value, meaning)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(records.iter().map(value));
        row.push((*meaning).to_owned());
        row
    });
    let table = grid(&head, rows, 1..=records.len());
    let _ = writeln!(text, "{table}");
    for record in records {
        let _ = writeln!(text, "{}: {}", name(record), extent(record));
    }
    for record in records
        .iter()
        .filter(|record| !record.per_query.cpu_share.is_empty())
    {
        let _ = writeln!(text, "{}: CPU by stage: {}", name(record), stages(record));
    }
    for record in records {
        if let Some(verdict) = &record.verdict {
            let _ = writeln!(text, "{}: {}", name(record), verdict.words);
        }
    }
    for open_loop in records.iter().filter_map(|record| record.open_loop) {
        text.push_str(&arrivals(&open_loop));
    }
    for (prefix, words) in words(records) {
        let _ = writeln!(text, "{prefix}: {words}");
    }
    text
}

/// How much a run did, how long it took, and its checksum.
fn extent(record: &Record) -> String {
    format!(
        "{} in {:.1} s, {} of them different; checksum {} over the first {} rows, seed {}",
        match record.unique_queries {
            None => format!("{} rows", whole(record.rows)),
            Some(_) => format!("{} queries", whole(record.queries)),
        },
        record.duration_s,
        whole(record.unique_queries.or(record.unique_rows).unwrap_or(0)),
        record.rows_checksum,
        whole(record.rows_checksum_rows),
        record.seed,
    )
}

/// The arrivals of an open loop, and the goodput where queries had a deadline.
fn arrivals(open_loop: &OpenLoop) -> String {
    let mut text = format!(
        "open loop: {} queries per second asked for, {} answered; {} of {} started late, 99 of 100 within {}, the latest {} after its time\n",
        rounded(open_loop.rate_asked_per_s),
        rounded(open_loop.rate_achieved_per_s),
        whole(open_loop.late_starts),
        whole(open_loop.planned),
        latency(open_loop.start_late_us.p99),
        latency(open_loop.start_late_us.max),
    );
    if let (Some(deadline_ms), Some(in_time)) = (open_loop.deadline_ms, open_loop.in_time_per_s) {
        let of_capacity = open_loop.goodput.map_or_else(String::new, |goodput| {
            format!(", {goodput:.3} of the capacity")
        });
        let _ = writeln!(
            text,
            "within {deadline_ms} ms: {} queries per second{of_capacity}; {} refused and {} expired of {}, which no latency above counts",
            rounded(in_time),
            whole(open_loop.refused),
            whole(open_loop.expired),
            whole(open_loop.planned),
        );
    }
    text
}

/// The clients, and the queries in flight.
fn asked_by(config: &Configuration) -> String {
    match (config.clients, config.threads) {
        (ClientPlace::InShard, _) => "from a client in each shard".to_owned(),
        (ClientPlace::Threads, 1) => format!("{} at a time from 1 client thread", config.in_flight),
        (ClientPlace::Threads, threads) => format!(
            "{} at a time from {threads} client threads",
            threads * config.in_flight
        ),
    }
}

/// The workload and the machine.
pub(crate) fn heading(record: &Record) -> String {
    let config = &record.config;
    let environment = &record.environment;
    let row = config.row_bytes.map_or_else(
        || format!("{} columns", config.columns.len()),
        |row_bytes| format!("{} each", bytes(row_bytes)),
    );
    let devices: Vec<&str> = environment
        .devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    format!(
        "{} rows, {row}, on {}; {}, {}; read path {}\n{}, Linux {}, {} build",
        whole(config.rows_used),
        if devices.is_empty() {
            "no drive".to_owned()
        } else {
            devices.join(", ")
        },
        match &record.search {
            None => format!("queries of {} rows", config.rows_per_query),
            Some(search) => format!("searches for the nearest {} by {}", search.k, search.metric),
        },
        asked_by(config),
        record.read_path,
        environment.cpu_model.as_deref().unwrap_or("unknown CPU"),
        environment.kernel,
        environment.build.profile,
    )
}

fn column_title(record: &Record) -> String {
    let title = match record.cache {
        Cache::Cold => "cold: from the drive",
        Cache::Warm => "warm: from memory",
        Cache::Mixed => "mixed: most from memory",
    };
    let name = name(record);
    match record.search {
        Some(_) => format!("{title}{}", &name[record.cache.to_string().len()..]),
        None => title.to_owned(),
    }
}

/// A name that distinguishes a record from those beside it.
fn name(record: &Record) -> String {
    let mut name = record.cache.to_string();
    if let Some(search) = &record.search {
        if let Some(nprobes) = search.nprobes {
            let _ = write!(name, ", nprobes {nprobes}");
        }
        if let Some(factor) = search.refine_factor {
            let _ = write!(name, ", refine {factor}");
        }
    }
    name
}

/// The stages that took any time, in percent.
fn stages(record: &Record) -> String {
    let shares = record.per_query.cpu_share.0.iter();
    let shown: Vec<String> = shares
        .filter(|(_, share)| *share >= 0.0005)
        .map(|(name, share)| format!("{name} {:.1}%", share * 100.0))
        .collect();
    shown.join(", ")
}

/// Warnings and notes about the records, each once.
pub(crate) fn words(records: &[Record]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut say = |prefix: String, words: &str| {
        if !all.iter().any(|(_, said)| said == words) {
            all.push((prefix, words.to_owned()));
        }
    };
    for record in records {
        if record.partial {
            let words = format!("the run was ended after {:.1} s", record.duration_s);
            say(format!("PARTIAL ({})", record.cache), &words);
        }
        if let Some(reason) = &record.invalid_reason {
            say(format!("NOT VALID ({})", record.cache), reason);
        }
    }
    for warning in records.iter().flat_map(|record| &record.warnings) {
        say("warning".to_owned(), warning);
    }
    for note in records.iter().flat_map(|record| &record.notes) {
        say("note".to_owned(), note);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::device::DeviceReads;
    use crate::record::tests::{measurement, record_of};

    #[test]
    fn report_says_the_numbers_and_why_they_do_not_count() {
        let mut unproven = measurement();
        unproven.device = Ok(DeviceReads::default());
        unproven.system_calls = Err("system calls are not counted: no permission".to_owned());
        let mut record = record_of(&unproven);
        record.warnings.push("this is a debug build".to_owned());
        let text = report(&[record.clone(), record]);
        for part in [
            "25,000",
            "10.0 µs",
            "NO, see below",
            "n/a",
            "NOT VALID (cold): the store issued",
            "warning: this is a debug build",
            "note: system calls are not counted",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(text.matches("this is a debug build").count(), 1, "{text}");
    }

    #[test]
    fn proven_report_has_no_word_of_invalid() {
        let text = report(&[record_of(&measurement())]);
        assert!(!text.contains("NOT VALID"), "{text}");
        assert!(text.contains("yes"), "{text}");
    }
}
