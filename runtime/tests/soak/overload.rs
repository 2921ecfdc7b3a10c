//! Twice as many takes as the store can serve: it goes on serving what it can, holds no more memory
//! for it, and is itself again at once when the load is gone.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use futures_lite::future;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{Error, Store};

use super::data::{self, ROWS, assert_right, is_damaged};
use super::{JUDGED, Memory, alone, lasts, latencies, p99};

const TAKE_ROWS: usize = 50;
/// Threads that ask, each for many takes at once.
const ASKING: usize = 2;
/// Takes that one of them has in flight while the capacity is measured.
const IN_FLIGHT: usize = 8;
/// For a take to be answered.
const IN_TIME: Duration = Duration::from_millis(50);
/// After the load the store is given as long to be itself again.
const RECOVERY: Duration = Duration::from_secs(1);

/// Counts of takes by their outcome.
#[derive(Default)]
struct Outcomes {
    right: AtomicU64,
    late: AtomicU64,
    refused: AtomicU64,
}

/// Row ids of a take that no damage concerns.
fn ids(random: &mut ChaCha8Rng) -> Vec<u64> {
    let draws = std::iter::repeat_with(|| random.random_range(0..ROWS));
    draws
        .filter(|&id| !is_damaged(id))
        .take(TAKE_ROWS)
        .collect()
}

/// One take of some rows, and what became of it.
async fn take(store: &Store, ids: Vec<u64>, deadline: Option<Instant>, outcomes: &Outcomes) {
    let columns = store.projection(&["id", "blob"]).unwrap();
    let outcome = match store.take(&ids, &columns).deadline(deadline).await {
        Ok(taken) => {
            assert_right(&taken, &ids);
            &outcomes.right
        }
        Err(Error::DeadlineExceeded { .. }) => &outcomes.late,
        Err(Error::Overloaded) => &outcomes.refused,
        Err(error) => panic!("{error}"),
    };
    outcome.fetch_add(1, Ordering::Relaxed);
}

/// Runs `each` on the threads that ask, with their numbers.
fn on_all<F: Future<Output = ()>>(each: impl Fn(u64) -> F + Sync) {
    thread::scope(|scope| {
        for asking in 0..ASKING as u64 {
            let each = &each;
            scope.spawn(move || future::block_on(each(asking)));
        }
    });
}

/// Takes answered in a second when as many are in flight as the store likes.
fn capacity(store: &Store, lasts: Duration) -> f64 {
    let outcomes = Outcomes::default();
    let began = Instant::now();
    on_all(async |asking| {
        let executor = LocalExecutor::new();
        let clients = (0..IN_FLIGHT as u64).map(|client| {
            let mut random = ChaCha8Rng::seed_from_u64(asking * 100 + client);
            let outcomes = &outcomes;
            executor.spawn(async move {
                while began.elapsed() < lasts {
                    take(store, ids(&mut random), None, outcomes).await;
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        executor
            .run(async {
                for client in clients {
                    client.await;
                }
            })
            .await;
    });
    outcomes.right.into_inner() as f64 / began.elapsed().as_secs_f64()
}

/// Takes that come at `rate` in a second, whatever becomes of those before. Returns how many came.
fn load(store: &Store, rate: f64, lasts: Duration, outcomes: &Outcomes) -> u64 {
    let between = Duration::from_secs_f64(ASKING as f64 / rate);
    let offered = AtomicU64::new(0);
    let began = Instant::now();
    on_all(async |asking| {
        let mut random = ChaCha8Rng::seed_from_u64(1_000 + asking);
        let executor = LocalExecutor::new();
        let mut due = began;
        while began.elapsed() < lasts {
            while due <= Instant::now() {
                let asked = take(store, ids(&mut random), Some(due + IN_TIME), outcomes);
                executor.spawn(asked).detach();
                offered.fetch_add(1, Ordering::Relaxed);
                due += between;
            }
            if !executor.try_tick() {
                // Shorter than what a take is given by far, and the shards have the processors.
                thread::sleep(Duration::from_micros(200));
            }
        }
        while !executor.is_empty() {
            executor.tick().await;
        }
    });
    offered.into_inner()
}

/// How long takes take one after the other.
fn one_by_one(store: &Store, lasts: Duration) -> Duration {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (outcomes, took) = (Outcomes::default(), latencies());
    let began = Instant::now();
    while began.elapsed() < lasts {
        let (ids, asked) = (ids(&mut random), Instant::now());
        future::block_on(take(store, ids, None, &outcomes));
        let nanoseconds = asked.elapsed().as_nanos() as u64;
        took.increment(nanoseconds).unwrap();
    }
    p99(&took.load())
}

/// Where takes wait: at the store's door, or in the shards.
fn twice_the_load(path: &Path, takes_in_flight_max: usize, lasts: Duration) {
    let store = data::open(path, takes_in_flight_max);
    let share = lasts / 10;
    let before = one_by_one(&store, share);
    let capacity = capacity(&store, share);
    let outcomes = Outcomes::default();
    let mut memory = [Memory::default(); 2];
    let began = Instant::now();
    let offered = thread::scope(|scope| {
        let load = scope.spawn(|| load(&store, 2.0 * capacity, lasts, &outcomes));
        while !load.is_finished() {
            thread::sleep(lasts / 200);
            let half = usize::from(began.elapsed() > lasts / 2);
            memory[half].look();
        }
        load.join().unwrap()
    });
    let lasted = began.elapsed().as_secs_f64();
    let ended = Instant::now();
    while store.permits().windows > 0 {
        assert!(ended.elapsed() < RECOVERY, "work of a load that is gone");
        thread::yield_now();
    }
    let after = one_by_one(&store, share.min(RECOVERY));
    let Outcomes {
        right,
        late,
        refused,
    } = outcomes;
    let [right, late, refused] = [right, late, refused].map(AtomicU64::into_inner);
    let goodput = right as f64 / lasted;
    println!(
        "{lasted:.0} s at twice the capacity of {capacity:.0} takes/s, {takes_in_flight_max} let \
         in: {right} of {offered} right and in time, {:.2} of the capacity, {late} late, {refused} \
         refused; memory at most {} bytes and then {}; p99 of one at a time {before:?} before and {after:?} at \
         once after",
        goodput / capacity,
        memory[0].most,
        memory[1].most,
    );
    assert_eq!(right + late + refused, offered);
    assert!(right > 0 && late + refused > 0);
    if lasts >= JUDGED {
        assert!(goodput >= 0.7 * capacity, "{goodput} of {capacity}");
        assert!(after <= before * 2, "{before:?} before, {after:?} after");
        // It comes and goes with what waits, and does not grow.
        let [first, then] = memory.map(|half| half.most as f64);
        assert!(then <= first * 1.02, "memory grows: {first} to {then}");
    }
}

#[test]
fn what_can_be_served_is_served_under_twice_the_load() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    data::write(&path);
    for takes_in_flight_max in [8, 1024] {
        twice_the_load(&path, takes_in_flight_max, lasts() / 2);
    }
}
