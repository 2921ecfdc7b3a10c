//! Blocking `pread` on a few threads per shard, for machines where io_uring is forbidden.
//!
//! The shard still decodes every row itself; only the wait for the device happens elsewhere.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use crate::device::completion_channel::CompletionChannel;
use crate::device::files::Files;
use crate::device::read_path::{Completion, Read, ReadPath, Wait};
use crate::doorbell::Doorbell;
use crate::metrics::stats::ShardCounters;

/// A read path of threads that read for one shard.
pub(crate) struct ThreadPool {
    /// Reads that are not complete.
    in_flight: usize,
    jobs: Option<Sender<Read>>,
    returns: CompletionChannel<Completion>,
    threads: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// Starts `threads` threads that read from `files`.
    pub(crate) fn new(
        shard: usize,
        threads: u32,
        queue_depth: u32,
        files: Arc<Files>,
        doorbell: Arc<Doorbell>,
        counters: Arc<ShardCounters>,
    ) -> io::Result<ThreadPool> {
        let (jobs, taken) = bounded::<Read>(queue_depth as usize);
        let (completed, done) = bounded(queue_depth as usize);
        let mut pool = ThreadPool {
            in_flight: 0,
            jobs: Some(jobs),
            returns: CompletionChannel::new(done, doorbell.clone(), counters),
            threads: Vec::new(),
        };
        for thread in 0..threads.min(queue_depth) {
            let (taken, completed) = (taken.clone(), completed.clone());
            let (files, doorbell) = (files.clone(), doorbell.clone());
            let body = move || {
                let descriptors: Vec<BorrowedFd<'_>> = files.borrowed().collect();
                for read in taken {
                    let file = descriptors[read.file as usize];
                    // SAFETY: the buffer is ours until the completion is sent.
                    let result = unsafe { read_whole(file, read) };
                    let sent = completed.send(Completion {
                        token: read.token,
                        result,
                    });
                    if sent.is_err() {
                        return;
                    }
                    doorbell.ring();
                }
            };
            pool.threads.push(
                std::thread::Builder::new()
                    .name(format!("rt-{shard}-read-{thread}"))
                    .spawn(body)?,
            );
        }
        Ok(pool)
    }
}

/// Performs `read` with one `pread`, repeated only if a signal interrupts it.
///
/// # Safety
/// `read.buffer` is exclusively the caller's.
pub(crate) unsafe fn read_whole(file: BorrowedFd<'_>, read: Read) -> Result<u32, i32> {
    loop {
        // SAFETY: the buffer has `bytes` bytes of initialised memory (an anonymous map).
        let buffer =
            unsafe { std::slice::from_raw_parts_mut(read.buffer.as_ptr(), read.bytes as usize) };
        match rustix::io::pread(file, buffer, read.offset) {
            Ok(bytes) => return Ok(bytes as u32),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.raw_os_error()),
        }
    }
}

// SAFETY: a thread of the pool reads each job once, at most into the bytes asked for, and then
// makes its completion.
unsafe impl ReadPath for ThreadPool {
    unsafe fn queue(&mut self, read: Read) {
        // The channel has room for the whole queue depth, and the pool lives as long as we do.
        if let Some(jobs) = &self.jobs {
            let sent = jobs.send(read);
            debug_assert!(sent.is_ok());
            self.in_flight += 1;
        }
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let before = completions.len();
        let turned = self.returns.turn(wait, completions);
        self.in_flight -= completions.len() - before;
        turned
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.in_flight > 0 {
            // A silent drive may never complete them. Their memory has been given up, and the
            // threads keep the files open.
            return;
        }
        for thread in self.threads.drain(..) {
            // A pool thread has nothing that can panic but our own bug.
            let _ = thread.join();
        }
    }
}
