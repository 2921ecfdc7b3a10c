//! Making a read path from its parts. Glommio's files are the exception: their executor opens them.

use std::io;
use std::sync::Arc;

use io_uring::IoUring;

#[cfg(test)]
use crate::config::CustomPath;
use crate::config::{ReadPathChoice, Scheduler};
#[cfg(feature = "yardstick")]
use crate::device::control::mapped::Mapped;
use crate::device::control::per_read::PerRead;
use crate::device::control::shared_rings::{SharedRings, SharedRingsPath};
use crate::device::files::Files;
use crate::device::read_path::Made;
#[cfg(test)]
use crate::device::read_path::ReadPath;
use crate::device::ring::build_ring;
use crate::device::ring_per_shard::RingPerShard;
use crate::device::thread_pool::ThreadPool;
use crate::doorbell::Doorbell;
use crate::memory::arena::Span;
use crate::metrics::stats::ShardCounters;

/// Everything that a shard makes its read path from.
#[derive(Clone)]
pub(crate) struct PathSpec {
    pub(crate) shard: usize,
    pub(crate) read_path: ReadPathChoice,
    /// Reads in flight at most.
    pub(crate) queue_depth: u32,
    pub(crate) files: Arc<Files>,
    /// The memory of the shard's arena, and the store's for results.
    pub(crate) memory: Vec<Span>,
    /// The doorbell of the thread that drives the path.
    pub(crate) doorbell: Arc<Doorbell>,
    /// Written by the thread that drives the path.
    pub(crate) counters: Arc<ShardCounters>,
    /// The store's rings, where that is the read path.
    pub(crate) rings: Option<Arc<SharedRings>>,
}

/// Makes a read path of a test's own for a shard and its files.
#[cfg(test)]
pub(crate) type MakePath = Box<dyn Fn(usize, Arc<Files>) -> Box<dyn ReadPath> + Send + Sync>;

#[cfg(test)]
impl CustomPath {
    /// A choice of the path that `make` makes. The maker is kept for as long as the process lives.
    pub(crate) fn new(
        make: impl Fn(usize, Arc<Files>) -> Box<dyn ReadPath> + Send + Sync + 'static,
    ) -> CustomPath {
        let make: MakePath = Box::new(make);
        CustomPath(Box::leak(Box::new(make)))
    }
}

impl PathSpec {
    /// Makes the path that this thread will drive, with `scheduler` in front of it. A ring of its
    /// own goes to `ring`.
    ///
    /// # Safety
    /// The memory and the files outlive the path.
    pub(crate) unsafe fn scheduled(
        self,
        scheduler: Scheduler,
        ring: &mut Option<IoUring>,
    ) -> io::Result<Made<'_>> {
        match scheduler {
            // SAFETY: passed on to the caller.
            Scheduler::Batched => unsafe { self.make(ring) },
            Scheduler::PerRead => {
                let (shard, queue_depth) = (self.shard, self.queue_depth);
                let (doorbell, counters) = (self.doorbell.clone(), self.counters.clone());
                let (path, features) = PerRead::start(
                    shard,
                    queue_depth,
                    doorbell,
                    counters,
                    move |doorbell, counters, ring| {
                        let inner = PathSpec {
                            doorbell,
                            counters,
                            ..self
                        };
                        // SAFETY: passed on to the caller; dropping the scheduler ends the inner
                        // path.
                        unsafe { inner.make(ring) }
                    },
                )?;
                Ok((Box::new(path), features))
            }
        }
    }

    /// Makes the path that this thread will drive.
    ///
    /// # Safety
    /// As for `scheduled`.
    unsafe fn make(self, ring: &mut Option<IoUring>) -> io::Result<Made<'_>> {
        let PathSpec {
            shard,
            queue_depth,
            files,
            doorbell,
            counters,
            ..
        } = self;
        match self.read_path {
            ReadPathChoice::Auto | ReadPathChoice::RingPerShard => {
                // One entry more than reads, for the doorbell.
                let (made, rung) = build_ring(queue_depth + 1)?;
                let (ring, files) = (ring.insert(made), files.descriptors());
                // SAFETY: arena and files outlive the path, as the caller promises; the path
                // borrows the ring.
                let (path, features) = unsafe {
                    RingPerShard::new(ring, rung, files, &self.memory, doorbell, counters)
                };
                Ok((Box::new(path), Some(features)))
            }
            ReadPathChoice::SharedRings { .. } => {
                let rings = self.rings.ok_or(io::ErrorKind::NotFound)?;
                let path = SharedRingsPath::new(rings, shard, queue_depth, doorbell, counters)?;
                Ok((Box::new(path), None))
            }
            ReadPathChoice::ThreadPool { threads } => {
                let pool = ThreadPool::new(shard, threads, queue_depth, files, doorbell, counters)?;
                Ok((Box::new(pool), None))
            }
            #[cfg(feature = "yardstick")]
            ReadPathChoice::Mmap => {
                // SAFETY: the files are those of a committed generation, which no writer changes.
                let path = unsafe { Mapped::new(&files, doorbell, counters) }?;
                Ok((Box::new(path), None))
            }
            ReadPathChoice::Glommio => Err(io::Error::other(
                "glommio's files are opened by the executor that reads them",
            )),
            #[cfg(test)]
            ReadPathChoice::Custom(CustomPath(make)) => {
                let make = make.downcast_ref::<MakePath>();
                let make = make.ok_or(io::ErrorKind::InvalidInput)?;
                Ok((make(shard, files), None))
            }
        }
    }
}
