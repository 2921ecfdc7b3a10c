//! Duties of every read path to the shard beside the rows: no completion is lost at any
//! depth, and the store ends whatever is in flight.

use std::fs;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_lite::Future as _;
use ringtake_runtime::{Config, Error, Lab, ReadPathChoice, Scheduler, Store};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{config, draw, seeded, ways, without_hanging};

const ROWS: u64 = 3_000;

fn written() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    (dir, path)
}

fn with(way: (ReadPathChoice, Scheduler), shards: usize, queue_depth: u32) -> Config {
    Config {
        lab: Lab {
            scheduler: way.1,
            ..Lab::default()
        },
        queue_depth,
        ..config(shards, way.0)
    }
}

#[test]
fn no_completion_is_lost_at_the_least_and_the_greatest_depth() {
    let (_dir, path) = written();
    for way in ways() {
        for queue_depth in [1, 4096] {
            let config = with(way, 2, queue_depth);
            let path = path.clone();
            without_hanging(move || {
                let store = Store::open(&path, config).unwrap();
                let ids = draw(&mut seeded(31), ROWS, 2_000);
                let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
                assert!(
                    taken == dataset::expected(&ids, &COLUMNS),
                    "{way:?} {queue_depth}"
                );
                for stats in store.stats() {
                    assert_eq!(stats.reads, stats.completions, "{way:?} {queue_depth}");
                }
            });
        }
    }
}

#[test]
fn a_store_ends_with_reads_in_flight_and_its_last_takes_done_or_refused() {
    let (_dir, path) = written();
    for way in ways() {
        let path = path.clone();
        without_hanging(move || {
            for round in 0..6 {
                let store = Store::open(&path, with(way, 2, 64)).unwrap();
                let ids = draw(&mut seeded(32 + round), ROWS, 400);
                let all = store.all_columns();
                let mut kept: Vec<_> = (0..4)
                    .map(|_| {
                        let (store, ids, all) = (store.clone(), ids.clone(), all.clone());
                        Box::pin(async move { store.take(&ids, &all).await })
                    })
                    .collect();
                let waker = Waker::noop();
                for take in &mut kept {
                    let _ = take.as_mut().poll(&mut Context::from_waker(waker));
                }
                {
                    let dropped = store.take(&ids, &all).into_future();
                    let mut dropped = pin!(dropped);
                    let _ = dropped.as_mut().poll(&mut Context::from_waker(waker));
                }
                if round % 2 == 0 {
                    store.close();
                } else {
                    // The futures hold the store, so it ends with the last of them.
                    drop(store);
                }
                for take in kept {
                    match pollster::block_on(take) {
                        Ok(taken) => {
                            assert!(taken == dataset::expected(&ids, &COLUMNS), "{way:?}");
                        }
                        Err(error) => assert!(matches!(error, Error::Closed), "{way:?} {error}"),
                    }
                }
            }
        });
    }
}

/// File descriptors of this process that lead to files under `dir`.
fn open_below(dir: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let target = entry.and_then(|entry| fs::read_link(entry.path()));
        count += usize::from(target.is_ok_and(|target| target.starts_with(dir)));
    }
    count
}

#[test]
fn a_store_that_has_ended_leaves_no_file_open() {
    let (dir, path) = written();
    let dir = dir.path().canonicalize().unwrap();
    for way in ways() {
        let store = Store::open(&path, with(way, 2, 16)).unwrap();
        let ids = draw(&mut seeded(33), ROWS, 100);
        store.take(&ids, &store.all_columns()).wait().unwrap();
        assert!(open_below(&dir) > 0);
        drop(store);
        assert_eq!(open_below(&dir), 0, "{way:?}");
    }
}

#[test]
fn shards_read_through_the_rings_of_the_store_and_no_more() {
    let (_dir, path) = written();
    let threads = |prefix: &str| {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with(prefix))
            .count()
    };
    // Other tests of this process have rings of their own.
    const SELF: &str = "paths::shards_read_through_the_rings_of_the_store_and_no_more";
    if crate::opened::told_by_parent().is_none() {
        let output = crate::opened::in_child(SELF, "alone");
        return crate::opened::assert_child_ended_well(&output, "three rings");
    }
    let way = (ReadPathChoice::SharedRings { rings: 3 }, Scheduler::Batched);
    let store = Store::open(&path, with(way, 2, 16)).unwrap();
    assert_eq!(threads("rt-ring-"), 3);
    let ids = draw(&mut seeded(34), ROWS, 300);
    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
    assert!(taken == dataset::expected(&ids, &COLUMNS));
    assert_eq!(store.info().read_path, way.0);
    drop(store);
    // The kernel lists a thread for a moment longer than it can be joined.
    without_hanging(move || {
        while threads("rt-ring-") > 0 {
            std::thread::yield_now();
        }
    });
    println!("three rings");
}
