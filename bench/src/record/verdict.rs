//! The limit of a run, judged from the time of the shards by stage, from the queues on each side of
//! the kernel, and from how busy the device and the processors were.
//!
//! A full queue points at what comes after it, an empty one at what comes before. So: reads
//! that wait at the device mean the device; reads in flight that are not at the device wait on the
//! way to it; shards that never wait are the limit themselves; shards that idle wait for clients.

use std::fmt::Write as _;

use crate::drive::subject::SubjectLimits;
use crate::numbers::{latency, rounded};
use crate::record::Record;
use crate::record::series::{
    DeviceSample, Limit, QueueSample, ShardObserved, StageKind, StageTime, Verdict,
};

/// A shard that works for at least this share of its time is the limit.
const BUSY_MIN: f64 = 0.85;
/// One that works for less than this beside it is not.
const NOT_BUSY_MAX: f64 = 0.6;
/// The processors are the limit when at least this share of them is busy.
const CORES_BUSY_MIN: f64 = 0.85;
/// Other programs are mentioned from this many CPUs on.
const OTHERS_MIN: f64 = 0.25;
/// Shards wait when they spend at least this share of their time in it.
const WAITS_MIN: f64 = 0.5;
/// A queue is full from this share of its depth on: completions come in bunches, and what they
/// leave is not filled at once.
const FULL_MIN: f64 = 0.7;
/// Below this share of it there is room that clients do not use.
const SHALLOW_MAX: f64 = 0.5;
/// Where less than this share of the reads in flight is at the device, the others are on the way.
const AT_DEVICE_MIN: f64 = 0.6;
/// With fewer reads in flight than this, their place is not judged.
const IN_FLIGHT_MIN: f64 = 4.0;
/// Reads that go through other threads cause at least this many context switches each.
const SWITCHES_PER_READ_MIN: f64 = 0.2;
/// A rate is met from this share of it on.
const RATE_MET_MIN: f64 = 0.95;
/// A shard away from its ring for this long is mentioned.
const STALL_US_MIN: f64 = 20_000.0;

/// The verdict on `record`; `None` where the subject does not measure its time.
pub(crate) fn judge(record: &Record, limits: Option<SubjectLimits>) -> Option<Verdict> {
    let shards = &record.observations.shards;
    if shards.is_empty() {
        return None;
    }
    let signs = Signs::of(record, limits);
    let (limit, words) = not_proven(record)
        .or_else(|| rate_met(record))
        .or_else(|| signs.on_the_way())
        .or_else(|| signs.one_shard())
        .or_else(|| signs.processors())
        .or_else(|| signs.device())
        .or_else(|| signs.other_programs())
        .or_else(|| signs.clients())
        .unwrap_or_else(|| (Limit::Unclear, signs.no_single_one()));
    Some(Verdict {
        limit,
        words,
        rests_on: signs.sentences(record),
    })
}

fn not_proven(record: &Record) -> Option<(Limit, String)> {
    let reason = record.invalid_reason.as_ref()?;
    Some((
        Limit::NotProven,
        format!("the run is not what it was meant to be, so its limit is not judged: {reason}"),
    ))
}

fn rate_met(record: &Record) -> Option<(Limit, String)> {
    let open_loop = record.open_loop?;
    let (asked, achieved) = (open_loop.rate_asked_per_s, open_loop.rate_achieved_per_s);
    (achieved >= RATE_MET_MIN * asked).then(|| {
        let words = format!(
            "nothing is at its limit: {} queries per second were asked for and {} answered",
            rounded(asked),
            rounded(achieved)
        );
        (Limit::Clients, words)
    })
}

/// One shard in numbers.
struct Shard<'a> {
    observed: &'a ShardObserved,
    busy: f64,
    waits: f64,
    in_flight: f64,
    waiting_parts: f64,
    completions: f64,
}

/// The numbers that a verdict rests on.
struct Signs<'a> {
    shards: Vec<Shard<'a>>,
    /// Reads that all shards may have in flight.
    depth: Option<f64>,
    in_flight: f64,
    /// Parts with reads to plan, on all shards.
    waiting_parts: f64,
    device: Option<Device>,
    /// Context switches for each read of the device.
    switches_per_read: Option<f64>,
    reads_share: f64,
    cores_busy: f64,
    /// CPUs that other programs kept busy.
    others_busy: f64,
    cpus: Option<f64>,
    /// Share of the CPU time that the clients took.
    clients: f64,
    read_path: &'a str,
}

/// The devices over the whole run.
struct Device {
    queue: f64,
    reads_per_s: f64,
    utilisation: f64,
    wait_us: Option<f64>,
}

fn mean<T>(all: &[T], of: impl Fn(&T) -> f64) -> f64 {
    match all.len() {
        0 => 0.0,
        count => all.iter().map(of).sum::<f64>() / count as f64,
    }
}

impl Device {
    fn of(samples: &[DeviceSample]) -> Option<Device> {
        if samples.is_empty() {
            return None;
        }
        let reads_per_s = mean(samples, |sample| sample.reads_per_s);
        let waited = mean(samples, |sample| {
            sample.wait_us.unwrap_or(0.0) * sample.reads_per_s
        });
        Some(Device {
            queue: mean(samples, |sample| sample.queue),
            reads_per_s,
            utilisation: mean(samples, |sample| sample.utilisation),
            wait_us: (reads_per_s > 0.0).then(|| waited / reads_per_s),
        })
    }
}

impl<'a> Shard<'a> {
    fn of(observed: &'a ShardObserved) -> Shard<'a> {
        let share = |kind: StageKind| {
            let stages = observed.stages.iter().filter(|stage| stage.kind == kind);
            stages.map(|stage| stage.share).sum()
        };
        let queues = &observed.queues;
        Shard {
            observed,
            busy: share(StageKind::Busy),
            waits: share(StageKind::Wait),
            in_flight: mean(queues, |sample: &QueueSample| sample.in_flight.into()),
            waiting_parts: mean(queues, |sample: &QueueSample| sample.waiting_parts.into()),
            completions: mean(queues, |sample: &QueueSample| sample.completions.into()),
        }
    }

    /// The stage that takes most of its working time, and its share of that.
    fn busiest(&self) -> Option<(&str, f64)> {
        let stages = &self.observed.stages;
        let busy = stages.iter().filter(|stage| stage.kind == StageKind::Busy);
        let most = busy.max_by(|one, other| one.share.total_cmp(&other.share))?;
        (self.busy > 0.0).then(|| (&*most.name, most.share / self.busy))
    }
}

impl<'a> Signs<'a> {
    fn of(record: &'a Record, limits: Option<SubjectLimits>) -> Signs<'a> {
        let shards: Vec<Shard<'_>> = record.observations.shards.iter().map(Shard::of).collect();
        let reads_per_row = record
            .per_row
            .device_reads_per_row
            .filter(|reads| *reads > 0.0);
        let reads_share = reads_per_row.unwrap_or(0.0).min(1.0);
        let switches = record.per_row.context_switches_per_row;
        let cpu = record.per_row.cpu_us_per_row.filter(|us| *us > 0.0);
        Signs {
            depth: limits.map(|limits| (limits.shards * limits.queue_depth) as f64),
            in_flight: shards.iter().map(|shard| shard.in_flight).sum(),
            waiting_parts: shards.iter().map(|shard| shard.waiting_parts).sum(),
            shards,
            device: Device::of(&record.observations.device),
            switches_per_read: switches
                .zip(reads_per_row)
                .map(|(switches, reads)| switches / reads),
            reads_share,
            cores_busy: record.rates.cores_busy,
            others_busy: record
                .rates
                .machine_cores_busy
                .map_or(0.0, |all| (all - record.rates.cores_busy).max(0.0)),
            cpus: record.environment.parallelism.map(|cpus| cpus as f64),
            clients: record
                .per_row
                .client_cpu_us_per_row
                .zip(cpu)
                .map_or(0.0, |(clients, all)| clients / all),
            read_path: &record.read_path,
        }
    }

    /// Reads that are in flight and not at the device, while shards wait for them. (A shard that is
    /// busy has not fetched what the device is done with.) Samples of queues with little in them are
    /// of the moments in which reads were planned, since a shard that sleeps takes none.
    fn on_the_way(&self) -> Option<(Limit, String)> {
        let device = self.device.as_ref()?;
        let elsewhere = self.in_flight >= IN_FLIGHT_MIN
            && !self.is_shallow()
            && device.queue < AT_DEVICE_MIN * self.in_flight
            && self.reads_share > 0.0
            && mean(&self.shards, |shard| shard.waits) >= WAITS_MIN;
        if !elsewhere {
            return None;
        }
        let where_they_are = format!(
            "of {} reads in flight {} are at the device",
            rounded(self.in_flight),
            rounded(device.queue)
        );
        let other_threads = ["thread-pool", "shared-rings", "per-read"]
            .iter()
            .any(|name| self.read_path.contains(name));
        let switches = self.switches_per_read.unwrap_or(0.0);
        if other_threads || switches >= SWITCHES_PER_READ_MIN {
            let who = match other_threads {
                true => format!("a thread of the read path {}", self.read_path),
                false => "a worker thread of the kernel's".to_owned(),
            };
            let words = format!(
                "the hand-over between threads is the limit: {where_they_are}, the others wait for \
                 {who}, at {} context switches for each read",
                rounded(switches)
            );
            return Some((Limit::HandOver, words));
        }
        let words = format!(
            "reads are held back in the kernel: {where_they_are}; look for a limit of the cgroup \
             (io.max), an I/O scheduler, or a device below this one"
        );
        Some((Limit::HeldBack, words))
    }

    /// Whether the store could have many more reads in flight.
    fn is_shallow(&self) -> bool {
        self.depth
            .is_some_and(|depth| self.in_flight < SHALLOW_MAX * depth)
    }

    fn one_shard(&self) -> Option<(Limit, String)> {
        let by_busy = |one: &&Shard<'_>, other: &&Shard<'_>| one.busy.total_cmp(&other.busy);
        let most = self.shards.iter().max_by(by_busy)?;
        let others = self.shards.iter();
        let others = others.filter(|shard| shard.observed.shard != most.observed.shard);
        let next = others.max_by(by_busy)?;
        if most.busy < BUSY_MIN || next.busy > NOT_BUSY_MAX {
            return None;
        }
        let (stage, share) = most.busiest()?;
        let words = format!(
            "shard {} is the limit: {} busy, {} of that in {stage}, while shard {} is {} busy",
            most.observed.shard,
            percent(most.busy),
            percent(share),
            next.observed.shard,
            percent(next.busy)
        );
        Some((Limit::Shard, words))
    }

    fn processors(&self) -> Option<(Limit, String)> {
        let least = self.shards.iter().map(|shard| shard.busy);
        let least = least.fold(f64::INFINITY, f64::min);
        let all_cores = self
            .cpus
            .is_some_and(|cpus| self.cores_busy >= CORES_BUSY_MIN * cpus);
        if least < BUSY_MIN && !all_cores {
            return None;
        }
        let (stage, share) = self.busiest()?;
        let mut words = if least >= BUSY_MIN {
            let every = match self.shards.len() {
                1 => "the shard is",
                _ => "every shard is at least",
            };
            format!("the CPU is the limit: {every} {} busy", percent(least))
        } else {
            format!(
                "the CPU is the limit: {} CPUs are busy of {}, {} of that with the clients",
                rounded(self.cores_busy),
                self.cpus.unwrap_or_default(),
                percent(self.clients)
            )
        };
        let _ = write!(
            words,
            "; most of the shards' work, {}, is {stage}",
            percent(share)
        );
        if stage == "submit" {
            words.push_str(", the kernel's part of reading");
        }
        Some((Limit::Cpu, words))
    }

    /// The stage that takes most of all shards' working time, and its share.
    fn busiest(&self) -> Option<(&str, f64)> {
        let busy: f64 = self.shards.iter().map(|shard| shard.busy).sum();
        let stages = &self.shards.first()?.observed.stages;
        let is_busy = |stage: &&StageTime| stage.kind == StageKind::Busy;
        let sum = |name: &str| -> f64 {
            let all = self.shards.iter().flat_map(|shard| &shard.observed.stages);
            let named = all.filter(|stage| stage.name == name);
            named.map(|stage| stage.share).sum()
        };
        let most = stages
            .iter()
            .filter(is_busy)
            .map(|stage| (&*stage.name, sum(&stage.name)))
            .max_by(|one, other| one.1.total_cmp(&other.1))?;
        (busy > 0.0).then(|| (most.0, most.1 / busy))
    }

    fn device(&self) -> Option<(Limit, String)> {
        let waits = mean(&self.shards, |shard| shard.waits);
        let full = self
            .depth
            .is_some_and(|depth| self.in_flight >= FULL_MIN * depth);
        if waits < WAITS_MIN || !full {
            return None;
        }
        let mut words = format!(
            "the device is the limit: the queue is full ({} of {} reads in flight) and the shards \
             wait {} of their time",
            rounded(self.in_flight),
            rounded(self.depth.unwrap_or_default()),
            percent(waits)
        );
        if let Some(device) = &self.device {
            let _ = write!(
                words,
                "; it does {} reads/s at {} utilisation",
                rounded(device.reads_per_s),
                percent(device.utilisation)
            );
            if let Some(wait_us) = device.wait_us {
                let _ = write!(words, ", {} each", latency(wait_us));
            }
        }
        Some((Limit::Device, words))
    }

    /// Others keep CPUs busy that shards and clients wait for.
    fn other_programs(&self) -> Option<(Limit, String)> {
        let cpus = self.cpus?;
        let taken = self.others_busy >= OTHERS_MIN
            && self.others_busy + self.cores_busy >= CORES_BUSY_MIN * cpus;
        taken.then(|| {
            let words = format!(
                "other programs are the limit: they keep {} of {cpus} CPUs busy, and this run {}; stop \
                 them and measure again",
                rounded(self.others_busy),
                rounded(self.cores_busy)
            );
            (Limit::OtherPrograms, words)
        })
    }

    fn clients(&self) -> Option<(Limit, String)> {
        let busy = mean(&self.shards, |shard| shard.busy);
        let waits = mean(&self.shards, |shard| shard.waits);
        // Where parts wait for slots, the store itself keeps the queue short.
        let shallow = self.reads_share > 0.0 && self.is_shallow() && self.waiting_parts < 1.0;
        let idle = 1.0 - busy - waits;
        let mut words = "the clients are the limit: ".to_owned();
        if idle > WAITS_MIN {
            let _ = write!(
                words,
                "the shards have nothing to do {} of their time",
                percent(idle)
            );
        } else if shallow {
            let _ = write!(
                words,
                "they keep {} reads in flight of the {} that the store could",
                rounded(self.in_flight),
                rounded(self.depth.unwrap_or_default())
            );
        } else {
            return None;
        }
        words.push_str("; ask for more with --in-flight or --threads");
        Some((Limit::Clients, words))
    }

    fn no_single_one(&self) -> String {
        format!(
            "no single limit: the shards are {} busy and wait {} of their time for the device",
            percent(mean(&self.shards, |shard| shard.busy)),
            percent(mean(&self.shards, |shard| shard.waits))
        )
    }

    fn sentences(&self, record: &Record) -> Vec<String> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let busiest = shard.busiest().map_or_else(String::new, |(stage, share)| {
                format!(" ({} of that in {stage})", percent(share))
            });
            all.push(format!(
                "shard {}: {} busy{busiest}, {} waiting for the device, {} idle; {} reads in flight \
                 and {} completions to decode on average",
                shard.observed.shard,
                percent(shard.busy),
                percent(shard.waits),
                percent((1.0 - shard.busy - shard.waits).max(0.0)),
                rounded(shard.in_flight),
                rounded(shard.completions)
            ));
        }
        if let Some(device) = &self.device {
            all.push(format!(
                "device: {} reads/s, {} in its queue on average, {} utilisation",
                rounded(device.reads_per_s),
                rounded(device.queue),
                percent(device.utilisation)
            ));
        }
        all.extend(issued(record));
        if let Some(cpus) = self.cpus {
            all.push(format!(
                "{} of {cpus} CPUs busy, {} of that with the clients",
                rounded(self.cores_busy),
                percent(self.clients)
            ));
        }
        if self.others_busy >= OTHERS_MIN {
            all.push(format!(
                "other programs kept {} CPUs busy",
                rounded(self.others_busy)
            ));
        }
        if let Some(switches) = record.per_row.context_switches_per_row {
            all.push(format!("{} context switches per row", rounded(switches)));
        }
        let stalls = self.shards.iter().map(|shard| shard.observed);
        for shard in stalls.filter(|shard| shard.longest_stall_us >= STALL_US_MIN) {
            all.push(format!(
                "shard {} was once away from its ring for {}, in {}",
                shard.shard,
                latency(shard.longest_stall_us),
                shard.longest_stall_stage
            ));
        }
        all
    }
}

/// The reads that the store issued beside those of the device, and why they differ.
fn issued(record: &Record) -> Option<String> {
    let store = record.store_counters?;
    let device = record.per_row.device_reads_per_row? * record.rows as f64;
    let issued = store.reads as f64;
    let mut words = format!(
        "the store issued {} reads and the device did {}",
        rounded(issued),
        rounded(device)
    );
    if store.cache_hits > 0 {
        let _ = write!(
            words,
            "; {} rows came from the shards' caches",
            rounded(store.cache_hits as f64)
        );
    }
    if store.page_cache_hits > 0 {
        let _ = write!(
            words,
            "; {} reads came from the kernel's page cache",
            rounded(store.page_cache_hits as f64)
        );
    }
    if device > issued * 1.02 {
        words.push_str("; what is more is of other programs, or read ahead");
    }
    if let (Some(bytes), true) = (record.per_row.device_bytes_per_row, issued > 0.0) {
        let per_read = bytes * record.rows as f64 / device.max(1.0);
        let asked = store.read_bytes as f64 / issued;
        let _ = write!(
            words,
            "; {} bytes a read of {} asked for",
            rounded(per_read),
            rounded(asked)
        );
    }
    Some(words)
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[cfg(test)]
mod tests;
