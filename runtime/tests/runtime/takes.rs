//! Rows come back whole, in order, from every read path and any number of shards.

use std::path::Path;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{Config, CpuChoice, ReadPathChoice, Store};
use ringtake_storage::layout::LayoutPolicy;

use crate::dataset::{self, Shape};

const READ_PATHS: [ReadPathChoice; 2] = [
    ReadPathChoice::RingPerShard,
    ReadPathChoice::ThreadPool { threads: 3 },
];

fn open(path: &Path, shards: usize, read_path: ReadPathChoice, cache_bytes: u64) -> Store {
    let config = Config {
        shards: Some(shards),
        cpus: CpuChoice::Unpinned,
        read_path,
        cache_bytes,
        queue_depth: 16,
        ..Config::default()
    };
    Store::open(path, config).unwrap()
}

/// Draws with duplicates and neighbours.
fn draw(rng: &mut ChaCha8Rng, rows: u64, count: usize) -> Vec<u64> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let id = rng.random_range(0..rows);
        ids.push(id);
        if rng.random_bool(0.3) {
            ids.extend((id..rows).take(5));
        }
        if rng.random_bool(0.2) {
            ids.push(id);
        }
    }
    ids.truncate(count);
    ids.shuffle(rng);
    ids
}

#[test]
fn every_read_path_and_shard_count_returns_the_rows_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let seed: u64 = 11;
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for policy in [LayoutPolicy::Auto, LayoutPolicy::Packed, LayoutPolicy::Page] {
        let path = dir.path().join(policy.to_string());
        let shape = Shape {
            policy,
            ..Shape::of(5_000)
        };
        dataset::write(&path, &shape);
        for read_path in READ_PATHS {
            for shards in [1, 2, 3] {
                for cache_bytes in [0, 1 << 20, 1 << 30] {
                    let store = open(&path, shards, read_path, cache_bytes);
                    for round in 0..3 {
                        let ids = draw(&mut rng, shape.rows, 700);
                        let taken = store.take(&ids, &store.all_columns()).unwrap();
                        let expected = dataset::rows(ids.iter().copied());
                        assert_eq!(
                            taken, expected,
                            "{policy} {read_path} {shards} {cache_bytes} {round}"
                        );
                    }
                }
            }
        }
    }
}
