//! The shards' caches save reads and never change an answer.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use ringtake_runtime::{Config, ShardStats, Store};
use ringtake_storage::layout::LayoutPolicy;

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{READ_PATHS, config, draw, seeded};

const ROWS: u64 = 2_000;

fn total(store: &Store) -> ShardStats {
    store
        .stats()
        .into_iter()
        .fold(ShardStats::default(), |sum, stats| sum + stats)
}

#[test]
fn a_second_pass_over_a_cached_dataset_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for policy in [LayoutPolicy::Packed, LayoutPolicy::Page] {
        let path = dir.path().join(policy.to_string());
        let shape = Shape {
            policy,
            ..Shape::of(ROWS)
        };
        dataset::write(&path, &shape);
        for read_path in READ_PATHS {
            for shards in [1, 3] {
                let config = Config {
                    cache_bytes: 1 << 30,
                    ..config(shards, read_path)
                };
                let store = Store::open(&path, config).unwrap();
                let ids: Vec<u64> = (0..ROWS).rev().collect();
                let expected = dataset::expected(&ids, &COLUMNS);
                assert_eq!(store.take(&ids, &store.all_columns()).unwrap(), expected);
                let first = total(&store);
                assert!(first.reads > 0);
                assert_eq!(store.take(&ids, &store.all_columns()).unwrap(), expected);
                let second = total(&store) - first;
                assert_eq!(
                    (second.reads, second.read_bytes),
                    (0, 0),
                    "{policy} {read_path}"
                );
                // Null and empty values take no bytes, so there is nothing to hit.
                assert!(second.cache_hits > ROWS * 3, "{second:?}");
            }
        }
    }
}

#[test]
fn a_cache_smaller_than_the_dataset_gives_right_rows_while_pages_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    let shape = Shape {
        policy: LayoutPolicy::Packed,
        ..Shape::of(ROWS)
    };
    dataset::write(&path, &shape);
    let mut rng = seeded(15);
    for read_path in READ_PATHS {
        // One page to each shard, a few, and half of the dataset.
        for cache_bytes in [2 * 4096, 40 * 4096, 1 << 20] {
            let config = Config {
                cache_bytes,
                ..config(2, read_path)
            };
            let store = Store::open(&path, config).unwrap();
            for _ in 0..12 {
                // A small range, so that half the dataset's worth of pages has hits and evictions.
                let ids = draw(&mut rng, ROWS / 2, 250);
                let taken = store.take(&ids, &store.all_columns()).unwrap();
                assert_eq!(taken, dataset::expected(&ids, &COLUMNS), "{cache_bytes}");
            }
            let stats = total(&store);
            assert!(
                stats.reads > 0 && (stats.cache_hits > 0 || cache_bytes < 1 << 20),
                "{cache_bytes} {stats:?}"
            );
        }
    }
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    let config = Config {
        cache_bytes: 8 * 4096,
        ..config(2, READ_PATHS[0])
    };
    let store = Store::open(&path, config).unwrap();
    let vectors = store.projection(&["vector"]).unwrap();
    let ids: Vec<u64> = (0..ROWS).collect();
    store.take(&ids, &vectors).unwrap();
    let first = total(&store);
    store.take(&ids, &vectors).unwrap();
    let second = total(&store) - first;
    // A row is less than a page, and no page holds more than five of them.
    assert!(second.cache_hits <= 8 * 5, "{second:?}");
    assert!(second.reads > 0, "{second:?}");
}

#[test]
fn a_row_damaged_beside_a_right_one_is_no_better_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    for read_path in READ_PATHS {
        let config = Config {
            cache_bytes: 1 << 30,
            ..config(1, read_path)
        };
        let store = Store::open(&path, config).unwrap();
        let (right, damaged) = (10, 11);
        let locator = store.dataset().locator(1);
        let at = locator.locate(damaged).unwrap();
        assert_eq!(locator.locate(right).unwrap().page(), at.page());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(store.dataset().file_path(1, 0))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at.offset).unwrap();
        file.write_all_at(&[!byte[0]], at.offset).unwrap();
        let vectors = store.projection(&["vector"]).unwrap();
        // Brings the page into the cache.
        assert_eq!(
            store.take(&[right], &vectors).unwrap(),
            dataset::expected(&[right], &["vector"])
        );
        let reads = total(&store).reads;
        for _ in 0..2 {
            let error = store.take(&[right, damaged], &vectors).unwrap_err();
            assert!(error.to_string().contains("row 11"), "{error}");
        }
        assert_eq!(
            total(&store).reads,
            reads,
            "the damaged row came from the cache"
        );
        file.write_all_at(&byte, at.offset).unwrap();
    }
}
