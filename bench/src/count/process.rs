//! CPU time, context switches and bytes read from drives of this process.
//!
//! The sums cover every thread of the process, those that have ended and the
//! kernel's own io_uring threads that work on its behalf included, so that no
//! read path can hide its cost in a thread that is gone when it is counted.

use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time and context switches of the process or a thread, up to an instant or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// CPU time in user code.
    pub(crate) user: Duration,
    /// CPU time in the kernel.
    pub(crate) system: Duration,
    /// Times a thread gave up its CPU to wait.
    pub(crate) switches_voluntary: u64,
    /// Times a thread was made to give up its CPU.
    pub(crate) switches_involuntary: u64,
}

impl Spent {
    /// The whole process up to now.
    pub(crate) fn by_process() -> Spent {
        Spent::of(UsageWho::RUSAGE_SELF)
    }

    /// The calling thread up to now.
    pub(crate) fn by_this_thread() -> Spent {
        Spent::of(UsageWho::RUSAGE_THREAD)
    }

    /// The difference to `earlier`.
    pub(crate) fn since(self, earlier: Spent) -> Spent {
        Spent {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            switches_voluntary: self
                .switches_voluntary
                .saturating_sub(earlier.switches_voluntary),
            switches_involuntary: self
                .switches_involuntary
                .saturating_sub(earlier.switches_involuntary),
        }
    }

    /// The two sums.
    pub(crate) fn plus(self, other: Spent) -> Spent {
        Spent {
            user: self.user + other.user,
            system: self.system + other.system,
            switches_voluntary: self.switches_voluntary + other.switches_voluntary,
            switches_involuntary: self.switches_involuntary + other.switches_involuntary,
        }
    }

    /// CPU time, user and kernel.
    pub(crate) fn cpu(self) -> Duration {
        self.user + self.system
    }

    /// Context switches of both kinds.
    pub(crate) fn switches(self) -> u64 {
        self.switches_voluntary + self.switches_involuntary
    }

    fn of(who: UsageWho) -> Spent {
        // The call fails only for an address or a `who` that does not exist;
        // neither can be given here.
        getrusage(who).map_or_else(|_| Spent::default(), |usage| Spent::from_usage(&usage))
    }

    fn from_usage(usage: &Usage) -> Spent {
        Spent {
            user: duration(usage.user_time()),
            system: duration(usage.system_time()),
            switches_voluntary: count(usage.voluntary_context_switches()),
            switches_involuntary: count(usage.involuntary_context_switches()),
        }
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec()).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// Bytes that the kernel has read from drives for this process, by system calls and by page faults
/// of any of its threads; `None` where the kernel does not count them.
pub(crate) fn read_bytes() -> Option<u64> {
    parse_read_bytes(&std::fs::read_to_string("/proc/self/io").ok()?)
}

/// Reads `/proc/self/io` (proc_pid_io(5)).
fn parse_read_bytes(io: &str) -> Option<u64> {
    let mut lines = io.lines();
    lines
        .find_map(|line| line.strip_prefix("read_bytes: "))?
        .parse()
        .ok()
}

/// How much all CPUs of the machine have worked and rested, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MachineTime {
    busy: u64,
    idle: u64,
    cpus: u64,
}

impl MachineTime {
    /// Up to now; `None` where the kernel does not say.
    pub(crate) fn now() -> Option<MachineTime> {
        MachineTime::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads `/proc/stat` (proc_stat(5)): of the first line user, nice, system, idle, iowait, irq,
    /// softirq and steal.
    fn parse(stat: &str) -> Option<MachineTime> {
        let sums = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Option<Vec<u64>> = sums
            .split_ascii_whitespace()
            .take(8)
            .map(|ticks| ticks.parse().ok())
            .collect();
        let ticks = ticks.filter(|ticks| ticks.len() == 8)?;
        let idle = ticks[3] + ticks[4];
        let lines = stat.lines().skip(1);
        Some(MachineTime {
            busy: ticks.iter().sum::<u64>() - idle,
            idle,
            cpus: lines.take_while(|line| line.starts_with("cpu")).count() as u64,
        })
    }

    /// Whether this process may use all of its CPUs: what others do on those it may not use is
    /// nothing to it.
    pub(crate) fn is_of_this_process(self) -> bool {
        std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() as u64 == self.cpus)
    }

    /// CPUs that all programs kept busy since `earlier`.
    pub(crate) fn cores_busy_since(self, earlier: MachineTime) -> Option<f64> {
        let busy = self.busy.checked_sub(earlier.busy)?;
        let all = busy + self.idle.checked_sub(earlier.idle)?;
        (all > 0).then(|| busy as f64 / all as f64 * self.cpus as f64)
    }
}

/// Gives the calling thread the name that profiles and `top` show, cut to the length they allow.
pub(crate) fn name_this_thread(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // A thread that may not be named keeps its old name.
        let _ = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;

    /// Works until the kernel has counted it: it counts a thread that is not interrupted at its
    /// ticks only.
    fn burn() {
        while Spent::by_this_thread().cpu() < Duration::from_millis(20) {
            (0..1_000_000_u64).fold(1, |sum, step| std::hint::black_box(sum ^ step));
        }
    }

    #[test]
    fn process_counts_the_work_of_a_thread_that_has_ended() {
        let before = Spent::by_process();
        let of_thread = std::thread::spawn(|| {
            burn();
            Spent::by_this_thread()
        })
        .join()
        .unwrap();
        let spent = Spent::by_process().since(before);
        assert!(of_thread.cpu() > Duration::ZERO);
        // The two are rounded apart; a millisecond covers the rounding.
        assert!(
            spent.cpu() + Duration::from_millis(1) >= of_thread.cpu(),
            "process {spent:?}, thread {of_thread:?}"
        );
    }

    #[test]
    fn thread_does_not_count_the_work_of_others() {
        let before = Spent::by_this_thread();
        let of_thread = std::thread::spawn(|| {
            burn();
            Spent::by_this_thread()
        })
        .join()
        .unwrap();
        assert!(Spent::by_this_thread().since(before).cpu() < of_thread.cpu());
    }

    #[test]
    fn waiting_for_another_thread_is_a_voluntary_switch() {
        let before = Spent::by_process();
        let (ask, asked) = mpsc::channel::<()>();
        let (answer, answered) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            while asked.recv().is_ok() {
                answer.send(()).unwrap();
            }
        });
        for _ in 0..200 {
            ask.send(()).unwrap();
            answered.recv().unwrap();
        }
        drop(ask);
        other.join().unwrap();
        let spent = Spent::by_process().since(before);
        assert!(spent.switches_voluntary > 0, "{spent:?}");
        assert!(spent.switches() >= spent.switches_voluntary);
    }

    #[test]
    fn sums_and_differences_cancel() {
        let one = Spent {
            user: Duration::from_micros(5),
            system: Duration::from_micros(7),
            switches_voluntary: 3,
            switches_involuntary: 1,
        };
        assert_eq!(one.plus(one).since(one), one);
        assert_eq!(one.cpu(), Duration::from_micros(12));
        assert_eq!(one.switches(), 4);
    }

    #[test]
    fn bytes_read_are_those_of_drives_and_not_those_of_calls() {
        let io = "rchar: 7\nsyscr: 1\nread_bytes: 4096\nwrite_bytes: 5\n";
        assert_eq!(parse_read_bytes(io), Some(4096));
        for io in ["", "rchar: 7\n", "read_bytes: many\n"] {
            assert_eq!(parse_read_bytes(io), None, "{io}");
        }
    }

    #[test]
    fn busy_cpus_are_those_of_all_programs() {
        let stat = |user: u64, idle: u64| {
            let text = format!("cpu  {user} 0 10 {idle} 5 0 0 1 0 0\ncpu0 1\ncpu1 1\nintr 5\n");
            MachineTime::parse(&text).unwrap()
        };
        let (before, after) = (stat(100, 1_000), stat(250, 1_050));
        assert_eq!(after.cores_busy_since(before), Some(1.5));
        assert_eq!(before.cores_busy_since(before), None);
        assert_eq!(before.cores_busy_since(after), None);
        for text in ["", "cpu 1 2", "cpu a b c d e f g h", "intr 1"] {
            assert_eq!(MachineTime::parse(text), None, "{text}");
        }
    }
}
