//! A store that is asked for several times what it may hold: its memory stays within the limit
//! and the results its callers hold, and every take is served, refused or expired.
//!
//! One test, since the allocator counts for the whole process.

#![allow(clippy::unwrap_used)]

mod counting;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use futures_lite::future::block_on;
use ringtake_runtime::{
    AdmissionStats, ColumnBuffer, Config, CpuChoice, Error, LatencyClass, Limits, ShardId, Store,
    WhenFull,
};
use ringtake_storage::write::{WriteOptions, Writer};

use counting::Since;

const ROWS: u64 = 20_000;
const WIDE_BYTES: usize = 1024;
const CLIENTS: usize = 16;
/// Memory of a client beside its rows: its thread, its future, the parts, the messages.
const CLIENT_BYTES_MAX: i64 = 24 << 10;

/// Wide rows, whose results are most of a take's memory, and empty strings, whose ids are.
fn write(path: &Path) {
    let wide =
        (0..ROWS).map(|row| -> [u8; WIDE_BYTES] { std::array::from_fn(|_| (row % 251) as u8) });
    let wide = FixedSizeBinaryArray::try_from_iter(wide).unwrap();
    let empty: StringArray = (0..ROWS).map(|_| Some("")).collect();
    let columns = [
        ("wide", Arc::new(wide) as _),
        ("empty", Arc::new(empty) as _),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let options = WriteOptions {
        block_rows: Some(256),
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

fn open(path: &Path, shards: usize, bytes_in_flight_max: u64) -> Store {
    let config = Config {
        shards: Some(shards),
        cpus: CpuChoice::Unpinned,
        // So that results are counted.
        result_memory_bytes: 0,
        limits: Limits {
            bytes_in_flight_max,
            ..Limits::default()
        },
        ..Config::default()
    };
    Store::open(path, config).unwrap()
}

/// Rows in no order.
fn ids(first: u64, count: usize) -> Vec<u64> {
    (0..count as u64)
        .map(|place| (first + place) * 7919 % ROWS)
        .collect()
}

/// All shards stand still until the senders are dropped.
fn stopped(store: &Store, shards: usize) -> Vec<mpsc::Sender<()>> {
    let stop = |shard| {
        let (go_on, stop) = mpsc::channel::<()>();
        let (stands, still) = mpsc::channel();
        let run = store.run_on(ShardId(shard), move |_| async move {
            stands.send(()).unwrap();
            let _ = stop.recv();
        });
        thread::spawn(move || block_on(run).unwrap());
        still.recv().unwrap();
        go_on
    };
    (0..shards).map(stop).collect()
}

fn assert_whole(stats: AdmissionStats) {
    for class in [stats.urgent, stats.bulk] {
        assert_eq!(class.dispatched, class.completed, "{stats:?}");
    }
}

fn is_right(taken: &RecordBatch, ids: &[u64]) -> bool {
    let wide = taken.column(0).as_fixed_size_binary();
    wide.len() == ids.len()
        && ids.iter().zip(wide.iter()).all(|(id, value)| {
            value
                .unwrap()
                .iter()
                .all(|&byte| u64::from(byte) == id % 251)
        })
}

/// Many takes at once while no shard moves: those let in hold their results, and the rest their
/// ids alone.
fn takes_that_wait_hold_no_results(path: &Path, shards: usize) {
    const LIMIT_BYTES: u64 = 6 << 20;
    const TAKE_ROWS: usize = 800;
    let store = open(path, shards, LIMIT_BYTES);
    let projection = store.projection(&["wide"]).unwrap();
    store.take(&ids(0, TAKE_ROWS), &projection).wait().unwrap();
    let offers_each = 2;
    let result_bytes = (TAKE_ROWS * WIDE_BYTES) as i64;
    let offers = (CLIENTS * offers_each) as i64;
    assert!(offers * result_bytes > 3 * LIMIT_BYTES as i64);
    let stopped = stopped(&store, shards);
    let since = Since::now();
    let offered = Barrier::new(CLIENTS + 1);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (store, projection, offered) = (&store, &projection, &offered);
            scope.spawn(move || {
                let takes = (0..offers_each).map(|offer| {
                    let ids = ids((client * offers_each + offer) as u64, TAKE_ROWS);
                    Box::pin(async move {
                        let taken = store.take(&ids, projection).await;
                        (ids, taken)
                    })
                });
                let mut takes: Vec<_> = takes.collect();
                for take in &mut takes {
                    let polled = take.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    assert!(polled.is_pending());
                }
                offered.wait();
                for take in takes {
                    let (ids, taken) = block_on(take);
                    assert!(is_right(&taken.unwrap(), &ids));
                }
            });
        }
        offered.wait();
        let ids_bytes = offers * (TAKE_ROWS * size_of::<u64>()) as i64;
        let beyond_ids = since.peak_bytes() - ids_bytes;
        println!("{shards} shards: {beyond_ids} bytes with {offers} takes offered");
        assert!(beyond_ids > result_bytes, "{beyond_ids} bytes");
        let most = LIMIT_BYTES as i64 + CLIENTS as i64 * CLIENT_BYTES_MAX;
        assert!(beyond_ids <= most, "{beyond_ids} bytes of {most}");
        drop(stopped);
    });
    let stats = store.admission();
    assert!(stats.urgent.queued > offers as u64 / 2, "{stats:?}");
    assert_whole(stats);
}

/// Clients without a pause, with buffers of their own: what is beside them is the store's.
fn a_storm_of_takes_stays_within_the_limit(path: &Path, shards: usize) {
    const LIMIT_BYTES: u64 = 1 << 20;
    const TAKE_ROWS: usize = 16_000;
    const ROUNDS: usize = 30;
    let store = open(path, shards, LIMIT_BYTES);
    let projection = store.projection(&["empty"]).unwrap();
    let outcomes: [AtomicU64; 3] = Default::default();
    let ready = Barrier::new(CLIENTS + 1);
    let go = Barrier::new(CLIENTS + 1);
    let mut since = Since::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (store, projection, outcomes) = (&store, &projection, &outcomes);
            let (ready, go) = (&ready, &go);
            scope.spawn(move || {
                let ids = ids(client as u64, TAKE_ROWS);
                let (mut values, mut offsets) = (Vec::new(), Vec::with_capacity(TAKE_ROWS + 1));
                ready.wait();
                go.wait();
                for round in 0..ROUNDS {
                    let mut buffers = [ColumnBuffer::Variable {
                        values: &mut values,
                        offsets: &mut offsets,
                    }];
                    let soon = Instant::now() + Duration::from_micros(300);
                    let taken = store
                        .take(&ids, projection)
                        .when_full([WhenFull::Wait, WhenFull::Refuse][round % 2])
                        .deadline((round % 3 == 0).then_some(soon))
                        .class([LatencyClass::Urgent, LatencyClass::Bulk][client % 2])
                        .wait_into(&mut buffers);
                    let outcome = match taken {
                        Ok(()) => {
                            assert_eq!(offsets, vec![0; TAKE_ROWS + 1]);
                            0
                        }
                        Err(Error::Overloaded) => 1,
                        Err(Error::DeadlineExceeded { .. }) => 2,
                        Err(error) => panic!("{error}"),
                    };
                    outcomes[outcome].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        ready.wait();
        since = Since::now();
        go.wait();
    });
    let beyond = since.peak_bytes();
    let outcomes = outcomes.map(AtomicU64::into_inner);
    println!("{shards} shards: {beyond} bytes; served, refused, expired: {outcomes:?}");
    let most = LIMIT_BYTES as i64 + CLIENTS as i64 * CLIENT_BYTES_MAX;
    assert!(beyond <= most, "{beyond} bytes of {most}");
    let asked = (CLIENTS * ROUNDS) as u64;
    assert_eq!(outcomes.iter().sum::<u64>(), asked);
    // Of six rounds, two neither refuse nor have a deadline.
    assert!(outcomes[0] >= asked / 3, "{outcomes:?}");
    let stats = store.admission();
    assert_eq!(stats.urgent.refused + stats.bulk.refused, outcomes[1]);
    assert_whole(stats);
}

#[test]
fn an_overloaded_store_keeps_within_its_memory_and_loses_no_take() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    write(&path);
    for shards in [1, 2] {
        takes_that_wait_hold_no_results(&path, shards);
        a_storm_of_takes_stays_within_the_limit(&path, shards);
    }
}
