//! The shards' caches save reads and never change an answer.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use rand::seq::SliceRandom;
use ringtake_runtime::{CacheChoice, Config, ShardStats, Store};
use ringtake_storage::layout::LayoutPolicy;
use ringtake_storage::write::Overwrite;

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
                    cache: CacheChoice::Bytes(1 << 30),
                    ..config(shards, read_path)
                };
                let store = Store::open(&path, config).unwrap();
                let ids: Vec<u64> = (0..ROWS).rev().collect();
                let expected = dataset::expected(&ids, &COLUMNS);
                assert_eq!(
                    store.take(&ids, &store.all_columns()).wait().unwrap(),
                    expected
                );
                let first = total(&store);
                assert!(first.reads > 0);
                assert_eq!(
                    store.take(&ids, &store.all_columns()).wait().unwrap(),
                    expected
                );
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
                cache: CacheChoice::Bytes(cache_bytes),
                ..config(2, read_path)
            };
            let store = Store::open(&path, config).unwrap();
            for _ in 0..12 {
                // A small range, so that half the dataset's worth of pages has hits and evictions.
                let ids = draw(&mut rng, ROWS / 2, 250);
                let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
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
        cache: CacheChoice::Bytes(8 * 4096),
        ..config(2, READ_PATHS[0])
    };
    let store = Store::open(&path, config).unwrap();
    let vectors = store.projection(&["vector"]).unwrap();
    let ids: Vec<u64> = (0..ROWS).collect();
    store.take(&ids, &vectors).wait().unwrap();
    let first = total(&store);
    store.take(&ids, &vectors).wait().unwrap();
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
            cache: CacheChoice::Bytes(1 << 30),
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
            store.take(&[right], &vectors).wait().unwrap(),
            dataset::expected(&[right], &["vector"])
        );
        // The cache's word is not the last: each take asks the drive for the damaged row.
        for _ in 0..2 {
            let reads = total(&store).reads;
            let error = store.take(&[right, damaged], &vectors).wait().unwrap_err();
            assert!(error.to_string().contains("row 11"), "{error}");
            assert_eq!(total(&store).reads, reads + 1);
        }
        // So a row that was mended is right at once, though its page was in the cache.
        file.write_all_at(&byte, at.offset).unwrap();
        assert_eq!(
            store.take(&[right, damaged], &vectors).wait().unwrap(),
            dataset::expected(&[right, damaged], &["vector"])
        );
    }
}

#[test]
fn a_row_is_checked_once_and_not_again_while_its_page_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    for policy in [LayoutPolicy::Packed, LayoutPolicy::Page] {
        let shape = Shape {
            policy,
            overwrite: Overwrite::Replace,
            ..Shape::of(ROWS)
        };
        dataset::write(&path, &shape);
        let config = Config {
            cache: CacheChoice::Bytes(1 << 30),
            ..config(2, READ_PATHS[0])
        };
        let store = Store::open(&path, config).unwrap();
        let vectors = store.projection(&["vector"]).unwrap();
        let within_page = |id: &u64| {
            let at = store.dataset().locator(1).locate(*id).unwrap();
            at.offset / 4096 == (at.offset + u64::from(at.bytes) - 1) / 4096
        };
        let ids: Vec<u64> = (0..ROWS).filter(within_page).collect();
        store.take(&ids, &vectors).wait().unwrap();
        let reads = total(&store).reads;
        // A second look at a checksum would find it wrong.
        let sums = store.dataset().file_path(1, 0).with_extension("sums");
        let sums = OpenOptions::new().write(true).open(sums).unwrap();
        sums.write_all_at(&vec![0xa5; ROWS as usize * 4], 0)
            .unwrap();
        assert_eq!(
            store.take(&ids, &vectors).wait().unwrap(),
            dataset::expected(&ids, &["vector"])
        );
        assert_eq!(total(&store).reads, reads);
    }
}

#[test]
fn popular_rows_stay_in_the_cache_through_one_take_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    let rows = 20_000;
    dataset::write(&path, &Shape::of(rows));
    let config = Config {
        // Vectors fill about 4,000 pages.
        cache: CacheChoice::Bytes(1000 * 4096),
        ..config(1, READ_PATHS[0])
    };
    let store = Store::open(&path, config).unwrap();
    let vectors = store.projection(&["vector"]).unwrap();
    let popular: Vec<u64> = (0..rows).step_by(100).collect();
    for _ in 0..4 {
        store.take(&popular, &vectors).wait().unwrap();
    }
    // Several windows in no order, so that the take comes back to its pages by itself.
    let mut all: Vec<u64> = (0..4).flat_map(|_| 0..rows).collect();
    all.shuffle(&mut seeded(31));
    store.take(&all, &vectors).wait().unwrap();
    let before = total(&store);
    assert_eq!(
        store.take(&popular, &vectors).wait().unwrap(),
        dataset::expected(&popular, &["vector"])
    );
    let after = total(&store) - before;
    assert_eq!(after.cache_hits, popular.len() as u64, "{after:?}");
}
