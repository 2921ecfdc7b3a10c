//! One io_uring per shard: single issuer, deferred task work, registered files, buffers and ring,
//! each where the kernel has it.
//!
//! Sources: io_uring_setup(2), io_uring_enter(2), io_uring_register(2).

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, squeue, types};

use crate::device::read_path::{Completion, Memory, Read, ReadPath, Wait};
use crate::device::ring::{RingFeatures, RingRung};
use crate::doorbell::Doorbell;
use crate::memory::arena::Span;
use crate::metrics::stats::ShardCounters;

/// User data of the doorbell's poll; tokens are 32 bits, so no read has it.
const DOORBELL: u64 = u64::MAX;

/// A read path over one io_uring that only its shard uses.
pub(crate) struct RingPerShard<'r> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    files: Files,
    registered: Registered,
    timeouts: bool,
    in_flight: u32,
    doorbell: Arc<Doorbell>,
    doorbell_armed: bool,
    counters: Arc<ShardCounters>,
}

/// Which memory is registered: the arena as buffer 0, results as buffer 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registered {
    Nothing,
    Arena,
    ArenaAndResults,
}

enum Files {
    Registered,
    Plain(Vec<RawFd>),
}

impl<'r> RingPerShard<'r> {
    /// Takes the ring over, on the thread that made it. Files and memory that cannot be registered
    /// (memlock, old kernels) are used unregistered, and the features say so.
    ///
    /// # Safety
    /// The memory, which is the arena's and then that of results, outlives the ring, and so do the
    /// descriptors in `files`.
    pub(crate) unsafe fn new(
        ring: &'r mut IoUring,
        rung: RingRung,
        files: Vec<RawFd>,
        memory: &[Span],
        doorbell: Arc<Doorbell>,
        counters: Arc<ShardCounters>,
    ) -> (RingPerShard<'r>, RingFeatures) {
        let timeouts = ring.params().is_feature_ext_arg();
        let (mut submitter, submissions, completions) = ring.split();
        let registered_files = submitter.register_files(&files).is_ok();
        // SAFETY: the memory outlives the ring, as the caller promises.
        let registered = unsafe { register(&submitter, memory) };
        let registered_ring = submitter.register_ring_fd().is_ok();
        let features = RingFeatures {
            rung,
            registered_files,
            registered_buffers: registered != Registered::Nothing,
            registered_results: registered == Registered::ArenaAndResults,
            registered_ring,
        };
        let path = RingPerShard {
            submitter,
            submissions,
            completions,
            files: if registered_files {
                Files::Registered
            } else {
                Files::Plain(files)
            },
            registered,
            timeouts,
            in_flight: 0,
            doorbell,
            doorbell_armed: false,
            counters,
        };
        (path, features)
    }

    fn entry(&self, read: Read) -> squeue::Entry {
        let buffer = read.buffer.as_ptr();
        let token = u64::from(read.token);
        let registered_as = match (read.memory, self.registered) {
            (Memory::Arena, Registered::Arena | Registered::ArenaAndResults) => Some(0),
            (Memory::Results, Registered::ArenaAndResults) => Some(1),
            _ => None,
        };
        macro_rules! read_from {
            ($fd:expr) => {
                match registered_as {
                    Some(index) => opcode::ReadFixed::new($fd, buffer, read.bytes, index)
                        .offset(read.offset)
                        .build(),
                    None => opcode::Read::new($fd, buffer, read.bytes)
                        .offset(read.offset)
                        .build(),
                }
            };
        }
        match &self.files {
            Files::Registered => read_from!(types::Fixed(read.file)),
            Files::Plain(files) => read_from!(types::Fd(files[read.file as usize])),
        }
        .user_data(token)
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: reads: the caller of `queue` keeps the buffer; the doorbell's poll has none.
            if unsafe { self.submissions.push(entry) }.is_ok() {
                return;
            }
            // Only when the kernel has clamped the ring below the queue depth.
            self.submissions.sync();
            self.counters.system_calls.add(1);
            if self.submitter.submit().is_err() {
                std::thread::yield_now();
            }
            self.submissions.sync();
        }
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) -> u32 {
        self.completions.sync();
        let mut reaped = 0;
        for entry in &mut self.completions {
            if entry.user_data() == DOORBELL {
                self.doorbell_armed = false;
                self.doorbell.silence();
                continue;
            }
            let result = entry.result();
            completions.push(Completion {
                token: entry.user_data() as u32,
                result: if result < 0 {
                    Err(-result)
                } else {
                    Ok(result as u32)
                },
            });
            reaped += 1;
        }
        self.completions.sync();
        self.in_flight -= reaped;
        reaped
    }

    fn enter(&mut self, want: u32, timeout: Duration) -> io::Result<()> {
        self.counters.system_calls.add(1);
        let entered = if want == 0 {
            self.submitter.submit()
        } else if self.timeouts {
            let timeout = types::Timespec::from(timeout);
            let args = types::SubmitArgs::new().timespec(&timeout);
            self.submitter.submit_with_args(want as usize, &args)
        } else {
            self.submitter.submit_and_wait(want as usize)
        };
        self.submissions.sync();
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The timeout passed, a signal came, or completions must be taken first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }
}

/// Registers as much of the memory as the memlock limit allows: all of it, or the first span.
///
/// # Safety
/// The memory outlives the ring.
unsafe fn register(submitter: &Submitter<'_>, memory: &[Span]) -> Registered {
    let buffers: Vec<_> = memory
        .iter()
        .map(|span| libc::iovec {
            iov_base: span.start.as_ptr().cast(),
            iov_len: span.bytes,
        })
        .collect();
    let as_registered = [
        Registered::Nothing,
        Registered::Arena,
        Registered::ArenaAndResults,
    ];
    for spans in (1..=buffers.len().min(2)).rev() {
        // SAFETY: passed on to the caller.
        if unsafe { submitter.register_buffers(&buffers[..spans]) }.is_ok() {
            return as_registered[spans];
        }
    }
    Registered::Nothing
}

// SAFETY: the kernel completes each submission once, when it no longer writes the buffer, with at
// most the bytes asked for.
unsafe impl ReadPath for RingPerShard<'_> {
    unsafe fn queue(&mut self, read: Read) {
        let entry = self.entry(read);
        self.push(&entry);
        self.in_flight += 1;
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        match wait {
            Wait::No => {
                self.submissions.sync();
                if !self.submissions.is_empty()
                    || self.submissions.taskrun()
                    || self.submissions.cq_overflow()
                {
                    self.enter(0, Duration::ZERO)?;
                }
            }
            Wait::For {
                completions: wanted,
                timeout,
            } => {
                if !self.doorbell_armed {
                    let poll = opcode::PollAdd::new(
                        types::Fd(self.doorbell.fd().as_raw_fd()),
                        libc::POLLIN as u32,
                    )
                    .build()
                    .user_data(DOORBELL);
                    self.push(&poll);
                    self.doorbell_armed = true;
                }
                self.submissions.sync();
                self.enter(wanted.clamp(1, self.in_flight.max(1)), timeout)?;
            }
        }
        self.reap(completions);
        Ok(())
    }
}
