//! A shard's times, waits and queues as readers see them, and how readers get a consistent snapshot.
//!
//! Only the shard writes them (`meter.rs`). A version that is odd while it writes makes readers look
//! again (a sequence lock; H.-J. Boehm, Can seqlocks get along with programming language memory
//! models?, MSPC 2012), so that they see the state between two rounds. A shard that works from
//! memory leaves no time between rounds: after some looks a reader asks it to pause, for as long as
//! reading takes and no longer than `HOLD_MAX`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::counters::{self, COUNTERS};
use super::latencies::Buckets;
use super::{NAMES, Pieces, QueueSample, STAGES, ShardMetrics, ShardTime, Stall, ThreadCounter};
use crate::metrics::stats::{Counter, ShardCounters};

/// Samples of the queues that are kept.
pub(super) const SAMPLES: usize = 1024;
/// The longest time for which a reader waits for a shard that has lost its CPU in the middle of
/// writing. After it the reader takes the state as it is.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Time between two looks of a reader.
const LOOK_AGAIN: Duration = Duration::from_micros(20);
/// Looks of a reader before it asks the shard to pause.
const LOOKS_UNASKED: u32 = 5;
/// The longest time for which a shard pauses for a reader.
const HOLD_MAX: Duration = Duration::from_micros(200);

/// No reader has asked the shard to pause.
const NOT_ASKED: u8 = 0;
/// A reader has asked. Written by readers.
const ASKED: u8 = 1;
/// The shard pauses. Written by the shard; the reader sets `NOT_ASKED` when it has read.
const HELD: u8 = 2;

/// A shard's metrics, written by the shard and read by any thread.
#[derive(Debug)]
pub(crate) struct ShardMeter {
    pub(super) on: bool,
    pub(super) started: Instant,
    /// Odd while the shard writes.
    pub(super) version: AtomicU64,
    hold: AtomicU8,
    /// The time at which it began to count stages; earlier time is in none.
    pub(super) began: Counter,
    /// The stage of the wait that goes on while it does not write.
    pub(super) resting: Counter,
    pub(super) nanoseconds: [Counter; STAGES],
    pub(super) pieces: [Buckets; STAGES],
    pub(super) inbox_wait: Buckets,
    pub(super) submit_latency: Buckets,
    pub(super) device_latency: Buckets,
    pub(super) read_latency: Buckets,
    pub(super) stall_nanoseconds: Counter,
    /// A stage's number.
    pub(super) stall_stage: Counter,
    pub(super) samples: Box<[Sample]>,
    pub(super) sampled: Counter,
    pub(super) counters: Option<CounterSlots>,
}

/// Counters of the thread, where they are asked for.
#[derive(Debug, Default)]
pub(super) struct CounterSlots {
    pub(super) values: [Counter; COUNTERS],
    /// In thousandths.
    pub(super) ran: [Counter; COUNTERS],
    pub(super) by_stage: [[Counter; STAGES]; COUNTERS],
    /// Known once the thread has opened them.
    pub(super) missing: OnceLock<[Option<String>; COUNTERS]>,
}

impl CounterSlots {
    fn snapshot(&self) -> Vec<ThreadCounter> {
        let Some(missing) = self.missing.get() else {
            return Vec::new();
        };
        let of = |place: usize| {
            let there = missing[place].is_none();
            let stages = NAMES.into_iter().zip(&self.by_stage[place]);
            let stages = stages.map(|(name, count)| (name, count.get()));
            ThreadCounter {
                name: counters::NAMES[place],
                value: there.then(|| self.values[place].get()),
                ran: there.then(|| self.ran[place].get() as f64 / 1e3),
                missing: missing[place].clone(),
                by_stage: stages.filter(|(_, count)| *count > 0).collect(),
            }
        };
        (0..COUNTERS).map(of).collect()
    }
}

#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) at: Counter,
    pub(super) inbox: Counter,
    pub(super) waiting_parts: Counter,
    pub(super) in_flight: Counter,
    pub(super) completions: Counter,
}

impl ShardMeter {
    pub(crate) fn new(on: bool, counters: bool) -> ShardMeter {
        ShardMeter {
            on,
            started: Instant::now(),
            version: AtomicU64::new(0),
            hold: AtomicU8::new(NOT_ASKED),
            began: Counter::default(),
            resting: Counter::default(),
            nanoseconds: Default::default(),
            pieces: std::array::from_fn(|_| Buckets::new()),
            inbox_wait: Buckets::new(),
            submit_latency: Buckets::new(),
            device_latency: Buckets::new(),
            read_latency: Buckets::new(),
            stall_nanoseconds: Counter::default(),
            stall_stage: Counter::default(),
            samples: (0..if on { SAMPLES } else { 0 })
                .map(|_| Sample::default())
                .collect(),
            sampled: Counter::default(),
            counters: (on && counters).then(CounterSlots::default),
        }
    }

    /// Nanoseconds since the shard was started.
    #[inline]
    pub(super) fn elapsed(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Pauses for a reader that has asked for it. Called by the shard while it does not write.
    #[inline]
    pub(super) fn hold_if_asked(&self) {
        if self.hold.load(Ordering::Relaxed) == ASKED {
            self.hold_still();
        }
    }

    #[cold]
    fn hold_still(&self) {
        self.hold.store(HELD, Ordering::Release);
        let since = Instant::now();
        while self.hold.load(Ordering::Acquire) == HELD && since.elapsed() < HOLD_MAX {
            std::hint::spin_loop();
        }
        // A reader that is not done has to ask again.
        self.hold.store(NOT_ASKED, Ordering::Relaxed);
    }

    /// The time until which a reader waits, for all its shards together.
    pub(crate) fn patience() -> Instant {
        Instant::now() + LOOK_MAX
    }

    /// The state between two rounds, with the counters of the same shard. After `until` it is the
    /// state at that moment, in the middle of a round.
    pub(crate) fn look(&self, counters: &ShardCounters, until: Instant) -> ShardMetrics {
        for looks in 0_u32.. {
            let before = self.version.load(Ordering::Acquire);
            let late = Instant::now() >= until;
            if before.is_multiple_of(2) || late {
                let seen = self.read(counters);
                // The loads above are not moved below the next one.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before || late {
                    self.hold.store(NOT_ASKED, Ordering::Release);
                    return seen;
                }
            }
            if looks < LOOKS_UNASKED {
                std::thread::sleep(LOOK_AGAIN);
            } else if self.hold.load(Ordering::Acquire) == NOT_ASKED {
                self.hold.store(ASKED, Ordering::Relaxed);
            } else {
                // It holds still for less time than a sleep takes.
                std::thread::yield_now();
            }
        }
        unreachable!("it is late before that")
    }

    /// The current time, and the times of all stages until then: time that is not written yet belongs
    /// to the current wait.
    pub(super) fn time(&self) -> (u64, ShardTime) {
        let mut times: [u64; STAGES] = std::array::from_fn(|stage| self.nanoseconds[stage].get());
        let at = self.elapsed();
        if self.on {
            let divided = self.began.get() + times.iter().sum::<u64>();
            times[self.resting.get() as usize % STAGES] += at.saturating_sub(divided);
        }
        (at, ShardTime::of(times))
    }

    pub(super) fn read(&self, counters: &ShardCounters) -> ShardMetrics {
        let sampled = self.sampled.get();
        let kept = sampled.min(self.samples.len() as u64);
        let queues = (sampled - kept..sampled).map(|number| {
            let sample = &self.samples[number as usize % SAMPLES];
            QueueSample {
                at_ns: sample.at.get(),
                inbox: sample.inbox.get() as u32,
                waiting_parts: sample.waiting_parts.get() as u32,
                in_flight: sample.in_flight.get() as u32,
                completions: sample.completions.get() as u32,
            }
        });
        let stall = self.stall_nanoseconds.get();
        let (at, time) = self.time();
        ShardMetrics {
            at_ns: at,
            stats: counters.snapshot(),
            time,
            pieces: NAMES
                .iter()
                .zip(&self.pieces)
                .map(|(&stage, pieces)| Pieces {
                    stage,
                    latencies: pieces.snapshot(),
                })
                .collect(),
            inbox_wait: self.inbox_wait.snapshot(),
            submit_latency: self.submit_latency.snapshot(),
            device_latency: self.device_latency.snapshot(),
            read_latency: self.read_latency.snapshot(),
            longest_stall: Stall {
                duration_ns: stall,
                stage: match stall {
                    0 => "",
                    _ => NAMES[self.stall_stage.get() as usize % STAGES],
                },
            },
            counters: self
                .counters
                .as_ref()
                .map_or_else(Vec::new, CounterSlots::snapshot),
            queues: queues.collect(),
        }
    }
}
