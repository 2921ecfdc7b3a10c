//! Taking locks. No row takes one: builds with debug assertions count them, and a test checks it.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(debug_assertions)]
static TAKEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Takes `mutex`, poisoned or not: every holder leaves the value valid, even if it panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(debug_assertions)]
    TAKEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks taken in this process.
#[cfg(debug_assertions)]
pub fn locks_taken() -> u64 {
    TAKEN.load(std::sync::atomic::Ordering::Relaxed)
}
