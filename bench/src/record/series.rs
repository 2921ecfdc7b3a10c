//! Samples over a run: the time of the shards by stage, waits, and series over time. They are part
//! of a record, and `bench report` draws them.

use serde::{Deserialize, Serialize};

/// The samples of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observations {
    /// Each shard; empty for a subject without shards.
    pub(crate) shards: Vec<ShardObserved>,
    /// Rate and latency of the clients, step by step.
    pub(crate) rate: Vec<RateSample>,
    /// Reads of the devices that hold the files, step by step.
    pub(crate) device: Vec<DeviceSample>,
    /// Latency of queries, from the median to the longest.
    pub(crate) latency: Vec<Percentile>,
}

/// One shard over the whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShardObserved {
    /// Its number.
    pub(crate) shard: usize,
    /// The time of its thread by stage, in the order of a read's way.
    pub(crate) stages: Vec<StageTime>,
    /// Waits of messages in the inbox, and of reads for the kernel and the device.
    pub(crate) waits: Vec<Waited>,
    /// The longest time without a look at the ring, if there was none as long before the run; 0 if
    /// there was.
    pub(crate) longest_stall_us: f64,
    /// The stage of that stall.
    pub(crate) longest_stall_stage: String,
    /// Its queues, from time to time.
    pub(crate) queues: Vec<QueueSample>,
    /// Counters of the processor and the kernel for its thread.
    pub(crate) counters: Vec<Counted>,
}

/// The kind of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StageKind {
    /// It works.
    Busy,
    /// It waits for the device.
    Wait,
    /// It has nothing to do.
    Idle,
}

/// The time of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageTime {
    pub(crate) name: String,
    pub(crate) kind: StageKind,
    pub(crate) seconds: f64,
    /// Share of the thread's time.
    pub(crate) share: f64,
    /// How often the shard was in it, counted where it was timed.
    pub(crate) times: u64,
    /// The duration of one visit; `None` if there was none.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) max_us: Option<f64>,
}

/// How long something waited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waited {
    pub(crate) name: String,
    pub(crate) times: u64,
    pub(crate) mean_us: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p90_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    pub(crate) max_us: Option<f64>,
}

/// The queues of a shard at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueSample {
    /// Since the run began.
    pub(crate) at_s: f64,
    /// Messages in the inbox.
    pub(crate) inbox: u32,
    /// Parts of takes and searches with rows whose reads are not planned yet.
    pub(crate) waiting_parts: u32,
    pub(crate) in_flight: u32,
    /// Reads that came with the last look at the ring, to be decoded.
    pub(crate) completions: u32,
}

/// Rate and latency of the clients in the step that ended at `at_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct RateSample {
    pub(crate) at_s: f64,
    pub(crate) queries_per_s: f64,
    pub(crate) rows_per_s: f64,
    /// `None` if no query came back.
    pub(crate) p99_us: Option<f64>,
    /// Windows of takes and searches that hold a permit of admission; `None` where there is none.
    pub(crate) permits_held: Option<u64>,
}

/// Reads of the devices in the step that ended at `at_s`: the columns of iostat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeviceSample {
    pub(crate) at_s: f64,
    pub(crate) reads_per_s: f64,
    /// `None` if nothing was read.
    pub(crate) bytes_per_read: Option<f64>,
    /// Reads joined to a neighbour on the way.
    pub(crate) merges_per_s: f64,
    /// Requests at the device, on average.
    pub(crate) queue: f64,
    /// A read's time at the device, on average; `None` if nothing was read.
    pub(crate) wait_us: Option<f64>,
    /// Share of the time in which it had a request, from 0 to 1.
    pub(crate) utilisation: f64,
}

/// The latency that a share of the queries did not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentile {
    /// From 0 to 1.
    pub(crate) share: f64,
    pub(crate) us: f64,
}

/// A counter of the processor or the kernel on one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// By its name in perf.
    pub(crate) name: String,
    /// Scaled up where it did not run all the time; `None` where the machine does not have it.
    pub(crate) value: Option<f64>,
    /// Share of the time in which it ran.
    pub(crate) ran: Option<f64>,
    /// Why it is missing, and what to do.
    pub(crate) missing: Option<String>,
    /// Share of each stage, from the rounds that were looked at closely.
    pub(crate) by_stage: Vec<(String, f64)>,
}

/// The limit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    /// The drive.
    Device,
    /// The processors: all shards are busy.
    Cpu,
    /// One shard, while others wait.
    Shard,
    /// Reads wait for threads that hand them over.
    HandOver,
    /// Reads wait in the kernel, before the device.
    HeldBack,
    /// Other programs take the processors.
    OtherPrograms,
    /// The clients do not ask for more.
    Clients,
    /// No limit is judged, because the run is not proven.
    NotProven,
    /// No single one.
    Unclear,
}

/// The limit of a run in words, with the numbers that it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) limit: Limit,
    pub(crate) words: String,
    /// Each a sentence with a number.
    pub(crate) rests_on: Vec<String>,
}

/// Samples of a run, not yet divided among its shards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) rate: Vec<RateSample>,
    pub(crate) device: Vec<DeviceSample>,
    /// Samples of the queues of each shard.
    pub(crate) queues: Vec<Vec<QueueSample>>,
    /// CPUs that all programs of the machine kept busy.
    pub(crate) machine_cores_busy: Option<f64>,
}
