//! A configuration works as it says, says what it came to, or is refused.

use std::path::Path;
use std::time::Duration;

use ringtake_runtime::{
    Alignment, CacheChoice, Checksums, Config, CpuChoice, Error, Lab, Limits, ReadPathChoice,
    Scheduler, Store, allowed_cpus,
};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{
    READ_PATHS, assert_child_ended_well, config, draw, in_child, seeded, told_by_parent,
};

const ROWS: u64 = 1_500;

fn written() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    (dir, path)
}

/// Opens with `config` and takes some rows; returns the store.
fn assert_works(path: &Path, config: Config) -> Store {
    let shown = format!("{config:?}");
    let store = Store::open(path, config).unwrap();
    let ids = draw(&mut seeded(21), ROWS, 200);
    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
    assert_eq!(taken, dataset::expected(&ids, &COLUMNS), "{shown}");
    store
}

#[test]
fn queue_depths_alignments_and_shard_counts_at_their_limits_work() {
    let (_dir, path) = written();
    for read_path in READ_PATHS {
        for queue_depth in [1, 4096] {
            let config = Config {
                queue_depth,
                ..config(1, read_path)
            };
            assert_works(&path, config);
        }
        for bytes in [4096, 65_536] {
            let config = Config {
                lab: Lab {
                    alignment: Alignment::Bytes(bytes),
                    ..Lab::default()
                },
                ..config(2, read_path)
            };
            let store = assert_works(&path, config);
            assert_eq!(store.config().align_bytes, bytes);
            let stats = store.stats()[0];
            assert!(stats.reads > 0 && stats.read_bytes.is_multiple_of(u64::from(bytes)));
        }
    }
    // More than CPUs and more than blocks: some shards own nothing.
    let blocks = ROWS.div_ceil(256) as usize;
    let shards = blocks.max(allowed_cpus().cpus.len()) + 3;
    for cpus in [CpuChoice::Allowed, CpuChoice::Unpinned] {
        let config = Config {
            cpus,
            cache: CacheChoice::Bytes(1 << 20),
            ..config(shards, ReadPathChoice::Auto)
        };
        let store = assert_works(&path, config);
        assert_eq!(store.info().shards.len(), shards);
        assert!(store.stats()[blocks..].iter().all(|stats| stats.parts == 0));
    }
}

#[test]
fn the_configuration_is_printed_back_as_it_came_out() {
    let (_dir, path) = written();
    let config = Config {
        cpus: CpuChoice::Allowed,
        queue_depth: 33,
        cache: CacheChoice::Bytes(12_345_678),
        lab: Lab {
            checksums: Checksums::Skip,
            scheduler: Scheduler::PerRead,
            alignment: Alignment::Bytes(8192),
        },
        limits: Limits {
            takes_in_flight_max: 77,
            reads_in_flight_max: 888,
            bytes_in_flight_max: 9_999_999,
        },
        spin_before_park: Duration::from_micros(50),
        ..config(3, ReadPathChoice::ThreadPool { threads: 5 })
    };
    let store = assert_works(&path, config);
    let allowed = allowed_cpus().cpus;
    let cpus: Vec<usize> = (0..3).map(|shard| allowed[shard % allowed.len()]).collect();
    let resolved = store.config();
    assert_eq!(resolved.cpus, cpus);
    let printed = resolved.to_string();
    for line in [
        "shards = 3".to_owned(),
        format!("cpus = {cpus:?}"),
        "queue_depth = 33".to_owned(),
        "cache = 12345678".to_owned(),
        "read_path = thread-pool:5".to_owned(),
        "scheduler = per-read".to_owned(),
        "checksums = skip".to_owned(),
        "align_bytes = 8192".to_owned(),
        "takes_in_flight_max = 77".to_owned(),
        "reads_in_flight_max = 888".to_owned(),
        "bytes_in_flight_max = 9999999".to_owned(),
        "spin_before_park = 50µs".to_owned(),
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} in {printed}"
        );
    }
    let json = serde_json::to_value(resolved).unwrap();
    assert_eq!(json["read_path"], "thread-pool:5");
    assert_eq!(json["align_bytes"], 8192);
    let opened = serde_json::to_value(store.info()).unwrap();
    assert_eq!(opened["rows"], ROWS);
    assert_eq!(opened["shards"][2]["thread"], "rt-shard-2");
    assert_eq!(opened["read_path"], "thread-pool:5");
    assert_eq!(opened["scheduler"], "per-read");
    // Settings that the caller did not choose are listed too.
    let default = Store::open(&path, Config::default()).unwrap();
    let resolved = default.config();
    assert!(resolved.shards >= 1 && resolved.cpus.len() == resolved.shards);
    assert_ne!(resolved.read_path, ReadPathChoice::Auto);
    assert_eq!(default.info().shards.len(), resolved.shards);
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_field_and_reason() {
    let (_dir, path) = written();
    let no_cpu = allowed_cpus().cpus.iter().max().unwrap() + 1;
    let base = || config(1, ReadPathChoice::Auto);
    for (config, field) in [
        (
            Config {
                shards: Some(0),
                ..base()
            },
            "shards",
        ),
        (
            Config {
                shards: Some(1 << 20),
                ..base()
            },
            "shards",
        ),
        (
            Config {
                queue_depth: 0,
                ..base()
            },
            "queue_depth",
        ),
        (
            Config {
                queue_depth: 4097,
                ..base()
            },
            "queue_depth",
        ),
        (
            Config {
                cpus: CpuChoice::These(vec![no_cpu]),
                ..base()
            },
            "cpus",
        ),
        (
            Config {
                lab: Lab {
                    alignment: Alignment::Bytes(256),
                    ..Lab::default()
                },
                ..base()
            },
            "alignment",
        ),
        (
            Config {
                lab: Lab {
                    alignment: Alignment::Bytes(1 << 20),
                    ..Lab::default()
                },
                ..base()
            },
            "alignment",
        ),
        (
            Config {
                limits: Limits {
                    takes_in_flight_max: 0,
                    ..Limits::default()
                },
                ..base()
            },
            "takes_in_flight_max",
        ),
        (
            Config {
                limits: Limits {
                    reads_in_flight_max: 0,
                    ..Limits::default()
                },
                ..base()
            },
            "reads_in_flight_max",
        ),
        (
            Config {
                spin_before_park: Duration::from_secs(2),
                ..base()
            },
            "spin_before_park",
        ),
        (
            Config {
                limits: Limits {
                    bytes_in_flight_max: u64::MAX,
                    ..Limits::default()
                },
                ..base()
            },
            "bytes_in_flight_max",
        ),
        (
            Config {
                read_path: ReadPathChoice::SharedRings { rings: 0 },
                ..base()
            },
            "read_path",
        ),
        (
            Config {
                read_path: ReadPathChoice::Glommio,
                lab: Lab {
                    scheduler: Scheduler::PerRead,
                    ..Lab::default()
                },
                ..base()
            },
            "scheduler",
        ),
    ] {
        match Store::open(&path, config) {
            Err(Error::Config(error)) => {
                assert_eq!(error.field, field);
                assert!(error.to_string().contains(&error.reason) && !error.reason.is_empty());
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}

/// The default configuration in a process that may use one CPU only.
#[test]
fn a_process_allowed_one_cpu_runs_one_shard_there() {
    const SELF: &str = "configuration::a_process_allowed_one_cpu_runs_one_shard_there";
    let Some(cpu) = told_by_parent() else {
        let cpu = *allowed_cpus().cpus.last().unwrap();
        let output = in_child(SELF, &cpu.to_string());
        return assert_child_ended_well(&output, "one shard works");
    };
    let cpu: usize = cpu.parse().unwrap();
    let mut mask = rustix::thread::CpuSet::new();
    mask.set(cpu);
    rustix::thread::sched_setaffinity(None, &mask).unwrap();
    let (_dir, path) = written();
    let store = assert_works(&path, Config::default());
    assert_eq!(store.config().shards, 1);
    assert_eq!(store.config().cpus, [cpu]);
    assert_eq!(store.info().shards[0].cpu, Some(cpu));
    let on = store.run_on(store.shard_of(0), async |_| {
        let mask = rustix::thread::sched_getaffinity(None).unwrap();
        let allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu));
        allowed.collect::<Vec<_>>()
    });
    assert_eq!(futures_lite::future::block_on(on).unwrap(), [cpu]);
    // More shards than CPUs share them.
    let config = Config {
        shards: Some(3),
        ..Config::default()
    };
    assert_eq!(assert_works(&path, config).config().cpus, [cpu; 3]);
    println!("one shard works");
}

#[test]
fn a_cache_makes_reads_whole_pages_and_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    dataset::write(&path, &Shape::of(600));
    let config = Config {
        cache: CacheChoice::Bytes(1 << 20),
        ..config(1, ReadPathChoice::Auto)
    };
    let store = Store::open(&path, config).unwrap();
    assert!(store.config().align_bytes >= 4096);
    let all = store.all_columns();
    store.take(&[1, 300, 599], &all).wait().unwrap();
    let stats = store.stats()[0];
    assert!(stats.reads > 0 && stats.read_bytes.is_multiple_of(4096));
}
