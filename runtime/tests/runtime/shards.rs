//! A shard alone submits, completes and decodes the reads of the rows it owns.

use std::fs;

use futures_lite::future::block_on;
use ringtake_runtime::probe::{RingRung, probe_ring};
use ringtake_runtime::{ReadPathChoice, ShardId, ShardStats, Store};
use ringtake_testing::skip;

use crate::dataset::{self, Shape};
use crate::opened::{READ_PATHS, open};

const SHARDS: usize = 3;
const ROWS: u64 = 5_000;
/// Column groups of the dataset: one read or more per row for each.
const GROUPS: u64 = 4;

fn rows_of(store: &Store, shard: usize) -> Vec<u64> {
    (0..store.row_count())
        .filter(|&row| store.shard_of(row) == ShardId(shard))
        .collect()
}

/// Counts of the work that a shard does for rows, without its sleeps.
fn work(stats: ShardStats) -> [u64; 6] {
    [
        stats.parts,
        stats.rows,
        stats.reads,
        stats.read_bytes,
        stats.completions,
        stats.faults,
    ]
}

#[test]
fn a_take_of_one_shards_rows_leaves_every_other_shard_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    for read_path in READ_PATHS {
        let store = open(&path, SHARDS, read_path);
        for owner in 0..SHARDS {
            let ids = rows_of(&store, owner);
            assert!(ids.len() as u64 > ROWS / 4);
            let before = store.stats();
            store.take(&ids, &store.all_columns()).wait().unwrap();
            for (shard, (after, before)) in store.stats().into_iter().zip(before).enumerate() {
                let done = after - before;
                if shard != owner {
                    assert_eq!(work(done), [0; 6], "{read_path} shard {shard} of {owner}");
                    continue;
                }
                assert_eq!(done.parts, 1, "{read_path}");
                assert_eq!(done.rows, ids.len() as u64 * GROUPS, "{read_path}");
                assert!(done.reads > 0 && done.completions == done.reads, "{done:?}");
            }
        }
    }
}

/// Bytes that the kernel has read from devices on behalf of a thread of this process; `None`
/// where it does not count them.
fn device_bytes_of(thread: u64) -> Option<u64> {
    let counts = fs::read_to_string(format!("/proc/self/task/{thread}/io")).ok()?;
    let line = counts
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "))?;
    line.parse().ok()
}

#[test]
fn the_kernel_counts_each_read_on_the_thread_of_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    let store = open(&path, SHARDS, ReadPathChoice::RingPerShard);
    let threads: Vec<u64> = (0..SHARDS)
        .map(|shard| {
            let thread = async |_| rustix::thread::gettid().as_raw_nonzero().get() as u64;
            block_on(store.run_on(ShardId(shard), thread)).unwrap()
        })
        .collect();
    if !store.info().direct || device_bytes_of(threads[0]).is_none() {
        skip(
            "the_kernel_counts_each_read_on_the_thread_of_the_owner",
            "reads are not direct, or the kernel does not count them",
        );
        return;
    }
    for owner in 0..SHARDS {
        let ids = rows_of(&store, owner);
        let before: Vec<_> = threads
            .iter()
            .map(|&id| device_bytes_of(id).unwrap())
            .collect();
        let own_before = store.stats()[owner];
        store.take(&ids, &store.all_columns()).wait().unwrap();
        let own = store.stats()[owner] - own_before;
        for (shard, &thread) in threads.iter().enumerate() {
            let read = device_bytes_of(thread).unwrap() - before[shard];
            let expected = if shard == owner { own.read_bytes } else { 0 };
            assert_eq!(read, expected, "shard {shard}, owner {owner}");
        }
    }
}

#[test]
fn each_shard_has_a_thread_and_the_best_ring_of_the_kernel_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(10));
    let store = open(&path, SHARDS, ReadPathChoice::RingPerShard);
    let best = probe_ring().unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) >= (Some(6), Some(1)) {
        // This rung alone has SINGLE_ISSUER: the kernel refuses submissions of other threads.
        assert_eq!(best, RingRung::DeferTaskrun, "{release}");
    }
    let mut threads = Vec::new();
    for (shard, started) in store.info().shards.iter().enumerate() {
        assert_eq!(started.ring.unwrap().rung, best);
        assert_eq!(started.executor, "glommio");
        let here = async |_| {
            let thread = std::thread::current();
            (thread.name().unwrap().to_owned(), thread.id())
        };
        let (name, id) = block_on(store.run_on(ShardId(shard), here)).unwrap();
        assert_eq!(name, format!("rt-shard-{shard}"));
        assert_eq!(name, started.thread);
        assert!(!threads.contains(&id) && id != std::thread::current().id());
        threads.push(id);
    }
}
