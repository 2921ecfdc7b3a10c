//! Samples of a run while it goes on: answers of the clients, reads of the devices, and queues of
//! the shards. They are shown on a terminal too.
//!
//! Counters are read from outside, step by step, as sums since the beginning. When there are more
//! samples than [`SAMPLES_MAX`], every other one is dropped and the step doubles.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringtake_runtime::{ShardMetrics, StoreMetrics};

use crate::count::device::{DeviceReads, Devices, NoDevice};
use crate::count::process::{MachineTime, name_this_thread};
use crate::drive::live::{Done, Live};
use crate::drive::load::Bound;
use crate::drive::subject::Observed;
use crate::numbers::{latency, rounded};
use crate::record::series::{DeviceSample, QueueSample, RateSample, Series};

/// The time between two samples, until there are too many.
const STEP: Duration = Duration::from_millis(100);
/// The most samples of each kind.
const SAMPLES_MAX: usize = 1200;
/// How often the shards' own samples are fetched, before newer ones replace them.
const QUEUES_EVERY: Duration = Duration::from_secs(2);
/// How often the terminal line is renewed.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Everything at one instant.
struct Tick {
    at: Duration,
    done: Done,
    device: Option<DeviceReads>,
    permits_held: Option<u64>,
}

/// An observer of one run.
pub(crate) struct Sampler<'a> {
    subject: &'a dyn Observed,
    live: &'a Live,
    devices: &'a Result<Devices, NoDevice>,
    bound: Bound,
    started: Mutex<Option<(Instant, Thread)>>,
    ended: AtomicBool,
}

/// A run that goes on.
pub(crate) struct Running<'s, 'a> {
    sampler: &'s Sampler<'a>,
    looker: Thread,
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        self.sampler.ended.store(true, Ordering::Release);
        self.looker.unpark();
    }
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(
        subject: &'a dyn Observed,
        live: &'a Live,
        devices: &'a Result<Devices, NoDevice>,
        bound: Bound,
    ) -> Sampler<'a> {
        Sampler {
            subject,
            live,
            devices,
            bound,
            started: Mutex::new(None),
            ended: AtomicBool::new(false),
        }
    }

    /// The run begins now; `looker` is the thread that looks on.
    pub(crate) fn start(&self, looker: &Thread) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        *started = Some((Instant::now(), looker.clone()));
        looker.unpark();
    }

    /// A guard: the run ends when it is dropped, also by a panic.
    pub(crate) fn until_dropped(&self, looker: &Thread) -> Running<'_, 'a> {
        Running {
            sampler: self,
            looker: looker.clone(),
        }
    }

    /// Looks on from the start to the end.
    pub(crate) fn look_on(&self) -> Series {
        name_this_thread("bench-sampler");
        let Some(began) = self.wait_for_start() else {
            return Series::default();
        };
        let machine = MachineTime::now();
        let mut ticks = Ticks::new();
        let mut queues = Queues::new(self.subject.metrics());
        let mut shown = Shown::new(self.bound);
        ticks.push(self.tick(began));
        while !self.ended.load(Ordering::Acquire) {
            std::thread::park_timeout(ticks.step);
            let tick = self.tick(began);
            let at = tick.at;
            let show = shown.is_due(at);
            if show || queues.is_due(at) {
                let metrics = self.subject.metrics();
                if show {
                    shown.show(&tick, metrics.as_ref());
                }
                queues.fetch(at, metrics);
            }
            ticks.push(tick);
        }
        shown.clear();
        ticks.finish();
        queues.fetch(began.elapsed(), self.subject.metrics());
        Series {
            rate: ticks.rate(),
            device: ticks.device(self.devices.as_ref().map_or(1, Devices::count)),
            queues: queues.kept,
            machine_cores_busy: MachineTime::now()
                .zip(machine)
                .filter(|(after, _)| after.is_of_this_process())
                .and_then(|(after, before)| after.cores_busy_since(before)),
        }
    }

    fn wait_for_start(&self) -> Option<Instant> {
        loop {
            let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((began, _)) = *started {
                return Some(began);
            }
            drop(started);
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            std::thread::park();
        }
    }

    fn tick(&self, began: Instant) -> Tick {
        let devices = self.devices.as_ref().ok();
        Tick {
            at: began.elapsed(),
            done: self.live.done(),
            device: devices.and_then(|devices| devices.reads().ok()),
            permits_held: self.subject.permits_held(),
        }
    }
}

/// Samples, the oldest first.
struct Ticks {
    step: Duration,
    kept: Vec<Tick>,
}

impl Ticks {
    fn new() -> Ticks {
        Ticks {
            step: STEP,
            kept: Vec::new(),
        }
    }

    fn push(&mut self, tick: Tick) {
        self.kept.push(tick);
        if self.kept.len() > SAMPLES_MAX {
            keep_every_second(&mut self.kept);
            self.step *= 2;
        }
    }

    /// Joins the last step to the one before if it is too short for a rate.
    fn finish(&mut self) {
        if let [_, .., before, last] = &self.kept[..]
            && last.at - before.at < self.step / 2
        {
            self.kept.remove(self.kept.len() - 2);
        }
    }

    fn rate(&self) -> Vec<RateSample> {
        let steps = self.kept.windows(2).filter_map(|pair| {
            let [earlier, later] = pair else { return None };
            let seconds = seconds_between(earlier, later)?;
            let per_second = |later: u64, earlier: u64| (later - earlier) as f64 / seconds;
            Some(RateSample {
                at_s: later.at.as_secs_f64(),
                queries_per_s: per_second(later.done.queries, earlier.done.queries),
                rows_per_s: per_second(later.done.rows, earlier.done.rows),
                p99_us: later.done.p99_us_since(&earlier.done),
                permits_held: later.permits_held,
            })
        });
        steps.collect()
    }

    fn device(&self, devices: usize) -> Vec<DeviceSample> {
        let steps = self.kept.windows(2).filter_map(|pair| {
            let [earlier, later] = pair else { return None };
            let seconds = seconds_between(earlier, later)?;
            let did = later.device?.since(earlier.device?);
            Some(DeviceSample::of(did, seconds, devices)).map(|sample| DeviceSample {
                at_s: later.at.as_secs_f64(),
                ..sample
            })
        });
        steps.collect()
    }
}

fn seconds_between(earlier: &Tick, later: &Tick) -> Option<f64> {
    let seconds = (later.at - earlier.at).as_secs_f64();
    (seconds > 0.0).then_some(seconds)
}

impl DeviceSample {
    /// The reads of `devices` devices together in `seconds`, as iostat counts them.
    pub(crate) fn of(did: DeviceReads, seconds: f64, devices: usize) -> DeviceSample {
        let per_read = |sum: f64| (did.completed > 0).then(|| sum / did.completed as f64);
        DeviceSample {
            at_s: seconds,
            reads_per_s: did.completed as f64 / seconds,
            bytes_per_read: per_read(did.bytes as f64),
            merges_per_s: did.merged as f64 / seconds,
            queue: did.reads_ms as f64 / 1e3 / seconds,
            wait_us: per_read(did.reads_ms as f64 * 1e3),
            utilisation: (did.busy_ms as f64 / 1e3 / seconds / devices.max(1) as f64).min(1.0),
        }
    }
}

/// The shards' own samples of their queues.
struct Queues {
    /// When the run began, by each shard's clock.
    began: Vec<u64>,
    fetched: Duration,
    /// One sample in this many is kept, by shard.
    every: Vec<usize>,
    /// Samples of each shard so far, and the time of the last.
    seen: Vec<(usize, f64)>,
    kept: Vec<Vec<QueueSample>>,
}

impl Queues {
    fn new(metrics: Option<StoreMetrics>) -> Queues {
        let shards = metrics.map_or_else(Vec::new, |metrics| metrics.shards);
        Queues {
            began: shards.iter().map(|shard| shard.at_ns).collect(),
            fetched: Duration::ZERO,
            every: vec![1; shards.len()],
            seen: vec![(0, -1.0); shards.len()],
            kept: vec![Vec::new(); shards.len()],
        }
    }

    fn is_due(&self, at: Duration) -> bool {
        at >= self.fetched + QUEUES_EVERY
    }

    fn fetch(&mut self, at: Duration, metrics: Option<StoreMetrics>) {
        self.fetched = at;
        let shards = metrics.map_or_else(Vec::new, |metrics| metrics.shards);
        for (place, shard) in shards.iter().enumerate().take(self.kept.len()) {
            let since = of_shard(shard, self.began[place]).collect();
            self.keep(place, since);
        }
    }

    /// Keeps some of the samples of the shard at `place`, evenly over the run; the latest may have
    /// been seen before.
    fn keep(&mut self, place: usize, samples: Vec<QueueSample>) {
        let (kept, every) = (&mut self.kept[place], &mut self.every[place]);
        let (seen, last) = &mut self.seen[place];
        for sample in samples {
            if sample.at_s <= *last {
                continue;
            }
            *last = sample.at_s;
            if seen.is_multiple_of(*every) {
                kept.push(sample);
            }
            *seen += 1;
            if kept.len() > SAMPLES_MAX {
                keep_every_second(kept);
                *every *= 2;
            }
        }
    }
}

/// The samples of a shard since the run began.
fn of_shard(shard: &ShardMetrics, began: u64) -> impl Iterator<Item = QueueSample> {
    let since = shard
        .queues
        .iter()
        .filter(move |sample| sample.at_ns >= began);
    since.map(move |sample| QueueSample {
        at_s: (sample.at_ns - began) as f64 / 1e9,
        inbox: sample.inbox,
        waiting_parts: sample.waiting_parts,
        in_flight: sample.in_flight,
        completions: sample.completions,
    })
}

fn keep_every_second<T>(samples: &mut Vec<T>) {
    let mut number = 0;
    samples.retain(|_| {
        number += 1;
        number % 2 == 1
    });
}

/// The line on the terminal.
struct Shown {
    bar: Option<ProgressBar>,
    bound: Bound,
    next: Duration,
    before: Option<(Duration, Done)>,
}

impl Shown {
    fn new(bound: Bound) -> Shown {
        Shown {
            bar: std::io::stderr().is_terminal().then(|| bar(bound)),
            bound,
            next: SHOW_EVERY,
            before: None,
        }
    }

    fn is_due(&self, at: Duration) -> bool {
        self.bar.is_some() && at >= self.next
    }

    fn show(&mut self, tick: &Tick, metrics: Option<&StoreMetrics>) {
        self.next = tick.at + SHOW_EVERY;
        let before = self.before.replace((tick.at, tick.done.clone()));
        if let Some(bar) = &self.bar {
            bar.set_position(match self.bound {
                Bound::Time(_) => tick.at.as_millis() as u64,
                Bound::Queries(_) => tick.done.queries,
            });
            bar.set_message(words(tick, before, metrics));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(bound: Bound) -> ProgressBar {
    let bar = ProgressBar::new(match bound {
        Bound::Time(time) => time.as_millis() as u64,
        Bound::Queries(queries) => queries,
    });
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// The terminal line: the rate and the latency since the last time, and the reads in flight of each
/// shard.
fn words(tick: &Tick, before: Option<(Duration, Done)>, metrics: Option<&StoreMetrics>) -> String {
    let (since, earlier) = match &before {
        Some((at, done)) => (tick.at - *at, done.rows),
        None => (tick.at, 0),
    };
    let rows_per_s = (tick.done.rows - earlier) as f64 / since.as_secs_f64().max(1e-9);
    let p99_us = before.and_then(|(_, done)| tick.done.p99_us_since(&done));
    let mut words = format!("{} rows/s", rounded(rows_per_s));
    if let Some(p99_us) = p99_us {
        words.push_str(&format!(", p99 {}", latency(p99_us)));
    }
    let queues = metrics.iter().flat_map(|metrics| &metrics.shards);
    let in_flight = queues.map(|shard| shard.queues.last().map_or(0, |last| last.in_flight));
    let in_flight: Vec<String> = in_flight.map(|reads| reads.to_string()).collect();
    if !in_flight.is_empty() {
        words.push_str(&format!(", in flight {}", in_flight.join(" ")));
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tick(at_ms: u64, queries: u64, device: DeviceReads) -> Tick {
        let mut done = Live::default().done();
        done.queries = queries;
        done.rows = queries * 500;
        for _ in 0..queries {
            done.latency_ns.increment(2_000_000).unwrap();
        }
        Tick {
            at: Duration::from_millis(at_ms),
            done,
            device: Some(device),
            permits_held: Some(4),
        }
    }

    #[test]
    fn samples_are_what_happened_between_two_ticks() {
        let mut ticks = Ticks::new();
        ticks.push(tick(0, 0, DeviceReads::default()));
        let did = DeviceReads {
            completed: 1_000,
            merged: 10,
            bytes: 4_096_000,
            reads_ms: 1_600,
            busy_ms: 200,
        };
        ticks.push(tick(200, 20, did));
        ticks.push(tick(400, 20, did));
        let rate = ticks.rate();
        assert_eq!(rate.len(), 2);
        assert_eq!((rate[0].at_s, rate[0].queries_per_s), (0.2, 100.0));
        assert_eq!(
            (rate[0].rows_per_s, rate[0].permits_held),
            (50_000.0, Some(4))
        );
        assert!((rate[0].p99_us.unwrap() / 2_000.0 - 1.0).abs() < 0.05);
        assert_eq!((rate[1].rows_per_s, rate[1].p99_us), (0.0, None));
        let device = ticks.device(2);
        let expected = DeviceSample {
            at_s: 0.2,
            reads_per_s: 5_000.0,
            bytes_per_read: Some(4_096.0),
            merges_per_s: 50.0,
            queue: 8.0,
            wait_us: Some(1_600.0),
            // Half of two devices.
            utilisation: 0.5,
        };
        assert_eq!(device[0], expected);
        assert_eq!((device[1].bytes_per_read, device[1].wait_us), (None, None));
    }

    #[test]
    fn long_run_keeps_few_samples_and_all_that_happened() {
        let mut ticks = Ticks::new();
        for at in 0..10_000 {
            ticks.push(tick(at * 100, 1, DeviceReads::default()));
        }
        assert!(ticks.kept.len() <= SAMPLES_MAX && ticks.kept.len() > SAMPLES_MAX / 4);
        assert!(ticks.step > STEP);
        let rate = ticks.rate();
        assert!(rate.is_sorted_by(|one, next| one.at_s < next.at_s));
    }

    #[test]
    fn step_too_short_for_a_rate_joins_the_one_before() {
        let mut ticks = Ticks::new();
        for (at, queries) in [(0, 0), (100, 10), (200, 20), (201, 21)] {
            ticks.push(tick(at, queries, DeviceReads::default()));
        }
        ticks.finish();
        let rate = ticks.rate();
        let at: Vec<f64> = rate.iter().map(|sample| sample.at_s).collect();
        assert_eq!(at, [0.1, 0.201]);
        let queries: f64 = rate[1].queries_per_s * 0.101;
        assert!((queries - 11.0).abs() < 1e-6);
    }

    #[test]
    fn queues_of_a_long_run_are_kept_evenly_over_it() {
        let mut queues = Queues {
            began: vec![0],
            fetched: Duration::ZERO,
            every: vec![1],
            seen: vec![(0, -1.0)],
            kept: vec![Vec::new()],
        };
        let sample = |at: u64| QueueSample {
            at_s: at as f64 / 100.0,
            inbox: 0,
            waiting_parts: 0,
            in_flight: 1,
            completions: 0,
        };
        // Ten minutes of a hundred a second, fetched by two seconds, some of them twice.
        for fetched in (0_u64..60_000).step_by(200) {
            queues.keep(
                0,
                (fetched.saturating_sub(50)..fetched + 200)
                    .map(sample)
                    .collect(),
            );
        }
        let kept = &queues.kept[0];
        assert!(kept.len() > SAMPLES_MAX / 3 && kept.len() <= SAMPLES_MAX);
        let steps: Vec<f64> = kept
            .windows(2)
            .map(|pair| pair[1].at_s - pair[0].at_s)
            .collect();
        let longest = steps.iter().copied().fold(0.0, f64::max);
        let shortest = steps.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(longest < shortest * 1.01, "{shortest} to {longest}");
        assert!(kept[kept.len() - 1].at_s > 598.0);
    }

    #[test]
    fn line_says_rate_latency_and_queues() {
        let earlier = tick(0, 0, DeviceReads::default());
        let later = tick(500, 50, DeviceReads::default());
        let words = words(&later, Some((earlier.at, earlier.done)), None);
        assert!(words.starts_with("50,000 rows/s, p99 2.0"), "{words}");
    }
}
