//! Metrics of a store: its time, its queues, its reads.

use std::time::{Duration, Instant};

use ringtake_runtime::{Config, Observe, PermitsHeld, QueryKind, Store};

use crate::dataset::{self, Shape};
use crate::opened::{READ_PATHS, config};

const ROWS: u64 = 5_000;
const SHARDS: usize = 2;

struct Opened {
    _dir: tempfile::TempDir,
    store: Store,
    /// Before it was opened.
    since: Instant,
}

fn open(config: Config) -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    let since = Instant::now();
    let config = Config {
        shards: Some(SHARDS),
        ..config
    };
    let store = Store::open(&path, config).unwrap();
    Opened {
        _dir: dir,
        store,
        since,
    }
}

fn take_all(store: &Store) {
    let ids: Vec<u64> = (0..ROWS).collect();
    for ids in ids.chunks(500) {
        store.take(ids, &store.all_columns()).wait().unwrap();
    }
}

#[test]
fn every_read_and_every_message_is_in_its_histogram_on_every_read_path() {
    for read_path in READ_PATHS {
        let opened = open(config(SHARDS, read_path));
        take_all(&opened.store);
        for shard in opened.store.metrics().shards {
            assert!(shard.stats.reads > 0, "{read_path}");
            let (lat, slat, clat) = (
                &shard.read_latency,
                &shard.submit_latency,
                &shard.device_latency,
            );
            assert_eq!(lat.count(), shard.stats.reads, "{read_path}");
            assert_eq!((slat.count(), clat.count()), (lat.count(), lat.count()));
            assert_eq!(slat.sum() + clat.sum(), lat.sum(), "{read_path}");
            assert!(slat.sum() > 0 && clat.sum() > 0, "{read_path}");
            assert_eq!(shard.inbox_wait.count(), shard.stats.parts, "{read_path}");
            assert!(shard.time.plan > 0 && shard.time.decode > 0, "{read_path}");
            assert!(shard.longest_stall.duration_ns > 0, "{read_path}");
            assert!(!shard.longest_stall.stage.is_empty(), "{read_path}");
        }
    }
}

#[test]
fn time_of_a_shard_is_all_of_its_time_and_no_more() {
    let opened = open(Config::default());
    take_all(&opened.store);
    let first = opened.store.metrics().shards;
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(50));
    take_all(&opened.store);
    let second = opened.store.metrics().shards;
    let whole = opened.since.elapsed();
    for (first, second) in first.iter().zip(&second) {
        let spent = second.time - first.time;
        assert!(spent.busy() <= spent.total());
        assert!(Duration::from_nanos(second.time.total()) <= whole);
        // What the shard slept and worked since, but for the end of a sleep that still goes on.
        assert!(Duration::from_nanos(spent.total()) >= Duration::from_millis(50));
        assert!(Duration::from_nanos(spent.total()) <= begun.elapsed() + whole);
        let reads = second.read_latency.since(&first.read_latency);
        assert_eq!(reads.count(), second.stats.reads - first.stats.reads);
        assert!(reads.quantile(0.5) <= reads.quantile(0.99));
    }
}

#[test]
fn snapshot_under_load_has_each_completion_in_the_histogram() {
    let opened = open(config(SHARDS, READ_PATHS[0]));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| (0..40).for_each(|_| take_all(&opened.store)));
        while !client.is_finished() {
            for shard in opened.store.metrics().shards {
                assert_eq!(shard.read_latency.count(), shard.stats.completions);
            }
        }
    });
}

#[test]
fn queues_are_sampled_in_the_order_of_time() {
    let opened = open(Config::default());
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        take_all(&opened.store);
        let shards = opened.store.metrics().shards;
        assert!(
            shards
                .iter()
                .all(|shard| shard.queues.is_sorted_by_key(|sample| sample.at_ns))
        );
        if shards.iter().all(|shard| shard.queues.len() > 2) {
            break;
        }
        assert!(Instant::now() < until, "no samples in ten seconds of work");
    }
}

#[test]
fn callers_stages_and_permits_are_seen_and_slow_takes_are_kept() {
    let opened = open(Config {
        observe: Observe {
            slow_query: Some(Duration::ZERO),
            ..Observe::default()
        },
        ..Config::default()
    });
    take_all(&opened.store);
    let seen = opened.store.metrics();
    let takes = ROWS / 500;
    for (stage, latencies) in seen.callers.by_name() {
        let expected = match stage {
            "admit" | "route" | "shards" | "assemble" => takes,
            _ => 0,
        };
        assert_eq!(latencies.count(), expected, "{stage}");
    }
    assert_eq!(seen.slow_queries_seen, takes);
    assert_eq!(seen.slow_queries.len() as u64, takes);
    for query in &seen.slow_queries {
        assert_eq!((query.kind, query.rows), (QueryKind::Take, 500));
        let stages: u64 = query.stages.iter().map(|(_, time)| time).sum();
        assert!(stages > 0 && stages <= query.duration_ns, "{query:?}");
    }
    assert_eq!(seen.permits, PermitsHeld::default());
    let text = opened.store.metrics_text();
    for line in [
        format!("ringtake_slow_queries_total {takes}"),
        format!("ringtake_caller_stage_seconds_count{{stage=\"admit\"}} {takes}"),
        "ringtake_permits_windows 0".to_owned(),
    ] {
        assert!(text.lines().any(|there| there == line), "{line} in\n{text}");
    }
}

#[test]
fn counters_of_shards_count_or_say_why_and_only_when_asked_for() {
    let opened = open(Config {
        observe: Observe {
            perf_counters: true,
            ..Observe::default()
        },
        ..Config::default()
    });
    for _ in 0..20 {
        take_all(&opened.store);
    }
    for shard in opened.store.metrics().shards {
        assert_eq!(shard.counters.len(), 8);
        for counter in shard.counters {
            assert_eq!(counter.value.is_none(), counter.missing.is_some());
            if counter.name == "task-clock"
                && let Some(nanoseconds) = counter.value
            {
                let stages: u64 = counter.by_stage.iter().map(|(_, count)| count).sum();
                assert!(stages > 0 && stages <= nanoseconds, "{counter:?}");
            }
        }
    }
    let unasked = open(Config::default());
    take_all(&unasked.store);
    assert!(unasked.store.metrics().shards[0].counters.is_empty());
}

#[test]
fn text_has_what_the_snapshot_has() {
    let opened = open(Config::default());
    take_all(&opened.store);
    let shards = opened.store.metrics().shards;
    let text = opened.store.metrics_text();
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    for (number, shard) in shards.iter().enumerate() {
        for (name, expected) in [
            ("reads_total", shard.stats.reads),
            ("rows_total", shard.stats.rows),
            ("parts_total", shard.stats.parts),
            ("read_latency_seconds_count", shard.read_latency.count()),
            ("inbox_wait_seconds_count", shard.inbox_wait.count()),
        ] {
            let name = format!("ringtake_{name}{{shard=\"{number}\"}}");
            assert_eq!(value(&name), expected as f64, "{name}");
        }
        let last =
            format!("ringtake_read_latency_seconds_bucket{{le=\"+Inf\",shard=\"{number}\"}}");
        let last = value(&last);
        assert_eq!(last, shard.read_latency.count() as f64);
        let decode =
            format!("ringtake_shard_time_seconds_total{{shard=\"{number}\",stage=\"decode\"}}");
        assert!(value(&decode) > 0.0);
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn store_without_metrics_counts_and_times_nothing() {
    let opened = open(Config {
        observe: Observe {
            metrics: false,
            ..Observe::default()
        },
        ..Config::default()
    });
    take_all(&opened.store);
    for shard in opened.store.metrics().shards {
        assert!(shard.stats.reads > 0);
        assert_eq!(shard.time.total(), 0);
        assert_eq!(shard.read_latency.count() + shard.inbox_wait.count(), 0);
        assert!(shard.queues.is_empty());
    }
}
