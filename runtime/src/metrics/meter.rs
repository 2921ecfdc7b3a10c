//! Measuring a shard's time by stage, on its own thread.
//!
//! Stages that alternate row by row are too short to be timed each time: the clock would take a
//! share of them. They form phases of a round (`Phase`), which are timed as a whole. A sample of the
//! phases is timed stage by stage, and its proportions divide the time of the others.
//!
//! Everything is written by the shard's thread alone, into `shard_meter.rs`.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::counters::{COUNTERS, Counts, ThreadCounters};
use super::shard_meter::{SAMPLES, ShardMeter};
use super::{QueueSample, STAGES, Stage};

/// Time between two samples of the queues.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Nanoseconds of waiting and idling that may be written later.
const LOOKING_UNWRITTEN_MAX: u64 = 1_000_000;
/// One visit to a phase of this many is timed stage by stage: a prime, so that regular work does not
/// keep in step with it.
const CLOSE_EVERY: u64 = 61;
/// Nanoseconds of stages timed closely beyond which they are halved, so that the proportions follow
/// the load.
const SEEN_MAX: u64 = 1 << 28;

/// Part of a round whose stages alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Scanning codes and choosing among the rows.
    Scan,
    /// Planning reads, and delivering rows in memory.
    Plan,
    /// Waiting for completions; a device in memory is read here.
    Wait,
    /// Delivering rows that were read.
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

    /// The stage under which counters count it.
    fn name(self) -> Stage {
        match self {
            Phase::Scan => Stage::Scan,
            Phase::Plan => Stage::Plan,
            Phase::Wait => Stage::Submit,
            Phase::Deliver => Stage::Decode,
        }
    }

    /// The stage of the time that is in no other of its stages.
    fn rest(self) -> Stage {
        match self {
            Phase::Scan => Stage::Select,
            Phase::Plan => Stage::Plan,
            Phase::Wait => Stage::Device,
            Phase::Deliver => Stage::Reply,
        }
    }
}

/// Whether a shard in this stage does not look at its ring. It looks while it waits or idles.
#[inline]
fn is_away(stage: Stage) -> bool {
    !matches!(stage, Stage::Device | Stage::Idle | Stage::Submit)
}

/// The state of measuring that the shard's thread keeps to itself.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    shared: &'a ShardMeter,
    /// The end of what has been timed, in nanoseconds since the shard was started.
    now: Cell<u64>,
    writing: Cell<bool>,
    /// Times since the last look at the ring, and the sum of the stages that do not look.
    away: [Cell<u64>; STAGES],
    away_sum: Cell<u64>,
    /// Not written yet.
    unwritten: [Cell<u64>; STAGES],
    next_sample: Cell<u64>,
    /// Whether the current phase is timed stage by stage.
    close: Cell<bool>,
    visits: [Cell<u64>; PHASES],
    /// Times of the current phase, while it is timed stage by stage.
    seen_now: [Cell<u64>; STAGES],
    /// Nanoseconds of each stage in each phase that was timed stage by stage.
    seen: [[Cell<u64>; STAGES]; PHASES],
    /// The proportions of the stages in each phase.
    shares: [[Cell<u64>; STAGES]; PHASES],
    counting: Option<Counting>,
}

/// The counters of the thread, where they are asked for.
struct Counting {
    counters: RefCell<ThreadCounters>,
    /// At the last mark of a round that is counted, or at the end of one.
    last: Cell<Counts>,
    rounds: Cell<u64>,
    /// Whether the current round is counted, stage by stage.
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

    /// A round begins. A sample of the rounds is counted.
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

    /// Adds the counts since the last time to `stage`, in a round that is counted.
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

    /// Begins to write: readers look again until `end`.
    #[inline]
    pub(crate) fn begin(&self) {
        if self.shared.on && !self.writing.replace(true) {
            let version = &self.shared.version;
            version.store(version.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            // The stores of what is written are not moved above this one.
            fence(Ordering::Release);
        }
    }

    /// Ends writing: the shard is about to rest in `stage`.
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

    /// Counts the time since the last mark as `stage`.
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

    /// Counts the time since the last mark as `stage`, if the current phase is timed stage by stage.
    #[inline]
    pub(crate) fn detail(&self, stage: Stage) {
        if self.close.get() {
            let time = self.lap();
            self.see(stage, time);
        }
    }

    /// The CPU time of this thread, if the current phase is timed stage by stage.
    #[inline]
    pub(crate) fn thread_time(&self) -> Option<Duration> {
        self.close.get().then(|| {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        })
    }

    /// Counts the time that the thread was running since its clock showed `before` as `stage`.
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

    /// Counts a part of a phase that is timed stage by stage.
    fn see(&self, stage: Stage, time: u64) {
        self.note(stage, time);
        let seen = &self.seen_now[stage as usize];
        seen.set(seen.get() + time);
        self.begin();
        self.shared.pieces[stage as usize].record(time);
    }

    /// Updates the proportions of a phase from one that was timed stage by stage.
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

    /// Divides the time of a phase by its proportions.
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

    /// The time of the last mark, in nanoseconds since the start.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Records a read that was planned and submitted at these times and is complete now.
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

    /// Records a message that was sent at `sent` and is accepted now.
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
