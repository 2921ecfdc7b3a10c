//! Many threads at once.

use std::thread;

use rand::Rng;
use rand::seq::SliceRandom;
use ringtake_runtime::{CacheChoice, ColumnBuffer, Config, Error, Limits, Store};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{READ_PATHS, config, draw, seeded, without_hanging};

const ROWS: u64 = 3_000;
const THREADS: u64 = 16;

/// A client's takes of mixed kinds, each compared with what it must bring.
fn use_store(store: &Store, seed: u64) {
    let mut rng = seeded(seed);
    for round in 0..12 {
        let count = [1, 7, 60, 300][rng.random_range(0..4)];
        let ids = draw(&mut rng, ROWS, count);
        let mut names = COLUMNS.to_vec();
        names.shuffle(&mut rng);
        names.truncate(rng.random_range(1..=COLUMNS.len()));
        let projection = store.projection(&names).unwrap();
        let expected = dataset::expected(&ids, &names);
        match round % 4 {
            0 => assert_eq!(store.take(&ids, &projection).wait().unwrap(), expected),
            1 => {
                let take = store.take(&ids, &projection).into_future();
                assert_eq!(pollster::block_on(take).unwrap(), expected);
            }
            2 => {
                let short = store.projection(&["short"]).unwrap();
                let mut bytes = vec![0; ids.len() * 2];
                let mut buffers = [ColumnBuffer::Fixed(&mut bytes)];
                store.take(&ids, &short).wait_into(&mut buffers).unwrap();
                let right: Vec<u8> = ids
                    .iter()
                    .flat_map(|&id| (id as u16).to_le_bytes())
                    .collect();
                assert_eq!(bytes, right);
            }
            _ => {
                let error = store.take(&[ids[0], ROWS], &projection).wait().unwrap_err();
                assert!(matches!(error, Error::NoSuchRow { id: ROWS, .. }));
            }
        }
    }
}

#[test]
fn sixteen_threads_on_two_shards_all_get_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    for (read_path, takes_in_flight_max, cache_bytes) in [
        (READ_PATHS[0], 1024, 0),
        (READ_PATHS[0], 2, 1 << 20),
        (READ_PATHS[1], 1, 0),
    ] {
        let config = Config {
            limits: Limits {
                takes_in_flight_max,
                ..Limits::default()
            },
            cache: CacheChoice::Bytes(cache_bytes),
            ..config(2, read_path)
        };
        let store = Store::open(&path, config).unwrap();
        without_hanging(move || {
            thread::scope(|scope| {
                for seed in 0..THREADS {
                    let store = store.clone();
                    scope.spawn(move || use_store(&store, seed));
                }
            });
        });
    }
}
