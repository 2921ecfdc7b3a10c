//! The channel on which threads that read for a shard return completions, and the shard's sleep
//! until the next one.

use std::io;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::device::read_path::{Completion, Wait};
use crate::doorbell::Doorbell;
use crate::metrics::stats::ShardCounters;

/// The receiving end of a shard's completions. Senders send, then ring the doorbell.
pub(super) struct CompletionChannel<T> {
    done: Receiver<T>,
    doorbell: Arc<Doorbell>,
    counters: Arc<ShardCounters>,
}

impl<T: Into<Completion>> CompletionChannel<T> {
    pub(super) fn new(
        done: Receiver<T>,
        doorbell: Arc<Doorbell>,
        counters: Arc<ShardCounters>,
    ) -> CompletionChannel<T> {
        CompletionChannel {
            done,
            doorbell,
            counters,
        }
    }

    fn reap(&self, completions: &mut Vec<Completion>) -> usize {
        let before = completions.len();
        completions.extend(self.done.try_iter().map(Into::into));
        completions.len() - before
    }

    /// Completes a turn whose queued reads have been handed over: receives completions, and waits
    /// for them if `wait` asks for it.
    pub(super) fn turn(&self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.reap(completions) > 0 {
            return Ok(());
        }
        let Wait::For { timeout, .. } = wait else {
            return Ok(());
        };
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        // Reading threads ring like any producer, so the shard lies down before the last look.
        self.doorbell.lie_down();
        let mut slept = Ok(0);
        if self.reap(completions) == 0 {
            let mut bell = [PollFd::from_borrowed_fd(self.doorbell.fd(), PollFlags::IN)];
            self.counters.system_calls.add(1);
            slept = poll(&mut bell, Some(&timeout));
            self.doorbell.silence();
            self.reap(completions);
        }
        self.doorbell.get_up();
        match slept {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
