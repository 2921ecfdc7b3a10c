//! A pinned cache has every row before the first take.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use ringtake_runtime::{CacheChoice, Config, Error, FaultKind, ShardStats, Store};
use ringtake_storage::layout::LayoutPolicy;

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{READ_PATHS, config, draw, seeded};

fn reads(store: &Store) -> u64 {
    let stats = store.stats().into_iter();
    stats
        .fold(ShardStats::default(), |sum, stats| sum + stats)
        .reads
}

fn pinned(shards: usize) -> Config {
    Config {
        cache: CacheChoice::Pinned,
        ..config(shards, READ_PATHS[0])
    }
}

#[test]
fn no_take_reads_after_a_pinned_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = 0;
    for rows in [0, 1, 255, 2_000] {
        for policy in [LayoutPolicy::Packed, LayoutPolicy::Page] {
            for dirs in [0, 3] {
                place += 1;
                let shape = Shape {
                    policy,
                    data_dirs: (0..dirs)
                        .map(|drive| dir.path().join(format!("drive-{place}-{drive}")))
                        .collect(),
                    ..Shape::of(rows)
                };
                for drive in &shape.data_dirs {
                    std::fs::create_dir(drive).unwrap();
                }
                let path = dir.path().join(format!("dataset-{place}"));
                dataset::write(&path, &shape);
                for (shards, read_path) in
                    [(1, READ_PATHS[0]), (2, READ_PATHS[1]), (7, READ_PATHS[0])]
                {
                    let store = Store::open(
                        &path,
                        Config {
                            read_path,
                            ..pinned(shards)
                        },
                    )
                    .unwrap();
                    assert_eq!(store.info().warnings, Vec::<String>::new());
                    let opened = reads(&store);
                    let ids: Vec<u64> = match rows {
                        0 => Vec::new(),
                        _ => draw(&mut seeded(32), rows, 1_000),
                    };
                    assert_eq!(
                        store.take(&ids, &store.all_columns()).unwrap(),
                        dataset::expected(&ids, &COLUMNS),
                        "{rows} {policy} {dirs} {shards}"
                    );
                    assert_eq!(reads(&store), opened, "{rows} {policy} {dirs} {shards}");
                }
            }
        }
    }
}

#[test]
fn rows_damaged_before_a_pinned_store_is_opened_are_told_and_fail_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(1_000));
    let damaged = 300;
    {
        let store = Store::open(&path, config(1, READ_PATHS[0])).unwrap();
        let at = store.dataset().locator(1).locate(damaged).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(store.dataset().file_path(1, 0))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at.offset).unwrap();
        file.write_all_at(&[!byte[0]], at.offset).unwrap();
    }
    let store = Store::open(&path, pinned(2)).unwrap();
    let warnings = &store.info().warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("1 rows") && warnings[0].contains("row 300"),
        "{warnings:?}"
    );
    let opened = reads(&store);
    let vectors = store.projection(&["vector"]).unwrap();
    for _ in 0..2 {
        match store.take(&[299, damaged, 301], &vectors).unwrap_err() {
            Error::Rows { faults, rows: 1 } => {
                assert_eq!(
                    (faults[0].row, &faults[0].kind),
                    (300, &FaultKind::Checksum)
                );
            }
            error => panic!("{error}"),
        }
    }
    let others: Vec<u64> = (0..1_000).filter(|&id| id != damaged).collect();
    assert_eq!(
        store.take(&others, &store.all_columns()).unwrap(),
        dataset::expected(&others, &COLUMNS)
    );
    assert_eq!(reads(&store), opened);
}

#[test]
fn a_file_cut_short_leaves_its_last_rows_out_of_a_pinned_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(1_000));
    let layout = Store::open(&path, config(1, READ_PATHS[0])).unwrap();
    let file = layout.dataset().file_path(1, 0);
    let cut = layout.dataset().locator(1).locate(700).unwrap().offset / 4096 * 4096;
    drop(layout);
    OpenOptions::new()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(cut)
        .unwrap();
    let store = Store::open(&path, pinned(2)).unwrap();
    let warnings = store.info().warnings.join("\n");
    assert!(warnings.contains("not in the cache"), "{warnings}");
    let vectors = store.projection(&["vector"]).unwrap();
    let ids: Vec<u64> = (0..690).collect();
    let opened = reads(&store);
    assert_eq!(
        store.take(&ids, &vectors).unwrap(),
        dataset::expected(&ids, &["vector"])
    );
    assert_eq!(reads(&store), opened);
    match store.take(&[900], &vectors).unwrap_err() {
        Error::Rows { faults, .. } => assert_eq!(faults[0].kind, FaultKind::CutShort),
        error => panic!("{error}"),
    }
}
