//! The handshake between a producer and a shard about to sleep, and nothing else: this file is
//! also compiled against loom's primitives and model-checked (`tests/doorbell_model.rs`).
//!
//! The danger is a message published just as the shard goes to sleep: the producer sees it
//! awake, the shard sees its inbox empty. A sequentially consistent fence on both sides, between
//! the own write and the read of the other's, makes that impossible: of the two reads at least
//! one comes after the other side's write.

use super::sync::{AtomicBool, Ordering, fence};

/// Whether the shard sleeps or is about to. Set by the shard. Cleared by the shard when it wakes or
/// by the producer that rings it, whichever comes first.
#[derive(Debug)]
pub(crate) struct SleepFlag {
    asleep: AtomicBool,
}

impl Default for SleepFlag {
    fn default() -> Self {
        SleepFlag {
            asleep: AtomicBool::new(false),
        }
    }
}

impl SleepFlag {
    /// Producer, after publishing: whether it has to ring. True for at most one producer per sleep.
    pub(crate) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        // Not a swap: one that finds the shard awake would write for nothing, and loom, which
        // does not keep such a write next to the value it read, would let it undo `lie_down`.
        self.asleep.load(Ordering::Relaxed)
            && self
                .asleep
                .compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Shard, before the last look at its queues.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Shard, after sleeping or after finding something in the last look.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::Release);
    }
}
