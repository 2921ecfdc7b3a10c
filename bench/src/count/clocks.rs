//! The resolution of the clock on each CPU.
//!
//! On some virtual machines the counters of the CPUs are apart by milliseconds although the
//! kernel trusts them. On a CPU that is behind, time then stands still between two ticks of the
//! timer, and so would a latency. There the clients of an open loop, which is about latency, stay
//! on CPUs that are not behind, and shards take the others first.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ringtake_runtime::allowed_cpus;
use ringtake_runtime::yardstick::pin_this_thread;

/// Times the clock is read on each CPU, more than enough for it to move on.
const READS: usize = 200_000;

/// Changes of the clock after which it is known.
const CHANGES: usize = 16;

/// A clock that moves on by less than this is fine enough for every percentile.
const STEP_MAX: Duration = Duration::from_micros(10);

/// The allowed CPUs by the resolution of their clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// CPUs whose clock is fine enough for latencies.
    pub(crate) fine: Vec<usize>,
    /// CPUs whose clock moves on in leaps.
    pub(crate) coarse: Vec<usize>,
}

impl Clocks {
    /// Looks at every CPU, once in the life of the process.
    pub(crate) fn of_this_machine() -> &'static Clocks {
        static FOUND: OnceLock<Clocks> = OnceLock::new();
        FOUND.get_or_init(|| {
            let mut clocks = Clocks::default();
            for (index, cpu) in allowed_cpus().cpus.into_iter().enumerate() {
                // The thread is pinned, so it must be one of its own.
                let steps = std::thread::spawn(move || {
                    pin_this_thread(index);
                    is_fine(smallest_step(Instant::now))
                });
                if steps.join().unwrap_or(true) {
                    clocks.fine.push(cpu);
                } else {
                    clocks.coarse.push(cpu);
                }
            }
            clocks
        })
    }

    /// Keeps client `thread` on a CPU with a fine clock, the last ones first, since shards take the
    /// first. Does nothing if all clocks are fine, or none.
    pub(crate) fn keep_client(&self, thread: usize) {
        if self.coarse.is_empty() || self.fine.is_empty() {
            return;
        }
        let cpu = self.fine[self.fine.len() - 1 - thread % self.fine.len()];
        let allowed = allowed_cpus().cpus;
        if let Some(index) = allowed.iter().position(|allowed| *allowed == cpu) {
            pin_this_thread(index);
        }
    }

    /// The CPUs for shards beside such clients; `None` if all clocks are fine.
    pub(crate) fn cpus_for_shards(&self) -> Option<Vec<usize>> {
        if self.coarse.is_empty() {
            return None;
        }
        Some(self.coarse.iter().chain(&self.fine).copied().collect())
    }

    /// The CPUs for shards in which clients run; `None` if all clocks are fine.
    pub(crate) fn cpus_for_shards_with_clients(&self) -> Option<Vec<usize>> {
        if self.coarse.is_empty() {
            return None;
        }
        Some(self.fine.iter().chain(&self.coarse).copied().collect())
    }
}

fn is_fine(step: Option<Duration>) -> bool {
    step.is_some_and(|step| step <= STEP_MAX)
}

/// The least by which `now` moves on; `None` if it hardly does.
fn smallest_step(now: impl Fn() -> Instant) -> Option<Duration> {
    let (mut before, mut smallest, mut changes) = (now(), Duration::MAX, 0);
    for _ in 0..READS {
        let read = now();
        if read != before {
            smallest = smallest.min(read.saturating_duration_since(before));
            before = read;
            changes += 1;
            if changes == CHANGES {
                return Some(smallest);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn clock_that_leaps_or_stands_is_coarse() {
        let start = Instant::now();
        let fine_with = |reads_per_step: u64, step_us: u64| {
            let reads = Cell::new(0);
            is_fine(smallest_step(|| {
                reads.set(reads.get() + 1);
                start + Duration::from_micros(reads.get() / reads_per_step * step_us)
            }))
        };
        assert!(fine_with(1, 1));
        assert!(fine_with(100, 10));
        assert!(!fine_with(1, 11));
        assert!(!fine_with(100_000, 4_000));
        assert!(!is_fine(smallest_step(|| start)));
    }

    #[test]
    fn shards_leave_the_cpus_that_can_tell_the_time_to_clients() {
        let clocks = Clocks {
            fine: vec![0, 2],
            coarse: vec![1],
        };
        assert_eq!(clocks.cpus_for_shards(), Some(vec![1, 0, 2]));
        assert_eq!(clocks.cpus_for_shards_with_clients(), Some(vec![0, 2, 1]));
        assert_eq!(Clocks::default().cpus_for_shards(), None);
        assert_eq!(Clocks::default().cpus_for_shards_with_clients(), None);
    }
}
