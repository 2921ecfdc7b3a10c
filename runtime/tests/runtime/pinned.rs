//! A pinned cache has every row before the first take.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use arrow::array::Array;
use futures_lite::future::block_on;
use ringtake_runtime::{
    CacheChoice, ColumnBuffer, Config, Error, FaultKind, Missing, ShardStats, Store,
};
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
                        store.take(&ids, &store.all_columns()).wait().unwrap(),
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
        match store
            .take(&[299, damaged, 301], &vectors)
            .wait()
            .unwrap_err()
        {
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
        store.take(&others, &store.all_columns()).wait().unwrap(),
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
        store.take(&ids, &vectors).wait().unwrap(),
        dataset::expected(&ids, &["vector"])
    );
    assert_eq!(reads(&store), opened);
    match store.take(&[900], &vectors).wait().unwrap_err() {
        Error::Rows { faults, .. } => assert_eq!(faults[0].kind, FaultKind::CutShort),
        error => panic!("{error}"),
    }
}

fn rows_in_place(store: &Store) -> u64 {
    let stats = store.stats().into_iter();
    stats.map(|stats| stats.rows_in_place).sum()
}

fn messages(store: &Store) -> u64 {
    store.stats().into_iter().map(|stats| stats.parts).sum()
}

#[test]
fn few_pinned_rows_are_copied_by_the_caller_and_many_by_the_shards() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(3_000));
    let store = Store::open(&path, pinned(3)).unwrap();
    let columns = store.all_columns();
    let groups = columns.groups().len() as u64;
    let few = draw(&mut seeded(41), 3_000, 1_024);
    for ids in [&few[..1], &few[..2], &few[..7], &few] {
        let before = rows_in_place(&store);
        let taken = store.take(ids, &columns).wait().unwrap();
        assert_eq!(taken, dataset::expected(ids, &COLUMNS));
        assert_eq!(rows_in_place(&store) - before, ids.len() as u64 * groups);
    }
    assert_eq!(messages(&store), 0);
    let before = rows_in_place(&store);
    let many = draw(&mut seeded(42), 3_000, 1_025);
    assert_eq!(
        store.take(&many, &columns).wait().unwrap(),
        dataset::expected(&many, &COLUMNS)
    );
    assert_eq!((rows_in_place(&store), messages(&store)), (before, 3));
    // Few rows of many bytes: each of these has 300,000.
    let blobs = store.projection(&["blob"]).unwrap();
    let large = [5; 20];
    assert_eq!(
        store.take(&large, &blobs).wait().unwrap(),
        dataset::expected(&large, &["blob"])
    );
    assert_eq!((rows_in_place(&store), messages(&store)), (before, 4));
}

#[test]
fn a_take_of_pinned_rows_keeps_to_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(500));
    let store = Store::open(&path, pinned(2)).unwrap();
    let columns = store.projection(&["vector"]).unwrap();
    let late = store.take(&[1, 2], &columns).deadline(Instant::now());
    match late.wait().unwrap_err() {
        Error::DeadlineExceeded { rows: 2, .. } => {}
        error => panic!("{error}"),
    }
    match store.take(&[1, 500], &columns).wait().unwrap_err() {
        Error::NoSuchRow { id: 500, rows: 500 } => {}
        error => panic!("{error}"),
    }
    let before = rows_in_place(&store);
    let taken = store
        .take(&[900, 7, 500, 7], &columns)
        .missing(Missing::Null)
        .wait()
        .unwrap();
    assert_eq!(rows_in_place(&store) - before, 2);
    assert_eq!(taken.column(0).null_count(), 2);
    let seven = dataset::expected(&[7], &["vector"]);
    for place in [1, 3] {
        assert_eq!(
            taken.column(0).slice(place, 1).to_data().child_data()[0],
            seven.column(0).to_data().child_data()[0]
        );
    }
    store.close();
    assert!(matches!(
        store.take(&[1], &columns).wait(),
        Err(Error::Closed)
    ));
}

#[test]
fn code_on_a_shard_and_callers_with_buffers_copy_pinned_rows_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(500));
    let store = Store::open(&path, pinned(2)).unwrap();
    let columns = store.projection(&["vector"]).unwrap();
    let expected = dataset::expected(&[400, 9], &["vector"]);
    let expected = expected.column(0).to_data().child_data()[0].buffers()[0].clone();
    let mut bytes = vec![0; expected.len()];
    store
        .take(&[400, 9], &columns)
        .wait_into(&mut [ColumnBuffer::Fixed(&mut bytes)])
        .unwrap();
    assert_eq!(bytes, expected.as_slice());
    assert_eq!((rows_in_place(&store), messages(&store)), (2, 0));
    let own = block_on(store.run_on(store.shard_of(9), |shard| async move {
        let columns = shard.projection(&["vector"]).unwrap();
        shard.take(&[9, 9], &columns).await.unwrap()
    }))
    .unwrap();
    assert_eq!(own, dataset::expected(&[9, 9], &["vector"]));
    assert_eq!((rows_in_place(&store), messages(&store)), (4, 0));
}
