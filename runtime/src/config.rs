//! How a store is opened: what the caller says, and what that comes to on this machine.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::error::ConfigError;
use crate::host::cpus::AllowedCpus;

/// What the caller says. Every field has a default that suits most; [`ResolvedConfig`] is what
/// it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Shards; `None` takes one per allowed CPU.
    pub shards: Option<usize>,
    /// The CPUs that shards are pinned to.
    pub cpus: CpuChoice,
    /// Reads in flight per shard at most, 1 to 4,096.
    pub queue_depth: u32,
    /// How many of them there are.
    pub depth_control: DepthControl,
    /// What the shards keep in memory.
    pub cache: CacheChoice,
    /// Whether reads go past the kernel's page cache.
    pub io: IoMode,
    /// How rows are read.
    pub read_path: ReadPathChoice,
    /// How reads get to the read path and back.
    pub scheduler: Scheduler,
    /// Whether rows are checked against their checksum.
    pub checksums: Checksums,
    /// Alignment of reads.
    pub alignment: Alignment,
    /// Rows of one take that lie no further apart than this many bytes are read together, with
    /// what is between them.
    pub merge_gap_bytes: u32,
    /// Memory that results are put into before any from the heap: faulted in once, registered
    /// with the rings, and used again when the arrays in it are dropped. 0 for none.
    pub result_memory_bytes: u64,
    /// Windows of takes (65,536 rows each) that may be at work at once, over all callers; further
    /// ones wait.
    pub takes_in_flight_max: usize,
    /// Rows times column groups that those windows may have together. A larger take is cut into
    /// windows that fit.
    pub reads_in_flight_max: u64,
    /// Bytes that those windows may need together: for their rows' ids, their reads as aligned,
    /// and their part of the output. A single row that needs more is read with nothing beside it.
    pub bytes_in_flight_max: u64,
    /// How long a shard that has nothing to do looks for work before it sleeps. Waking it takes
    /// tens of microseconds on some machines; looking takes its CPU. 0 to sleep at once, at most a
    /// second. The read path `glommio` always sleeps at once.
    pub spin_before_park: Duration,
    /// Whether shards and callers write down their time and the waits of messages and reads, for
    /// [`Store::metrics`](crate::Store::metrics). A few looks at the clock for each round of a
    /// shard's loop and for some queries, none for most rows.
    pub metrics: bool,
    /// Queries that take as long or longer are kept with the times of their stages, for
    /// [`Store::metrics`](crate::Store::metrics), if `metrics` is set. `None` keeps none, and
    /// leaves most takes untimed.
    pub slow_query: Option<Duration>,
    /// Whether each shard counts cycles, instructions, cache misses, context switches and the like
    /// of its thread (perf_event_open(2)), if `metrics` is set: some system calls in one round of
    /// 61.
    pub perf_counters: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            shards: None,
            cpus: CpuChoice::Allowed,
            queue_depth: 128,
            depth_control: DepthControl::Fixed,
            cache: CacheChoice::Off,
            io: IoMode::Direct,
            read_path: ReadPathChoice::Auto,
            scheduler: Scheduler::Batched,
            checksums: Checksums::Verify,
            alignment: Alignment::Device,
            merge_gap_bytes: 4096,
            result_memory_bytes: 32 << 20,
            takes_in_flight_max: 1024,
            reads_in_flight_max: 1 << 22,
            bytes_in_flight_max: 4 << 30,
            spin_before_park: Duration::ZERO,
            metrics: true,
            slow_query: None,
            perf_counters: false,
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

/// How many reads a shard with enough rows to read keeps in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DepthControl {
    /// As many as the queue depth.
    #[default]
    Fixed,
    /// As many as make the drive faster: each shard looks for the depth beyond which more reads in
    /// flight only wait longer, and stays there. Never more than the queue depth.
    Knee,
}

impl DepthControl {
    /// The names that can be parsed.
    pub const NAMES: &str = "fixed or knee";
}

impl FromStr for DepthControl {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        match name {
            "fixed" => Ok(DepthControl::Fixed),
            "knee" => Ok(DepthControl::Knee),
            _ => Err(ConfigError {
                field: "depth_control",
                value: format!("`{name}`"),
                reason: format!("it must be one of {}", DepthControl::NAMES),
            }),
        }
    }
}

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPathChoice {
    /// A ring per shard; blocking reads, loudly, where io_uring is not to be had.
    #[default]
    Auto,
    /// An io_uring of each shard's own, or an error.
    RingPerShard,
    /// The files of each shard's glommio executor, or an error where io_uring is not to be had.
    /// A control for measurements.
    Glommio,
    /// Threads with an io_uring each that read for all shards in turn, or an error.
    SharedRings {
        /// Threads of the whole store.
        rings: u32,
    },
    /// Blocking `pread` on this many threads per shard.
    ThreadPool {
        /// Threads per shard.
        threads: u32,
    },
    /// Copies out of maps of the files: a yardstick, not a way to serve. Page faults block the
    /// shard, and a file that is cut short while it is open ends the process. Only with the
    /// feature `yardstick`.
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

    /// Whether it can only work where io_uring does.
    pub(crate) fn needs_ring(self) -> bool {
        matches!(
            self,
            ReadPathChoice::RingPerShard
                | ReadPathChoice::Glommio
                | ReadPathChoice::SharedRings { .. }
        )
    }

    /// Whether the shard's own thread does the reads, so that none can be a task of its own.
    fn reads_on_shard_thread(self) -> bool {
        match self {
            ReadPathChoice::Glommio => true,
            #[cfg(feature = "yardstick")]
            ReadPathChoice::Mmap => true,
            _ => false,
        }
    }
}

const THREAD_POOL_THREADS: u32 = 16;

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

/// How reads get to the read path and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheduler {
    /// The shard plans, submits and decodes in one place, many reads at a time.
    #[default]
    Batched,
    /// Each read is a task that passes through a queue to a thread of the I/O stage and back
    /// through a queue to the shard. For measurements of what that costs.
    PerRead,
}

impl Scheduler {
    /// The names that can be parsed.
    pub const NAMES: &str = "batched or per-read";
}

impl FromStr for Scheduler {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        match name {
            "batched" => Ok(Scheduler::Batched),
            "per-read" => Ok(Scheduler::PerRead),
            _ => Err(ConfigError {
                field: "scheduler",
                value: format!("`{name}`"),
                reason: format!("it must be one of {}", Scheduler::NAMES),
            }),
        }
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheduler::Batched => "batched",
            Scheduler::PerRead => "per-read",
        })
    }
}

impl Serialize for Scheduler {
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
    /// cannot be read then is asked of the drive again each time it is taken. A take of up to
    /// 1,024 rows and 4 MiB is copied by the thread that asks for it, at once: limits of what is
    /// at work do not count it.
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
    /// Reads in flight per shard at most.
    pub queue_depth: u32,
    /// How many of them there are.
    pub depth_control: DepthControl,
    /// What the shards keep in memory.
    pub cache: CacheChoice,
    /// Whether reads were to go past the kernel's page cache; `StoreInfo::direct` says whether
    /// they do.
    pub io: IoMode,
    /// How rows are read.
    pub read_path: ReadPathChoice,
    /// How reads get to the read path and back.
    pub scheduler: Scheduler,
    /// Whether rows are checked against their checksum.
    pub checksums: Checksums,
    /// Alignment of reads in bytes.
    pub align_bytes: u32,
    /// Rows no further apart than this are read together.
    pub merge_gap_bytes: u32,
    /// Memory for results.
    pub result_memory_bytes: u64,
    /// Takes that may be at work at once.
    pub takes_in_flight_max: usize,
    /// Rows times column groups at work at once.
    pub reads_in_flight_max: u64,
    /// Bytes that what is at work at once may need.
    pub bytes_in_flight_max: u64,
    /// How long an idle shard looks for work before it sleeps.
    pub spin_before_park: Duration,
    /// Whether shards and callers write down their time.
    pub metrics: bool,
    /// Queries that take as long or longer are kept.
    pub slow_query: Option<Duration>,
    /// Whether shards count what their threads do to the processor.
    pub perf_counters: bool,
}

impl fmt::Display for ResolvedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shards = {}", self.shards)?;
        writeln!(f, "cpus = {:?}", self.cpus)?;
        writeln!(f, "queue_depth = {}", self.queue_depth)?;
        writeln!(f, "depth_control = {:?}", self.depth_control)?;
        writeln!(f, "cache = {}", self.cache)?;
        writeln!(f, "io = {}", self.io)?;
        writeln!(f, "read_path = {}", self.read_path)?;
        writeln!(f, "scheduler = {}", self.scheduler)?;
        writeln!(f, "checksums = {:?}", self.checksums)?;
        writeln!(f, "align_bytes = {}", self.align_bytes)?;
        writeln!(f, "merge_gap_bytes = {}", self.merge_gap_bytes)?;
        writeln!(f, "result_memory_bytes = {}", self.result_memory_bytes)?;
        writeln!(f, "takes_in_flight_max = {}", self.takes_in_flight_max)?;
        writeln!(f, "reads_in_flight_max = {}", self.reads_in_flight_max)?;
        writeln!(f, "bytes_in_flight_max = {}", self.bytes_in_flight_max)?;
        writeln!(f, "spin_before_park = {:?}", self.spin_before_park)?;
        writeln!(f, "metrics = {}", self.metrics)?;
        writeln!(f, "slow_query = {:?}", self.slow_query)?;
        write!(f, "perf_counters = {}", self.perf_counters)
    }
}

const TAKES_IN_FLIGHT_MAX: usize = 1 << 20;
const SPIN_MAX: Duration = Duration::from_secs(1);
/// What io_uring_register(2) accepts as one buffer.
const RESULT_MEMORY_BYTES_MAX: u64 = 1 << 30;
const SHARDS_MAX: usize = 1024;
pub(crate) const QUEUE_DEPTH_MAX: u32 = 4096;
/// Sums of such limits do not overflow.
const IN_FLIGHT_MAX: u64 = 1 << 60;
const THREAD_POOL_THREADS_MAX: u32 = 1024;
const SHARED_RINGS_MAX: u32 = 256;
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
        if self.spin_before_park > SPIN_MAX {
            return refuse(
                "spin_before_park",
                format!("{:?}", self.spin_before_park),
                format!("a shard would never sleep; it must be 0 to {SPIN_MAX:?}"),
            );
        }
        if self.takes_in_flight_max > TAKES_IN_FLIGHT_MAX {
            return refuse(
                "takes_in_flight_max",
                self.takes_in_flight_max,
                format!(
                    "each shard has room for all of them; it must be 1 to {TAKES_IN_FLIGHT_MAX}"
                ),
            );
        }
        if self.result_memory_bytes > RESULT_MEMORY_BYTES_MAX {
            return refuse(
                "result_memory_bytes",
                self.result_memory_bytes,
                format!("a ring takes no larger buffer; it must be 0 to {RESULT_MEMORY_BYTES_MAX}"),
            );
        }
        if self.takes_in_flight_max == 0 {
            return refuse(
                "takes_in_flight_max",
                0,
                "no take could ever start; it must be at least 1",
            );
        }
        for (field, most) in [
            ("reads_in_flight_max", self.reads_in_flight_max),
            ("bytes_in_flight_max", self.bytes_in_flight_max),
        ] {
            if !(1..=IN_FLIGHT_MAX).contains(&most) {
                return refuse(field, most, format!("it must be 1 to {IN_FLIGHT_MAX}"));
            }
        }
        self.check_read_path()?;
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

    fn check_read_path(&self) -> Result<(), ConfigError> {
        let count = |count: u32, max: u32, what: &str| {
            if (1..=max).contains(&count) {
                return Ok(());
            }
            refuse(
                "read_path",
                self.read_path,
                format!("it needs 1 to {max} {what}"),
            )
        };
        match self.read_path {
            ReadPathChoice::ThreadPool { threads } => {
                count(threads, THREAD_POOL_THREADS_MAX, "threads")?;
            }
            ReadPathChoice::SharedRings { rings } => count(rings, SHARED_RINGS_MAX, "rings")?,
            path if path.reads_on_shard_thread() && self.scheduler == Scheduler::PerRead => {
                let reason = format!(
                    "{} reads on the shard's own thread; choose the scheduler batched, or one of the read paths ring-per-shard, shared-rings:N and thread-pool:N",
                    self.read_path
                );
                return refuse("scheduler", self.scheduler, reason);
            }
            _ => {}
        }
        Ok(())
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
                    takes_in_flight_max: usize::MAX,
                    ..default()
                },
                "takes_in_flight_max",
            ),
            (
                Config {
                    result_memory_bytes: u64::MAX,
                    ..default()
                },
                "result_memory_bytes",
            ),
            (
                Config {
                    read_path: ReadPathChoice::ThreadPool { threads: 0 },
                    ..default()
                },
                "read_path",
            ),
            (
                Config {
                    read_path: ReadPathChoice::SharedRings { rings: 0 },
                    ..default()
                },
                "read_path",
            ),
            (
                Config {
                    read_path: ReadPathChoice::SharedRings { rings: 1 << 10 },
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
                scheduler: Scheduler::PerRead,
                ..Config::default()
            };
            match config.placement(&allowed(&[0], None)) {
                Ok(_) => assert!(works, "{name}"),
                Err(error) => {
                    assert!(!works && error.field == "scheduler", "{error}");
                    assert!(error.reason.contains("ring-per-shard"), "{error}");
                }
            }
        }
    }
}
