//! The scheduler of a task per read, in front of another read path. The batched scheduler does all
//! its work in one place; this one cuts it into stages with queues between them.
//!
//! Each read is a boxed task. It passes through a priority queue behind a mutex, oldest take
//! first, to the thread of the I/O stage, which drives the inner path while the bytes in flight
//! stay under a bound, and through a channel back to the shard, which decodes. The
//! schedulers of other systems work like this; it exists to measure what that costs.
//!
//! The stage's thread is started by the shard's, so both are pinned to the same CPU, if any.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use io_uring::IoUring;

use crate::device::completion_channel::CompletionChannel;
use crate::device::control::stage::{ReadSource, drive};
use crate::device::read_path::{Completion, Errno, Made, Read, ReadPath, Wait};
use crate::device::ring::RingFeatures;
use crate::doorbell::Doorbell;
use crate::host::lock::lock;
use crate::metrics::stats::ShardCounters;

/// Back-pressure: bytes that the I/O stage keeps in flight; a single larger read goes alone.
const BYTES_IN_FLIGHT_MAX: u64 = 32 << 20;

/// A read as a task.
struct Task {
    /// The engine queues the reads of older takes first, so counting keeps their order.
    order: u64,
    read: Read,
    result: Result<u32, Errno>,
}

impl PartialEq for Task {
    fn eq(&self, other: &Task) -> bool {
        self.order == other.order
    }
}

impl Eq for Task {}

impl PartialOrd for Task {
    fn partial_cmp(&self, other: &Task) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The greatest is the oldest.
impl Ord for Task {
    fn cmp(&self, other: &Task) -> Ordering {
        Reverse(self.order).cmp(&Reverse(other.order))
    }
}

impl From<Box<Task>> for Completion {
    fn from(task: Box<Task>) -> Completion {
        Completion {
            token: task.read.token,
            result: task.result,
        }
    }
}

/// The state that shard and I/O stage share.
struct Queue {
    tasks: Mutex<BinaryHeap<Box<Task>>>,
    /// The stage sleeps on it.
    doorbell: Arc<Doorbell>,
    /// Written by the shard, once.
    stopping: AtomicBool,
    /// Written by the stage when it ends, by a failure too.
    broken: AtomicBool,
}

impl Queue {
    fn tasks(&self) -> MutexGuard<'_, BinaryHeap<Box<Task>>> {
        lock(&self.tasks)
    }
}

/// A read path that hands each read to another one as a task of its own.
pub(crate) struct PerRead {
    queue: Arc<Queue>,
    returns: CompletionChannel<Box<Task>>,
    order: u64,
    queued: bool,
    counters: Arc<ShardCounters>,
    /// The stage's own, since each counter has one writer.
    stage_counters: Arc<ShardCounters>,
    stage_system_calls: u64,
    thread: Option<JoinHandle<()>>,
}

impl PerRead {
    /// Starts the I/O stage, which makes its path itself: a ring belongs to the thread that made
    /// it. `make` gets the stage's doorbell and counters. Dropping the scheduler ends that path.
    ///
    /// # Errors
    /// No thread or doorbell; otherwise those of `make`.
    pub(crate) fn start(
        shard: usize,
        queue_depth: u32,
        doorbell: Arc<Doorbell>,
        counters: Arc<ShardCounters>,
        make: impl for<'r> FnOnce(
            Arc<Doorbell>,
            Arc<ShardCounters>,
            &'r mut Option<IoUring>,
        ) -> io::Result<Made<'r>>
        + Send
        + 'static,
    ) -> io::Result<(PerRead, Option<RingFeatures>)> {
        let queue = Arc::new(Queue {
            tasks: Mutex::new(BinaryHeap::with_capacity(queue_depth as usize)),
            doorbell: Arc::new(Doorbell::new()?),
            stopping: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        });
        let (completed, done) = bounded(queue_depth as usize);
        let stage_counters = Arc::new(ShardCounters::default());
        let stage = Stage {
            queue: queue.clone(),
            in_flight: (0..queue_depth).map(|_| None).collect(),
            bytes_in_flight: 0,
            completed,
            doorbell: doorbell.clone(),
        };
        let (started, start) = bounded(1);
        let (stage_doorbell, counted) = (queue.doorbell.clone(), stage_counters.clone());
        let thread = std::thread::Builder::new()
            .name(format!("rt-{shard}-io"))
            .spawn(move || {
                let mut ring = None;
                match make(stage_doorbell, counted, &mut ring) {
                    Ok((mut path, features)) => {
                        let _ = started.send(Ok(features));
                        stage.run(path.as_mut(), queue_depth);
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })?;
        let scheduler = PerRead {
            queue,
            returns: CompletionChannel::new(done, doorbell, counters.clone()),
            order: 0,
            queued: false,
            counters,
            stage_counters,
            stage_system_calls: 0,
            thread: Some(thread),
        };
        let features = start.recv().map_err(io::Error::other)??;
        Ok((scheduler, features))
    }

    fn count_system_calls(&mut self) {
        let now = self.stage_counters.snapshot().system_calls;
        self.counters
            .system_calls
            .add(now - self.stage_system_calls);
        self.stage_system_calls = now;
    }
}

// SAFETY: each task is driven once by the stage's read path, whose completion it brings back.
unsafe impl ReadPath for PerRead {
    unsafe fn queue(&mut self, read: Read) {
        let task = Box::new(Task {
            order: self.order,
            read,
            result: Ok(0),
        });
        self.order += 1;
        self.queued = true;
        self.queue.tasks().push(task);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if std::mem::take(&mut self.queued) {
            self.queue.doorbell.ring();
        }
        self.returns.turn(wait, completions)?;
        self.count_system_calls();
        if completions.is_empty() && self.queue.broken.load(atomic::Ordering::Acquire) {
            return Err(io::Error::other("the thread of the I/O stage has ended"));
        }
        Ok(())
    }
}

impl Drop for PerRead {
    fn drop(&mut self) {
        self.queue.stopping.store(true, atomic::Ordering::Release);
        self.queue.doorbell.ring();
        if let Some(thread) = self.thread.take() {
            // The thread has logged why it ended.
            let _ = thread.join();
        }
    }
}

/// The I/O stage, which drives the inner path on its own thread.
struct Stage {
    queue: Arc<Queue>,
    /// At the place of the token.
    in_flight: Vec<Option<Box<Task>>>,
    bytes_in_flight: u64,
    completed: Sender<Box<Task>>,
    /// The shard's.
    doorbell: Arc<Doorbell>,
}

impl Stage {
    fn run(mut self, path: &mut dyn ReadPath, queue_depth: u32) {
        let queue = self.queue.clone();
        let _ended = Ended(self.queue.clone(), self.doorbell.clone());
        if let Err(error) = drive(path, &mut self, &queue.doorbell, queue_depth) {
            tracing::error!(%error, "the read path of an I/O stage is broken");
        }
    }

    fn has_room(&self, task: &Task) -> bool {
        self.bytes_in_flight == 0
            || self.bytes_in_flight + u64::from(task.read.bytes) <= BYTES_IN_FLIGHT_MAX
    }
}

/// Wakes the shard when the stage ends, by a panic too.
struct Ended(Arc<Queue>, Arc<Doorbell>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.broken.store(true, atomic::Ordering::Release);
        self.1.ring();
    }
}

// SAFETY: a task holds a read whose buffer its shard has lent (contract of `ReadPath::queue`), and
// its token is the shard's own, so it is unique while the read is in flight.
unsafe impl ReadSource for Stage {
    fn next(&mut self) -> Option<Read> {
        let task = {
            let mut tasks = self.queue.tasks();
            if !self.has_room(tasks.peek()?) {
                return None;
            }
            tasks.pop()?
        };
        let read = task.read;
        self.bytes_in_flight += u64::from(read.bytes);
        self.in_flight[read.token as usize] = Some(task);
        Some(read)
    }

    fn is_waiting(&self) -> bool {
        self.queue
            .tasks()
            .peek()
            .is_some_and(|task| self.has_room(task))
    }

    fn complete(&mut self, completion: Completion) {
        let Some(mut task) = self.in_flight[completion.token as usize].take() else {
            unreachable!("a completion belongs to a task in flight");
        };
        self.bytes_in_flight -= u64::from(task.read.bytes);
        task.result = completion.result;
        // There is room for the whole queue depth; a shard that has ended needs none.
        let _ = self.completed.send(task);
        self.doorbell.ring();
    }

    fn is_over(&self) -> bool {
        self.queue.stopping.load(atomic::Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::read_path::Memory;
    use std::ptr::NonNull;

    fn stage() -> (Stage, crossbeam_channel::Receiver<Box<Task>>) {
        let (completed, done) = bounded(8);
        let queue = Queue {
            tasks: Mutex::default(),
            doorbell: Arc::new(Doorbell::new().unwrap()),
            stopping: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        };
        let stage = Stage {
            queue: Arc::new(queue),
            in_flight: (0..8).map(|_| None).collect(),
            bytes_in_flight: 0,
            completed,
            doorbell: Arc::new(Doorbell::new().unwrap()),
        };
        (stage, done)
    }

    fn push(stage: &Stage, order: u64, bytes: u32) {
        let read = Read {
            token: order as u32,
            file: 0,
            offset: 0,
            bytes,
            buffer: NonNull::dangling(),
            memory: Memory::Own,
        };
        stage.queue.tasks().push(Box::new(Task {
            order,
            read,
            result: Ok(0),
        }));
    }

    #[test]
    fn the_oldest_task_goes_first() {
        let (mut stage, _done) = stage();
        for order in [3, 0, 2, 1] {
            push(&stage, order, 4096);
        }
        let tokens: Vec<u32> = std::iter::from_fn(|| stage.next())
            .map(|read| read.token)
            .collect();
        assert_eq!(tokens, [0, 1, 2, 3]);
    }

    #[test]
    fn tasks_wait_while_too_many_bytes_are_in_flight_and_a_large_one_goes_alone() {
        let (mut stage, done) = stage();
        let most = BYTES_IN_FLIGHT_MAX as u32;
        for (order, bytes) in [(0, most + 4096), (1, most - 4096), (2, 4096), (3, 4096)] {
            push(&stage, order, bytes);
        }
        let complete = |stage: &mut Stage, token| {
            stage.complete(Completion {
                token,
                result: Ok(1),
            });
            let returned: Completion = done.try_recv().unwrap().into();
            assert_eq!((returned.token, returned.result), (token, Ok(1)));
        };
        assert_eq!(stage.next().unwrap().token, 0);
        assert!(stage.next().is_none() && !stage.is_waiting());
        complete(&mut stage, 0);
        assert_eq!(stage.next().unwrap().token, 1);
        assert_eq!(stage.next().unwrap().token, 2);
        assert!(stage.next().is_none() && !stage.is_waiting());
        complete(&mut stage, 2);
        assert!(stage.is_waiting());
        assert_eq!(stage.next().unwrap().token, 3);
    }
}
