//! The seam between a shard and the device: reads go in, completions come out. Which
//! implementation a shard uses is decided once, when the store is opened.

use std::io;
use std::ptr::NonNull;
use std::time::Duration;

use crate::device::ring::RingFeatures;

/// A read of part of a data file into memory that stays in place until its completion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// Returned in the completion.
    pub(crate) token: u32,
    /// Which data file, as the store counts them.
    pub(crate) file: u32,
    /// Aligned as the device asks.
    pub(crate) offset: u64,
    /// Aligned as the device asks.
    pub(crate) bytes: u32,
    pub(crate) buffer: NonNull<u8>,
    /// Where the buffer is.
    pub(crate) memory: Memory,
}

/// Memory that may be registered with a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The shard's arena.
    Arena,
    /// The store's memory for results.
    Results,
    /// Memory of the read's own.
    Own,
}

// SAFETY: the buffer is exclusively the read's until its completion (contract of
// `ReadPath::queue`), so it may be written from whichever thread performs the read.
unsafe impl Send for Read {}

/// The end of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) token: u32,
    /// Bytes read, fewer than asked for at the end of a file or by the kernel's choice.
    pub(crate) result: Result<u32, Errno>,
}

/// An error number of the operating system.
pub(crate) type Errno = i32;

/// How long a turn waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: it submits queued reads and returns completions.
    No,
    /// Until this many reads are complete or the timeout has passed; a ring of the doorbell counts
    /// as one read.
    For { completions: u32, timeout: Duration },
}

/// A path and its ring's features, if it has one of its own.
pub(crate) type Made<'r> = (Box<dyn ReadPath + 'r>, Option<RingFeatures>);

/// With a full queue a turn waits until this share of it is complete: one system call then brings
/// and sends several reads, while the device keeps the rest to work on.
pub(crate) const FULL_QUEUE_SHARE: u32 = 16;
/// The longest wait with reads in flight, so that a broken device does not silence the loop.
pub(crate) const IN_FLIGHT_WAIT_MAX: Duration = Duration::from_millis(100);
/// How long a shard that ends waits for reads in flight before it gives their memory up.
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 10 });

/// A way to read. Driven by one shard on its own thread.
///
/// # Safety
/// The shard reads and reuses buffers by what an implementation reports. `turn` returns one
/// completion for each read that was queued, with its token, once nothing writes its buffer any
/// more; and no completion has more bytes than its read asked for.
pub(crate) unsafe trait ReadPath {
    /// Queues a read. There is room for as many as the shard's queue depth.
    ///
    /// # Safety
    /// `buffer` has room for `bytes` bytes, and no other code reads, writes or frees them before the
    /// completion with this token has been returned by `turn`.
    unsafe fn queue(&mut self, read: Read);

    /// Submits queued reads and appends completions. May return early.
    ///
    /// # Errors
    /// The path itself is broken; reads in flight may still write their buffers.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// Announces that the shard ends and needs no further bytes. A path that writes buffers only in
    /// its turns may complete all reads as cancelled in the next one.
    fn cancel(&mut self) {}
}
