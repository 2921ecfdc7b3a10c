//! The range of each field, whatever the machine.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::choices::{Alignment, Scheduler};
use super::options::Config;
use super::read_path::ReadPathChoice;
use crate::error::ConfigError;

pub(crate) const QUEUE_DEPTH_MAX: u32 = 4096;
pub(super) const SHARDS_MAX: usize = 1024;
const TAKES_IN_FLIGHT_MAX: usize = 1 << 20;
const SPIN_MAX: Duration = Duration::from_secs(1);
/// The largest buffer that io_uring_register(2) accepts.
const RESULT_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Sums of such limits do not overflow.
const IN_FLIGHT_MAX: u64 = 1 << 60;
const THREAD_POOL_THREADS_MAX: u32 = 1024;
const SHARED_RINGS_MAX: u32 = 256;
const ALIGN_BYTES_MIN: u32 = 512;
const ALIGN_BYTES_MAX: u32 = 65_536;

impl Config {
    /// Checks every field on its own, and those that exclude each other.
    ///
    /// # Errors
    /// The first field that cannot work, on any machine.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        // Field, value, range, and the reason for the range.
        check("shards", self.shards.unwrap_or(1), 1..=SHARDS_MAX, "")?;
        check("queue_depth", self.queue_depth, 1..=QUEUE_DEPTH_MAX, "")?;
        check(
            "result_memory_bytes",
            self.result_memory_bytes,
            0..=RESULT_MEMORY_BYTES_MAX,
            "a ring takes no larger buffer",
        )?;
        check(
            "spin_before_park",
            self.spin_before_park,
            Duration::ZERO..=SPIN_MAX,
            "a shard would never sleep",
        )?;
        check(
            "takes_in_flight_max",
            limits.takes_in_flight_max,
            1..=TAKES_IN_FLIGHT_MAX,
            "takes need room in each shard's inbox",
        )?;
        check(
            "reads_in_flight_max",
            limits.reads_in_flight_max,
            1..=IN_FLIGHT_MAX,
            "",
        )?;
        check(
            "bytes_in_flight_max",
            limits.bytes_in_flight_max,
            1..=IN_FLIGHT_MAX,
            "",
        )?;
        if let Alignment::Bytes(bytes) = self.lab.alignment {
            let power_of_two = "it must be a power of two";
            check(
                "alignment",
                bytes,
                ALIGN_BYTES_MIN..=ALIGN_BYTES_MAX,
                power_of_two,
            )?;
            if !bytes.is_power_of_two() {
                return refuse("alignment", bytes, power_of_two);
            }
        }
        self.check_read_path()
    }

    fn check_read_path(&self) -> Result<(), ConfigError> {
        let (count, max, what) = match self.read_path {
            ReadPathChoice::ThreadPool { threads } => (threads, THREAD_POOL_THREADS_MAX, "threads"),
            ReadPathChoice::SharedRings { rings } => (rings, SHARED_RINGS_MAX, "rings"),
            path if path.reads_on_shard_thread() && self.lab.scheduler == Scheduler::PerRead => {
                let reason = format!(
                    "{} reads on the shard's own thread; choose the scheduler batched, or one of the read paths ring-per-shard, shared-rings:N and thread-pool:N",
                    self.read_path
                );
                return refuse("scheduler", self.lab.scheduler, reason);
            }
            _ => return Ok(()),
        };
        if !(1..=max).contains(&count) {
            let reason = format!("it needs 1 to {max} {what}");
            return refuse("read_path", self.read_path, reason);
        }
        Ok(())
    }
}

fn check<T: PartialOrd + fmt::Debug>(
    field: &'static str,
    value: T,
    range: RangeInclusive<T>,
    reason: &str,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let because = if reason.is_empty() { "" } else { "; " };
    let (least, most) = (range.start(), range.end());
    let reason = format!("{reason}{because}it must be {least:?} to {most:?}");
    refuse(field, format_args!("{value:?}"), reason)
}

pub(super) fn refuse<T>(
    field: &'static str,
    value: impl fmt::Display,
    reason: impl Into<String>,
) -> Result<T, ConfigError> {
    Err(ConfigError {
        field,
        value: value.to_string(),
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{Lab, Limits};

    /// The field that `change` makes impossible.
    fn refused(change: impl FnOnce(&mut Config)) -> &'static str {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().field
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let read_path = |path| refused(|config| config.read_path = path);
        for (field, refused) in [
            ("shards", refused(|config| config.shards = Some(0))),
            ("shards", refused(|config| config.shards = Some(1 << 20))),
            ("queue_depth", refused(|config| config.queue_depth = 0)),
            (
                "queue_depth",
                refused(|config| config.queue_depth = 1 << 20),
            ),
            (
                "alignment",
                refused(|config| config.lab.alignment = Alignment::Bytes(1000)),
            ),
            (
                "alignment",
                refused(|config| config.lab.alignment = Alignment::Bytes(256)),
            ),
            (
                "takes_in_flight_max",
                refused(|config| config.limits.takes_in_flight_max = 0),
            ),
            (
                "takes_in_flight_max",
                refused(|config| config.limits.takes_in_flight_max = usize::MAX),
            ),
            (
                "reads_in_flight_max",
                refused(|config| config.limits.reads_in_flight_max = 0),
            ),
            (
                "bytes_in_flight_max",
                refused(|config| config.limits.bytes_in_flight_max = u64::MAX),
            ),
            (
                "result_memory_bytes",
                refused(|config| config.result_memory_bytes = u64::MAX),
            ),
            (
                "spin_before_park",
                refused(|config| config.spin_before_park = Duration::from_secs(2)),
            ),
            (
                "read_path",
                read_path(ReadPathChoice::ThreadPool { threads: 0 }),
            ),
            (
                "read_path",
                read_path(ReadPathChoice::SharedRings { rings: 0 }),
            ),
            (
                "read_path",
                read_path(ReadPathChoice::SharedRings { rings: 1 << 10 }),
            ),
        ] {
            assert_eq!(refused, field);
        }
    }

    #[test]
    fn limits_of_each_range_work() {
        let narrow = Limits {
            takes_in_flight_max: 1,
            reads_in_flight_max: 1,
            bytes_in_flight_max: 1,
        };
        let wide = Limits {
            takes_in_flight_max: TAKES_IN_FLIGHT_MAX,
            reads_in_flight_max: IN_FLIGHT_MAX,
            bytes_in_flight_max: IN_FLIGHT_MAX,
        };
        for (limits, queue_depth, spin_before_park) in [
            (narrow, 1, Duration::ZERO),
            (wide, QUEUE_DEPTH_MAX, SPIN_MAX),
        ] {
            let config = Config {
                limits,
                queue_depth,
                spin_before_park,
                ..Config::default()
            };
            assert_eq!(config.validate(), Ok(()));
        }
    }

    #[test]
    fn a_task_per_read_goes_with_the_paths_that_other_threads_can_drive() {
        for (name, works) in [
            ("auto", true),
            ("ring-per-shard", true),
            ("shared-rings:2", true),
            ("thread-pool:2", true),
            ("glommio", false),
            ("mmap", false),
        ] {
            let config = Config {
                read_path: name.parse().unwrap(),
                lab: Lab {
                    scheduler: Scheduler::PerRead,
                    ..Lab::default()
                },
                ..Config::default()
            };
            match config.validate() {
                Ok(()) => assert!(works, "{name}"),
                Err(error) => {
                    assert!(!works && error.field == "scheduler", "{error}");
                    assert!(error.reason.contains("ring-per-shard"), "{error}");
                }
            }
        }
    }
}
