//! A store at its limits: who waits, who is refused, what comes too late, and what goes first.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures_lite::future;
use rand::Rng;
use ringtake_runtime::{
    AdmissionStats, CacheChoice, ClassStats, Config, Error, LatencyClass, Limits, ReadPathChoice,
    ShardId, ShardStats, Store, TakeRequest, WhenFull,
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

type Taken = Result<RecordBatch, Error>;

/// Options of a take.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    when_full: WhenFull,
    deadline: Option<Instant>,
    class: LatencyClass,
}

impl Options {
    fn of<On>(self, request: TakeRequest<'_, On>) -> TakeRequest<'_, On> {
        request
            .when_full(self.when_full)
            .deadline(self.deadline)
            .class(self.class)
    }
}

fn take(
    store: &Store,
    ids: &[u64],
    options: Options,
) -> impl Future<Output = Taken> + Send + 'static + use<> {
    let (store, ids, columns) = (store.clone(), ids.to_vec(), store.all_columns());
    async move { options.of(store.take(&ids, &columns)).await }
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

const REFUSE: Options = Options {
    when_full: WhenFull::Refuse,
    deadline: None,
    class: LatencyClass::Urgent,
};

fn within(deadline: Duration) -> Options {
    Options {
        deadline: Some(Instant::now() + deadline),
        ..Options::default()
    }
}

fn one_at_a_time(path: &PathBuf) -> Store {
    let config = Config {
        limits: Limits {
            takes_in_flight_max: 1,
            ..Limits::default()
        },
        ..config(1, ReadPathChoice::Auto)
    };
    Store::open(path, config).unwrap()
}

/// Every window that was let in has ended.
fn assert_whole(stats: ClassStats) {
    assert_eq!(stats.dispatched, stats.completed, "{stats:?}");
}

#[test]
fn a_full_store_refuses_at_once() {
    let (_dir, path) = written();
    let store = one_at_a_time(&path);
    let go_on = stopped(&store);
    let ids = vec![7, 7, 2_999, 0];
    let mut at_work = pin!(take(&store, &[1, 2], Options::default()));
    assert!(poll_once(at_work.as_mut()).is_none());
    let refused = future::block_on(take(&store, &ids, REFUSE));
    assert!(matches!(refused, Err(Error::Overloaded)));
    let refused = REFUSE.of(store.take(&ids, &store.all_columns())).wait();
    assert!(matches!(refused, Err(Error::Overloaded)));
    assert_eq!(store.admission().urgent.refused, 2);
    drop(go_on);
    assert!(future::block_on(at_work).is_ok());
    // One after another none is refused.
    for _ in 0..100 {
        REFUSE
            .of(store.take(&ids, &store.all_columns()))
            .wait()
            .unwrap();
    }
}

#[test]
fn a_deadline_in_the_past_is_refused_before_anything_is_read() {
    let (_dir, path) = written();
    for when_full in [WhenFull::Wait, WhenFull::Refuse] {
        let store = open(&path, 2, ReadPathChoice::Auto);
        let options = Options {
            when_full,
            deadline: Some(Instant::now()),
            ..Options::default()
        };
        let late = options
            .of(store.take(&[1, 2, 3], &store.all_columns()))
            .wait();
        let Err(Error::DeadlineExceeded { rows_unread, rows }) = late else {
            panic!("{late:?}");
        };
        assert_eq!((rows_unread, rows), (3, 3));
        let parts: u64 = store.stats().iter().map(|stats| stats.parts).sum();
        assert_eq!(parts, 0);
        assert_eq!(store.admission().urgent.expired, 1);
    }
}

/// The outcome of a take that was pending before it ended, and so was woken; `None` otherwise.
fn if_woken(
    take: impl Future<Output = Taken> + 'static,
) -> Pin<Box<dyn Future<Output = Option<Taken>>>> {
    let (mut take, mut polls) = (Box::pin(take), 0);
    Box::pin(poll_fn(move |context| {
        polls += 1;
        let woken = polls > 1;
        take.as_mut()
            .poll(context)
            .map(|taken| woken.then_some(taken))
    }))
}

/// Tries with later and later deadlines until `outcome` has one: on a busy machine a deadline
/// may pass before its take is polled at all.
fn with_a_deadline<T>(mut outcome: impl FnMut(Options) -> Option<T>) -> T {
    let mut soon = Duration::from_millis(20);
    loop {
        if let Some(outcome) = outcome(within(soon)) {
            return outcome;
        }
        soon *= 2;
    }
}

#[test]
fn a_take_that_waits_for_a_permit_wakes_at_its_deadline() {
    let (_dir, path) = written();
    without_hanging(move || {
        let store = one_at_a_time(&path);
        let go_on = stopped(&store);
        let mut at_work = pin!(take(&store, &[1, 2], Options::default()));
        assert!(poll_once(at_work.as_mut()).is_none());
        // The shard stands still meanwhile: nothing but the timer ends these.
        for block_on in [future::block_on, pollster::block_on] {
            let late =
                with_a_deadline(|options| block_on(if_woken(take(&store, &[5, 6, 7], options))));
            assert!(matches!(
                late,
                Err(Error::DeadlineExceeded { rows_unread: 3, .. })
            ));
        }
        let soon = within(Duration::from_millis(20));
        let late = soon.of(store.take(&[5, 6, 7], &store.all_columns())).wait();
        assert!(matches!(late, Err(Error::DeadlineExceeded { .. })));
        drop(go_on);
        assert!(future::block_on(at_work).is_ok());
        let stats = store.admission().urgent;
        assert!(stats.queued >= 2 && stats.expired >= 3, "{stats:?}");
        // The code that stopped the shard, and the take beside it: no late one was let in.
        assert_eq!(stats.dispatched, 2);
        assert_whole(stats);
        assert_eq!(store.stats()[0].parts, 1);
    });
}

/// A take whose deadline has passed while its part lies in the inbox of a stopped shard.
fn sent_and_late(store: &Store, ids: &[u64]) -> Pin<Box<dyn Future<Output = Taken> + Send>> {
    with_a_deadline(|options| {
        let mut late = Box::pin(take(store, ids, options));
        if poll_once(late.as_mut()).is_some() {
            return None;
        }
        while Instant::now() < options.deadline.unwrap() {
            thread::yield_now();
        }
        Some(late as Pin<Box<_>>)
    })
}

#[test]
fn rows_that_expire_in_a_shard_are_not_read() {
    let (_dir, path) = written();
    let store = open(&path, 1, ReadPathChoice::Auto);
    let go_on = stopped(&store);
    let ids: Vec<u64> = (0..ROWS).collect();
    let late = sent_and_late(&store, &ids);
    let mut kept = pin!(take(&store, &[3, 4], Options::default()));
    assert!(poll_once(kept.as_mut()).is_none());
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
    assert_whole(store.admission().urgent);
}

#[test]
fn a_take_that_could_not_end_before_its_deadline_is_not_begun() {
    let (_dir, path) = written();
    let store = Store::open(
        &path,
        Config {
            queue_depth: 1,
            merge_gap_bytes: 0,
            ..config(1, READ_PATHS[0])
        },
    )
    .unwrap();
    let columns = store.projection(&["vector"]).unwrap();
    let ids: Vec<u64> = (0..ROWS).step_by(2).collect();
    let reads = || store.stats()[0].reads;
    let take = |options: Options| Box::pin(options.of(store.take(&ids, &columns)).into_future());
    // Alone, and so again and again until one is refused before its deadline, which nothing else
    // can do: if the machine is busy elsewhere it passes first, or the turn comes early.
    let refused_early = (0..50).any(|_| {
        let (started, before) = (Instant::now(), reads());
        future::block_on(take(Options::default())).unwrap();
        let (time, reads_alone) = (started.elapsed(), reads() - before);
        let before = reads();
        let mut first = take(Options::default());
        assert!(poll_once(first.as_mut()).is_none());
        // It has its turn in time, and needs as long again as the one before it.
        let options = within(2 * time);
        let mut second = take(options);
        assert!(poll_once(second.as_mut()).is_none());
        future::block_on(first).unwrap();
        let second = future::block_on(second);
        let early = Instant::now() < options.deadline.unwrap();
        match second {
            Err(Error::DeadlineExceeded { rows_unread, rows }) if early => {
                assert_eq!((rows_unread, rows), (ROWS / 2, ROWS / 2));
                assert_eq!(reads() - before, reads_alone);
                true
            }
            _ => false,
        }
    });
    assert!(refused_early);
    // One that has time enough is served.
    let mut first = take(Options::default());
    assert!(poll_once(first.as_mut()).is_none());
    let mut second = take(within(Duration::from_secs(3600)));
    assert!(poll_once(second.as_mut()).is_none());
    future::block_on(first).unwrap();
    future::block_on(second).unwrap();
}

#[test]
fn a_take_from_memory_that_could_not_end_before_its_deadline_is_not_begun() {
    let (_dir, path) = written();
    let store = Store::open(
        &path,
        Config {
            cache: CacheChoice::Bytes(64 << 20),
            ..config(1, READ_PATHS[0])
        },
    )
    .unwrap();
    let columns = store.projection(&["short"]).unwrap();
    let ids: Vec<u64> = (0..ROWS).cycle().take(60_000).collect();
    let take = |options: Options| Box::pin(options.of(store.take(&ids, &columns)).into_future());
    future::block_on(take(Options::default())).unwrap();
    let reads = store.stats()[0].reads;
    // As above: nothing else refuses it before its deadline.
    let refused_early = (0..200).any(|_| {
        let started = Instant::now();
        future::block_on(take(Options::default())).unwrap();
        let time = started.elapsed();
        let mut first = take(Options::default());
        assert!(poll_once(first.as_mut()).is_none());
        let options = within(2 * time);
        let mut second = take(options);
        assert!(poll_once(second.as_mut()).is_none());
        future::block_on(first).unwrap();
        let second = future::block_on(second);
        let early = Instant::now() < options.deadline.unwrap();
        early && matches!(second, Err(Error::DeadlineExceeded { .. }))
    });
    assert!(refused_early);
    assert_eq!(store.stats()[0].reads, reads);
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
                    limits: Limits {
                        takes_in_flight_max: 2,
                        reads_in_flight_max: reads,
                        bytes_in_flight_max: bytes,
                    },
                    ..config(2, read_path)
                };
                let store = Store::open(&path, config).unwrap();
                let mut ids = draw(&mut seeded(21), ROWS, 300);
                // Row 5 is larger than a slot.
                ids.push(5);
                let options = Options {
                    class,
                    ..Options::default()
                };
                let taken = options.of(store.take(&ids, &store.all_columns())).wait();
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
            let mut in_shard = Box::pin(take(&store, &ids, Options::default()));
            assert!(poll_once(in_shard.as_mut()).is_none());
            in_shard
        };
        let mut waiting = Box::pin(take(&store, &ids, within(Duration::from_secs(1000))));
        assert!(poll_once(waiting.as_mut()).is_none());
        let mut behind = Box::pin(take(&store, &ids, Options::default()));
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
        assert!(store.take(&ids, &store.all_columns()).wait().is_ok());
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
        let bulk = Options {
            class: LatencyClass::Bulk,
            ..Options::default()
        };
        let ids: Vec<u64> = (0..ROWS).collect();
        let mut first = pin!(take(&store, &ids, bulk));
        assert!(poll_once(first.as_mut()).is_none());
        let mut urgent = pin!(take(&store, &[ROWS - 1], Options::default()));
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
        // A queue of one tells the order of the reads. In a longer one others may overtake them,
        // but not a thousand.
        let most = match queue_depth {
            1 => stats.urgent_reads,
            _ => stats.reads / 2,
        };
        assert!(
            reads <= most,
            "{reads} reads before the urgent row, of {}",
            stats.reads
        );
    }
}

/// The stats of shard 0 each time that one of `takes` is woken there, at the end of its window.
fn stats_when_woken(
    store: &Store,
    takes: Vec<Pin<Box<dyn Future<Output = Taken> + Send>>>,
    go_on: std::sync::mpsc::Sender<()>,
) -> Vec<ShardStats> {
    let (woken, stats) = std::sync::mpsc::channel();
    let watched = store.clone();
    let waker = Waker::from(Arc::new(OnWake(move || {
        let _ = woken.send(watched.stats()[0]);
    })));
    let mut takes = takes;
    for take in &mut takes {
        let polled = take.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    drop(go_on);
    let seen = takes.iter().map(|_| stats.recv().unwrap()).collect();
    for take in takes {
        assert!(future::block_on(take).is_ok());
    }
    seen
}

#[test]
fn bulk_reads_leave_slots_of_the_queue_to_urgent_ones() {
    let (_dir, path) = written();
    without_hanging(move || {
        let queue_depth = 16;
        let config = Config {
            queue_depth,
            ..config(1, ReadPathChoice::Auto)
        };
        let store = Store::open(&path, config).unwrap();
        let most = |class| {
            let go_on = stopped(&store);
            let options = Options {
                class,
                ..Options::default()
            };
            // One row each, and far enough apart for reads of their own.
            let takes = (0..300)
                .map(|row| Box::pin(take(&store, &[row * 10], options)) as Pin<Box<_>>)
                .collect();
            let seen = stats_when_woken(&store, takes, go_on);
            // Seen on the shard's thread, while it handles a completion: that one is counted, so
            // a full queue shows as one less.
            let in_flight = |stats: &ShardStats| stats.reads - stats.completions;
            seen.iter().map(in_flight).max().unwrap()
        };
        let in_bulk = most(LatencyClass::Bulk);
        assert!(
            in_bulk > 2 && in_bulk < u64::from(queue_depth) - 2,
            "{in_bulk}"
        );
        assert!(most(LatencyClass::Urgent) < u64::from(queue_depth));
        // An urgent read has just been there, and another may come.
        let beside_urgent = most(LatencyClass::Bulk);
        assert!(beside_urgent < 2, "{beside_urgent}");
    });
}

#[test]
fn bulk_reads_have_their_turn_however_many_urgent_ones_wait() {
    let (_dir, path) = written();
    without_hanging(move || {
        let config = Config {
            // Tells the order.
            queue_depth: 1,
            ..config(1, ReadPathChoice::Auto)
        };
        let store = Store::open(&path, config).unwrap();
        let go_on = stopped(&store);
        let ids: Vec<u64> = (0..ROWS).collect();
        let mut urgent = pin!(take(&store, &ids, Options::default()));
        assert!(poll_once(urgent.as_mut()).is_none());
        let projection = store.projection(&["id"]).unwrap();
        let bulk = Options {
            class: LatencyClass::Bulk,
            ..Options::default()
        };
        let asked = store.clone();
        let bulk = async move { bulk.of(asked.take(&[ROWS - 1], &projection)).await };
        let seen = stats_when_woken(&store, vec![Box::pin(bulk)], go_on);
        assert!(future::block_on(urgent).is_ok());
        let all = store.stats()[0].reads;
        // 16 urgent reads, then the bulk one.
        assert!(
            seen[0].reads <= 17 && all > 2 * 17,
            "{:?} of {all}",
            seen[0]
        );
    });
}

#[test]
fn windows_that_expire_before_they_are_let_in_are_counted_as_unread() {
    let (_dir, path) = written();
    without_hanging(move || {
        let config = Config {
            limits: Limits {
                reads_in_flight_max: 100,
                ..Limits::default()
            },
            ..config(1, ReadPathChoice::Auto)
        };
        let store = Store::open(&path, config).unwrap();
        let go_on = stopped(&store);
        let ids: Vec<u64> = (0..ROWS).collect();
        let late = sent_and_late(&store, &ids);
        drop(go_on);
        let late = future::block_on(late);
        let Err(Error::DeadlineExceeded { rows_unread, rows }) = late else {
            panic!("{late:?}");
        };
        assert_eq!((rows_unread, rows), (ROWS, ROWS));
        assert_eq!(store.stats()[0].rows, 0);
        let stats = store.admission().urgent;
        assert!(stats.expired >= 1, "{stats:?}");
        assert_whole(stats);
    });
}

#[test]
fn takes_inside_a_shard_wait_and_are_refused_expire_and_are_counted_like_others() {
    let (_dir, path) = written();
    without_hanging(move || {
        for read_path in READ_PATHS {
            let config = Config {
                limits: Limits {
                    takes_in_flight_max: 1,
                    ..Limits::default()
                },
                ..config(1, read_path)
            };
            let store = Store::open(&path, config).unwrap();
            let run = store.run_on(ShardId(0), async move |local| {
                let all = local.projection(&COLUMNS).unwrap();
                let bulk = Options {
                    class: LatencyClass::Bulk,
                    ..Options::default()
                };
                let mut first = pin!(bulk.of(local.take(&[1, 2], &all)).into_future());
                assert!(poll_once(first.as_mut()).is_none());
                let mut behind = pin!(local.take(&[3], &all).into_future());
                assert!(poll_once(behind.as_mut()).is_none());
                let refused = REFUSE.of(local.take(&[4], &all)).await;
                assert!(matches!(refused, Err(Error::Overloaded)));
                let now = within(Duration::ZERO);
                let late = now.of(local.take(&[5], &all)).await;
                assert!(matches!(late, Err(Error::DeadlineExceeded { .. })));
                (first.await, behind.await)
            });
            let (first, behind) = future::block_on(run).unwrap();
            assert_eq!(first.unwrap(), dataset::expected(&[1, 2], &COLUMNS));
            assert_eq!(behind.unwrap(), dataset::expected(&[3], &COLUMNS));
            let AdmissionStats { urgent, bulk } = store.admission();
            assert_eq!((bulk.dispatched, bulk.queued), (1, 0), "{read_path}");
            // The code itself, and the take behind.
            assert_eq!((urgent.dispatched, urgent.queued), (2, 1), "{read_path}");
            assert_eq!((urgent.refused, urgent.expired), (1, 1), "{read_path}");
            assert_whole(urgent);
            assert_whole(bulk);
        }
    });
}

#[test]
fn rows_of_a_take_inside_a_shard_that_expire_are_not_read() {
    let (_dir, path) = written();
    without_hanging(move || {
        for read_path in READ_PATHS {
            let store = open(&path, 1, read_path);
            let run = store.run_on(ShardId(0), async move |local| {
                let all = local.projection(&COLUMNS).unwrap();
                let mut soon = Duration::from_millis(20);
                loop {
                    let options = within(soon);
                    let mut late = pin!(options.of(local.take(&[1, 2], &all)).into_future());
                    if poll_once(late.as_mut()).is_none() {
                        // The shard looks at the part when this code gives way.
                        while Instant::now() < options.deadline.unwrap() {}
                        return late.await;
                    }
                    soon *= 2;
                }
            });
            let late = future::block_on(run).unwrap();
            assert!(
                matches!(late, Err(Error::DeadlineExceeded { rows_unread: 2, .. })),
                "{read_path}: {late:?}"
            );
            assert_eq!(store.stats()[0].rows, 0, "{read_path}");
        }
    });
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
            limits: Limits {
                takes_in_flight_max: 2,
                reads_in_flight_max: 600,
                ..Limits::default()
            },
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
                        let options = Options {
                            when_full: [WhenFull::Wait, WhenFull::Refuse][round % 2],
                            deadline: (round % 3 == 0)
                                .then(|| Instant::now() + Duration::from_micros(300)),
                            class: [LatencyClass::Urgent, LatencyClass::Bulk][client as usize % 2],
                        };
                        let outcome = match future::block_on(take(store, &ids, options)) {
                            Ok(taken) => {
                                assert_eq!(taken, dataset::expected(&ids, &COLUMNS));
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
