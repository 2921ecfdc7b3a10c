//! The shard's side: it divides its time, at the boundaries of what it does in a round.
//!
//! Everything is written by the shard's thread alone. A version that is odd while it writes tells
//! readers to look again (a sequence lock; H.-J. Boehm, Can seqlocks get along with programming
//! language memory models?, MSPC 2012), so that they see the state between two rounds and never
//! stop the shard.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::latencies::Buckets;
use super::{ACTIVITIES, Activity, NAMES, QueueSample, ShardMetrics, ShardTime, Stall};
use crate::stats::{Counter, ShardCounters};

/// How far apart samples of the queues are.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// How many are kept.
const SAMPLES: usize = 1024;
/// Nanoseconds of waiting and idling that may be written later.
const LOOKING_UNWRITTEN_MAX: u64 = 1_000_000;
/// How long a reader waits for a shard that has lost its CPU in the middle of writing, before it
/// takes what is there as it is.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// How long it rests in between.
const LOOK_AGAIN: Duration = Duration::from_micros(20);

/// What readers see.
#[derive(Debug)]
pub(crate) struct ShardMeter {
    on: bool,
    /// Odd while the shard writes.
    version: AtomicU64,
    nanoseconds: [Counter; ACTIVITIES],
    inbox_wait: Buckets,
    read_latency: Buckets,
    stall_nanoseconds: Counter,
    /// An activity's number.
    stall_activity: Counter,
    samples: Box<[Sample]>,
    sampled: Counter,
}

#[derive(Debug, Default)]
struct Sample {
    at: Counter,
    inbox: Counter,
    waiting_parts: Counter,
    in_flight: Counter,
    completions: Counter,
}

impl ShardMeter {
    pub(crate) fn new(on: bool) -> ShardMeter {
        ShardMeter {
            on,
            version: AtomicU64::new(0),
            nanoseconds: Default::default(),
            inbox_wait: Buckets::new(),
            read_latency: Buckets::new(),
            stall_nanoseconds: Counter::default(),
            stall_activity: Counter::default(),
            samples: (0..if on { SAMPLES } else { 0 })
                .map(|_| Sample::default())
                .collect(),
            sampled: Counter::default(),
        }
    }

    /// The state between two rounds, with the counters of the same shard.
    pub(crate) fn look(&self, counters: &ShardCounters) -> ShardMetrics {
        let since = Instant::now();
        loop {
            let before = self.version.load(Ordering::Acquire);
            let late = since.elapsed() >= LOOK_MAX;
            if before.is_multiple_of(2) || late {
                let seen = self.read(counters);
                // The loads above are not moved below the next one.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before || late {
                    return seen;
                }
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn read(&self, counters: &ShardCounters) -> ShardMetrics {
        let sampled = self.sampled.get();
        let kept = sampled.min(self.samples.len() as u64);
        let queues = (sampled - kept..sampled).map(|number| {
            let sample = &self.samples[number as usize % SAMPLES];
            QueueSample {
                at: sample.at.get(),
                inbox: sample.inbox.get() as u32,
                waiting_parts: sample.waiting_parts.get() as u32,
                in_flight: sample.in_flight.get() as u32,
                completions: sample.completions.get() as u32,
            }
        });
        let stall = self.stall_nanoseconds.get();
        ShardMetrics {
            stats: counters.snapshot(),
            time: ShardTime::of(std::array::from_fn(|activity| {
                self.nanoseconds[activity].get()
            })),
            inbox_wait: self.inbox_wait.snapshot(),
            read_latency: self.read_latency.snapshot(),
            longest_stall: Stall {
                nanoseconds: stall,
                activity: match stall {
                    0 => "",
                    _ => NAMES[self.stall_activity.get() as usize % ACTIVITIES],
                },
            },
            queues: queues.collect(),
        }
    }
}

/// What the shard's thread keeps beside it.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    shared: &'a ShardMeter,
    started: Instant,
    /// The end of the last activity, in nanoseconds since `started`.
    now: Cell<u64>,
    writing: Cell<bool>,
    /// Since the last look at the ring.
    away: [Cell<u64>; ACTIVITIES],
    /// Not written yet.
    unwritten: [Cell<u64>; ACTIVITIES],
    next_sample: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(shared: &'a ShardMeter) -> Meter<'a> {
        Meter {
            shared,
            started: Instant::now(),
            now: Cell::new(0),
            writing: Cell::new(false),
            away: Default::default(),
            unwritten: Default::default(),
            next_sample: Cell::new(0),
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

    /// All is written: the shard is about to wait.
    #[inline]
    pub(crate) fn end(&self) {
        if self.shared.on && self.writing.replace(false) {
            let version = &self.shared.version;
            version.store(version.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
    }

    /// What the shard has done since the last mark was `activity`.
    #[inline]
    pub(crate) fn mark(&self, activity: Activity) {
        if !self.shared.on {
            return;
        }
        let now = self.started.elapsed().as_nanos() as u64;
        let time = now - self.now.replace(now);
        let away = &self.away[activity as usize];
        away.set(away.get() + time);
        let unwritten = &self.unwritten[activity as usize];
        unwritten.set(unwritten.get() + time);
        // A shard that looks for work again and again would leave readers no time between rounds.
        let looking = matches!(activity, Activity::Idle | Activity::Wait);
        if looking && !self.writing.get() && unwritten.get() < LOOKING_UNWRITTEN_MAX {
            return;
        }
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
        // Waiting and idling is looking.
        let busy = |activity: usize| {
            activity != Activity::Wait as usize
                && activity != Activity::Idle as usize
                && activity != Activity::Ring as usize
        };
        let mut longest = (0, 0);
        let mut sum = 0;
        for (activity, away) in self.away.iter().enumerate() {
            let time = away.take();
            if busy(activity) {
                sum += time;
                longest = longest.max((time, activity as u64));
            }
        }
        let shared = self.shared;
        if sum > shared.stall_nanoseconds.get() {
            shared.stall_nanoseconds.set(sum);
            shared.stall_activity.set(longest.1);
        }
    }

    /// The time of the last mark, for what begins now: nanoseconds since the start.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// A read that was planned at `since` has been fetched.
    #[inline]
    pub(crate) fn read_done(&self, since: u64) {
        if self.shared.on {
            let time = self.now.get().saturating_sub(since);
            self.shared.read_latency.record(time);
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
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_no_gaps_and_the_longest_stall_is_named() {
        let shared = ShardMeter::new(true);
        let meter = Meter::new(&shared);
        let counters = ShardCounters::default();
        std::thread::sleep(Duration::from_millis(2));
        meter.mark(Activity::Idle);
        meter.looked();
        std::thread::sleep(Duration::from_millis(5));
        meter.mark(Activity::Callers);
        meter.mark(Activity::Plan);
        meter.looked();
        meter.end();
        let seen = shared.look(&counters);
        assert_eq!(seen.time.total(), meter.now());
        assert!(seen.time.idle >= 2_000_000 && seen.time.callers >= 5_000_000);
        assert_eq!(seen.longest_stall.activity, "callers");
        let stall = seen.longest_stall.nanoseconds;
        assert_eq!(stall, seen.time.callers + seen.time.plan);
    }

    #[test]
    fn samples_are_kept_in_order_and_the_oldest_go() {
        let shared = ShardMeter::new(true);
        let meter = Meter::new(&shared);
        let counters = ShardCounters::default();
        for number in 0..SAMPLES as u32 + 3 {
            meter.now.set(u64::from(number) * 20_000_000);
            let sample = QueueSample {
                in_flight: number,
                ..QueueSample::default()
            };
            meter.sample(|| sample);
            // Not due yet.
            meter.sample(|| unreachable!("10 ms have not passed"));
        }
        let queues = shared.look(&counters).queues;
        assert_eq!(queues.len(), SAMPLES);
        assert_eq!(queues[0].in_flight, 3);
        assert!(queues.is_sorted_by_key(|sample| sample.at));
    }

    /// Two numbers that the writer keeps equal are equal to every reader.
    #[test]
    fn reader_sees_no_half_of_a_round() {
        let shared = ShardMeter::new(true);
        let counters = ShardCounters::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let meter = Meter::new(&shared);
                for _ in 0..2_000 {
                    meter.begin();
                    counters.reads.add(1);
                    meter.read_done(0);
                    // Another thread that looks here sees half of it.
                    std::thread::yield_now();
                    counters.completions.add(1);
                    meter.end();
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            while !writer.is_finished() {
                let seen = shared.look(&counters);
                assert_eq!(seen.stats.reads, seen.stats.completions);
                assert_eq!(seen.stats.reads, seen.read_latency.count());
            }
        });
    }

    #[test]
    fn nothing_is_written_where_it_is_off() {
        let shared = ShardMeter::new(false);
        let meter = Meter::new(&shared);
        meter.mark(Activity::Plan);
        meter.looked();
        meter.read_done(0);
        meter.received(Some(Instant::now()));
        meter.sample(|| unreachable!("it is off"));
        let seen = shared.look(&ShardCounters::default());
        assert_eq!(seen.time, ShardTime::default());
        assert_eq!(seen.read_latency.count() + seen.inbox_wait.count(), 0);
        assert_eq!(shared.version.load(Ordering::Relaxed), 0);
    }
}
