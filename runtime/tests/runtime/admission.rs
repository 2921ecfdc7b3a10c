//! A store at its limits: who waits, who is refused, what comes too late, and what goes first.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures_lite::future;
use rand::Rng;
use ringtake_runtime::{
    ClassStats, Config, Error, LatencyClass, ReadPathChoice, ShardId, Store, TakeOptions, WhenFull,
};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{READ_PATHS, config, draw, open, seeded, without_hanging};

const ROWS: u64 = 3_000;

fn written() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    (dir, path)
}

fn take(
    store: &Store,
    ids: &[u64],
    options: TakeOptions,
) -> impl Future<Output = Result<RecordBatch, Error>> + Send + 'static + use<> {
    store.take_async(ids, &store.all_columns(), options)
}

/// Shard 0 stands still until the sender that this returns is dropped, so that what is let in
/// stays at work.
fn stopped(store: &Store) -> std::sync::mpsc::Sender<()> {
    let (go_on, stop) = std::sync::mpsc::channel::<()>();
    let (stands, still) = std::sync::mpsc::channel();
    let store = store.clone();
    thread::spawn(move || {
        let run = store.run_on(ShardId(0), move |_| async move {
            stands.send(()).unwrap();
            let _ = stop.recv();
        });
        future::block_on(run).unwrap();
    });
    still.recv().unwrap();
    go_on
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

const REFUSE: TakeOptions = TakeOptions {
    missing: ringtake_runtime::Missing::Error,
    when_full: WhenFull::Refuse,
    deadline: None,
    class: LatencyClass::Urgent,
};

fn within(deadline: Duration) -> TakeOptions {
    TakeOptions {
        deadline: Some(Instant::now() + deadline),
        ..TakeOptions::default()
    }
}

fn one_at_a_time(path: &PathBuf) -> Store {
    let config = Config {
        takes_in_flight_max: 1,
        ..config(1, ReadPathChoice::Auto)
    };
    Store::open(path, config).unwrap()
}

/// Every window that was let in has ended.
fn assert_whole(stats: ClassStats) {
    assert_eq!(stats.dispatched, stats.completed, "{stats:?}");
}

#[test]
fn a_full_store_refuses_at_once_and_gives_the_ids_back() {
    let (_dir, path) = written();
    let store = one_at_a_time(&path);
    let go_on = stopped(&store);
    let ids = vec![7, 7, 2_999, 0];
    let mut at_work = pin!(take(&store, &[1, 2], TakeOptions::default()));
    assert!(poll_once(at_work.as_mut()).is_none());
    let refused = future::block_on(take(&store, &ids, REFUSE));
    assert!(matches!(refused, Err(Error::Overloaded { ids: back }) if back == ids));
    let refused = store.take_with(&ids, &store.all_columns(), REFUSE);
    assert!(matches!(refused, Err(Error::Overloaded { .. })));
    assert_eq!(store.admission().urgent.refused, 2);
    drop(go_on);
    assert!(future::block_on(at_work).is_ok());
    // One after another none is refused.
    for _ in 0..100 {
        store.take_with(&ids, &store.all_columns(), REFUSE).unwrap();
    }
}

#[test]
fn a_deadline_in_the_past_is_refused_before_anything_is_read() {
    let (_dir, path) = written();
    for when_full in [WhenFull::Wait, WhenFull::Refuse] {
        let store = open(&path, 2, ReadPathChoice::Auto);
        let options = TakeOptions {
            when_full,
            deadline: Some(Instant::now()),
            ..TakeOptions::default()
        };
        let late = store.take_with(&[1, 2, 3], &store.all_columns(), options);
        let Err(Error::DeadlineExceeded { rows_unread, rows }) = late else {
            panic!("{late:?}");
        };
        assert_eq!((rows_unread, rows), (3, 3));
        let parts: u64 = store.stats().iter().map(|stats| stats.parts).sum();
        assert_eq!(parts, 0);
        assert_eq!(store.admission().urgent.expired, 1);
    }
}

#[test]
fn a_take_that_waits_for_a_permit_wakes_at_its_deadline() {
    let (_dir, path) = written();
    without_hanging(move || {
        let store = one_at_a_time(&path);
        let go_on = stopped(&store);
        let mut at_work = pin!(take(&store, &[1, 2], TakeOptions::default()));
        assert!(poll_once(at_work.as_mut()).is_none());
        // The shard stands still meanwhile: nothing but the timer ends these.
        let soon = Duration::from_millis(30);
        for block_on in [future::block_on, pollster::block_on] {
            let late = block_on(Box::pin(take(&store, &[5, 6, 7], within(soon))));
            assert!(matches!(
                late,
                Err(Error::DeadlineExceeded { rows_unread: 3, .. })
            ));
        }
        let late = store.take_with(&[5, 6, 7], &store.all_columns(), within(soon));
        assert!(matches!(late, Err(Error::DeadlineExceeded { .. })));
        drop(go_on);
        assert!(future::block_on(at_work).is_ok());
        let stats = store.admission().urgent;
        assert_eq!((stats.queued, stats.expired), (3, 3));
        assert_whole(stats);
    });
}

#[test]
fn rows_that_expire_in_a_shard_are_not_read() {
    let (_dir, path) = written();
    let store = open(&path, 1, ReadPathChoice::Auto);
    let go_on = stopped(&store);
    let ids: Vec<u64> = (0..ROWS).collect();
    let options = within(Duration::from_millis(20));
    let mut late = pin!(take(&store, &ids, options));
    assert!(poll_once(late.as_mut()).is_none());
    let mut kept = pin!(take(&store, &[3, 4], TakeOptions::default()));
    assert!(poll_once(kept.as_mut()).is_none());
    while Instant::now() < options.deadline.unwrap() {
        thread::yield_now();
    }
    drop(go_on);
    let late = future::block_on(late);
    assert!(
        matches!(
            late,
            Err(Error::DeadlineExceeded {
                rows_unread: ROWS,
                rows: ROWS
            })
        ),
        "{late:?}"
    );
    assert_eq!(
        future::block_on(kept).unwrap(),
        dataset::expected(&[3, 4], &COLUMNS)
    );
    let stats = store.stats()[0];
    assert_eq!(stats.rows_expired, ROWS);
    // Two rows of each of the column groups, at most.
    assert!(stats.rows <= 2 * COLUMNS.len() as u64, "{stats:?}");
}

#[test]
fn takes_larger_than_every_limit_are_served_window_by_window() {
    let (_dir, path) = written();
    for read_path in READ_PATHS {
        for class in [LatencyClass::Urgent, LatencyClass::Bulk] {
            for (reads, bytes) in [
                (1, 1 << 30),
                (100, 1 << 30),
                (1 << 20, 1),
                (1 << 20, 100_000),
            ] {
                let config = Config {
                    takes_in_flight_max: 2,
                    reads_in_flight_max: reads,
                    bytes_in_flight_max: bytes,
                    ..config(2, read_path)
                };
                let store = Store::open(&path, config).unwrap();
                let mut ids = draw(&mut seeded(21), ROWS, 300);
                // Row 5 is larger than a slot.
                ids.push(5);
                let options = TakeOptions {
                    class,
                    ..TakeOptions::default()
                };
                let taken = store.take_with(&ids, &store.all_columns(), options);
                assert_eq!(taken.unwrap(), dataset::expected(&ids, &COLUMNS));
                let stats = store.admission();
                let dispatched = stats.urgent.dispatched + stats.bulk.dispatched;
                assert!(dispatched > 1, "{reads} {bytes}: one window");
                assert_whole(stats.urgent);
                assert_whole(stats.bulk);
            }
        }
    }
}

#[test]
fn futures_dropped_in_every_state_leave_the_permits_whole() {
    let (_dir, path) = written();
    without_hanging(move || {
        let store = one_at_a_time(&path);
        let go_on = stopped(&store);
        let ids: Vec<u64> = (0..200).collect();
        let in_shard = {
            let mut in_shard = Box::pin(take(&store, &ids, TakeOptions::default()));
            assert!(poll_once(in_shard.as_mut()).is_none());
            in_shard
        };
        let mut waiting = Box::pin(take(&store, &ids, within(Duration::from_secs(1000))));
        assert!(poll_once(waiting.as_mut()).is_none());
        let mut behind = Box::pin(take(&store, &ids, TakeOptions::default()));
        assert!(poll_once(behind.as_mut()).is_none());
        drop(waiting);
        assert_eq!(store.admission().urgent.cancelled, 1);
        // Cancelled in the shard's inbox, before it has planned anything.
        drop(in_shard);
        drop(go_on);
        // Let in by now or soon, and dropped without being polled again.
        while store.admission().urgent.dispatched < 3 {
            thread::yield_now();
        }
        drop(behind);
        assert_eq!(store.stats()[0].rows, 0);
        assert_eq!(store.stats()[0].rows_cancelled, 200);
        assert!(store.take(&ids, &store.all_columns()).is_ok());
        assert_whole(store.admission().urgent);
    });
}

#[test]
fn urgent_reads_go_before_bulk_ones() {
    let (_dir, path) = written();
    // A queue of one read shows the order.
    for queue_depth in [1, 2, 16] {
        let config = Config {
            queue_depth,
            ..config(1, ReadPathChoice::Auto)
        };
        let store = Store::open(&path, config).unwrap();
        let go_on = stopped(&store);
        let bulk = TakeOptions {
            class: LatencyClass::Bulk,
            ..TakeOptions::default()
        };
        let ids: Vec<u64> = (0..ROWS).collect();
        let mut first = pin!(take(&store, &ids, bulk));
        assert!(poll_once(first.as_mut()).is_none());
        let mut urgent = pin!(take(&store, &[ROWS - 1], TakeOptions::default()));
        assert!(poll_once(urgent.as_mut()).is_none());
        // Looks at what has been read at the moment when the urgent row is there.
        let (watched, rows_before) = (store.clone(), Arc::new(AtomicU64::new(u64::MAX)));
        let seen = rows_before.clone();
        let waker = Waker::from(Arc::new(OnWake(move || {
            seen.store(watched.stats()[0].reads, Ordering::SeqCst);
        })));
        assert!(
            urgent
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(go_on);
        assert!(future::block_on(first).is_ok());
        let reads = rows_before.load(Ordering::SeqCst);
        let stats = store.stats()[0];
        assert!(poll_once(urgent).unwrap().is_ok());
        assert!(
            stats.urgent_reads > 0 && stats.urgent_reads < 16,
            "{stats:?}"
        );
        // In one full queue beside it, at most: it was not behind the bulk take.
        assert!(
            reads <= stats.urgent_reads + 2 * u64::from(queue_depth),
            "{reads} reads before the urgent row, of {}",
            stats.reads
        );
    }
}

struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> std::task::Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

#[test]
fn every_take_of_an_overloaded_store_is_served_refused_or_expired() {
    let (_dir, path) = written();
    without_hanging(move || {
        let config = Config {
            takes_in_flight_max: 2,
            reads_in_flight_max: 600,
            ..config(2, ReadPathChoice::Auto)
        };
        let store = Store::open(&path, config).unwrap();
        let outcomes: [AtomicU64; 3] = Default::default();
        let rounds = 60;
        let threads = 8;
        thread::scope(|scope| {
            for client in 0..threads {
                let (store, outcomes) = (&store, &outcomes);
                scope.spawn(move || {
                    let mut rng = seeded(22 + client);
                    for round in 0..rounds {
                        let count = rng.random_range(1..400);
                        let ids = draw(&mut rng, ROWS, count);
                        let options = TakeOptions {
                            when_full: [WhenFull::Wait, WhenFull::Refuse][round % 2],
                            deadline: (round % 3 == 0)
                                .then(|| Instant::now() + Duration::from_micros(300)),
                            class: [LatencyClass::Urgent, LatencyClass::Bulk][client as usize % 2],
                            ..TakeOptions::default()
                        };
                        let outcome = match future::block_on(take(store, &ids, options)) {
                            Ok(taken) => {
                                assert_eq!(taken, dataset::expected(&ids, &COLUMNS));
                                0
                            }
                            Err(Error::Overloaded { ids: back }) => {
                                assert_eq!(back, ids);
                                1
                            }
                            Err(Error::DeadlineExceeded { .. }) => 2,
                            Err(error) => panic!("{error}"),
                        };
                        outcomes[outcome].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let outcomes = outcomes.map(AtomicU64::into_inner);
        assert_eq!(outcomes.iter().sum::<u64>(), threads * rounds as u64);
        // Those that neither refuse nor have a deadline are all served.
        assert!(outcomes[0] >= threads * rounds as u64 / 3, "{outcomes:?}");
        let stats = store.admission();
        assert_eq!(stats.urgent.refused + stats.bulk.refused, outcomes[1]);
        assert_whole(stats.urgent);
        assert_whole(stats.bulk);
    });
}
