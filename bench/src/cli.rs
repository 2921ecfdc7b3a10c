//! The command line: what can be asked for, and what is taken when nothing is said.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringtake_runtime::{CacheChoice, DepthControl, IoMode, ReadPathChoice, Scheduler};
use ringtake_storage::vector::Metric;

use crate::compare::Condition;
use crate::distribution::Distribution;
use crate::driver::{Bound, Clients};
use crate::ladder::READ_PATHS;
use crate::measure::Rate;
use crate::proof::Cache;
use crate::vector_search::Refine;

const EXAMPLES: &str = "\
Examples:
  bench                                            a quick run that needs nothing
  bench file-read --dataset vectors --seconds 20   what the drive and the store can do
  bench file-read --dataset vectors --cache warm --threads 2
  bench file-read --dataset vectors --rate 70%     latency below capacity
  bench vector-search --dataset vectors            searches, their recall, and where the time goes
  bench ceiling --dataset vectors                  what a bare ring makes of the same reads
  bench plan --dataset vectors --cores 48 --iops 1500000
  bench ceiling --dataset vectors --by mmap        rows copied out of the page cache
  bench file-read --dataset vectors --queries 1000 --json - | jq .rows_per_s
  bench profile -- file-read --dataset vectors     flame graphs of each stage
  bench report run.json -o report.html             pictures, and what limits the run";

const SEARCH_EXAMPLES: &str = "\
Examples:
  bench vector-search                              makes a dataset and an index, and removes them
  bench vector-search --dir place                  the same, kept for the next run
  bench vector-search --dataset vectors --cache warm --nprobes 20 --threads 2
  bench vector-search --dataset vectors --queries queries.npy --rate 70%
  bench vector-search --dataset vectors --sweep --csv curve.csv
  bench vector-search --dataset vectors --yardstick map";

const REPORT_EXAMPLES: &str = "\
Examples:
  bench file-read --dataset vectors --json cold.json
  bench file-read --dataset vectors --cache warm --json warm.json
  bench report cold.json warm.json -o report.html";

const PROFILE_EXAMPLES: &str = "\
Examples:
  bench profile -- file-read --dataset vectors --cache warm --seconds 10
  bench profile -o search -- vector-search --dataset vectors --nprobes 20

Writes record.json, report.html, and, where perf is installed and permitted, a flame graph of the
whole and one of each stage. Only the measured windows are recorded, all of them together.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  bench compare before.json after.json
  bench compare before.json after.json --fail-if 'rows_per_s < 0.95x' --fail-if 'latency_us.p99 > 5000'

A file holds a record or a JSON list of them; three or more of a kind on each side tell a difference
from noise. 1 is the exit status where a condition holds, 2 where nothing can be told.";

/// Measures how fast Ringtake takes rows, and proves where they came from.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to measure; a quick run if nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Where perf is told of the measured window, and where it answers
    #[arg(long, hide = true, global = true, num_args = 2, value_names = ["FIFO", "FIFO"])]
    pub(crate) perf_control: Option<Vec<PathBuf>>,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a dataset, take rows from it cold and warm, and remove it.
    #[command(args_override_self = true)]
    Quick(QuickArgs),
    /// Take rows by id from a dataset in a closed loop.
    #[command(after_help = EXAMPLES, args_override_self = true)]
    FileRead(FileReadArgs),
    /// Search by vector in a closed or open loop, and hold what is found against the truth.
    #[command(after_help = SEARCH_EXAMPLES, args_override_self = true)]
    VectorSearch(VectorSearchArgs),
    /// The same reads with nothing above them: the limit that the store is held against.
    #[command(args_override_self = true)]
    Ceiling(CeilingArgs),
    /// One shard and two in turn, and what the second one brings.
    #[command(args_override_self = true)]
    Scaling(RoundsArgs),
    /// Urgent takes alone and beside bulk ones in turn, and what those add to their latency.
    #[command(args_override_self = true)]
    Interference(InterferenceArgs),
    /// Each scheduler with each read path in turn.
    #[command(args_override_self = true)]
    Ladder(LadderArgs),
    /// Estimate what more cores and another drive would do.
    #[command(args_override_self = true)]
    Plan(PlanArgs),
    /// Run a workload under perf: flame graphs of each stage, and a page with everything.
    #[command(after_help = PROFILE_EXAMPLES)]
    Profile(ProfileArgs),
    /// Draw records: a page with pictures, numbers, and what limits each run.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Tell whether two sets of records differ, in words and as an exit status.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
}

/// Flags of `bench quick`.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuickArgs {
    /// Where to make the dataset: on a drive, not in memory [default: ./target if there is one, else here]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Rows of the dataset; fewer are made where space, memory or time is short
    #[arg(long, value_name = "N", default_value_t = DEFAULT_QUICK_ROWS, value_parser = clap::value_parser!(u64).range(500..))]
    pub(crate) rows: u64,
    /// How long each of the two runs takes
    #[arg(long, value_name = "S", default_value = "6", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Write both records as a JSON list to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Default for QuickArgs {
    fn default() -> QuickArgs {
        QuickArgs {
            dir: None,
            rows: DEFAULT_QUICK_ROWS,
            seconds: DEFAULT_QUICK_TIME,
            json: None,
        }
    }
}

/// Flags of `bench file-read`.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileReadArgs {
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// From the drive, from the shards' caches, or so that 90 of 100 rows are found there
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    pub(crate) cache: Cache,
    /// How long to ask queries [default: 10]
    #[arg(long, value_name = "S", value_parser = parse_seconds, conflicts_with = "queries")]
    pub(crate) seconds: Option<Duration>,
    /// How many queries to ask
    #[arg(long, value_name = "Q")]
    pub(crate) queries: Option<NonZeroU64>,
    /// Rows of each query, none of them twice
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) rows_per_query: NonZeroU64,
    /// Client threads
    #[arg(long, value_name = "T", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Queries each client thread keeps in flight
    #[arg(long, value_name = "C", default_value = "4")]
    pub(crate) in_flight: NonZeroUsize,
    /// Let queries arrive at this rate, in queries per second or as a share of the capacity
    /// such as 70%, and count latency from the arrival; --in-flight then only serves to find the capacity
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub(crate) rate: Option<Rate>,
    /// Where the clients of an open loop run: on threads of their own, or one in each shard beside
    /// the rows it owns, one row to a query; such shards look for work all the time unless --spin
    /// says otherwise, and --threads says nothing
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Clients::Threads, requires_if("in-shard", "rate"))]
    pub(crate) clients: Clients,
    /// Give a query up when so many milliseconds have passed since it arrived, and count those
    /// answered in time
    #[arg(long, value_name = "MS", value_parser = parse_milliseconds, requires = "rate")]
    pub(crate) deadline: Option<Duration>,
    /// Have the store refuse a query when it is at its limits, instead of keeping it waiting
    #[arg(long, requires = "rate")]
    pub(crate) refuse: bool,
    /// How many microseconds idle shards, and in an open loop the clients, look for work before
    /// they sleep [default: the store's, which is 0]
    #[arg(long, value_name = "US", value_parser = parse_microseconds)]
    pub(crate) spin: Option<Duration>,
    /// Takes the store lets in at once [default: the store's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) takes_in_flight_max: Option<u32>,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    pub(crate) shards: Option<usize>,
    #[arg(long, value_name = "P", default_value = "auto", value_parser = parse_read_path, help = format!("How rows are read: {}", ReadPathChoice::NAMES))]
    pub(crate) read_path: ReadPathChoice,
    /// How reads get to the read path: batched or per-read
    #[arg(long, value_name = "S", default_value = "batched", value_parser = parse_scheduler)]
    pub(crate) scheduler: Scheduler,
    /// Reads each shard keeps in flight
    #[arg(long, value_name = "D")]
    pub(crate) queue_depth: Option<u32>,
    /// Whether each shard keeps that many in flight, or looks for the knee below it: fixed or knee
    #[arg(long, value_name = "C", default_value = "fixed", value_parser = parse_depth_control)]
    pub(crate) depth_control: DepthControl,
    /// Rows of a query no further apart than this are read together [default: the store's]
    #[arg(long, value_name = "BYTES")]
    pub(crate) merge_gap: Option<u32>,
    /// Memory for results, 0 for none [default: the store's]
    #[arg(long, value_name = "BYTES")]
    pub(crate) result_memory: Option<u64>,
    /// Columns to take [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Use only the first rows of the dataset
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroU64>,
    /// How popular rows are: uniform, or zipf:S such as zipf:0.99
    #[arg(long, value_name = "D", default_value = "uniform")]
    pub(crate) distribution: Distribution,
    /// Memory for the caches of a warm or mixed run, such as 4GiB, or `pinned` to load every row
    /// when the store is opened [default: what the rows need]
    #[arg(long, value_name = "SIZE", value_parser = parse_cache_bytes)]
    pub(crate) cache_bytes: Option<CacheChoice>,
    /// Past the kernel's page cache or through it: direct, buffered
    #[arg(long, value_name = "MODE", default_value = "direct", value_parser = parse_io)]
    pub(crate) io: IoMode,
    /// Do not check rows against their checksums, to see what checking costs
    #[arg(long)]
    pub(crate) skip_checksums: bool,
    /// Do not have the shards write down their time and waits, to see what that costs
    #[arg(long)]
    pub(crate) skip_metrics: bool,
    /// Count cycles, instructions, cache misses, context switches and the like of each shard
    #[arg(long, conflicts_with = "skip_metrics")]
    pub(crate) perf_counters: bool,
    /// Chooses the order of the rows
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How often to measure at most while other programs read the drive and spoil the proof
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// Where the record goes.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What searches are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Yardstick {
    /// A loop that measures as many vectors of a map as a search refines
    Map,
}

/// Flags of `bench vector-search`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VectorSearchArgs {
    /// The dataset, which has an index [default: one of clustered vectors is made]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dir", "rows", "dims", "partitions"])]
    pub(crate) dataset: Option<PathBuf>,
    /// Where to make it, or find it again [default: a place that is removed at the end, in
    /// ./target if there is one, else here]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Rows to make [default: those found, or 1,000,000]
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroU64>,
    /// Numbers of each vector made [default: those found, or 768]
    #[arg(long, value_name = "N", value_parser = parse_dims)]
    pub(crate) dims: Option<NonZeroU32>,
    /// Partitions of the index made [default: the store's]
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<NonZeroU32>,
    /// The column to search [default: the only one with an index]
    #[arg(long, value_name = "NAME")]
    pub(crate) column: Option<String>,
    /// The distance: l2, cosine or dot [default: the index's, l2 for one that is made]
    #[arg(long, value_name = "M", value_parser = parse_metric)]
    pub(crate) metric: Option<Metric>,
    /// Queries, an .npy array of vectors [default: for a dataset that is made, drawn as its rows
    /// are; for another, rows with noise]
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
    /// How many queries to make up, none of which is asked twice before all have been
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        conflicts_with = "queries"
    )]
    pub(crate) query_pool: NonZeroUsize,
    /// Queries that the recall is found with, 0 for no recall
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) recall_queries: usize,
    /// Rows wanted of each search
    #[arg(long, value_name = "K", default_value = "50", value_parser = parse_count)]
    pub(crate) k: usize,
    /// Partitions looked at; several are measured one after the other [default: 1,20]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = parse_count)]
    pub(crate) nprobes: Vec<usize>,
    /// How many times k rows are read and measured exactly, or none; several are measured one
    /// after the other [default: 10]
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = parse_refine)]
    pub(crate) refine_factor: Vec<Refine>,
    /// Further columns of the rows found
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Measure many numbers of probes and refine factors, and print recall against speed
    #[arg(long, conflicts_with = "yardstick")]
    pub(crate) sweep: bool,
    /// Write the curve to this file, `-` for standard output
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub(crate) csv: Option<PathBuf>,
    /// Measure not the store but what it is held against
    #[arg(long, value_enum)]
    pub(crate) yardstick: Option<Yardstick>,
    /// Measure nothing; write vectors.npy, queries.npy and nearest.npy, the true nearest rows of the
    /// first queries, into this directory, for other software to be measured on
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sweep", "yardstick", "json"])]
    pub(crate) export: Option<PathBuf>,
    /// Whether refined rows come from the drive or from the shards' caches: cold, warm
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    pub(crate) cache: Cache,
    /// How long to ask queries [default: 10, and 2 in a sweep]
    #[arg(long, value_name = "S", value_parser = parse_seconds, conflicts_with = "searches")]
    pub(crate) seconds: Option<Duration>,
    /// How many queries to ask
    #[arg(long, value_name = "Q")]
    pub(crate) searches: Option<NonZeroU64>,
    /// Client threads
    #[arg(long, value_name = "T", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Queries each client thread keeps in flight
    #[arg(long, value_name = "C", default_value = "4")]
    pub(crate) in_flight: NonZeroUsize,
    /// Let queries arrive at this rate, in queries per second or as a share of the capacity
    /// such as 70%, and count latency from the arrival; --in-flight then only serves to find the capacity
    #[arg(long, value_name = "R", value_parser = parse_rate, conflicts_with = "sweep")]
    pub(crate) rate: Option<Rate>,
    /// Give a query up when so many milliseconds have passed since it arrived, and count those
    /// answered in time
    #[arg(long, value_name = "MS", value_parser = parse_milliseconds, requires = "rate")]
    pub(crate) deadline: Option<Duration>,
    /// Have the store refuse a query when it is at its limits, instead of keeping it waiting
    #[arg(long, requires = "rate")]
    pub(crate) refuse: bool,
    /// How many microseconds idle shards, and in an open loop the clients, look for work before
    /// they sleep [default: the store's, which is 0]
    #[arg(long, value_name = "US", value_parser = parse_microseconds)]
    pub(crate) spin: Option<Duration>,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    pub(crate) shards: Option<usize>,
    #[arg(long, value_name = "P", default_value = "auto", value_parser = parse_read_path, help = format!("How rows are read: {}", ReadPathChoice::NAMES))]
    pub(crate) read_path: ReadPathChoice,
    /// Reads each shard keeps in flight
    #[arg(long, value_name = "D")]
    pub(crate) queue_depth: Option<u32>,
    /// Memory for the caches of a warm run, such as 4GiB, or `pinned` to load every row when the
    /// store is opened [default: what the vectors need]
    #[arg(long, value_name = "SIZE", value_parser = parse_cache_bytes)]
    pub(crate) cache_bytes: Option<CacheChoice>,
    /// Past the kernel's page cache or through it: direct, buffered
    #[arg(long, value_name = "MODE", default_value = "direct", value_parser = parse_io)]
    pub(crate) io: IoMode,
    /// Do not have shards and callers write down their time and waits, to see what that costs
    #[arg(long)]
    pub(crate) skip_metrics: bool,
    /// Count cycles, instructions, cache misses, context switches and the like of each shard
    #[arg(long, conflicts_with = "skip_metrics")]
    pub(crate) perf_counters: bool,
    /// Chooses the order of the queries
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How often to measure at most while other programs read the drive and spoil the proof
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// Where the record goes.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl VectorSearchArgs {
    /// The same store without searches.
    pub(crate) fn file_read(
        &self,
        dataset: PathBuf,
        columns: Vec<String>,
        cache: Cache,
    ) -> FileReadArgs {
        FileReadArgs {
            columns,
            rate: self.rate,
            spin: self.spin,
            shards: self.shards,
            read_path: self.read_path,
            queue_depth: self.queue_depth,
            cache_bytes: match cache {
                Cache::Cold if self.cache == Cache::Warm => None,
                _ => self.cache_bytes,
            },
            io: self.io,
            skip_metrics: self.skip_metrics,
            perf_counters: self.perf_counters,
            ..FileReadArgs::for_dataset(dataset, cache)
        }
    }
}

/// What to do with a record.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OutputArgs {
    /// Write the record as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// End with status 1 if the run is not proven
    #[arg(long)]
    pub(crate) require_valid: bool,
}

/// What a yardstick reads with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// A bare io_uring, past the page cache
    Ring,
    /// Copies out of a map of the files, in the page cache
    Mmap,
    /// A system call for each row, from the page cache
    Pread,
}

impl By {
    /// The read path in the record.
    pub(crate) fn read_path(self) -> &'static str {
        match self {
            By::Ring => "bare-ring",
            By::Mmap => "mmap-loop",
            By::Pread => "pread-loop",
        }
    }
}

/// Flags of `bench ceiling`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CeilingArgs {
    /// The dataset; its largest column group is read
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// What to read with
    #[arg(long, value_enum, default_value_t = By::Ring)]
    pub(crate) by: By,
    /// How long to read [default: 10]
    #[arg(long, value_name = "S", value_parser = parse_seconds, conflicts_with = "queries")]
    pub(crate) seconds: Option<Duration>,
    /// How many queries to read
    #[arg(long, value_name = "Q")]
    pub(crate) queries: Option<NonZeroU64>,
    /// Rows of each query
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) rows_per_query: NonZeroU64,
    /// Threads, each with a ring of its own and on a CPU of its own
    #[arg(long, value_name = "T", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Reads each ring keeps in flight
    #[arg(long, value_name = "D", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) queue_depth: u32,
    /// Choose the largest group among those of these columns [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Use only the first rows of the dataset
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroU64>,
    /// Chooses the order of the rows
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How often to measure at most while other programs read the drive and spoil the proof
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// Where the record goes.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl CeilingArgs {
    /// When the run ends.
    pub(crate) fn bound(&self) -> Bound {
        bound(self.queries, self.seconds)
    }
}

/// What is measured round after round, under which load.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoundsArgs {
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// From the drive, or from the shards' caches
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    pub(crate) cache: Cache,
    /// How long each run takes
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
    /// Rows of each query
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROWS_PER_QUERY)]
    pub(crate) rows_per_query: NonZeroU64,
    /// Client threads
    #[arg(long, value_name = "T", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Queries each client thread keeps in flight
    #[arg(long, value_name = "C", default_value_t = DEFAULT_IN_FLIGHT)]
    pub(crate) in_flight: NonZeroUsize,
    /// Columns to take [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Write the result and every record as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl RoundsArgs {
    /// One of the runs.
    pub(crate) fn file_read(&self) -> FileReadArgs {
        FileReadArgs {
            seconds: Some(self.seconds),
            threads: self.threads,
            in_flight: self.in_flight,
            rows_per_query: self.rows_per_query,
            columns: self.columns.clone(),
            ..FileReadArgs::for_dataset(self.dataset.clone(), self.cache)
        }
    }
}

/// Flags of `bench interference`.
#[derive(Debug, Clone, Args)]
pub(crate) struct InterferenceArgs {
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// How long each run takes
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
    /// Urgent takes of one row that arrive per second
    #[arg(long, value_name = "R", default_value = "1000", value_parser = parse_positive)]
    pub(crate) rate: f64,
    /// Rows of each bulk take
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) rows_per_query: NonZeroU64,
    /// Bulk takes in flight
    #[arg(long, value_name = "C", default_value = "4")]
    pub(crate) in_flight: NonZeroUsize,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    pub(crate) shards: Option<usize>,
    /// Columns to take [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Chooses the rows and the times of arrival
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the result as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Flags of `bench ladder`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LadderArgs {
    /// The runs.
    #[command(flatten)]
    pub(crate) runs: RoundsArgs,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    pub(crate) shards: Option<usize>,
    /// The read paths to measure
    #[arg(long, value_name = "P,P", value_delimiter = ',', default_value = READ_PATHS, value_parser = parse_read_path)]
    pub(crate) read_paths: Vec<ReadPathChoice>,
    /// Draw the result as a picture, for light and dark pages, to this SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// Flags of `bench plan`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlanArgs {
    /// Cores of the machine to plan for
    #[arg(long, value_name = "N")]
    pub(crate) cores: NonZeroUsize,
    /// Reads per second of its drives together
    #[arg(long, value_name = "R", value_parser = parse_positive)]
    pub(crate) iops: f64,
    /// Bytes per second of its drives together, in units of 10^9 [default: no limit]
    #[arg(long, value_name = "GB", value_parser = parse_positive)]
    pub(crate) drive_gb_per_s: Option<f64>,
    /// A record that `bench file-read --json` has written
    #[arg(long, value_name = "FILE", conflicts_with = "dataset")]
    pub(crate) from: Option<PathBuf>,
    /// Measure this dataset now, with one shard
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    pub(crate) dataset: Option<PathBuf>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Write the estimate as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Flags of `bench profile`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProfileArgs {
    /// The folder to write
    #[arg(long, short, value_name = "DIR", default_value = "profile")]
    pub(crate) output: PathBuf,
    /// Replace what an earlier profile has left there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Samples a second of each CPU
    #[arg(long, value_name = "HZ", default_value = "499", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) frequency: u32,
    /// Keep perf's own file, for `perf report`
    #[arg(long)]
    pub(crate) keep_perf_data: bool,
    /// The workload, as after `bench`: file-read, vector-search, ceiling or quick, with its flags
    #[arg(
        value_name = "WORKLOAD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) workload: Vec<OsString>,
}

/// Flags of `bench report`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReportArgs {
    /// Records that `--json` has written
    #[arg(value_name = "RUN.json", required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// The page to write, one file that needs no other; `-` for standard output
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    pub(crate) output: PathBuf,
}

/// Flags of `bench compare`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// Records of before
    #[arg(value_name = "A.json")]
    pub(crate) before: PathBuf,
    /// Records of after
    #[arg(value_name = "B.json")]
    pub(crate) after: PathBuf,
    /// End with status 1 if this holds of the second side's median (2 if it cannot be told); `x` is
    /// the first side's
    #[arg(long, value_name = "FIELD < NUMBER[x]")]
    pub(crate) fail_if: Vec<Condition>,
    /// Compare what was measured on other rows too
    #[arg(long)]
    pub(crate) force: bool,
    /// Write the comparison as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

pub(crate) fn bound(queries: Option<NonZeroU64>, seconds: Option<Duration>) -> Bound {
    match queries {
        Some(queries) => Bound::Queries(queries.get()),
        None => Bound::Time(seconds.unwrap_or(DEFAULT_TIME)),
    }
}

impl FileReadArgs {
    /// The flags when only the dataset is said.
    pub(crate) fn for_dataset(dataset: PathBuf, cache: Cache) -> FileReadArgs {
        FileReadArgs {
            dataset,
            cache,
            seconds: None,
            queries: None,
            rows_per_query: DEFAULT_ROWS_PER_QUERY,
            threads: NonZeroUsize::MIN,
            in_flight: DEFAULT_IN_FLIGHT,
            rate: None,
            clients: Clients::Threads,
            deadline: None,
            refuse: false,
            spin: None,
            takes_in_flight_max: None,
            shards: None,
            read_path: ReadPathChoice::Auto,
            scheduler: Scheduler::Batched,
            queue_depth: None,
            depth_control: DepthControl::Fixed,
            merge_gap: None,
            result_memory: None,
            columns: Vec::new(),
            rows: None,
            distribution: Distribution::Uniform,
            cache_bytes: None,
            io: IoMode::Direct,
            skip_checksums: false,
            skip_metrics: false,
            perf_counters: false,
            seed: 1,
            attempts: DEFAULT_ATTEMPTS,
            output: OutputArgs::default(),
        }
    }

    /// When the run ends.
    pub(crate) fn bound(&self) -> Bound {
        bound(self.queries, self.seconds)
    }
}

const DEFAULT_ATTEMPTS: u32 = 3;
const DEFAULT_QUICK_TIME: Duration = Duration::from_secs(6);
const DEFAULT_QUICK_ROWS: u64 = 200_000;
const DEFAULT_TIME: Duration = Duration::from_secs(10);
const DEFAULT_ROWS_PER_QUERY: NonZeroU64 = NonZeroU64::new(500).unwrap();
const DEFAULT_IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(4).unwrap();
const DIMS_MAX: u32 = 1 << 16;
const SECONDS_MAX: f64 = 86_400.0;

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= SECONDS_MAX => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!(
            "give seconds above 0 and up to {SECONDS_MAX}, such as 10 or 0.5"
        )),
    }
}

fn parse_milliseconds(text: &str) -> Result<Duration, String> {
    positive(text)
        .filter(|milliseconds| milliseconds / 1e3 <= SECONDS_MAX)
        .map(|milliseconds| Duration::from_secs_f64(milliseconds / 1e3))
        .ok_or_else(|| "give milliseconds above 0, such as 20".to_owned())
}

fn parse_microseconds(text: &str) -> Result<Duration, String> {
    text.parse::<u32>()
        .map(|microseconds| Duration::from_micros(microseconds.into()))
        .map_err(|_| "give whole microseconds, such as 50".to_owned())
}

fn positive(number: &str) -> Option<f64> {
    let number = number.trim().parse::<f64>().ok()?;
    (number.is_finite() && number > 0.0).then_some(number)
}

fn parse_positive(text: &str) -> Result<f64, String> {
    positive(text).ok_or_else(|| "give a number above 0, such as 1500000 or 1.5e6".to_owned())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("give a whole number from 1 on".to_owned()),
    }
}

fn parse_dims(text: &str) -> Result<NonZeroU32, String> {
    match text.trim().parse::<NonZeroU32>() {
        Ok(dims) if dims.get() <= DIMS_MAX => Ok(dims),
        _ => Err(format!("give a whole number from 1 to {DIMS_MAX}")),
    }
}

fn parse_refine(text: &str) -> Result<Refine, String> {
    match (text.trim(), text.trim().parse()) {
        ("none", _) => Ok(Refine::None),
        (_, Ok(factor)) if factor > 0 => Ok(Refine::Times(factor)),
        _ => Err("give a whole number from 1 on, or none".to_owned()),
    }
}

fn parse_metric(text: &str) -> Result<Metric, String> {
    Metric::from_str(text).map_err(|error| error.to_string())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let rate = match text.strip_suffix('%') {
        Some(percent) => positive(percent).map(|percent| Rate::OfCapacity(percent / 100.0)),
        None => positive(text).map(Rate::PerSecond),
    };
    rate.ok_or_else(|| "give queries per second, or a share of the capacity such as 70%".to_owned())
}

fn parse_depth_control(text: &str) -> Result<DepthControl, String> {
    DepthControl::from_str(text).map_err(|error| error.to_string())
}

fn parse_scheduler(text: &str) -> Result<Scheduler, String> {
    Scheduler::from_str(text).map_err(|error| error.to_string())
}

fn parse_cache_bytes(text: &str) -> Result<CacheChoice, String> {
    match CacheChoice::from_str(text) {
        Ok(choice @ (CacheChoice::Bytes(_) | CacheChoice::Pinned)) => Ok(choice),
        _ => Err("give a size such as 4GiB, or `pinned`; `--cache cold` runs without".to_owned()),
    }
}

fn parse_io(text: &str) -> Result<IoMode, String> {
    IoMode::from_str(text).map_err(|error| error.to_string())
}

fn parse_read_path(text: &str) -> Result<ReadPathChoice, String> {
    ReadPathChoice::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_of_the_flags_are_those_of_the_quick_run() {
        let cli = Cli::try_parse_from(["bench", "file-read", "--dataset", "d"]).unwrap();
        let Some(Command::FileRead(parsed)) = cli.command else {
            panic!("not file-read");
        };
        let made = FileReadArgs::for_dataset(PathBuf::from("d"), Cache::Cold);
        assert_eq!(format!("{parsed:?}"), format!("{made:?}"));

        let cli = Cli::try_parse_from(["bench", "quick"]).unwrap();
        let Some(Command::Quick(parsed)) = cli.command else {
            panic!("not quick");
        };
        assert_eq!(format!("{parsed:?}"), format!("{:?}", QuickArgs::default()));
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "inf", "NaN", "x", "1e9"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rate_is_a_number_or_a_share() {
        assert_eq!(parse_rate("1200.5"), Ok(Rate::PerSecond(1200.5)));
        assert_eq!(parse_rate("70%"), Ok(Rate::OfCapacity(0.7)));
        for text in ["0", "-1", "%", "x", "inf", "1/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_and_queries_exclude_each_other() {
        let both = [
            "bench",
            "file-read",
            "--dataset",
            "d",
            "--seconds",
            "1",
            "--queries",
            "1",
        ];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
