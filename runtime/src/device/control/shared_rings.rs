//! A few threads with a ring each that read for all shards of a store. Shards hand their reads
//! over in turn, each read through a queue; completions come back through a queue per shard.
//!
//! The threads live as long as the store, which outlives every shard. A shard's buffers stay the
//! read's until its completion has come back, whatever the shard does meanwhile (`shard/engine/flights.rs`), so
//! a ring may write to them at any time before.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::QUEUE_DEPTH_MAX;
use crate::device::completion_channel::CompletionChannel;
use crate::device::control::stage::{ReadSource, drive};
use crate::device::files::Files;
use crate::device::read_path::{Completion, Memory, Read, ReadPath, Wait};
use crate::device::ring::build_ring;
use crate::device::ring_per_shard::RingPerShard;
use crate::doorbell::Doorbell;
use crate::metrics::stats::ShardCounters;

/// Reads that may wait for a ring; a shard that finds its queue full waits for the ring, which
/// never waits for a shard.
const JOBS_MAX: usize = 1 << 16;

/// A shard's read on its way to a ring.
struct Job {
    shard: u32,
    read: Read,
}

/// The way back to a shard.
struct Client {
    completed: Sender<Completion>,
    doorbell: Arc<Doorbell>,
}

/// The shards' side of a ring.
struct Ring {
    jobs: Sender<Job>,
    /// The ring's thread sleeps on it.
    doorbell: Arc<Doorbell>,
}

/// The state that rings and shards share.
struct Shared {
    /// Each is written by its shard when it starts, before its first read.
    clients: Vec<OnceLock<Client>>,
    rings: Vec<Ring>,
    /// Written when the last shard has ended.
    stopping: AtomicBool,
    /// Written by a ring's thread that ends before the store does.
    broken: AtomicBool,
}

/// The rings of a store.
pub(crate) struct SharedRings {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for SharedRings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedRings({})", self.threads.len())
    }
}

impl SharedRings {
    /// Starts `rings` threads for `shards` shards with `queue_depth` reads in flight each.
    ///
    /// # Errors
    /// A thread or a ring is refused; those that did start have ended.
    pub(crate) fn start(
        rings: u32,
        shards: usize,
        queue_depth: u32,
        files: &Arc<Files>,
    ) -> io::Result<SharedRings> {
        let in_flight_max = shards.saturating_mul(queue_depth as usize);
        let mut taken = Vec::new();
        let mut made = Vec::new();
        for _ in 0..rings {
            let (jobs, received) = bounded(in_flight_max.min(JOBS_MAX));
            let doorbell = Arc::new(Doorbell::new()?);
            made.push(Ring { jobs, doorbell });
            taken.push(received);
        }
        let shared = Arc::new(Shared {
            clients: (0..shards).map(|_| OnceLock::new()).collect(),
            rings: made,
            stopping: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        });
        let mut started = SharedRings {
            shared: shared.clone(),
            threads: Vec::new(),
        };
        let ring_depth = in_flight_max.min(QUEUE_DEPTH_MAX as usize) as u32;
        let (report, reports) = bounded(rings as usize);
        for (ring, jobs) in taken.into_iter().enumerate() {
            let (shared, files, report) = (shared.clone(), files.clone(), report.clone());
            let body = move || run(&shared, ring, jobs, ring_depth, &files, &report);
            let thread = std::thread::Builder::new()
                .name(format!("rt-ring-{ring}"))
                .spawn(body)?;
            started.threads.push(thread);
        }
        for _ in 0..rings {
            reports.recv().map_err(io::Error::other)??;
        }
        Ok(started)
    }
}

impl Drop for SharedRings {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for ring in &self.shared.rings {
            ring.doorbell.ring();
        }
        for thread in self.threads.drain(..) {
            // The thread has logged why it ended.
            let _ = thread.join();
        }
    }
}

/// Runs a ring on its thread.
fn run(
    shared: &Arc<Shared>,
    ring: usize,
    jobs: Receiver<Job>,
    ring_depth: u32,
    files: &Files,
    report: &Sender<io::Result<()>>,
) {
    // One entry more than reads, for the doorbell.
    let (mut made, rung) = match build_ring(ring_depth + 1) {
        Ok(made) => made,
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    let doorbell = shared.rings[ring].doorbell.clone();
    // The system calls of a ring count for no shard.
    let counters = Arc::new(ShardCounters::default());
    // SAFETY: no memory is registered; the caller keeps the files for longer than the ring.
    let (mut path, _) = unsafe {
        let files = files.descriptors();
        RingPerShard::new(&mut made, rung, files, &[], doorbell.clone(), counters)
    };
    let _ = report.send(Ok(()));
    let mut work = RingWork {
        shared: shared.clone(),
        jobs,
        slots: vec![Slot::default(); ring_depth as usize],
        free: (0..ring_depth).rev().collect(),
        to_ring: Vec::new(),
        is_to_ring: vec![false; shared.clients.len()],
    };
    let _ended = Ended(shared.clone());
    if let Err(error) = drive(&mut path, &mut work, &doorbell, ring_depth) {
        tracing::error!(ring, %error, "a shared ring is broken");
    }
}

/// Wakes all shards when a ring ends, by a panic too.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.broken.store(true, Ordering::Release);
        for client in self.0.clients.iter().filter_map(OnceLock::get) {
            client.doorbell.ring();
        }
    }
}

/// The owner of a read in flight, by the ring's own token.
#[derive(Clone, Copy, Default)]
struct Slot {
    shard: u32,
    token: u32,
}

/// A ring's side of the queues.
struct RingWork {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Shards with completions that have not been rung yet.
    to_ring: Vec<u32>,
    is_to_ring: Vec<bool>,
}

// SAFETY: a job holds a read whose buffer its shard has lent (contract of `ReadPath::queue`); the
// token is a slot of the ring, which is free again when its completion has come.
unsafe impl ReadSource for RingWork {
    fn next(&mut self) -> Option<Read> {
        let slot = *self.free.last()?;
        let Job { shard, read } = self.jobs.try_recv().ok()?;
        self.free.pop();
        self.slots[slot as usize] = Slot {
            shard,
            token: read.token,
        };
        Some(Read {
            token: slot,
            memory: Memory::Own,
            ..read
        })
    }

    fn is_waiting(&self) -> bool {
        !self.jobs.is_empty()
    }

    fn complete(&mut self, completion: Completion) {
        let Slot { shard, token } = self.slots[completion.token as usize];
        self.free.push(completion.token);
        if let Some(client) = self.shared.clients[shard as usize].get() {
            // There is room for the whole queue depth; a shard that has ended needs none.
            let _ = client.completed.send(Completion {
                token,
                ..completion
            });
        }
        if !std::mem::replace(&mut self.is_to_ring[shard as usize], true) {
            self.to_ring.push(shard);
        }
    }

    /// Wakes each shard once for all its completions of a turn.
    fn flush(&mut self) {
        for shard in self.to_ring.drain(..) {
            self.is_to_ring[shard as usize] = false;
            if let Some(client) = self.shared.clients[shard as usize].get() {
                client.doorbell.ring();
            }
        }
    }

    fn is_over(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }
}

/// A shard's side of the rings.
pub(crate) struct SharedRingsPath {
    rings: Arc<SharedRings>,
    shard: u32,
    next_ring: usize,
    /// Rings that have got reads and may be asleep.
    given: Vec<bool>,
    returns: CompletionChannel<Completion>,
}

impl SharedRingsPath {
    pub(crate) fn new(
        rings: Arc<SharedRings>,
        shard: usize,
        queue_depth: u32,
        doorbell: Arc<Doorbell>,
        counters: Arc<ShardCounters>,
    ) -> io::Result<SharedRingsPath> {
        let (completed, done) = bounded(queue_depth as usize);
        let client = Client {
            completed,
            doorbell: doorbell.clone(),
        };
        rings.shared.clients[shard]
            .set(client)
            .map_err(|_| io::Error::other("a shard has one way back from the rings"))?;
        let count = rings.shared.rings.len();
        Ok(SharedRingsPath {
            rings,
            shard: shard as u32,
            // Shards that start together do not begin at the same ring.
            next_ring: shard % count,
            given: vec![false; count],
            returns: CompletionChannel::new(done, doorbell, counters),
        })
    }
}

// SAFETY: each job is driven once by a ring's read path, whose completion comes back under the
// read's own token.
unsafe impl ReadPath for SharedRingsPath {
    unsafe fn queue(&mut self, read: Read) {
        let ring = self.next_ring;
        self.next_ring = (ring + 1) % self.given.len();
        let job = Job {
            shard: self.shard,
            read,
        };
        let rings = &self.rings.shared.rings;
        if let Err(crossbeam_channel::TrySendError::Full(job)) = rings[ring].jobs.try_send(job) {
            rings[ring].doorbell.ring();
            // It fails only if the ring has ended, which the next turn reports.
            let _ = rings[ring].jobs.send(job);
        }
        self.given[ring] = true;
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        for (given, ring) in self.given.iter_mut().zip(&self.rings.shared.rings) {
            if std::mem::take(given) {
                ring.doorbell.ring();
            }
        }
        self.returns.turn(wait, completions)?;
        if completions.is_empty() && self.rings.shared.broken.load(Ordering::Acquire) {
            return Err(io::Error::other("the thread of a shared ring has ended"));
        }
        Ok(())
    }
}
