//! The doorbell of a shard: a producer wakes a shard that sleeps in its ring, and makes no system
//! call when the shard is awake.

pub(crate) mod protocol;
mod sync;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use protocol::SleepFlag;

/// One shard's doorbell. Producers ring it, the shard alone sleeps on it.
#[derive(Debug)]
pub(crate) struct Doorbell {
    sleep: SleepFlag,
    bell: OwnedFd,
}

impl Doorbell {
    pub(crate) fn new() -> std::io::Result<Doorbell> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Doorbell {
            sleep: SleepFlag::default(),
            bell: eventfd(0, flags)?,
        })
    }

    /// Called by a producer after it has published its message. Returns whether a system call
    /// was made.
    pub(crate) fn ring(&self) -> bool {
        if !self.sleep.must_ring() {
            return false;
        }
        // The only failure of a write of 1 is EAGAIN at 2^64 - 2 unread rings: then the counter
        // is not zero and the shard wakes all the same.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        true
    }

    /// Called by the shard before it looks at its queues for the last time and sleeps.
    pub(crate) fn lie_down(&self) {
        self.sleep.lie_down();
    }

    /// Called by the shard when it is awake again.
    pub(crate) fn get_up(&self) {
        self.sleep.get_up();
    }

    /// The eventfd to sleep on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Clears unread rings, so that the next sleep is not cut short.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}
