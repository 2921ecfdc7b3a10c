//! Takes as futures: under any executor, dropped at any moment, with the store gone or closed.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures_lite::future;
use glommio::LocalExecutorBuilder;
use rand::Rng;
use ringtake_runtime::{ColumnBuffer, Config, Error, Limits, ReadPathChoice, ShardId, Store};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{READ_PATHS, config, draw, open, seeded, without_hanging};

const ROWS: u64 = 3_000;

fn written() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    (dir, path)
}

/// A take of all columns, which must be a future that any executor may move.
fn take(
    store: &Store,
    ids: &[u64],
) -> impl Future<Output = Result<RecordBatch, Error>> + Send + 'static + use<> {
    let (store, ids, columns) = (store.clone(), ids.to_vec(), store.all_columns());
    async move { store.take(&ids, &columns).await }
}

fn assert_taken(taken: Result<RecordBatch, Error>, ids: &[u64]) {
    assert_eq!(taken.unwrap(), dataset::expected(ids, &COLUMNS));
}

#[test]
fn a_take_completes_under_glommio_futures_lite_and_pollster() {
    let (_dir, path) = written();
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let ids = draw(&mut seeded(16), ROWS, 300);
        assert_taken(future::block_on(take(&store, &ids)), &ids);
        let (moved, expected) = (take(&store, &ids), ids.clone());
        thread::spawn(move || assert_taken(pollster::block_on(moved), &expected))
            .join()
            .unwrap();
        let (store, ids) = (store.clone(), ids.clone());
        let under_glommio = LocalExecutorBuilder::default()
            .spawn(move || async move {
                // Two at once, one of them in a task of its own.
                let (task_store, task_ids) = (store.clone(), ids.clone());
                let task = glommio::spawn_local(async move { take(&task_store, &task_ids).await });
                assert_taken(take(&store, &ids).await, &ids);
                assert_taken(task.await, &ids);
            })
            .unwrap();
        under_glommio.join().unwrap();
    }
}

#[test]
fn a_take_moves_between_threads_and_wakers_between_polls() {
    let (_dir, path) = written();
    let store = open(&path, 2, ReadPathChoice::Auto);
    let ids = draw(&mut seeded(17), ROWS, 500);
    let mut taking = Box::pin(take(&store, &ids));
    let first = taking
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending());
    let taken = without_hanging(move || pollster::block_on(taking));
    assert_taken(taken, &ids);
}

#[test]
fn futures_dropped_with_reads_in_flight_leave_right_rows_and_a_store_that_ends() {
    let (_dir, path) = written();
    for read_path in READ_PATHS {
        let config = Config {
            queue_depth: 4,
            limits: Limits {
                takes_in_flight_max: 3,
                ..Limits::default()
            },
            ..config(2, read_path)
        };
        let store = Store::open(&path, config).unwrap();
        without_hanging(move || {
            let mut rng = seeded(18);
            let mut unfinished = 0;
            for round in 0..300 {
                // Row 5 is larger than a slot.
                let mut ids = draw(&mut rng, ROWS, 40);
                ids.push(5);
                {
                    let mut taking = pin!(take(&store, &ids));
                    let mut context = Context::from_waker(Waker::noop());
                    let mut done = taking.as_mut().poll(&mut context).is_ready();
                    let until = Instant::now() + Duration::from_micros(rng.random_range(0..300));
                    while !done && Instant::now() < until {
                        done = taking.as_mut().poll(&mut context).is_ready();
                    }
                    unfinished += u32::from(!done);
                }
                if round % 20 == 0 {
                    assert_taken(store.take(&ids, &store.all_columns()).wait(), &ids);
                }
            }
            assert!(unfinished > 0);
            // Cancelled parts have given their permits back, all of them.
            let ids = draw(&mut rng, ROWS, 200);
            let at_once: Vec<_> = (0..6).map(|_| take(&store, &ids)).collect();
            for taking in at_once {
                assert_taken(future::block_on(taking), &ids);
            }
            drop(store);
        });
    }
}

#[test]
fn a_future_outlives_the_store_it_was_made_from() {
    let (_dir, path) = written();
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let ids = draw(&mut seeded(19), ROWS, 200);
        let (started, untouched) = (take(&store, &ids), take(&store, &ids));
        let mut started = Box::pin(started);
        let _ = started
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        drop(store);
        without_hanging(move || {
            assert_taken(future::block_on(started), &ids);
            assert_taken(future::block_on(untouched), &ids);
        });
    }
}

#[test]
fn a_closed_store_refuses_everything() {
    let (_dir, path) = written();
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let all = store.all_columns();
        let made_before = take(&store, &[1]);
        store.close();
        store.close();
        let short = store.projection(&["short"]).unwrap();
        let into = store
            .take(&[1], &short)
            .wait_into(&mut [ColumnBuffer::Fixed(&mut [0; 2])]);
        assert!(matches!(into, Err(Error::Closed)));
        assert!(matches!(store.take(&[1], &all).wait(), Err(Error::Closed)));
        assert!(matches!(
            store.clone().take(&[], &all).wait(),
            Err(Error::Closed)
        ));
        assert!(matches!(future::block_on(made_before), Err(Error::Closed)));
        let run = future::block_on(store.run_on(ShardId(0), async |_| ()));
        assert!(matches!(run, Err(Error::Closed)));
    }
}

#[test]
fn takes_that_race_with_close_bring_right_rows_or_say_that_it_is_closed() {
    let (_dir, path) = written();
    let mut rng = seeded(20);
    for round in 0..40 {
        let store = open(&path, 2, READ_PATHS[round % READ_PATHS.len()]);
        let ids = draw(&mut rng, ROWS, 30);
        let pause = Duration::from_micros(rng.random_range(0..400));
        without_hanging(move || {
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        loop {
                            match store.take(&ids, &store.all_columns()).wait() {
                                Err(Error::Closed) => break,
                                taken => assert_taken(taken, &ids),
                            }
                        }
                    });
                }
                scope.spawn(|| {
                    loop {
                        match future::block_on(store.run_on(ShardId(1), async |local| local.id())) {
                            Err(Error::Closed) => break,
                            ran => assert_eq!(ran.unwrap(), ShardId(1)),
                        }
                    }
                });
                thread::sleep(pause);
                store.close();
            });
        });
    }
}
