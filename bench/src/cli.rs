//! The command line: what can be asked for, and what is taken when nothing is said.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringtake_runtime::{IoMode, ReadPathChoice};

use crate::driver::Bound;
use crate::proof::Cache;

const EXAMPLES: &str = "\
Examples:
  bench                                            a quick run that needs nothing
  bench file-read --dataset vectors --seconds 20   what the drive and the store can do
  bench file-read --dataset vectors --cache warm --threads 2
  bench file-read --dataset vectors --queries 1000 --json - | jq .rows_per_s";

/// Measures how fast Ringtake takes rows, and proves where they came from.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to measure; a quick run if nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
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
    /// From the drive, or from the shards' caches
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
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    pub(crate) shards: Option<usize>,
    /// How rows are read: auto, ring-per-shard, thread-pool or thread-pool:N
    #[arg(long, value_name = "P", default_value = "auto", value_parser = parse_read_path)]
    pub(crate) read_path: ReadPathChoice,
    /// Reads each shard keeps in flight
    #[arg(long, value_name = "D")]
    pub(crate) queue_depth: Option<u32>,
    /// Columns to take [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Use only the first rows of the dataset
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroU64>,
    /// Memory for a warm run's caches [default: what the rows need]
    #[arg(long, value_name = "BYTES")]
    pub(crate) cache_bytes: Option<u64>,
    /// Past the kernel's page cache or through it: direct, buffered
    #[arg(long, value_name = "MODE", default_value = "direct", value_parser = parse_io)]
    pub(crate) io: IoMode,
    /// Do not check rows against their checksums, to see what checking costs
    #[arg(long)]
    pub(crate) skip_checksums: bool,
    /// Chooses the order of the rows
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the record as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// How often to measure at most while other programs read the drive and spoil the proof
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// End with status 1 if the run is not proven
    #[arg(long)]
    pub(crate) require_valid: bool,
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
            shards: None,
            read_path: ReadPathChoice::Auto,
            queue_depth: None,
            columns: Vec::new(),
            rows: None,
            cache_bytes: None,
            io: IoMode::Direct,
            skip_checksums: false,
            seed: 1,
            json: None,
            attempts: DEFAULT_ATTEMPTS,
            require_valid: false,
        }
    }

    /// When the run ends.
    pub(crate) fn bound(&self) -> Bound {
        match self.queries {
            Some(queries) => Bound::Queries(queries.get()),
            None => Bound::Time(self.seconds.unwrap_or(DEFAULT_TIME)),
        }
    }
}

const DEFAULT_ATTEMPTS: u32 = 3;
const DEFAULT_QUICK_TIME: Duration = Duration::from_secs(6);
const DEFAULT_QUICK_ROWS: u64 = 200_000;
const DEFAULT_TIME: Duration = Duration::from_secs(10);
const DEFAULT_ROWS_PER_QUERY: NonZeroU64 = NonZeroU64::new(500).unwrap();
const DEFAULT_IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(4).unwrap();
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
