//! Glommio's own files: the control in measurements and the oracle in tests.
//!
//! A read is a task of the shard's executor that awaits `DmaFile::read_at_aligned` (it reports
//! exact lengths, which `read_at` near the end of a file does not). Glommio reads into buffers of
//! its own; the bytes are copied to the read's buffer in `turn`, so nothing is written to lent
//! memory between turns. Glommio's reactor moves only while the shard's loop awaits: the loop
//! calls [`Reads::rest`] where other paths sleep in a turn. Its system calls are not counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::FutureExt as _;
use glommio::GlommioError;
use glommio::io::{BufferedFile, DmaFile, PollableFd, ReadResult};
use glommio::timer::Timer;

use crate::device::files::Files;
use crate::device::read_path::{Completion, DRAIN_TIME_MAX, Errno, Read, ReadPath, Wait};
use crate::doorbell::Doorbell;

/// The longest read handed to glommio, which does not split: a polled read beyond the device's
/// `max_sectors_kb` fails with EAGAIN each time it is tried. Longer reads are made in pieces.
const READ_BYTES_MAX: u32 = 128 << 10;
/// The longest rest when waiting for the doorbell has failed.
const REST_WHEN_DEAF: Duration = Duration::from_millis(1);

enum ReadFile {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

impl ReadFile {
    async fn open(descriptor: RawFd, direct: bool) -> Result<ReadFile, GlommioError<()>> {
        // By descriptor, since a writer may have replaced what is at the file's path.
        let path = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
        Ok(if direct {
            ReadFile::Direct(DmaFile::open(path).await?)
        } else {
            ReadFile::Buffered(BufferedFile::open(path).await?)
        })
    }

    async fn read(&self, offset: u64, bytes: u32) -> Result<ReadResult, Errno> {
        let bytes = bytes as usize;
        let read = match self {
            ReadFile::Direct(file) => file.read_at_aligned(offset, bytes).await,
            ReadFile::Buffered(file) => file.read_at(offset, bytes).await,
        };
        read.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    async fn close(self) -> Result<(), GlommioError<()>> {
        match self {
            ReadFile::Direct(file) => file.close().await,
            ReadFile::Buffered(file) => file.close().await,
        }
    }
}

/// A read that glommio has done. The path may have cancelled it.
struct Done {
    token: u32,
    result: Result<ReadResult, Errno>,
}

/// The state that the path, its tasks and the shard's loop share. One per executor.
#[derive(Default)]
pub(crate) struct Reads {
    files: RefCell<Vec<Rc<ReadFile>>>,
    done: RefCell<VecDeque<Done>>,
    /// Tasks that have not ended.
    in_flight: Cell<usize>,
    /// Reads that have to be done before the loop is woken.
    wanted: Cell<usize>,
    /// Whether the doorbell has rung since the last rest.
    rung: Cell<bool>,
    /// Whether the task that waits for the doorbell has failed.
    deaf: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The task that waits for the doorbell, and the doorbell.
    bell: RefCell<Option<(glommio::Task<()>, Arc<Doorbell>)>>,
    /// Asks that task to end. Glommio never frees a task that is cancelled while it waits.
    is_over: Cell<bool>,
}

/// The doorbell as a descriptor that glommio can wait for.
struct Bell(Arc<Doorbell>);

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd().as_raw_fd()
    }
}

impl Reads {
    /// Opens `files` on this executor and makes the path that reads them.
    pub(crate) async fn open(
        self: &Rc<Reads>,
        files: &Files,
        queue_depth: u32,
        doorbell: &Arc<Doorbell>,
    ) -> Result<DmaPath, GlommioError<()>> {
        for descriptor in files.descriptors() {
            let file = ReadFile::open(descriptor, files.direct).await?;
            self.files.borrow_mut().push(Rc::new(file));
        }
        let bell = PollableFd::new(Bell(doorbell.clone()))?;
        let reads = self.clone();
        let listens = glommio::spawn_local(async move {
            while bell.readable().await.is_ok() {
                if reads.is_over.get() {
                    return;
                }
                bell.get_ref().0.silence();
                reads.rung.set(true);
                reads.wake();
            }
            reads.deaf.set(true);
            reads.wake();
        });
        *self.bell.borrow_mut() = Some((listens, doorbell.clone()));
        Ok(DmaPath {
            reads: self.clone(),
            files: self.files.borrow().clone(),
            lent: vec![None; queue_depth as usize],
            bytes_max: READ_BYTES_MAX - READ_BYTES_MAX % files.align_bytes,
            cancelled: false,
        })
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn finish(&self, done: Done) {
        self.in_flight.set(self.in_flight.get() - 1);
        let mut all = self.done.borrow_mut();
        all.push_back(done);
        let wake = all.len() >= self.wanted.get() || self.in_flight.get() == 0;
        drop(all);
        if wake {
            self.wake();
        }
    }

    /// Lets the executor run until the last turn's wait is satisfied, the doorbell rings or
    /// `longest` has passed.
    pub(crate) async fn rest(&self, longest: Option<Duration>) {
        let satisfied = poll_fn(|context| {
            let done = self.done.borrow().len();
            let enough =
                done >= self.wanted.get().max(1) || (done > 0 && self.in_flight.get() == 0);
            if self.rung.take() || enough {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        });
        let longest = if self.deaf.get() {
            Some(REST_WHEN_DEAF)
        } else {
            longest
        };
        match longest {
            None => satisfied.await,
            Some(longest) => {
                let late = async {
                    Timer::new(longest).await;
                };
                satisfied.or(late).await;
            }
        }
    }

    /// Waits for the reads in flight, whose buffers are glommio's, and closes the files. Returns
    /// whether all have ended; if not, the executor must not be dropped.
    pub(crate) async fn settle(&self) -> bool {
        if let Some((listens, doorbell)) = self.bell.take() {
            self.is_over.set(true);
            // A sleeping shard is always rung.
            doorbell.lie_down();
            doorbell.ring();
            listens.await;
        }
        let all = poll_fn(|context| {
            if self.in_flight.get() == 0 {
                return Poll::Ready(true);
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        });
        let settled = if self.in_flight.get() == 0 {
            true
        } else {
            let late = async {
                Timer::new(DRAIN_TIME_MAX).await;
                false
            };
            all.or(late).await
        };
        self.done.borrow_mut().clear();
        for file in self.files.take() {
            // One that a task still reads stays open with the task.
            if let Ok(file) = Rc::try_unwrap(file) {
                let _ = file.close().await;
            }
        }
        settled
    }
}

/// A read path over the files of a glommio executor.
pub(crate) struct DmaPath {
    reads: Rc<Reads>,
    files: Vec<Rc<ReadFile>>,
    /// Reads queued and not completed, at the place of their token.
    lent: Vec<Option<Read>>,
    bytes_max: u32,
    cancelled: bool,
}

impl DmaPath {
    fn cancel_all(&mut self, completions: &mut Vec<Completion>) {
        for read in self.lent.iter_mut().filter_map(Option::take) {
            completions.push(Completion {
                token: read.token,
                result: Err(libc::ECANCELED),
            });
        }
    }
}

// SAFETY: glommio reads into memory of its own; `turn` copies at most the bytes asked for and makes
// the one completion. Cancelled reads are not copied.
unsafe impl ReadPath for DmaPath {
    unsafe fn queue(&mut self, read: Read) {
        let (reads, file) = (self.reads.clone(), self.files[read.file as usize].clone());
        let (token, offset, bytes) = (read.token, read.offset, read.bytes.min(self.bytes_max));
        self.lent[token as usize] = Some(read);
        reads.in_flight.set(reads.in_flight.get() + 1);
        glommio::spawn_local(async move {
            let result = file.read(offset, bytes).await;
            drop(file);
            reads.finish(Done { token, result });
        })
        .detach();
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.cancelled {
            self.cancel_all(completions);
            return Ok(());
        }
        // It cannot wait here, where the executor does not run; `Reads::rest` does.
        self.reads.wanted.set(match wait {
            Wait::No => 1,
            Wait::For { completions, .. } => completions as usize,
        });
        for Done { token, result } in self.reads.done.borrow_mut().drain(..) {
            let Some(read) = self.lent[token as usize].take() else {
                unreachable!("each read ends once");
            };
            let result = result.map(|bytes| {
                let length = bytes.len().min(read.bytes as usize);
                // SAFETY: the buffer has room for `read.bytes` bytes and is the read's until the
                // completion below.
                unsafe {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), read.buffer.as_ptr(), length);
                }
                length as u32
            });
            completions.push(Completion { token, result });
        }
        Ok(())
    }

    fn cancel(&mut self) {
        self.cancelled = true;
    }
}
