//! Reads from the kernel's page cache, in front of another read path: preadv2(2) with RWF_NOWAIT
//! copies cached bytes at once, and reads that would wait for the drive go on to that path.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags};

use crate::device::files::{Files, Served};
use crate::device::read_path::{Completion, Read, ReadPath, Wait};
use crate::metrics::stats::ShardCounters;

/// A read path that asks the page cache first.
pub(crate) struct PageCacheFirst<'p> {
    behind: Box<dyn ReadPath + 'p>,
    files: Vec<(RawFd, First)>,
    /// Reads served at once, which the next turn returns.
    served: VecDeque<Completion>,
    counters: Arc<ShardCounters>,
}

/// The attempt made before a read goes to the path behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    NonBlocking,
    /// Tmpfs has no non-blocking reads, and never waits for a drive.
    Blocking,
}

/// Puts the page cache in front of `behind` if any file is read through it.
///
/// # Safety
/// The descriptors of `files` stay open as long as the path returned.
pub(crate) unsafe fn page_cache_first<'p>(
    behind: Box<dyn ReadPath + 'p>,
    files: &Files,
    counters: &Arc<ShardCounters>,
) -> Box<dyn ReadPath + 'p> {
    if files.direct {
        return behind;
    }
    let first = files.files.iter().map(|file| match file.served {
        Served::Drive(_) => First::Nothing,
        Served::PageCache => First::NonBlocking,
        Served::Memory => First::Blocking,
    });
    Box::new(PageCacheFirst {
        behind,
        files: files.descriptors().into_iter().zip(first).collect(),
        served: VecDeque::new(),
        counters: counters.clone(),
    })
}

impl PageCacheFirst<'_> {
    /// Serves `read` at once; `false` if its bytes are not all in the page cache.
    ///
    /// # Safety
    /// The buffer is the read's alone.
    unsafe fn serve(&mut self, read: Read) -> bool {
        let (descriptor, first) = &mut self.files[read.file as usize];
        let flags = match first {
            First::Nothing => return false,
            First::NonBlocking => ReadWriteFlags::NOWAIT,
            First::Blocking => ReadWriteFlags::empty(),
        };
        // SAFETY: it stays open as long as the path does, as the maker promised.
        let file = unsafe { BorrowedFd::borrow_raw(*descriptor) };
        // SAFETY: the buffer has room for `bytes` bytes of initialised memory (an anonymous map)
        // and is the read's alone until its completion.
        let buffer =
            unsafe { std::slice::from_raw_parts_mut(read.buffer.as_ptr(), read.bytes as usize) };
        self.counters.system_calls.add(1);
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], read.offset, flags) {
            Ok(bytes) => bytes == read.bytes as usize,
            // A kernel or a file system without it, or a filter of system calls.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                *first = First::Nothing;
                false
            }
            Err(_) => false,
        }
    }
}

// SAFETY: a read that the page cache served is written before its completion is queued, and the
// path behind gets all others.
unsafe impl ReadPath for PageCacheFirst<'_> {
    unsafe fn queue(&mut self, read: Read) {
        // SAFETY: passed on from the caller.
        if unsafe { self.serve(read) } {
            self.counters.page_cache_hits.add(1);
            self.served.push_back(Completion {
                token: read.token,
                result: Ok(read.bytes),
            });
        } else {
            // SAFETY: passed on from the caller; what the first try wrote is only the read's.
            unsafe { self.behind.queue(read) };
        }
    }

    fn cancel(&mut self) {
        self.behind.cancel();
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.served.is_empty() {
            return self.behind.turn(wait, completions);
        }
        completions.extend(self.served.drain(..));
        self.behind.turn(Wait::No, completions)
    }
}
