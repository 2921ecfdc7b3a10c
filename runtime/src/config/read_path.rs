//! The choice of a read path, and its names.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::ConfigError;

/// The read path: how rows are read from the drive.
///
/// `Auto`, `RingPerShard` and `ThreadPool` serve. The others exist to be compared with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPathChoice {
    /// A ring per shard. Where io_uring is missing, a thread pool and a warning.
    #[default]
    Auto,
    /// One io_uring per shard. Where io_uring is missing, opening fails.
    RingPerShard,
    /// The files of each shard's glommio executor. Where io_uring is missing, opening fails.
    Glommio,
    /// Threads with an io_uring each that read for all shards in turn. Where io_uring is missing,
    /// opening fails.
    SharedRings {
        /// Threads of the whole store.
        rings: u32,
    },
    /// Blocking `pread` on this many threads per shard.
    ThreadPool {
        /// Threads per shard.
        threads: u32,
    },
    /// Copies from memory maps of the files. Page faults block the shard, and a file that is cut
    /// short while it is open ends the process. Only with the feature `yardstick`.
    #[cfg(feature = "yardstick")]
    Mmap,
    /// A read path that a test makes.
    #[cfg(test)]
    Custom(CustomPath),
}

/// The maker of a test's read path: `device/path_spec.rs` knows its type.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub struct CustomPath(pub(crate) &'static (dyn std::any::Any + Send + Sync));

#[cfg(test)]
impl PartialEq for CustomPath {
    fn eq(&self, other: &CustomPath) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

#[cfg(test)]
impl Eq for CustomPath {}

impl ReadPathChoice {
    /// The names that can be parsed; `N` is a number.
    #[cfg(feature = "yardstick")]
    pub const NAMES: &str =
        "auto, ring-per-shard, glommio, shared-rings:N, thread-pool, thread-pool:N or mmap";
    /// The names that can be parsed; `N` is a number.
    #[cfg(not(feature = "yardstick"))]
    pub const NAMES: &str =
        "auto, ring-per-shard, glommio, shared-rings:N, thread-pool or thread-pool:N";

    /// Whether it works only where io_uring does.
    pub(crate) fn needs_ring(self) -> bool {
        matches!(
            self,
            ReadPathChoice::RingPerShard
                | ReadPathChoice::Glommio
                | ReadPathChoice::SharedRings { .. }
        )
    }

    /// Whether the shard's own thread does the reads, so that none can be a task of its own.
    pub(super) fn reads_on_shard_thread(self) -> bool {
        match self {
            ReadPathChoice::Glommio => true,
            #[cfg(feature = "yardstick")]
            ReadPathChoice::Mmap => true,
            _ => false,
        }
    }
}

/// Threads per shard of a pool whose size is not given.
pub(super) const THREAD_POOL_THREADS: u32 = 16;

impl FromStr for ReadPathChoice {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError {
            field: "read_path",
            value: format!("`{name}`"),
            reason: format!("it must be one of {}", ReadPathChoice::NAMES),
        };
        let count = |text: &str| text.parse().map_err(|_| unknown());
        match name.split_once(':') {
            None => match name {
                "auto" => Ok(ReadPathChoice::Auto),
                "ring-per-shard" => Ok(ReadPathChoice::RingPerShard),
                "glommio" => Ok(ReadPathChoice::Glommio),
                "thread-pool" => Ok(ReadPathChoice::ThreadPool {
                    threads: THREAD_POOL_THREADS,
                }),
                #[cfg(feature = "yardstick")]
                "mmap" => Ok(ReadPathChoice::Mmap),
                _ => Err(unknown()),
            },
            Some(("shared-rings", rings)) => Ok(ReadPathChoice::SharedRings {
                rings: count(rings)?,
            }),
            Some(("thread-pool", threads)) => Ok(ReadPathChoice::ThreadPool {
                threads: count(threads)?,
            }),
            Some(_) => Err(unknown()),
        }
    }
}

impl fmt::Display for ReadPathChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadPathChoice::Auto => f.write_str("auto"),
            ReadPathChoice::RingPerShard => f.write_str("ring-per-shard"),
            ReadPathChoice::Glommio => f.write_str("glommio"),
            ReadPathChoice::SharedRings { rings } => write!(f, "shared-rings:{rings}"),
            ReadPathChoice::ThreadPool { threads } => write!(f, "thread-pool:{threads}"),
            #[cfg(feature = "yardstick")]
            ReadPathChoice::Mmap => f.write_str("mmap"),
            #[cfg(test)]
            ReadPathChoice::Custom(_) => f.write_str("custom"),
        }
    }
}

impl Serialize for ReadPathChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_paths_have_names_and_an_unknown_one_lists_them() {
        // Each name of the list that users see, with a number for N.
        let names = ReadPathChoice::NAMES.replace(" or ", ", ");
        for listed in names.split(", ") {
            let name = listed.replace('N', "3");
            let parsed = name.parse::<ReadPathChoice>().unwrap().to_string();
            assert!(parsed.starts_with(&name), "{name} is printed as {parsed}");
            assert_eq!(
                parsed.parse::<ReadPathChoice>().unwrap().to_string(),
                parsed
            );
        }
        for unknown in [
            "mapp",
            "thread-pool:x",
            "shared-rings",
            "shared-rings:-1",
            "mmap:2",
            "",
        ] {
            let error = unknown.parse::<ReadPathChoice>().unwrap_err();
            assert_eq!(error.field, "read_path");
            let message = error.to_string();
            for part in [unknown, ReadPathChoice::NAMES] {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
    }
}
