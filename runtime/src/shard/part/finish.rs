//! How the end of a take crosses threads, and nothing else: this file is also compiled against
//! loom's primitives and model-checked (`tests/finish_model.rs`).
//!
//! Shards write rows to memory that they share with the caller, and let go of it; the last of a
//! window wakes the caller, which then has the memory alone. The countdown of the window (each
//! shard's release is the next one's acquire) and the count of windows order the shards' plain
//! writes before the caller's reads.

use std::task::{Context, Poll};

use super::sync::{AtomicBool, AtomicU32, AtomicUsize, AtomicWaker, Ordering};

/// The event that the caller waits for: its windows are done, or overdue.
#[derive(Debug)]
pub(crate) struct Finish {
    /// Windows whose parts have all been finished. Written by shards, read by the caller.
    windows_done: AtomicUsize,
    /// Set once the caller shall not wait for reads in flight.
    overdue: AtomicBool,
    waker: AtomicWaker,
}

impl Default for Finish {
    fn default() -> Finish {
        Finish {
            windows_done: AtomicUsize::new(0),
            overdue: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }
}

impl Finish {
    /// Ends the wait of [`Finish::poll_finished`], though shards still hold parts. What was
    /// written before can be read after.
    pub(crate) fn overdue(&self) {
        self.overdue.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether `windows` windows are done, or it is no use to wait for them.
    pub(crate) fn poll_finished(&self, windows: usize, context: &Context<'_>) -> Poll<()> {
        self.poll(context, || {
            self.is_done(windows) || self.overdue.load(Ordering::Acquire)
        })
    }

    /// Whether no shard holds anything of `windows` windows.
    pub(crate) fn poll_let_go(&self, windows: usize, context: &Context<'_>) -> Poll<()> {
        self.poll(context, || self.is_done(windows))
    }

    fn is_done(&self, windows: usize) -> bool {
        self.windows_done.load(Ordering::Acquire) >= windows
    }

    fn poll(&self, context: &Context<'_>, ready: impl Fn() -> bool) -> Poll<()> {
        if ready() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // An event before the waker was there has woken no task.
        if ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Parts of a window not finished yet.
#[derive(Debug)]
pub(crate) struct Countdown {
    parts_left: AtomicU32,
}

impl Countdown {
    pub(crate) fn new(parts: u32) -> Countdown {
        Countdown {
            parts_left: AtomicU32::new(parts),
        }
    }

    /// Ends one part: lets go of `sink`, what it wrote to; and if it was the last of its window,
    /// gives the window's permit back with `release` and wakes the caller.
    pub(crate) fn end_part<S>(&self, sink: S, release: impl FnOnce(), finish: &Finish) {
        // The caller takes the outputs apart once all windows are done, so they are let go first.
        drop(sink);
        if self.parts_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Before the caller is woken, so that its next take finds the permit free.
            release();
            finish.windows_done.fetch_add(1, Ordering::Release);
            finish.waker.wake();
        }
    }
}
