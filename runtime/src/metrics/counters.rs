//! Counters of the processor and the kernel for one thread: perf_event_open(2).
//!
//! Software counters are one group and those of the processor another, so that a machine without
//! the latter (most virtual ones) has the former. A missing counter says why it is missing, and what
//! would help; it is never reported as zero.

use std::fs;
use std::io;

use crate::error::shortage::{Asked, shortage};
use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, Counter, Group};

/// Counters by perf's names; the first is in nanoseconds.
pub(super) const NAMES: [&str; COUNTERS] = [
    "task-clock",
    "context-switches",
    "cpu-migrations",
    "page-faults",
    "cycles",
    "instructions",
    "cache-misses",
    "branch-misses",
];
pub(super) const COUNTERS: usize = 8;

const SOFTWARE: [(usize, Software); 4] = [
    (0, Software::TASK_CLOCK),
    (1, Software::CONTEXT_SWITCHES),
    (2, Software::CPU_MIGRATIONS),
    (3, Software::PAGE_FAULTS),
];
const HARDWARE: [(usize, Hardware); 4] = [
    (4, Hardware::CPU_CYCLES),
    (5, Hardware::INSTRUCTIONS),
    (6, Hardware::CACHE_MISSES),
    (7, Hardware::BRANCH_MISSES),
];

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

/// Counters that are scheduled together.
struct Set {
    group: Group,
    /// Each counter with its position in `NAMES`.
    members: Vec<(usize, Counter)>,
}

/// The counters of the thread that opened them.
pub(super) struct ThreadCounters {
    sets: Vec<Set>,
    /// The reason why a counter is missing.
    pub(super) missing: [Option<String>; COUNTERS],
}

/// Counts at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    /// Scaled up where a counter did not run all the time, as perf-stat(1) does.
    pub(super) values: [u64; COUNTERS],
    /// In thousandths: the share of the time in which it ran.
    pub(super) ran: [u64; COUNTERS],
}

impl ThreadCounters {
    /// Opens the counters that are available to the calling thread.
    pub(super) fn open() -> ThreadCounters {
        let mut counters = ThreadCounters {
            sets: Vec::new(),
            missing: Default::default(),
        };
        counters.add(SOFTWARE);
        counters.add(HARDWARE);
        counters
    }

    fn add<E: Event + Copy>(&mut self, events: [(usize, E); 4]) {
        let mut set = match group() {
            Ok(group) => Set {
                group,
                members: Vec::new(),
            },
            Err(error) => {
                for (place, _) in events {
                    self.missing[place] = Some(reason(NAMES[place], &error));
                }
                return;
            }
        };
        for (place, event) in events {
            let mut add = |exclude_kernel| {
                let mut builder = Builder::new(event);
                builder.exclude_kernel(exclude_kernel);
                set.group.add(&builder)
            };
            // Without the privilege a process may still count its own code outside the kernel.
            match add(false).or_else(|_| add(true)) {
                Ok(counter) => set.members.push((place, counter)),
                Err(error) => self.missing[place] = Some(reason(NAMES[place], &error)),
            }
        }
        match set.group.enable() {
            Ok(()) => self.sets.push(set),
            Err(error) => {
                for (place, _) in set.members {
                    self.missing[place] = Some(reason(NAMES[place], &error));
                }
            }
        }
    }

    /// Reads all: a system call for each group. What cannot be read stays as it was.
    pub(super) fn read(&mut self, counts: &mut Counts) {
        for set in &mut self.sets {
            let Ok(read) = set.group.read() else {
                continue;
            };
            let nanoseconds = |time: Option<std::time::Duration>| {
                time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
            };
            let enabled = nanoseconds(read.time_enabled());
            let running = nanoseconds(read.time_running());
            for (place, counter) in &set.members {
                if let Some(entry) = read.get(counter) {
                    counts.values[*place] = scaled(entry.value(), enabled, running);
                    counts.ran[*place] = per_thousand(enabled, running);
                }
            }
        }
    }
}

fn group() -> io::Result<Group> {
    let build = |exclude_kernel| {
        let mut builder = Group::builder();
        builder
            .observe_self()
            .any_cpu()
            .exclude_kernel(exclude_kernel);
        builder.build_group()
    };
    build(false).or_else(|_| build(true))
}

/// The value that a counter would have if it had run all the time.
fn scaled(value: u64, enabled: u64, running: u64) -> u64 {
    match running {
        0 => 0,
        _ if running >= enabled => value,
        _ => (u128::from(value) * u128::from(enabled) / u128::from(running)) as u64,
    }
}

fn per_thousand(enabled: u64, running: u64) -> u64 {
    match enabled {
        0 => 0,
        _ => (running.min(enabled) as u128 * 1000 / u128::from(enabled)) as u64,
    }
}

/// The reason why a counter is missing, and the remedy.
fn reason(name: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::EINVAL) => format!(
            "this machine does not count {name}, as most virtual machines do not; a machine with a \
             PMU that its guests may use does"
        ),
        Some(libc::EACCES | libc::EPERM) => {
            let level = fs::read_to_string(PARANOID);
            let level = level.as_deref().map_or("unknown", str::trim);
            format!(
                "{name} may not be counted here: kernel.perf_event_paranoid is {level}; as root, \
                 `sysctl kernel.perf_event_paranoid=1` allows it, or give the process CAP_PERFMON; in \
                 a container its seccomp profile must allow perf_event_open too"
            )
        }
        Some(libc::ENOSYS) => format!(
            "{name} is not counted: perf_event_open is missing or forbidden by a seccomp filter; \
             allow it in the container's profile"
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            format!("{name} is not counted: {}", shortage(error, Asked::Memory))
        }
        _ => format!("{name} is not counted: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::{Duration, Instant};

    #[test]
    fn each_counter_counts_or_says_why_it_does_not() {
        let mut counters = ThreadCounters::open();
        let mut before = Counts::default();
        counters.read(&mut before);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut after = Counts::default();
        counters.read(&mut after);
        for (place, name) in NAMES.into_iter().enumerate() {
            match &counters.missing[place] {
                Some(reason) => {
                    assert!(reason.contains(name), "{reason}");
                    assert_eq!(after.values[place], 0);
                }
                None => assert!(after.values[place] >= before.values[place], "{name}"),
            }
        }
        let spent = |place: usize| after.values[place] - before.values[place];
        if counters.missing[0].is_none() {
            assert!(spent(0) > 0 && spent(0) < 1_000_000_000);
            assert_eq!(after.ran[0], 1000);
        }
        if counters.missing[1].is_none() {
            assert!(spent(1) >= 3);
        }
    }

    #[test]
    fn counters_that_shared_the_processor_are_scaled_up() {
        assert_eq!(scaled(100, 1_000, 1_000), 100);
        assert_eq!(scaled(100, 1_000, 250), 400);
        assert_eq!(scaled(100, 1_000, 0), 0);
        assert_eq!(scaled(u64::MAX / 2, 4, 2), u64::MAX - 1);
        assert_eq!((per_thousand(1_000, 250), per_thousand(0, 0)), (250, 0));
    }

    #[test]
    fn reasons_name_the_counter_and_the_remedy() {
        for (errno, part) in [
            (libc::ENOENT, "PMU"),
            (libc::EACCES, "perf_event_paranoid is"),
            (libc::ENOSYS, "seccomp"),
            (libc::EMFILE, "ulimit"),
        ] {
            let reason = reason("cycles", &io::Error::from_raw_os_error(errno));
            assert!(
                reason.contains("cycles") && reason.contains(part),
                "{reason}"
            );
        }
    }
}
