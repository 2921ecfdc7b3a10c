//! Every interleaving of shards that finish the parts of a take, or drop them, and the caller that
//! waits for it, explored by loom over the very source of the finish.

#![allow(clippy::unwrap_used)]

mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

    /// Loom's own, under the names of the crate that is used.
    #[derive(Debug)]
    pub(super) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(super) fn new() -> AtomicWaker {
            AtomicWaker(loom::future::AtomicWaker::new())
        }

        pub(super) fn register(&self, waker: &std::task::Waker) {
            self.0.register_by_ref(waker);
        }

        pub(super) fn wake(&self) {
            self.0.wake();
        }
    }
}

#[allow(unreachable_pub)]
#[path = "../src/shard/part/finish.rs"]
mod finish;

use std::future::poll_fn;
use std::task::Context;

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use finish::{Countdown, Finish};

const PLACES: usize = 2;

/// Memory of a result. Loom fails a run in which two threads use a place at once, or one without
/// what the other did being ordered before.
#[derive(Default)]
struct Outputs([UnsafeCell<u64>; PLACES]);

// SAFETY: loom checks every access.
unsafe impl Sync for Outputs {}

impl Outputs {
    fn write(&self, place: usize, value: u64) {
        // SAFETY: loom checks it.
        self.0[place].with_mut(|at| unsafe { *at = value });
    }

    fn read(&self) -> [u64; PLACES] {
        // SAFETY: loom checks it.
        std::array::from_fn(|place| self.0[place].with(|at| unsafe { *at }))
    }
}

/// State that a take's caller and its shards share.
struct Take {
    finish: Finish,
    windows: Vec<Countdown>,
    permits_back: AtomicUsize,
}

impl Take {
    /// A take with a window for each number in `parts`, the parts of that window.
    fn new(parts: &[u32]) -> Arc<Take> {
        Arc::new(Take {
            finish: Finish::default(),
            windows: parts.iter().map(|&parts| Countdown::new(parts)).collect(),
            permits_back: AtomicUsize::new(0),
        })
    }

    fn permits_back(&self) -> usize {
        self.permits_back.load(Ordering::Relaxed)
    }

    fn wait_until_finished(&self, windows: usize) {
        block_on(poll_fn(|context: &mut Context<'_>| {
            self.finish.poll_finished(windows, context)
        }));
    }

    fn wait_until_let_go(&self, windows: usize) {
        block_on(poll_fn(|context: &mut Context<'_>| {
            self.finish.poll_let_go(windows, context)
        }));
    }
}

/// A shard's part: it writes one place and ends.
fn end_part(take: &Take, window: usize, outputs: Arc<Outputs>, place: usize, value: u64) {
    outputs.write(place, value);
    let release = || {
        take.permits_back.fetch_add(1, Ordering::Relaxed);
    };
    take.windows[window].end_part(outputs, release, &take.finish);
}

/// Starts a shard that does so.
fn shard(
    take: &Arc<Take>,
    window: usize,
    outputs: &Arc<Outputs>,
    place: usize,
    value: u64,
) -> thread::JoinHandle<()> {
    let (take, outputs) = (take.clone(), outputs.clone());
    thread::spawn(move || end_part(&take, window, outputs, place, value))
}

/// The outputs, which the caller has alone once it has heard of the end.
fn taken_apart(outputs: Arc<Outputs>) -> Outputs {
    let outputs = Arc::try_unwrap(outputs);
    outputs
        .ok()
        .expect("a shard holds the outputs after the end")
}

#[test]
fn the_caller_has_every_row_and_the_memory_alone() {
    loom::model(|| {
        let take = Take::new(&[2]);
        let outputs = Arc::new(Outputs::default());
        let shards = [0, 1].map(|place| shard(&take, 0, &outputs, place, 7 + place as u64));
        take.wait_until_finished(1);
        assert_eq!(take.permits_back(), 1);
        assert_eq!(taken_apart(outputs).read(), [7, 8]);
        for shard in shards {
            shard.join().unwrap();
        }
    });
}

#[test]
fn memory_of_one_take_is_used_by_the_next_at_once() {
    loom::model(|| {
        let take = Take::new(&[1]);
        let outputs = Arc::new(Outputs::default());
        let shard = shard(&take, 0, &outputs, 0, 7);
        take.wait_until_finished(1);
        let memory = taken_apart(outputs);
        memory.write(0, memory.read()[0] + 1);
        assert_eq!(memory.read(), [8, 0]);
        shard.join().unwrap();
    });
}

#[test]
fn windows_are_counted_one_by_one() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let take = Take::new(&[1, 1]);
        let outputs = Arc::new(Outputs::default());
        let first = shard(&take, 0, &outputs, 0, 7);
        take.wait_until_finished(1);
        let second = shard(&take, 1, &outputs, 1, 8);
        take.wait_until_finished(2);
        assert_eq!(take.permits_back(), 2);
        assert_eq!(taken_apart(outputs).read(), [7, 8]);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn a_caller_told_not_to_wait_knows_why_and_can_wait_for_its_memory_still() {
    loom::model(|| {
        let take = Take::new(&[1]);
        let outputs = Arc::new(Outputs::default());
        let reason = Arc::new(Outputs::default());
        let (shards_take, shards_outputs) = (take.clone(), outputs.clone());
        let shards_reason = reason.clone();
        let shard = thread::spawn(move || {
            shards_reason.write(0, 1);
            shards_take.finish.overdue();
            end_part(&shards_take, 0, shards_outputs, 0, 7);
        });
        take.wait_until_finished(1);
        assert_eq!(reason.read(), [1, 0]);
        take.wait_until_let_go(1);
        assert_eq!(taken_apart(outputs).read(), [7, 0]);
        shard.join().unwrap();
    });
}

#[test]
fn a_caller_that_went_away_leaves_the_memory_to_the_shard() {
    loom::model(|| {
        let take = Take::new(&[1]);
        let outputs = Arc::new(Outputs::default());
        let shard = shard(&take, 0, &outputs, 0, 7);
        drop(outputs);
        drop(take);
        shard.join().unwrap();
    });
}
