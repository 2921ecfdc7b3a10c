//! How a store is opened: what the caller says, and what that comes to on this machine.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::cpus::AllowedCpus;
use crate::error::ConfigError;

/// What the caller says. Every field has a default that suits most; [`ResolvedConfig`] is what
/// it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Shards; `None` takes one per allowed CPU.
    pub shards: Option<usize>,
    /// The CPUs that shards are pinned to.
    pub cpus: CpuChoice,
    /// Reads in flight per shard, 1 to 4,096.
    pub queue_depth: u32,
    /// What the shards keep in memory.
    pub cache: CacheChoice,
    /// Whether reads go past the kernel's page cache.
    pub io: IoMode,
    /// How rows are read.
    pub read_path: ReadPathChoice,
    /// Whether rows are checked against their checksum.
    pub checksums: Checksums,
    /// Alignment of reads.
    pub alignment: Alignment,
    /// Windows of takes (65,536 rows each) that may be at work at once, over all callers; further
    /// ones wait.
    pub takes_in_flight_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            shards: None,
            cpus: CpuChoice::Allowed,
            queue_depth: 128,
            cache: CacheChoice::Off,
            io: IoMode::Direct,
            read_path: ReadPathChoice::Auto,
            checksums: Checksums::Verify,
            alignment: Alignment::Device,
            takes_in_flight_max: 1024,
        }
    }
}

/// Which CPUs shards are pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuChoice {
    /// Those that the affinity mask allows, as many as the cgroup's quota pays for.
    #[default]
    Allowed,
    /// These, one per shard in turn.
    These(Vec<usize>),
    /// None: shards run where the kernel puts them.
    Unpinned,
}

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPathChoice {
    /// A ring per shard; blocking reads, loudly, where io_uring is not to be had.
    #[default]
    Auto,
    /// An io_uring of each shard's own, or an error.
    RingPerShard,
    /// Blocking `pread` on this many threads per shard.
    ThreadPool {
        /// Threads per shard.
        threads: u32,
    },
}

const THREAD_POOL_THREADS: u32 = 16;
const READ_PATH_NAMES: &str = "auto, ring-per-shard, thread-pool or thread-pool:N";

impl FromStr for ReadPathChoice {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError {
            field: "read_path",
            value: format!("`{name}`"),
            reason: format!("it must be one of {READ_PATH_NAMES}"),
        };
        match name.split_once(':') {
            None => match name {
                "auto" => Ok(ReadPathChoice::Auto),
                "ring-per-shard" => Ok(ReadPathChoice::RingPerShard),
                "thread-pool" => Ok(ReadPathChoice::ThreadPool {
                    threads: THREAD_POOL_THREADS,
                }),
                _ => Err(unknown()),
            },
            Some(("thread-pool", threads)) => {
                let threads = threads.parse().map_err(|_| unknown())?;
                Ok(ReadPathChoice::ThreadPool { threads })
            }
            Some(_) => Err(unknown()),
        }
    }
}

impl fmt::Display for ReadPathChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadPathChoice::Auto => f.write_str("auto"),
            ReadPathChoice::RingPerShard => f.write_str("ring-per-shard"),
            ReadPathChoice::ThreadPool { threads } => write!(f, "thread-pool:{threads}"),
        }
    }
}

impl Serialize for ReadPathChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the shards keep in memory of the rows they own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheChoice {
    /// Nothing: every take reads.
    #[default]
    Off,
    /// Pages that were read, up to this many bytes over all shards. Finding them takes 24 bytes
    /// more for each page kept and 4 for each page of the dataset.
    Bytes(u64),
    /// Every row, read and checked when the store is opened, so that takes read nothing. What
    /// cannot be read then is asked of the drive again when it is taken.
    Pinned,
}

const CACHE_FORMS: &str =
    "it must be `off`, `pinned`, or a size such as 4GiB, 512MiB or a number of bytes";
const SIZE_UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl CacheChoice {
    /// What is left for each of `shards` shards.
    pub(crate) fn share(self, shards: usize) -> CacheChoice {
        match self {
            CacheChoice::Bytes(bytes) => CacheChoice::Bytes(bytes / shards as u64),
            choice => choice,
        }
    }
}

impl FromStr for CacheChoice {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "off" => return Ok(CacheChoice::Off),
            "pinned" => return Ok(CacheChoice::Pinned),
            _ => {}
        }
        let (number, unit_bytes) = SIZE_UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
            .unwrap_or((text, 1));
        number
            .trim_end()
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit_bytes))
            .map(CacheChoice::Bytes)
            .ok_or_else(|| ConfigError {
                field: "cache",
                value: format!("`{text}`"),
                reason: CACHE_FORMS.to_owned(),
            })
    }
}

impl fmt::Display for CacheChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CacheChoice::Off => f.write_str("off"),
            CacheChoice::Pinned => f.write_str("pinned"),
            CacheChoice::Bytes(bytes) => {
                let whole = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
                match SIZE_UNITS.iter().find(whole) {
                    Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
                    None => write!(f, "{bytes}"),
                }
            }
        }
    }
}

impl Serialize for CacheChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether reads go past the kernel's page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoMode {
    /// Past it, where the file system can: every read is the drive's.
    #[default]
    Direct,
    /// Through it, for those who share memory with other programs. Rows that it holds are copied
    /// from it at once, without a trip through the read path.
    Buffered,
}

impl FromStr for IoMode {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        match name {
            "direct" => Ok(IoMode::Direct),
            "buffered" => Ok(IoMode::Buffered),
            _ => Err(ConfigError {
                field: "io",
                value: format!("`{name}`"),
                reason: "it must be `direct` or `buffered`".to_owned(),
            }),
        }
    }
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoMode::Direct => "direct",
            IoMode::Buffered => "buffered",
        })
    }
}

/// Whether rows are checked against their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksums {
    /// On each read. A damaged row is an error, never a wrong answer.
    #[default]
    Verify,
    /// Never. For measurements of what verifying costs.
    Skip,
}

/// Alignment of the offset and length of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// The least that the device accepts.
    #[default]
    Device,
    /// This many bytes, a power of two, at least the device's.
    Bytes(u32),
}

/// A [`Config`] as it came out on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolvedConfig {
    /// Shards.
    pub shards: usize,
    /// The CPU of each shard; empty if they are not pinned.
    pub cpus: Vec<usize>,
    /// Reads in flight per shard.
    pub queue_depth: u32,
    /// What the shards keep in memory.
    pub cache: CacheChoice,
    /// Whether reads were to go past the kernel's page cache; `StoreInfo::direct` says whether
    /// they do.
    pub io: IoMode,
    /// How rows are read.
    pub read_path: ReadPathChoice,
    /// Whether rows are checked against their checksum.
    pub checksums: Checksums,
    /// Alignment of reads in bytes.
    pub align_bytes: u32,
    /// Takes that may be at work at once.
    pub takes_in_flight_max: usize,
}

impl fmt::Display for ResolvedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shards = {}", self.shards)?;
        writeln!(f, "cpus = {:?}", self.cpus)?;
        writeln!(f, "queue_depth = {}", self.queue_depth)?;
        writeln!(f, "cache = {}", self.cache)?;
        writeln!(f, "io = {}", self.io)?;
        writeln!(f, "read_path = {}", self.read_path)?;
        writeln!(f, "checksums = {:?}", self.checksums)?;
        writeln!(f, "align_bytes = {}", self.align_bytes)?;
        write!(f, "takes_in_flight_max = {}", self.takes_in_flight_max)
    }
}

const SHARDS_MAX: usize = 1024;
const QUEUE_DEPTH_MAX: u32 = 4096;
const THREAD_POOL_THREADS_MAX: u32 = 1024;
const ALIGN_BYTES_MAX: u32 = 65_536;

fn refuse<T>(
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

impl Config {
    /// Checks everything that does not depend on a device, and decides shards and CPUs.
    pub(crate) fn placement(
        &self,
        allowed: &AllowedCpus,
    ) -> Result<(usize, Vec<usize>), ConfigError> {
        if self.queue_depth == 0 || self.queue_depth > QUEUE_DEPTH_MAX {
            return refuse(
                "queue_depth",
                self.queue_depth,
                format!("it must be 1 to {QUEUE_DEPTH_MAX}"),
            );
        }
        if self.takes_in_flight_max == 0 {
            return refuse(
                "takes_in_flight_max",
                0,
                "no take could ever start; it must be at least 1",
            );
        }
        if let ReadPathChoice::ThreadPool { threads } = self.read_path
            && (threads == 0 || threads > THREAD_POOL_THREADS_MAX)
        {
            let reason = format!("a pool needs 1 to {THREAD_POOL_THREADS_MAX} threads");
            return refuse("read_path", self.read_path, reason);
        }
        if let Alignment::Bytes(bytes) = self.alignment
            && (!bytes.is_power_of_two() || !(512..=ALIGN_BYTES_MAX).contains(&bytes))
        {
            return refuse(
                "alignment",
                bytes,
                format!("it must be a power of two from 512 to {ALIGN_BYTES_MAX}"),
            );
        }
        let shards = match self.shards {
            Some(shards) if shards == 0 || shards > SHARDS_MAX => {
                return refuse("shards", shards, format!("it must be 1 to {SHARDS_MAX}"));
            }
            Some(shards) => shards,
            None => match &self.cpus {
                CpuChoice::These(cpus) => cpus.len(),
                CpuChoice::Allowed | CpuChoice::Unpinned => allowed.usable(),
            }
            .clamp(1, SHARDS_MAX),
        };
        let cpus = match &self.cpus {
            CpuChoice::Unpinned => Vec::new(),
            CpuChoice::Allowed => allowed.cpus.clone(),
            CpuChoice::These(cpus) => {
                if let Some(cpu) = cpus.iter().find(|cpu| !allowed.cpus.contains(cpu)) {
                    let reason =
                        format!("CPU {cpu} is not among those allowed, {:?}", allowed.cpus);
                    return refuse("cpus", format!("{cpus:?}"), reason);
                }
                if cpus.is_empty() {
                    return refuse("cpus", "[]", "name at least one CPU");
                }
                cpus.clone()
            }
        };
        let cpus = if cpus.is_empty() {
            cpus
        } else {
            (0..shards).map(|shard| cpus[shard % cpus.len()]).collect()
        };
        Ok((shards, cpus))
    }

    /// The alignment to use where the device asks for `device_bytes`.
    pub(crate) fn align_bytes(&self, device_bytes: u32) -> Result<u32, ConfigError> {
        match self.alignment {
            Alignment::Device => Ok(device_bytes),
            Alignment::Bytes(bytes) if bytes >= device_bytes => Ok(bytes),
            Alignment::Bytes(bytes) => refuse(
                "alignment",
                bytes,
                format!("the device accepts no less than {device_bytes} bytes"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(cpus: &[usize], quota: Option<f64>) -> AllowedCpus {
        AllowedCpus {
            cpus: cpus.to_vec(),
            quota_cpus: quota,
        }
    }

    #[test]
    fn one_shard_per_allowed_cpu_and_fewer_under_a_quota() {
        let config = Config::default();
        assert_eq!(
            config.placement(&allowed(&[2, 5], None)).unwrap(),
            (2, vec![2, 5])
        );
        assert_eq!(
            config
                .placement(&allowed(&[0, 1, 2, 3], Some(1.5)))
                .unwrap(),
            (2, vec![0, 1])
        );
        assert_eq!(
            config
                .placement(&allowed(&[0, 1, 2, 3], Some(0.5)))
                .unwrap(),
            (1, vec![0])
        );
    }

    #[test]
    fn any_count_of_shards_goes_round_the_cpus() {
        let config = Config {
            shards: Some(5),
            ..Config::default()
        };
        assert_eq!(
            config.placement(&allowed(&[4, 6], None)).unwrap(),
            (5, vec![4, 6, 4, 6, 4])
        );
        let unpinned = Config {
            cpus: CpuChoice::Unpinned,
            ..config
        };
        assert_eq!(
            unpinned.placement(&allowed(&[4, 6], None)).unwrap(),
            (5, vec![])
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let default = Config::default;
        for (config, field) in [
            (
                Config {
                    shards: Some(0),
                    ..default()
                },
                "shards",
            ),
            (
                Config {
                    queue_depth: 0,
                    ..default()
                },
                "queue_depth",
            ),
            (
                Config {
                    queue_depth: 1 << 20,
                    ..default()
                },
                "queue_depth",
            ),
            (
                Config {
                    cpus: CpuChoice::These(vec![9]),
                    ..default()
                },
                "cpus",
            ),
            (
                Config {
                    cpus: CpuChoice::These(vec![]),
                    ..default()
                },
                "cpus",
            ),
            (
                Config {
                    alignment: Alignment::Bytes(1000),
                    ..default()
                },
                "alignment",
            ),
            (
                Config {
                    takes_in_flight_max: 0,
                    ..default()
                },
                "takes_in_flight_max",
            ),
            (
                Config {
                    read_path: ReadPathChoice::ThreadPool { threads: 0 },
                    ..default()
                },
                "read_path",
            ),
        ] {
            assert_eq!(
                config.placement(&allowed(&[0, 1], None)).unwrap_err().field,
                field
            );
        }
        let small = Config {
            alignment: Alignment::Bytes(512),
            ..default()
        };
        assert_eq!(small.align_bytes(4096).unwrap_err().field, "alignment");
        assert_eq!(small.align_bytes(512), Ok(512));
    }

    #[test]
    fn sizes_of_caches_are_read_as_they_are_printed() {
        for text in [
            "off", "pinned", "0", "12345678", "4GiB", "3MiB", "5KiB", "1TiB",
        ] {
            assert_eq!(text.parse::<CacheChoice>().unwrap().to_string(), text);
        }
        assert_eq!("512 MiB".parse(), Ok(CacheChoice::Bytes(512 << 20)));
        for text in ["", "on", "GiB", "-1", "1.5GiB", "99999999TiB"] {
            let error = text.parse::<CacheChoice>().unwrap_err().to_string();
            assert!(error.contains("pinned") && error.contains(text), "{error}");
        }
        for text in ["direct", "buffered"] {
            assert_eq!(text.parse::<IoMode>().unwrap().to_string(), text);
        }
        let error = "mapped".parse::<IoMode>().unwrap_err().to_string();
        assert!(error.contains("buffered"), "{error}");
    }

    #[test]
    fn read_paths_have_names_and_an_unknown_one_lists_them() {
        for name in ["auto", "ring-per-shard", "thread-pool:3"] {
            assert_eq!(name.parse::<ReadPathChoice>().unwrap().to_string(), name);
        }
        let error = "mapp".parse::<ReadPathChoice>().unwrap_err().to_string();
        assert!(
            error.contains("mapp") && error.contains("ring-per-shard"),
            "{error}"
        );
        assert!("thread-pool:x".parse::<ReadPathChoice>().is_err());
    }
}
