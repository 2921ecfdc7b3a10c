//! Takes, searches, futures that are dropped, deadlines, more clients than can be served, code that
//! panics on a shard, and rows that are damaged, all at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, UInt64Type};
use futures_lite::future;
use histogram::AtomicHistogram;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{Error, LatencyClass, ShardId, Store, WhenFull};

use super::data::{self, ROWS, assert_right, is_damaged, vector};
use super::{JUDGED, Memory, alone, descriptors, lasts, latencies, p99};

const CLIENTS: usize = 6;

/// Counts of the answers that the clients have seen.
struct Seen {
    answers: AtomicU64,
    searches: AtomicU64,
    dropped: AtomicU64,
    faults: AtomicU64,
    late: AtomicU64,
    overloaded: AtomicU64,
    panics: AtomicU64,
    /// Latencies of takes of ten rows in the first and the second half of the time.
    latencies: [AtomicHistogram; 2],
}

impl Seen {
    fn new() -> Seen {
        let none = AtomicU64::default;
        Seen {
            answers: none(),
            searches: none(),
            dropped: none(),
            faults: none(),
            late: none(),
            overloaded: none(),
            panics: none(),
            latencies: [latencies(), latencies()],
        }
    }
}

fn client(store: &Store, seed: u64, began: Instant, until: Instant, seen: &Seen) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let columns = store.all_columns();
    while Instant::now() < until {
        let kind = random.random_range(0..10);
        if kind == 0 {
            match random.random_range(0..20) {
                0 => panic_on_a_shard(store, &mut random, seen),
                _ => search(store, &mut random, seen),
            }
            continue;
        }
        let count = [10, 10, 10, 200][random.random_range(0..4)];
        let ids: Vec<u64> = (0..count).map(|_| random.random_range(0..ROWS)).collect();
        let in_time = Duration::from_micros(random.random_range(200..20_000));
        let take = store
            .take(&ids, &columns)
            .deadline((kind < 4).then(|| Instant::now() + in_time))
            .when_full(match kind % 3 {
                0 => WhenFull::Refuse,
                _ => WhenFull::Wait,
            })
            .class(match kind {
                5 => LatencyClass::Bulk,
                _ => LatencyClass::Urgent,
            });
        let asked = Instant::now();
        let mut taken = Box::pin(take.into_future());
        if kind == 9 {
            drop(future::block_on(future::poll_once(&mut taken)));
            seen.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let taken = future::block_on(taken);
        if count == 10 && taken.is_ok() {
            let half = usize::from(asked > began + (until - began) / 2);
            let nanoseconds = asked.elapsed().as_nanos() as u64;
            seen.latencies[half].increment(nanoseconds).unwrap();
        }
        judge(&ids, taken, seen);
    }
}

fn judge(ids: &[u64], taken: Result<RecordBatch, Error>, seen: &Seen) {
    let counter = match taken {
        Ok(taken) => {
            assert_right(&taken, ids);
            &seen.answers
        }
        Err(Error::Rows { faults, .. }) => {
            assert!(
                faults.iter().all(|fault| is_damaged(fault.row)),
                "{faults:?}"
            );
            &seen.faults
        }
        Err(Error::DeadlineExceeded { .. }) => &seen.late,
        Err(Error::Overloaded) => &seen.overloaded,
        Err(error) => panic!("{error}"),
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

fn search(store: &Store, random: &mut ChaCha8Rng, seen: &Seen) {
    let near = random.random_range(0..ROWS);
    let query = vector(near);
    let search = store.search(&query).k(5).nprobes(16).refine_factor(20);
    let found = search.wait().unwrap();
    assert_eq!(found.num_rows(), 5);
    // It is its own neighbour, at no distance.
    assert_eq!(found.column(0).as_primitive::<UInt64Type>().value(0), near);
    assert_eq!(found.column(1).as_primitive::<Float32Type>().value(0), 0.0);
    seen.searches.fetch_add(1, Ordering::Relaxed);
}

/// Its caller hears of it, and the shard goes on.
fn panic_on_a_shard(store: &Store, random: &mut ChaCha8Rng, seen: &Seen) {
    let shard = ShardId(random.random_range(0..2));
    // Without the hook, which would print each.
    let run = store.run_on(shard, async |_| {
        panic::resume_unwind(Box::new("on purpose"))
    });
    let ran: Result<(), Error> = future::block_on(run);
    assert!(matches!(ran, Err(Error::Panicked { .. })), "{ran:?}");
    seen.panics.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn nothing_grows_and_no_answer_is_wrong() {
    let _alone = alone();
    let lasts = lasts();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    data::write(&path);
    let store = data::open(&path, 8);
    let seen = Seen::new();
    let began = Instant::now();
    let until = began + lasts;
    let warm = began + lasts / 4;
    let mut memory = Memory::default();
    let mut open_files = None;
    thread::scope(|scope| {
        for seed in 0..CLIENTS as u64 {
            let (store, seen) = (&store, &seen);
            scope.spawn(move || client(store, seed, began, until, seen));
        }
        while Instant::now() < until {
            thread::sleep(lasts / 100);
            if Instant::now() > warm {
                memory.look();
                let files = descriptors();
                assert_eq!(*open_files.get_or_insert(files), files);
            }
        }
    });
    let patience = Instant::now() + Duration::from_secs(10);
    while store.permits().windows > 0 {
        assert!(Instant::now() < patience, "a permit is held for ever");
        thread::yield_now();
    }
    let stalls = store.metrics().shards;
    let nanoseconds = stalls.iter().map(|shard| shard.longest_stall.duration_ns);
    let longest = Duration::from_nanos(nanoseconds.max().unwrap_or(0));
    let [before, after] = seen.latencies.each_ref().map(|half| p99(&half.load()));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} s: {} takes and {} searches right, {} dropped, {} late, {} overloaded, {} with the \
         damaged rows named, {} panics on shards, none wrong; memory {} to {} bytes, descriptors \
         {}; p99 of ten rows {before:?} and then {after:?}; longest stall {longest:?}",
        lasts.as_secs(),
        count(&seen.answers),
        count(&seen.searches),
        count(&seen.dropped),
        count(&seen.late),
        count(&seen.overloaded),
        count(&seen.faults),
        count(&seen.panics),
        memory.first,
        memory.most,
        open_files.unwrap(),
    );
    for counter in [&seen.answers, &seen.searches, &seen.dropped, &seen.faults] {
        assert!(count(counter) > 0);
    }
    if lasts >= JUDGED {
        memory.assert_flat();
        assert!(after <= before * 2, "p99 grows: {before:?} to {after:?}");
    }
}
