//! Rows come back whole, in order, from every read path and any number of shards.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use proptest::test_runner::TestRunner;
use ringtake_runtime::{CacheChoice, Config, Lab, Store};
use ringtake_storage::layout::LayoutPolicy;

use crate::dataset::{self, COLUMNS, Shape};
use crate::every_type;
use crate::opened::{READ_PATHS, config, draw, open, seeded, ways};

const ROWS: u64 = 5_000;

#[test]
fn every_layout_read_path_and_cache_returns_the_rows_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = seeded(11);
    for policy in [LayoutPolicy::Auto, LayoutPolicy::Packed, LayoutPolicy::Page] {
        let path = dir.path().join(policy.to_string());
        let shape = Shape {
            policy,
            ..Shape::of(2_500)
        };
        dataset::write(&path, &shape);
        for (read_path, scheduler) in ways() {
            for (shards, cache_bytes) in [(1, 1 << 20), (2, 0), (3, 1 << 30)] {
                let config = Config {
                    lab: Lab {
                        scheduler,
                        ..Lab::default()
                    },
                    cache: CacheChoice::Bytes(cache_bytes),
                    ..config(shards, read_path)
                };
                let store = Store::open(&path, config).unwrap();
                for round in 0..3 {
                    let ids = draw(&mut rng, shape.rows, 400);
                    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
                    assert_eq!(
                        taken,
                        dataset::expected(&ids, &COLUMNS),
                        "{policy} {read_path} {scheduler} {shards} {cache_bytes} {round}"
                    );
                }
            }
        }
    }
}

/// Ids with neighbours and duplicates, and columns: any subset in any order.
fn requests() -> impl Strategy<Value = (Vec<u64>, Vec<&'static str>)> {
    let id = prop_oneof![
        4 => 0..ROWS,
        1 => 0..20_u64,
        1 => ROWS - 20..ROWS,
    ];
    let ids = (vec(id, 0..120), vec(any::<Index>(), 0..20)).prop_map(|(mut ids, again)| {
        let first = ids.clone();
        if !first.is_empty() {
            ids.extend(again.iter().map(|index| *index.get(&first)));
        }
        ids
    });
    let columns = subsequence(COLUMNS.to_vec(), 1..=COLUMNS.len()).prop_shuffle();
    (ids, columns)
}

#[test]
fn any_ids_and_any_projection_come_back_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let drives: Vec<_> = ["a", "b", "c"].map(|drive| dir.path().join(drive)).to_vec();
    for drive in &drives {
        std::fs::create_dir(drive).unwrap();
    }
    for (name, data_dirs) in [("one", Vec::new()), ("three", drives)] {
        let path = dir.path().join(name);
        let shape = Shape {
            data_dirs,
            ..Shape::of(ROWS)
        };
        dataset::write(&path, &shape);
        for (place, shards) in [1, 2, 3, 8].into_iter().enumerate() {
            for read_path in READ_PATHS {
                // Each cache meets each read path and both numbers of drives.
                let cache_bytes = [0, 1 << 20, 1 << 30][(place + shape.data_dirs.len()) % 3];
                let config = Config {
                    cache: CacheChoice::Bytes(cache_bytes),
                    ..config(shards, read_path)
                };
                let store = Store::open(&path, config).unwrap();
                let with = proptest::test_runner::Config {
                    cases: 12,
                    failure_persistence: None,
                    ..proptest::test_runner::Config::default()
                };
                TestRunner::new(with)
                    .run(&requests(), |(ids, columns)| {
                        let projection = store.projection(&columns).unwrap();
                        let taken = store.take(&ids, &projection).wait().unwrap();
                        prop_assert_eq!(taken, dataset::expected(&ids, &columns));
                        Ok(())
                    })
                    .unwrap_or_else(|error| {
                        panic!("{name} {shards} {read_path} {cache_bytes}: {error}")
                    });
            }
        }
    }
}

#[test]
fn each_column_of_every_type_comes_back_alone_and_with_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    every_type::write(&path);
    let mut rng = seeded(12);
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let ids = draw(&mut rng, every_type::ROWS, 200);
        let expected = every_type::rows(&ids);
        assert_eq!(
            store.take(&ids, &store.all_columns()).wait().unwrap(),
            expected
        );
        for (column, field) in expected.schema().fields().iter().enumerate() {
            let projection = store.projection(&[field.name()]).unwrap();
            let taken = store.take(&ids, &projection).wait().unwrap();
            assert_eq!(taken, expected.project(&[column]).unwrap(), "{field}");
        }
    }
}
