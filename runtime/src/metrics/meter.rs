//! The shard's side: it divides its time, at the boundaries of what it does in a round.
//!
//! Stages that alternate row by row are too short to be timed each time: the clock would take a
//! share of them. They are phases of a round (`Phase`), timed as a whole; each so many times a
//! phase is watched closely, stage by stage, and what is seen there divides the others.
//!
//! Everything is written by the shard's thread alone, into `shard_meter.rs`.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::counters::{COUNTERS, Counts, ThreadCounters};
use super::shard_meter::{SAMPLES, ShardMeter};
use super::{QueueSample, STAGES, Stage};

/// How far apart samples of the queues are.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Nanoseconds of waiting and idling that may be written later.
const LOOKING_UNWRITTEN_MAX: u64 = 1_000_000;
/// One in so many visits to a phase is watched closely: a prime, so that nothing regular in the
/// work keeps in step with it.
const CLOSE_EVERY: u64 = 61;
/// What has been seen closely fades when it comes to so many nanoseconds, so that what divides a
/// phase follows the load.
const SEEN_MAX: u64 = 1 << 28;

/// Part of a round whose stages alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Scanning codes and choosing among the rows.
    Scan,
    /// Planning reads, and delivering what is in memory.
    Plan,
    /// Waiting for completions; on a device that is memory this is where it is read.
    Wait,
    /// Delivering what has been read.
    Deliver,
}

const PHASES: usize = 4;

/// Shares of a phase are counted in two to this many parts.
const SHARE_BITS: u32 = 20;

impl Phase {
    /// The stages that it may have beside the rest.
    fn stages(self) -> &'static [Stage] {
        match self {
            Phase::Scan => &[Stage::Scan],
            Phase::Plan => &[Stage::Checksum, Stage::Decode, Stage::Refine, Stage::Reply],
            Phase::Wait => &[Stage::Submit],
            Phase::Deliver => &[Stage::Checksum, Stage::Decode, Stage::Refine],
        }
    }

    /// The stage that counters call it by.
    fn name(self) -> Stage {
        match self {
            Phase::Scan => Stage::Scan,
            Phase::Plan => Stage::Plan,
            Phase::Wait => Stage::Submit,
            Phase::Deliver => Stage::Decode,
        }
    }

    /// Where its time goes that is in no other of its stages.
    fn rest(self) -> Stage {
        match self {
            Phase::Scan => Stage::Select,
            Phase::Plan => Stage::Plan,
            Phase::Wait => Stage::Device,
            Phase::Deliver => Stage::Reply,
        }
    }
}

/// Whether a shard that does this does not look at its ring. Waiting and idling is looking.
#[inline]
fn is_away(stage: Stage) -> bool {
    !matches!(stage, Stage::Device | Stage::Idle | Stage::Submit)
}

/// What the shard's thread keeps beside it.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    shared: &'a ShardMeter,
    /// The end of what has been timed, in nanoseconds since the shard was started.
    now: Cell<u64>,
    writing: Cell<bool>,
    /// Since the last look at the ring, and the sum of what is no looking.
    away: [Cell<u64>; STAGES],
    away_sum: Cell<u64>,
    /// Not written yet.
    unwritten: [Cell<u64>; STAGES],
    next_sample: Cell<u64>,
    /// Whether the phase at hand is watched closely.
    close: Cell<bool>,
    visits: [Cell<u64>; PHASES],
    /// Of the phase at hand, while it is watched closely.
    seen_now: [Cell<u64>; STAGES],
    /// Nanoseconds of each stage in each phase, from when it was watched closely; they fade.
    seen: [[Cell<u64>; STAGES]; PHASES],
    /// Those of one phase over their sum.
    shares: [[Cell<u64>; STAGES]; PHASES],
    counting: Option<Counting>,
}

/// The counters of the thread, where they are asked for.
struct Counting {
    counters: RefCell<ThreadCounters>,
    /// At the last mark of a round that is counted, or at the end of one.
    last: Cell<Counts>,
    rounds: Cell<u64>,
    /// Whether the round at hand is counted, stage by stage.
    on: Cell<bool>,
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl<'a> Meter<'a> {
    pub(crate) fn new(shared: &'a ShardMeter) -> Meter<'a> {
        let now = shared.elapsed();
        shared.began.set(now);
        shared.resting.set(Stage::Idle as u64);
        Meter {
            shared,
            now: Cell::new(now),
            writing: Cell::new(false),
            away: Default::default(),
            away_sum: Cell::new(0),
            unwritten: Default::default(),
            next_sample: Cell::new(0),
            close: Cell::new(false),
            visits: Default::default(),
            seen_now: Default::default(),
            seen: Default::default(),
            shares: Default::default(),
            counting: shared.counters.as_ref().map(|slots| {
                let counters = ThreadCounters::open();
                let _ = slots.missing.set(counters.missing.clone());
                Counting {
                    counters: RefCell::new(counters),
                    last: Cell::default(),
                    rounds: Cell::new(0),
                    on: Cell::new(false),
                }
            }),
        }
    }

    /// A round begins. One in so many is counted.
    #[inline]
    pub(crate) fn round(&self) {
        if let Some(counting) = &self.counting {
            let round = counting.rounds.get();
            counting.rounds.set(round + 1);
            let on = round.is_multiple_of(CLOSE_EVERY);
            if on || counting.on.get() {
                self.count(None);
            }
            counting.on.set(on);
        }
    }

    /// In a round that is counted: what has been counted since the last time was in `stage`.
    #[inline]
    fn count_in(&self, stage: Stage) {
        if let Some(counting) = &self.counting
            && counting.on.get()
        {
            self.count(Some(stage));
        }
    }

    fn count(&self, stage: Option<Stage>) {
        let (Some(counting), Some(slots)) = (&self.counting, &self.shared.counters) else {
            return;
        };
        let before = counting.last.get();
        let mut now = before;
        counting.counters.borrow_mut().read(&mut now);
        counting.last.set(now);
        self.begin();
        for place in 0..COUNTERS {
            slots.values[place].set(now.values[place]);
            slots.ran[place].set(now.ran[place]);
            if let Some(stage) = stage {
                let counted = now.values[place].saturating_sub(before.values[place]);
                slots.by_stage[place][stage as usize].add(counted);
            }
        }
    }

    /// From here on readers look again.
    #[inline]
    pub(crate) fn begin(&self) {
        if self.shared.on && !self.writing.replace(true) {
            let version = &self.shared.version;
            version.store(version.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            // The stores of what is written are not moved above this one.
            fence(Ordering::Release);
        }
    }

    /// All is written: the shard is about to rest in `stage`.
    #[inline]
    pub(crate) fn end(&self, stage: Stage) {
        if !self.shared.on {
            return;
        }
        self.shared.resting.set(stage as u64);
        if self.writing.replace(false) {
            let version = &self.shared.version;
            version.store(version.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
        self.shared.hold_if_asked();
    }

    /// What the shard has done since the last mark was `stage`.
    #[inline]
    pub(crate) fn mark(&self, stage: Stage) {
        if !self.shared.on {
            return;
        }
        self.close.set(false);
        let time = self.lap();
        self.count_in(stage);
        self.note(stage, time);
        // A shard that looks for work again and again would leave readers no time between rounds.
        let looking = matches!(stage, Stage::Idle | Stage::Device);
        let unwritten = self.unwritten[stage as usize].get();
        if looking && !self.writing.get() && unwritten < LOOKING_UNWRITTEN_MAX {
            return;
        }
        self.write();
        self.shared.pieces[stage as usize].record(time);
    }

    /// A phase begins.
    #[inline]
    pub(crate) fn enter(&self, phase: Phase) {
        if self.shared.on {
            let visits = &self.visits[phase as usize];
            self.close.set(visits.get().is_multiple_of(CLOSE_EVERY));
            visits.set(visits.get() + 1);
            // What the phase counts is seen with its time. A wait counts nothing.
            if phase != Phase::Wait {
                self.begin();
            }
        }
    }

    /// Where the phase at hand is watched closely: what the shard has done since the last mark was
    /// `stage`.
    #[inline]
    pub(crate) fn detail(&self, stage: Stage) {
        if self.close.get() {
            let time = self.lap();
            self.see(stage, time);
        }
    }

    /// The CPU time of this thread, if the phase at hand is watched closely.
    #[inline]
    pub(crate) fn thread_time(&self) -> Option<Duration> {
        self.close.get().then(|| {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        })
    }

    /// Of the time since the last mark, what the thread was running, since its clock showed
    /// `before`, was `stage`.
    pub(crate) fn detail_running(&self, stage: Stage, before: Option<Duration>) {
        if let Some((now, before)) = self.thread_time().zip(before) {
            let running = now.saturating_sub(before).as_nanos() as u64;
            let passed = self.shared.elapsed() - self.now.get();
            let time = running.min(passed);
            self.now.set(self.now.get() + time);
            self.see(stage, time);
        }
    }

    /// A phase ends.
    #[inline]
    pub(crate) fn leave(&self, phase: Phase) {
        if !self.shared.on {
            return;
        }
        let time = self.lap();
        self.count_in(phase.name());
        if self.close.replace(false) {
            self.see(phase.rest(), time);
            self.learn(phase);
        } else {
            self.divide(phase, time);
        }
        let looking = phase == Phase::Wait;
        let unwritten = self.unwritten[Stage::Device as usize].get();
        if looking && !self.writing.get() && unwritten < LOOKING_UNWRITTEN_MAX {
            return;
        }
        self.write();
    }

    /// Time since the last mark, which this is.
    #[inline]
    fn lap(&self) -> u64 {
        let now = self.shared.elapsed();
        now.saturating_sub(self.now.replace(now))
    }

    #[inline]
    fn note(&self, stage: Stage, time: u64) {
        for times in [&self.away, &self.unwritten] {
            let of = &times[stage as usize];
            of.set(of.get() + time);
        }
        if is_away(stage) {
            self.away_sum.set(self.away_sum.get() + time);
        }
    }

    /// A piece of a phase that is watched closely.
    fn see(&self, stage: Stage, time: u64) {
        self.note(stage, time);
        let seen = &self.seen_now[stage as usize];
        seen.set(seen.get() + time);
        self.begin();
        self.shared.pieces[stage as usize].record(time);
    }

    /// Adds what has been seen closely to what divides the phase.
    fn learn(&self, phase: Phase) {
        let seen = &self.seen[phase as usize];
        let mut sum = 0;
        for (seen, now) in seen.iter().zip(&self.seen_now) {
            seen.set(seen.get() + now.take());
            sum += seen.get();
        }
        for (share, seen) in self.shares[phase as usize].iter().zip(seen) {
            share.set((seen.get() << SHARE_BITS) / sum.max(1));
            if sum > SEEN_MAX {
                seen.set(seen.get() / 2);
            }
        }
    }

    /// Divides the time of a phase as those that were watched closely were.
    #[inline]
    fn divide(&self, phase: Phase, time: u64) {
        let shares = &self.shares[phase as usize];
        let mut left = time;
        for &stage in phase.stages() {
            let part = (time * shares[stage as usize].get()) >> SHARE_BITS;
            self.note(stage, part);
            left -= part;
        }
        self.note(phase.rest(), left);
    }

    fn write(&self) {
        self.begin();
        for (written, time) in self.shared.nanoseconds.iter().zip(&self.unwritten) {
            if time.get() > 0 {
                written.add(time.take());
            }
        }
    }

    /// The shard has looked at its ring.
    #[inline]
    pub(crate) fn looked(&self) {
        if !self.shared.on {
            return;
        }
        let (shared, sum) = (self.shared, self.away_sum.take());
        if sum > shared.stall_nanoseconds.get() {
            let stages = Stage::ALL.into_iter().filter(|stage| is_away(*stage));
            let longest = stages.max_by_key(|stage| self.away[*stage as usize].get());
            self.begin();
            shared.stall_nanoseconds.set(sum);
            shared
                .stall_stage
                .set(longest.map_or(0, |stage| stage as u64));
        }
        self.away.iter().for_each(|away| away.set(0));
    }

    /// The time of the last mark, for what begins now: nanoseconds since the start.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// A read that was planned and handed over at these times has been fetched.
    #[inline]
    pub(crate) fn read_done(&self, planned_at: u64, submitted_at: u64) {
        if self.shared.on {
            let (shared, now) = (self.shared, self.now.get());
            let submit = submitted_at.saturating_sub(planned_at);
            shared.submit_latency.record(submit);
            shared
                .device_latency
                .record(now.saturating_sub(submitted_at));
            shared.read_latency.record(now.saturating_sub(planned_at));
        }
    }

    /// A message sent at `sent` has been taken on.
    pub(crate) fn received(&self, sent: Option<Instant>) {
        if self.shared.on
            && let Some(sent) = sent
        {
            self.shared
                .inbox_wait
                .record(sent.elapsed().as_nanos() as u64);
        }
    }

    /// Takes a sample of the queues if one is due; `sample` need not fill in the time.
    #[inline]
    pub(crate) fn sample(&self, sample: impl FnOnce() -> QueueSample) {
        let now = self.now.get();
        if !self.shared.on || now < self.next_sample.get() {
            return;
        }
        self.next_sample.set(now + SAMPLE_EVERY.as_nanos() as u64);
        self.begin();
        let sample = sample();
        let shared = self.shared;
        let place = &shared.samples[shared.sampled.get() as usize % SAMPLES];
        place.at.set(now);
        place.inbox.set(sample.inbox.into());
        place.waiting_parts.set(sample.waiting_parts.into());
        place.in_flight.set(sample.in_flight.into());
        place.completions.set(sample.completions.into());
        shared.sampled.add(1);
    }
}

impl Drop for Meter<'_> {
    /// No reader waits for a shard that has ended.
    fn drop(&mut self) {
        self.end(Stage::Idle);
    }
}

#[cfg(test)]
mod tests;
