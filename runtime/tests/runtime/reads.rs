//! How few reads a take makes, and where they go: shared between takes in flight, merged across
//! gaps, placed straight in the result.

use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use arrow::array::{Array as _, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch};
use futures_lite::future::block_on;
use ringtake_runtime::{
    CacheChoice, Config, Error, Missing, ReadPathChoice, ShardId, ShardStats, Store,
};
use ringtake_storage::layout::LayoutPolicy;

use crate::dataset::{self, Shape};
use crate::opened::{READ_PATHS, config};

const ROWS: u64 = 1_000;
/// A row that takes a page to the byte.
const PAGE: usize = 4096;

fn page_of(row: u64) -> Vec<u8> {
    (0..PAGE).map(|at| (row as usize * 31 + at) as u8).collect()
}

/// Rows of one page each.
fn pages(ids: Vec<u64>) -> RecordBatch {
    let values: Vec<Vec<u8>> = ids.into_iter().map(page_of).collect();
    let array = FixedSizeBinaryArray::try_from_iter(values.into_iter()).unwrap();
    RecordBatch::try_from_iter([("page", Arc::new(array) as ArrayRef)]).unwrap()
}

fn write_pages(path: &Path) {
    let shape = Shape {
        policy: LayoutPolicy::Page,
        ..Shape::of(ROWS)
    };
    dataset::write_batches(path, &shape, pages);
}

fn assert_pages(batch: &RecordBatch, ids: &[u64]) {
    let column = batch.column(0).as_fixed_size_binary();
    assert_eq!(column.len(), ids.len());
    for (place, &id) in ids.iter().enumerate() {
        assert!(column.value(place) == page_of(id), "row {id} at {place}");
    }
}

fn open(path: &Path, config: Config) -> Store {
    Store::open(
        path,
        Config {
            queue_depth: 64,
            ..config
        },
    )
    .unwrap()
}

fn one_shard() -> Config {
    config(1, ReadPathChoice::RingPerShard)
}

fn stats(store: &Store) -> ShardStats {
    store.stats()[0]
}

/// Takes that all reach the shard before it looks at any of them.
fn at_once(store: &Store, takes: &[Vec<u64>]) -> Vec<Result<RecordBatch, Error>> {
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let mut busy = Box::pin(store.run_on(ShardId(0), move |_| async move {
        started.send(()).unwrap();
        released.recv().unwrap();
    }));
    let mut context = Context::from_waker(Waker::noop());
    assert!(busy.as_mut().poll(&mut context).is_pending());
    has_started.recv().unwrap();
    let columns = store.all_columns();
    let ask = |ids| store.take(ids, &columns).into_future();
    let mut takes: Vec<_> = takes.iter().map(|ids: &Vec<u64>| ask(ids)).collect();
    for take in &mut takes {
        assert!(Pin::new(take).poll(&mut context).is_pending());
    }
    release.send(()).unwrap();
    block_on(busy).unwrap();
    takes.into_iter().map(block_on).collect()
}

#[test]
fn takes_in_flight_share_reads_of_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    for result_memory_bytes in [0, 16 << 20] {
        let store = open(
            &path,
            Config {
                result_memory_bytes,
                ..one_shard()
            },
        );
        let first: Vec<u64> = (0..10).map(|at| at * 50 + 7).collect();
        let second: Vec<u64> = first.iter().rev().copied().collect();
        let third = vec![first[3], 9, first[3], first[5]];
        let takes = [first, second, third];
        let before = stats(&store);
        let answers = at_once(&store, &takes);
        for (answer, ids) in answers.iter().zip(&takes) {
            assert_pages(answer.as_ref().unwrap(), ids);
        }
        let during = stats(&store) - before;
        // Ten rows and row 9; the ten of the second take and two of the third are shared.
        assert_eq!((during.reads, during.reads_shared), (11, 12));
    }
}

#[test]
fn a_damaged_row_fails_every_take_that_shares_its_read_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    let store = open(&path, one_shard());
    let at = store.dataset().locator(0).locate(300).unwrap().offset;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(store.dataset().file_path(0, 0))
        .unwrap();
    file.write_all_at(&[!page_of(300)[0]], at).unwrap();
    // Enough rows for the results to be leased, so that the drive writes into the first of them.
    let among = |ids: &[u64]| ids.iter().copied().chain(400..410).collect::<Vec<_>>();
    let takes = [
        among(&[1, 300, 2]),
        vec![300],
        among(&[1, 2, 3]),
        vec![300, 300],
    ];
    let answers = at_once(&store, &takes);
    assert!(stats(&store).reads_placed > 0 && stats(&store).reads_shared > 0);
    for (answer, ids) in answers.iter().zip(&takes) {
        if ids.contains(&300) {
            let error = answer.as_ref().unwrap_err().to_string();
            assert!(error.contains("row 300"), "{error}");
        } else {
            assert_pages(answer.as_ref().unwrap(), ids);
        }
    }
}

#[test]
fn a_take_given_up_does_not_take_its_shared_reads_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    let store = open(&path, one_shard());
    let columns = store.all_columns();
    let ids: Vec<u64> = (0..20).map(|at| at * 37 + 1).collect();
    for _ in 0..200 {
        let mut dropped = Box::pin(store.take(&ids, &columns).into_future());
        let mut context = Context::from_waker(Waker::noop());
        let _ = dropped.as_mut().poll(&mut context);
        let mut kept = Box::pin(store.take(&ids, &columns).into_future());
        // It may have come before the first look is over.
        let at_once = kept.as_mut().poll(&mut context);
        drop(dropped);
        let taken = match at_once {
            Poll::Ready(taken) => taken,
            Poll::Pending => block_on(kept),
        };
        assert_pages(&taken.unwrap(), &ids);
    }
}

#[test]
fn rows_that_fill_their_place_are_written_there_by_the_drive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    let ids: Vec<u64> = (0..40).map(|at| at * 17 % ROWS).chain([17, 17]).collect();
    for read_path in READ_PATHS {
        let with = |result_memory_bytes, cache| {
            let store = open(
                &path,
                Config {
                    result_memory_bytes,
                    cache,
                    ..config(1, read_path)
                },
            );
            let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
            assert_pages(&taken, &ids);
            stats(&store)
        };
        let placed = with(16 << 20, CacheChoice::Off);
        assert_eq!(placed.reads_placed, placed.reads, "{read_path}");
        assert_eq!(placed.reads, 40, "{read_path}");
        // Nowhere to place them: no memory for results, or a cache that keeps the pages.
        assert_eq!(with(0, CacheChoice::Off).reads_placed, 0);
        assert_eq!(with(16 << 20, CacheChoice::Bytes(1 << 20)).reads_placed, 0);
    }
}

/// Rows of two pages, a column each.
fn halves(ids: Vec<u64>) -> RecordBatch {
    let half = |of: fn(u64) -> u64| {
        let values: Vec<Vec<u8>> = ids.iter().map(|&id| page_of(of(id))).collect();
        Arc::new(FixedSizeBinaryArray::try_from_iter(values.into_iter()).unwrap()) as ArrayRef
    };
    let columns = [("first", half(|id| id)), ("second", half(|id| id + 7))];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A read brings the whole record. Placed in the result it would put the first columns of the record
/// where the last one belongs.
#[test]
fn a_column_that_shares_its_record_is_copied_to_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    let shape = Shape {
        policy: LayoutPolicy::Page,
        groups: vec![vec!["first".to_owned(), "second".to_owned()]],
        ..Shape::of(ROWS)
    };
    dataset::write_batches(&path, &shape, halves);
    let ids: Vec<u64> = (0..40).map(|at| at * 17 % ROWS).collect();
    for read_path in READ_PATHS {
        let store = open(
            &path,
            Config {
                result_memory_bytes: 16 << 20,
                ..config(1, read_path)
            },
        );
        for (name, shift) in [("first", 0), ("second", 7)] {
            let taken = store
                .take(&ids, &store.projection(&[name]).unwrap())
                .wait()
                .unwrap();
            let rows: Vec<u64> = ids.iter().map(|id| id + shift).collect();
            assert_pages(&taken, &rows);
        }
        assert_eq!(stats(&store).reads_placed, 0, "{read_path}");
    }
}

/// Without the zeros, missing rows would show what the memory of the result held before: rows of
/// another caller.
#[test]
fn missing_rows_are_zeros_in_memory_that_held_other_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    let store = open(
        &path,
        Config {
            // Room for one result, so that the next one is in the same memory.
            result_memory_bytes: 16 * PAGE as u64,
            ..one_shard()
        },
    );
    let columns = store.all_columns();
    let before: Vec<u64> = (1..17).collect();
    let dirty = store.take(&before, &columns).wait().unwrap();
    let values = |batch: &RecordBatch| batch.column(0).as_fixed_size_binary().value_data().to_vec();
    let memory = dirty.column(0).as_fixed_size_binary().value_data().as_ptr();
    assert!(
        values(&dirty)
            .chunks(PAGE)
            .all(|row| row.iter().any(|&byte| byte != 0))
    );
    drop(dirty);
    let some_missing: Vec<u64> = (0..16)
        .map(|at| if at % 2 == 0 { ROWS + at } else { at })
        .collect();
    let taken = store
        .take(&some_missing, &columns)
        .missing(Missing::Null)
        .wait()
        .unwrap();
    let again = taken.column(0).as_fixed_size_binary().value_data().as_ptr();
    assert_eq!(again, memory, "the memory is used again");
    let expected: Vec<u8> = (0..16)
        .flat_map(|at| {
            if at % 2 == 0 {
                vec![0; PAGE]
            } else {
                page_of(at)
            }
        })
        .collect();
    assert!(values(&taken) == expected, "rows and zeros in turn");
}

#[test]
fn a_result_keeps_its_memory_and_gives_it_back_when_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    let store = open(
        &path,
        Config {
            // Room for two results.
            result_memory_bytes: 2 * 16 * PAGE as u64,
            ..one_shard()
        },
    );
    let columns = store.all_columns();
    let take = |from: u64| {
        let ids: Vec<u64> = (from..from + 16).collect();
        (store.take(&ids, &columns).wait().unwrap(), ids)
    };
    let memory_of = |batch: &RecordBatch| batch.column(0).as_fixed_size_binary().values().as_ptr();
    let held: Vec<_> = (0..4).map(|nth| take(nth * 16)).collect();
    for (batch, ids) in &held {
        assert_pages(batch, ids);
    }
    let first = memory_of(&held[0].0);
    let mut held = held.into_iter();
    drop(held.next());
    let (again, ids) = take(500);
    assert_eq!(memory_of(&again), first, "the memory is used again");
    assert_pages(&again, &ids);
    store.close();
    drop(store);
    for (batch, ids) in held.chain([(again, ids)]) {
        assert_pages(&batch, &ids);
    }
}

#[test]
fn rows_a_gap_apart_are_read_together_if_the_gap_is_small_enough() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    write_pages(&path);
    // Gaps of one page, of two, and neighbours.
    let ids = [10, 12, 15, 16];
    for (merge_gap_bytes, reads) in [(0, 3), (4095, 3), (4096, 2), (8192, 1)] {
        let store = open(
            &path,
            Config {
                merge_gap_bytes,
                ..one_shard()
            },
        );
        let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
        assert_pages(&taken, &ids);
        assert_eq!(stats(&store).reads, reads, "gap {merge_gap_bytes}");
    }
}
