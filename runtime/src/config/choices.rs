//! Choices between two or more named values, and how their names are parsed and printed.

use crate::error::ConfigError;

/// Gives an enum of plain variants its names: `NAMES`, `FromStr`, `Display` and `Serialize`.
macro_rules! names {
    ($choice:ident, $field:literal, $first:ident = $first_name:literal $(, $variant:ident = $name:literal)+) => {
        impl $choice {
            /// The names that can be parsed.
            pub const NAMES: &str = concat!($first_name $(, " or ", $name)+);
        }

        impl std::str::FromStr for $choice {
            type Err = ConfigError;

            fn from_str(name: &str) -> Result<Self, ConfigError> {
                match name {
                    $first_name => Ok($choice::$first),
                    $($name => Ok($choice::$variant),)+
                    _ => Err(ConfigError {
                        field: $field,
                        value: format!("`{name}`"),
                        reason: format!("it must be one of {}", $choice::NAMES),
                    }),
                }
            }
        }

        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $choice::$first => $first_name,
                    $($choice::$variant => $name,)+
                })
            }
        }

        impl serde::Serialize for $choice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

/// How a shard with rows to read chooses the number of reads it keeps in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DepthControl {
    /// Always the queue depth.
    #[default]
    Fixed,
    /// The smallest number that keeps the drive's full rate. Each shard searches for the depth
    /// beyond which more reads in flight only wait longer, up to the queue depth.
    Knee,
}

names!(
    DepthControl,
    "depth_control",
    Fixed = "fixed",
    Knee = "knee"
);

/// Whether reads bypass the kernel's page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// Bypass it where the file system supports direct I/O: every read goes to the drive.
    #[default]
    Direct,
    /// Read through it, to share memory with other programs. Rows that it holds are copied from it
    /// at once, without a trip through the read path.
    Buffered,
}

names!(IoMode, "io", Direct = "direct", Buffered = "buffered");

/// How reads reach the read path and return from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheduler {
    /// The shard plans, submits and decodes in one place, many reads at a time.
    #[default]
    Batched,
    /// Each read is a task that passes through a queue to a thread of the I/O stage and back
    /// through a queue to the shard. It exists to measure what that costs.
    PerRead,
}

names!(
    Scheduler,
    "scheduler",
    Batched = "batched",
    PerRead = "per-read"
);

/// Whether rows are checked against their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// On each read. A damaged row is an error, never a wrong answer.
    #[default]
    Verify,
    /// Never. It exists to measure what verifying costs.
    Skip,
}

names!(Checksums, "checksums", Verify = "verify", Skip = "skip");

/// The CPUs that shards are pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CpuChoice {
    /// The CPUs of the affinity mask, no more than the cgroup's quota pays for.
    #[default]
    Allowed,
    /// These, one per shard in turn.
    These(Vec<usize>),
    /// None: the kernel chooses where shards run.
    Unpinned,
}

/// The alignment of the offset and length of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alignment {
    /// The smallest that the drive accepts.
    #[default]
    Device,
    /// This many bytes: a power of two, and at least the drive's.
    Bytes(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_have_names_and_an_unknown_one_lists_them() {
        for name in Scheduler::NAMES.split(" or ") {
            assert_eq!(name.parse::<Scheduler>().unwrap().to_string(), name);
        }
        let error = "fifo".parse::<Scheduler>().unwrap_err();
        assert_eq!(error.field, "scheduler");
        assert!(error.to_string().contains(Scheduler::NAMES), "{error}");
    }

    #[test]
    fn io_modes_are_parsed_as_they_are_printed() {
        for text in ["direct", "buffered"] {
            assert_eq!(text.parse::<IoMode>().unwrap().to_string(), text);
        }
        let error = "mapped".parse::<IoMode>().unwrap_err().to_string();
        assert!(error.contains("buffered"), "{error}");
    }
}
