//! Warnings that a number may mislead, each with the flag that mends it.
//!
//! Advice never changes a number and never marks a run invalid; `proof.rs` does
//! that.

use crate::drive::load::ClientPlace;
use crate::drive::subject::SubjectLimits;
use crate::record::Record;
use crate::record::proof::Cache;

/// Below this a run measures its own start and end.
const DURATION_S_MIN: f64 = 2.0;

/// A p99.9 of fewer queries than this rests on less than ten of them.
const QUERIES_MIN_FOR_P999: u64 = 10_000;

/// A p99 of fewer queries than this rests on less than ten of them.
const QUERIES_MIN_FOR_P99: u64 = 1_000;

/// Everything to be said about `record`.
pub(crate) fn advice(record: &Record, limits: Option<SubjectLimits>) -> Vec<String> {
    [
        slow_build(record),
        short(record),
        repeats(record),
        queries_repeat(record),
        limits.and_then(|limits| crowded(record, limits)),
        limits.and_then(|limits| shallow(record, limits)),
        thin_tail(record),
        late_generator(record),
        overloaded(record),
        coarse_clocks(record),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The flag that says how many queries to ask.
fn queries_flag(record: &Record) -> &'static str {
    match record.unique_queries {
        Some(_) => "--searches",
        None => "--queries",
    }
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
            "the run took {:.2} s, too short to be steady; measure longer with --seconds or {}",
            record.duration_s,
            queries_flag(record)
        )
    })
}

fn repeats(record: &Record) -> Option<String> {
    let repeated = record.rows.saturating_sub(record.unique_rows?);
    if repeated == 0 || record.cache != Cache::Cold {
        return None;
    }
    Some(format!(
        "{repeated} of {} rows were taken before in the same run, and a drive may have kept them in \
         memory of its own (the birthday trap); take a larger dataset, or fewer rows with --seconds or --queries",
        record.rows
    ))
}

fn queries_repeat(record: &Record) -> Option<String> {
    let repeated = record.queries.saturating_sub(record.unique_queries?);
    (repeated > 0 && record.cache == Cache::Cold).then(|| {
        format!(
            "{repeated} of {} queries were asked before in the same run, and a drive may have kept their rows \
             in memory of its own; give more queries (--query-pool makes them, --queries names a file), or ask fewer \
             with --seconds or --searches",
            record.queries
        )
    })
}

fn crowded(record: &Record, limits: SubjectLimits) -> Option<String> {
    if record.config.clients == ClientPlace::InShard {
        return None;
    }
    let cpus = record.environment.parallelism?;
    let threads = record.config.threads;
    (threads + limits.shards > cpus).then(|| {
        format!(
            "{} and {} share {cpus} CPUs, so the clients' work is taken from the shards; \
             for the store alone use fewer --threads or --shards",
            counted(threads, "client thread"),
            counted(limits.shards, "shard")
        )
    })
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn shallow(record: &Record, limits: SubjectLimits) -> Option<String> {
    if record.cache != Cache::Cold || record.open_loop.is_some() {
        return None;
    }
    let config = &record.config;
    let offered = config.threads as u64 * config.in_flight as u64 * config.rows_per_query;
    let depth = limits.shards as u64 * limits.queue_depth as u64;
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
        "{} queries are few for {quantile}; at least {needed} are better, measure longer with --seconds or {}",
        record.queries,
        queries_flag(record)
    ))
}

/// Above this share of the latency's p99, the p99 of late starts is no small part of it.
const LATE_SHARE_MAX: f64 = 0.1;

/// Below this share of the rate asked for, the store has not kept up.
const ACHIEVED_SHARE_MIN: f64 = 0.95;

fn late_generator(record: &Record) -> Option<String> {
    let open_loop = record.open_loop?;
    let late_us = open_loop.start_late_us.p99;
    let latency_us = record.latency_us.p99;
    let inside = record.config.clients == ClientPlace::InShard;
    if let Some(deadline_ms) = open_loop.deadline_ms
        && late_us > deadline_ms * 1e3 / 2.0
    {
        return Some(format!(
            "the generator was late: one query of 100 started {late_us:.0} µs or more after its time, \
             of {deadline_ms} ms it had, so the clients were the limit and not the store; \
             give them {}, or a lower --rate",
            if inside {
                "more --shards"
            } else {
                "more --threads"
            }
        ));
    }
    (late_us > latency_us * LATE_SHARE_MAX).then(|| {
        format!(
            "the generator was late: one query of 100 started {late_us:.0} µs or more after its time, \
             which is part of the {latency_us:.0} µs of p99; use {}",
            if inside {
                "more --shards or a lower --rate, and a machine with nothing else to do"
            } else {
                "more --threads, fewer --shards or a lower --rate"
            }
        )
    })
}

/// The clients of an open loop are kept off such CPUs.
fn coarse_clocks(record: &Record) -> Option<String> {
    let cpus = &record.environment.coarse_clock_cpus;
    (!cpus.is_empty() && record.open_loop.is_none()).then(|| {
        format!(
            "the clock of CPU {cpus:?} moves on in leaps, so latencies of clients that ran there are wrong; \
             measure latency with --rate, which keeps the clients off it"
        )
    })
}

fn overloaded(record: &Record) -> Option<String> {
    let open_loop = record.open_loop?;
    // With a deadline an overload is intended, and the report shows what became of it.
    let too_slow = open_loop.deadline_ms.is_none()
        && open_loop.rate_achieved_per_s < open_loop.rate_asked_per_s * ACHIEVED_SHARE_MIN;
    (too_slow || open_loop.never_started > 0).then(|| {
        format!(
            "{:.0} queries per second arrived and {:.0} were answered, {} of {} never started: \
             latency grows with the length of the run; use a lower --rate, such as 70%",
            open_loop.rate_asked_per_s,
            open_loop.rate_achieved_per_s,
            open_loop.never_started,
            open_loop.planned
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::latency::LatencyUs;
    use crate::record::open_loop::OpenLoop;
    use crate::record::tests::{measurement, record_of};

    const LIMITS: SubjectLimits = SubjectLimits {
        shards: 1,
        queue_depth: 64,
    };

    /// A record about which there is nothing to say.
    fn sound() -> Record {
        let mut record = record_of(&measurement());
        record.environment.build.debug_assertions = false;
        record.environment.build.profile = "release";
        record.environment.parallelism = Some(2);
        record.environment.coarse_clock_cpus = Vec::new();
        record.duration_s = 10.0;
        record.queries = QUERIES_MIN_FOR_P999;
        record
    }

    fn said(record: &Record, limits: SubjectLimits) -> String {
        advice(record, Some(limits)).join("\n")
    }

    #[test]
    fn sound_run_gets_no_advice() {
        assert_eq!(advice(&sound(), Some(LIMITS)), Vec::<String>::new());
    }

    #[test]
    fn each_weakness_is_named_with_its_flag() {
        let mut record = sound();
        record.environment.build.profile = "debug";
        assert!(said(&record, LIMITS).contains("--release"));

        let mut record = sound();
        record.duration_s = 0.5;
        assert!(said(&record, LIMITS).contains("0.50 s, too short"));

        let mut record = sound();
        record.unique_rows = Some(40_000);
        assert!(said(&record, LIMITS).contains("10000 of 50000 rows"));
        record.cache = Cache::Warm;
        assert_eq!(said(&record, LIMITS), "");

        let mut record = sound();
        record.queries = 999;
        assert!(said(&record, LIMITS).contains("few for p99 and p99.9"));
        record.queries = 9_999;
        assert!(said(&record, LIMITS).contains("few for p99.9"));
    }

    #[test]
    fn arrivals_that_were_late_or_not_answered_are_named() {
        let mut record = sound();
        record.open_loop = Some(OpenLoop {
            rate_asked_per_s: 100.0,
            rate_achieved_per_s: 99.0,
            capacity_per_s: None,
            planned: 1_000,
            late_starts: 0,
            start_late_us: LatencyUs {
                p99: record.latency_us.p99 * 0.05,
                ..record.latency_us
            },
            never_started: 0,
            refused: 0,
            expired: 0,
            deadline_ms: None,
            in_time_per_s: None,
            goodput: None,
        });
        assert_eq!(said(&record, LIMITS), "");
        let open_loop = record.open_loop.as_mut().unwrap();
        open_loop.start_late_us.p99 *= 3.0;
        assert!(said(&record, LIMITS).contains("generator was late"));
        assert!(said(&record, LIMITS).contains("more --threads"));
        let mut inside = record.clone();
        inside.config.clients = ClientPlace::InShard;
        assert!(said(&inside, LIMITS).contains("use more --shards"));
        let mut overload = record.clone();
        let open_loop = overload.open_loop.as_mut().unwrap();
        open_loop.deadline_ms = Some(open_loop.start_late_us.p99 / 1e3);
        assert!(said(&overload, LIMITS).contains("the clients were the limit"));
        let open_loop = record.open_loop.as_mut().unwrap();
        open_loop.start_late_us.p99 = 0.0;
        open_loop.rate_achieved_per_s = 94.0;
        assert!(said(&record, LIMITS).contains("94 were answered"));
    }

    #[test]
    fn machine_too_small_for_the_load_is_named() {
        let mut record = sound();
        record.environment.coarse_clock_cpus = vec![1];
        assert!(said(&record, LIMITS).contains("the clock of CPU [1] moves on in leaps"));

        let crowded = SubjectLimits {
            shards: 2,
            ..LIMITS
        };
        assert!(said(&sound(), crowded).contains("1 client thread and 2 shards share 2 CPUs"));
        let mut record = sound();
        record.config.clients = ClientPlace::InShard;
        assert_eq!(said(&record, crowded), "");

        let deep = SubjectLimits {
            queue_depth: 4_096,
            ..LIMITS
        };
        assert!(said(&sound(), deep).contains("--in-flight"));
        let mut record = sound();
        record.cache = Cache::Warm;
        assert_eq!(said(&record, deep), "");
    }
}
