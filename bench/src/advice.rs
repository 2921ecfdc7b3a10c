//! Why a number may mislead, and which flag mends it.
//!
//! Advice never changes a number and never marks a run invalid; that is
//! `proof.rs`. It is what somebody who knows the measurement would say on
//! looking at the record.

use crate::proof::Cache;
use crate::record::Record;
use crate::subject::Facts;

/// Below this a run measures its own start and end.
const DURATION_S_MIN: f64 = 2.0;

/// A p99.9 of fewer queries than this rests on less than ten of them.
const QUERIES_MIN_FOR_P999: u64 = 10_000;

/// A p99 of fewer queries than this rests on less than ten of them.
const QUERIES_MIN_FOR_P99: u64 = 1_000;

/// Everything to be said about `record`.
pub(crate) fn advice(record: &Record, facts: Option<Facts>) -> Vec<String> {
    [
        slow_build(record),
        short(record),
        repeats(record),
        facts.and_then(|facts| crowded(record, facts)),
        facts.and_then(|facts| shallow(record, facts)),
        thin_tail(record),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn slow_build(record: &Record) -> Option<String> {
    let build = &record.environment.build;
    (build.debug_assertions || build.profile != "release").then(|| {
        "this is a debug build, several times slower than a release build; \
         use `cargo run --release --bin bench`"
            .to_owned()
    })
}

fn short(record: &Record) -> Option<String> {
    (record.duration_s < DURATION_S_MIN).then(|| {
        format!(
            "the run took {:.2} s, too short to be steady; measure longer with --seconds or --queries",
            record.duration_s
        )
    })
}

fn repeats(record: &Record) -> Option<String> {
    let repeated = record.rows.saturating_sub(record.unique_rows);
    if repeated == 0 || record.cache == Cache::Warm {
        return None;
    }
    Some(format!(
        "{repeated} of {} rows were taken before in the same run, and a drive may have kept them in \
         memory of its own; take a larger dataset, or fewer rows with --seconds or --queries",
        record.rows
    ))
}

fn crowded(record: &Record, facts: Facts) -> Option<String> {
    let cpus = record.environment.parallelism?;
    let threads = record.config.threads;
    (threads + facts.shards > cpus).then(|| {
        format!(
            "{} and {} share {cpus} CPUs, so the clients' work is taken from the shards; \
             for the store alone use fewer --threads or --shards",
            counted(threads, "client thread"),
            counted(facts.shards, "shard")
        )
    })
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn shallow(record: &Record, facts: Facts) -> Option<String> {
    if record.cache == Cache::Warm {
        return None;
    }
    let config = &record.config;
    let offered = config.threads as u64 * config.in_flight as u64 * config.rows_per_query;
    let depth = facts.shards as u64 * facts.queue_depth as u64;
    (offered < depth).then(|| {
        format!(
            "the clients ask for at most {offered} rows at a time and the store could keep {depth} reads \
             in flight; for its capacity use more with --in-flight or --threads"
        )
    })
}

fn thin_tail(record: &Record) -> Option<String> {
    let (quantile, needed) = if record.queries < QUERIES_MIN_FOR_P99 {
        ("p99 and p99.9", QUERIES_MIN_FOR_P99)
    } else if record.queries < QUERIES_MIN_FOR_P999 {
        ("p99.9", QUERIES_MIN_FOR_P999)
    } else {
        return None;
    };
    Some(format!(
        "{} queries are few for {quantile}; at least {needed} are better, measure longer with --seconds or --queries",
        record.queries
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    const FACTS: Facts = Facts {
        shards: 1,
        queue_depth: 64,
    };

    /// A record about which there is nothing to say.
    fn sound() -> Record {
        let mut record = record_of(&measurement());
        record.environment.build.debug_assertions = false;
        record.environment.build.profile = "release";
        record.environment.parallelism = Some(2);
        record.duration_s = 10.0;
        record.queries = QUERIES_MIN_FOR_P999;
        record
    }

    fn said(record: &Record, facts: Facts) -> String {
        advice(record, Some(facts)).join("\n")
    }

    #[test]
    fn sound_run_gets_no_advice() {
        assert_eq!(advice(&sound(), Some(FACTS)), Vec::<String>::new());
    }

    #[test]
    fn each_weakness_is_named_with_its_flag() {
        let mut record = sound();
        record.environment.build.profile = "debug";
        assert!(said(&record, FACTS).contains("--release"));

        let mut record = sound();
        record.duration_s = 0.5;
        assert!(said(&record, FACTS).contains("0.50 s, too short"));

        let mut record = sound();
        record.unique_rows = 40_000;
        assert!(said(&record, FACTS).contains("10000 of 50000 rows"));
        record.cache = Cache::Warm;
        assert_eq!(said(&record, FACTS), "");

        let mut record = sound();
        record.queries = 999;
        assert!(said(&record, FACTS).contains("few for p99 and p99.9"));
        record.queries = 9_999;
        assert!(said(&record, FACTS).contains("few for p99.9"));

        let crowded = Facts { shards: 2, ..FACTS };
        assert!(said(&sound(), crowded).contains("1 client thread and 2 shards share 2 CPUs"));

        let deep = Facts {
            queue_depth: 4_096,
            ..FACTS
        };
        assert!(said(&sound(), deep).contains("--in-flight"));
        let mut record = sound();
        record.cache = Cache::Warm;
        assert_eq!(said(&record, deep), "");
    }
}
