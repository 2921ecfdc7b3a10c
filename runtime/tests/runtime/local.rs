//! Code of callers inside a shard.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};

use futures_lite::future::{block_on, yield_now};
use ringtake_runtime::{CacheChoice, ColumnBuffer, Config, Error, ReadPathChoice, ShardId, Store};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{READ_PATHS, config, open, without_hanging};

const ROWS: u64 = 2_000;
const SHARDS: usize = 2;

fn opened(read_path: ReadPathChoice) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    let store = open(&path, SHARDS, read_path);
    (dir, store)
}

fn rows_of(store: &Store, shard: usize) -> Vec<u64> {
    (0..ROWS)
        .filter(|&row| store.shard_of(row) == ShardId(shard))
        .collect()
}

/// Fails unless both shards answer.
fn assert_at_work(store: &Store) {
    let ids: Vec<u64> = (0..ROWS).step_by(97).collect();
    let projection = store.projection(&["vector", "name"]).unwrap();
    let taken = store.take(&ids, &projection).wait().unwrap();
    assert_eq!(taken, dataset::expected(&ids, &["vector", "name"]));
    for shard in 0..SHARDS {
        let ran = block_on(store.run_on(ShardId(shard), async |local| local.id()));
        assert_eq!(ran.unwrap(), ShardId(shard));
    }
}

#[test]
fn a_local_take_brings_the_shards_own_rows_and_troubles_no_other() {
    for read_path in READ_PATHS {
        let (_dir, store) = opened(read_path);
        for shard in 0..SHARDS {
            let ids = rows_of(&store, shard);
            let expected = dataset::expected(&ids, &["name", "id"]);
            let before = store.stats();
            let run = store.run_on(ShardId(shard), async move |local| {
                assert!(ids.iter().all(|&row| local.owns(row)));
                let projection = local.projection(&["name", "id"]).unwrap();
                local.take(&ids, &projection).await
            });
            assert_eq!(block_on(run).unwrap().unwrap(), expected);
            for (other, (after, before)) in store.stats().into_iter().zip(before).enumerate() {
                let done = after - before;
                let worked = u64::from(other == shard);
                assert_eq!(done.parts, worked, "{read_path}");
                assert_eq!(done.rows, worked * expected.num_rows() as u64 * 2);
                assert_eq!(done.reads > 0, worked == 1);
            }
        }
    }
}

#[test]
fn a_local_take_of_another_shards_row_says_where_it_lives() {
    let (_dir, store) = opened(ReadPathChoice::Auto);
    let (own, foreign) = (rows_of(&store, 0)[3], rows_of(&store, 1)[4]);
    let run = store.run_on(ShardId(0), async move |local| {
        let projection = local.projection(&["id"]).unwrap();
        assert!(!local.owns(foreign));
        let past = local.take(&[own, ROWS], &projection).await;
        assert!(matches!(past, Err(Error::NoSuchRow { id: ROWS, .. })));
        local.take(&[own, foreign], &projection).await
    });
    let error = block_on(run).unwrap().unwrap_err();
    assert!(
        matches!(error, Error::NotOwned { id, owner: 1, shard: 0 } if id == foreign),
        "{error}"
    );
}

#[test]
fn a_panic_fails_the_call_and_leaves_the_shard_at_work() {
    for read_path in READ_PATHS {
        let (_dir, store) = opened(read_path);
        let in_closure = store.run_on(ShardId(1), |local| {
            if local.owns(0) {
                return std::future::ready(());
            }
            panic!("in the closure")
        });
        let in_future = store.run_on(ShardId(1), async |local| {
            let projection = local.projection(&["id"]).unwrap();
            // Row 300 is shard 1's; the panic comes with the loop waiting for this task.
            local.take(&[300], &projection).await.unwrap();
            yield_now().await;
            panic!("in the {}", "future")
        });
        for (error, message) in [
            (block_on(in_closure).unwrap_err(), "in the closure"),
            (block_on(in_future).unwrap_err(), "in the future"),
        ] {
            match error {
                Error::Panicked {
                    shard: 1,
                    message: panicked,
                } => assert_eq!(panicked, message),
                other => panic!("{other}"),
            }
        }
        assert_at_work(&store);
    }
}

#[test]
fn there_is_no_shard_past_the_last() {
    let (_dir, store) = opened(ReadPathChoice::Auto);
    let run = block_on(store.run_on(ShardId(SHARDS), async |_| ()));
    assert!(matches!(
        run,
        Err(Error::NoSuchShard {
            shard: SHARDS,
            shards: SHARDS
        })
    ));
}

#[test]
fn many_run_at_once_and_wait_for_each_other() {
    for read_path in READ_PATHS {
        let (_dir, store) = opened(read_path);
        let runs: Vec<_> = (0..200_usize)
            .map(|run| {
                let shard = run % SHARDS;
                let id = rows_of(&store, shard)[run];
                let everything = store.clone();
                let future = store.run_on(ShardId(shard), async move |local| {
                    let projection = local.projection(&["id", "name"]).unwrap();
                    let own = local.take(&[id, id], &projection).await.unwrap();
                    yield_now().await;
                    // Through the inboxes, the own one among them.
                    let ids = [id, 0, 300, id];
                    let all = everything.take(&ids, &projection).await;
                    (own, all.unwrap())
                });
                (id, future)
            })
            .collect();
        without_hanging(move || {
            let executor = async_executor::Executor::new();
            let tasks: Vec<_> = runs
                .into_iter()
                .map(|(id, run)| (id, executor.spawn(run)))
                .collect();
            for (id, task) in tasks {
                let (own, all) = block_on(executor.run(task)).unwrap();
                assert_eq!(own, dataset::expected(&[id, id], &["id", "name"]));
                assert_eq!(all, dataset::expected(&[id, 0, 300, id], &["id", "name"]));
            }
        });
    }
}

#[test]
fn the_last_handle_may_go_on_a_shard() {
    for read_path in READ_PATHS {
        let (_dir, store) = opened(read_path);
        let (gone, heard) = mpsc::channel();
        let (go, begin) = async_channel::bounded::<()>(1);
        let last = store.clone();
        let mut run = Box::pin(store.run_on(ShardId(0), async move |_| {
            let _ = begin.recv().await;
            drop(last);
            gone.send(()).unwrap();
        }));
        let sent = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(sent.is_pending());
        drop((run, store));
        go.try_send(()).unwrap();
        without_hanging(move || heard.recv().unwrap());
    }
}

#[test]
fn code_that_takes_pinned_rows_without_end_lets_others_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(3_000));
    without_hanging(move || {
        let config = Config {
            cache: CacheChoice::Pinned,
            ..config(1, ReadPathChoice::Auto)
        };
        let store = Store::open(&path, config).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let without_end = store.run_on(ShardId(0), |shard| async move {
            let columns = shard.projection(&["short"]).unwrap();
            let mut takes = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                shard.take(&[7], &columns).await.unwrap();
                takes += 1;
            }
            takes
        });
        let others = async {
            // Too many rows for the caller to copy them itself.
            let ids: Vec<u64> = (0..3_000).collect();
            let taken = store.take(&ids, &store.all_columns()).await;
            assert_eq!(taken.unwrap(), dataset::expected(&ids, &COLUMNS));
            stop.store(true, Ordering::Relaxed);
        };
        let (takes, ()) = block_on(futures_lite::future::zip(without_end, others));
        assert!(takes.unwrap() > 0);
    });
}

/// A shard that waited for its own answer would wait for ever.
#[test]
fn a_call_that_blocks_on_the_thread_of_a_shard_is_rejected() {
    for read_path in READ_PATHS {
        let (_dir, store) = opened(read_path);
        without_hanging(move || {
            let own = store.clone();
            let ran = store.run_on(ShardId(0), async move |_| {
                let columns = own.projection(&["short"]).unwrap();
                let take = own.take(&[0, 1], &columns);
                let mut bytes = [0; 4];
                let into = take.wait_into(&mut [ColumnBuffer::Fixed(&mut bytes)]);
                let blocked = [
                    take.wait().map(drop),
                    into,
                    own.search(&[0.0]).wait().map(drop),
                    own.search_batch(&[0.0]).wait().map(drop),
                ];
                (blocked, take.await.map(|rows| rows.num_rows()))
            });
            let (blocked, awaited) = block_on(ran).unwrap();
            for blocked in blocked {
                assert!(matches!(blocked, Err(Error::WouldDeadlock)), "{blocked:?}");
            }
            assert_eq!(awaited.unwrap(), 2);
            let columns = store.projection(&["short"]).unwrap();
            assert_eq!(store.take(&[0], &columns).wait().unwrap().num_rows(), 1);
        });
    }
}
