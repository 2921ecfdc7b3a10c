//! Every interleaving of producers and a shard about to sleep, explored by loom over the very
//! source of the doorbell's protocol.

#![allow(clippy::unwrap_used)]

mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[allow(unreachable_pub)]
#[path = "../src/doorbell/protocol.rs"]
mod protocol;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

use protocol::SleepFlag;

/// The eventfd's part in the model: rings that a sleeper waits for.
struct Bell(Notify);

impl Default for Bell {
    fn default() -> Self {
        Bell(Notify::new())
    }
}

impl Bell {
    fn ring(&self) {
        self.0.notify();
    }

    fn sleep(&self) {
        self.0.wait();
    }
}

#[derive(Default)]
struct Shard {
    flag: SleepFlag,
    bell: Bell,
}

/// Producers publish with relaxed stores: the protocol's fences alone must order them. A lost
/// wake-up leaves the shard asleep for ever, which loom reports as a deadlock.
fn no_wake_up_is_lost(producers: usize, preemption_bound: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemption_bound;
    model.check(move || {
        let shard = Arc::new(Shard::default());
        let published = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let (shard, published) = (shard.clone(), published.clone());
                thread::spawn(move || {
                    published.fetch_add(1, Ordering::Relaxed);
                    if shard.flag.must_ring() {
                        shard.bell.ring();
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while taken < producers {
            let there = published.load(Ordering::Relaxed);
            if there > taken {
                taken = there;
                continue;
            }
            shard.flag.lie_down();
            if published.load(Ordering::Relaxed) == taken {
                shard.bell.sleep();
            }
            shard.flag.get_up();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_producer_never_leaves_the_shard_asleep() {
    no_wake_up_is_lost(1, None);
}

#[test]
fn two_producers_never_leave_the_shard_asleep() {
    no_wake_up_is_lost(2, Some(3));
}

#[test]
fn an_awake_shard_costs_a_producer_no_ring() {
    loom::model(|| {
        let flag = SleepFlag::default();
        assert!(!flag.must_ring());
        flag.lie_down();
        assert!(flag.must_ring());
        assert!(!flag.must_ring(), "the second producer need not ring again");
        flag.lie_down();
        flag.get_up();
        assert!(!flag.must_ring());
    });
}
