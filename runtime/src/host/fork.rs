//! Detecting forks: a child process has none of its parent's threads (fork(2)), so waiting for one
//! would never end.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Forks between the first [`Origin`]'s process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process in which a value was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin(u32);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

impl Origin {
    /// This process.
    pub(crate) fn here() -> Origin {
        static WATCH: Once = Once::new();
        // SAFETY: the handler does nothing but add to an atomic. If it cannot be registered, for
        // lack of memory, forks go unnoticed.
        WATCH.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        });
        Origin(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this process is a fork of the one where the value was made.
    #[inline]
    pub(crate) fn is_elsewhere(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }
}
