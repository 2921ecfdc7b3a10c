//! The system's allocator, counting for the whole process; for test binaries with one test each.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK_BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    let live = LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        count(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A count of allocations from a moment on.
pub(crate) struct Since {
    allocations: u64,
    live_bytes: i64,
}

impl Since {
    /// Counts from now on. Each call starts the peak again, for earlier counts as well.
    pub(crate) fn now() -> Since {
        let live_bytes = LIVE_BYTES.load(Ordering::Relaxed);
        PEAK_BYTES.store(live_bytes, Ordering::Relaxed);
        Since {
            allocations: ALLOCATIONS.load(Ordering::Relaxed),
            live_bytes,
        }
    }

    /// Allocations made.
    #[allow(dead_code, reason = "each binary asks for what it tests")]
    pub(crate) fn allocations(&self) -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed) - self.allocations
    }

    /// Bytes held now beyond those at the first moment.
    #[allow(dead_code, reason = "each binary asks for what it tests")]
    pub(crate) fn live_bytes(&self) -> i64 {
        LIVE_BYTES.load(Ordering::Relaxed) - self.live_bytes
    }

    /// Bytes held at the worst moment beyond those at the first.
    pub(crate) fn peak_bytes(&self) -> i64 {
        PEAK_BYTES.load(Ordering::Relaxed) - self.live_bytes
    }
}
