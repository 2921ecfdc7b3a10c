//! Flags that several commands share, each written once, and how their values are parsed.
//!
//! The flags of one command alone are beside that command. A field's default is the one that the
//! command line shows: code that needs the flags of a command parses an empty command line.

mod store;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ringtake_runtime::WhenFull;

use crate::drive::load::Rate;
use crate::drive::load::{Bound, Load};
use crate::drive::patience::Patience;
use crate::error::Error;
use crate::record::Record;
use crate::record::proof::Cache;
use crate::tell::output::emit;
use crate::tell::table::report;

pub(crate) use store::{Contents, ReadArgs, StoreArgs};

/// The rows of each query.
#[derive(Debug, Clone, Args)]
pub(crate) struct RowsArgs {
    /// The dataset
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// Rows of each query, all different
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) rows_per_query: NonZeroU64,
    /// Columns to take [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
}

/// The part of a dataset that is used.
#[derive(Debug, Clone, Args)]
pub(crate) struct PartArgs {
    /// Use only the first rows of the dataset
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroU64>,
}

impl PartArgs {
    /// How many of `rows_total` rows are used.
    pub(crate) fn rows_used(&self, rows_total: u64) -> u64 {
        self.rows
            .map_or(rows_total, |rows| rows.get().min(rows_total))
    }
}

/// The end of a run.
#[derive(Debug, Clone, Args)]
pub(crate) struct BoundArgs {
    /// Duration of the run [default: 10]
    #[arg(long, value_name = "S", value_parser = parse_seconds, conflicts_with = "queries")]
    pub(crate) seconds: Option<Duration>,
    /// End after this many queries instead
    #[arg(long, value_name = "Q")]
    pub(crate) queries: Option<NonZeroU64>,
}

impl BoundArgs {
    pub(crate) fn bound(&self) -> Bound {
        bound(self.queries, self.seconds)
    }
}

/// The load of a closed loop.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// Client threads
    #[arg(long, value_name = "T", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Queries that each client thread keeps in flight
    #[arg(long, value_name = "C", default_value = "4")]
    pub(crate) in_flight: NonZeroUsize,
}

impl LoadArgs {
    pub(crate) fn load(&self, bound: Bound) -> Load {
        Load {
            threads: self.threads,
            in_flight: self.in_flight,
            bound,
        }
    }
}

/// The arrivals of an open loop.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArrivalArgs {
    /// Open loop: queries arrive at this rate, in queries per second or as a share of the capacity
    /// such as 70%, and latency counts from the arrival; --in-flight is then used to find the
    /// capacity only
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub(crate) rate: Option<Rate>,
    /// Cancel a query this many milliseconds after its arrival, and count the queries answered in
    /// time
    #[arg(long, value_name = "MS", value_parser = parse_milliseconds, requires = "rate")]
    pub(crate) deadline: Option<Duration>,
    /// Reject a query when the store is at its limits, instead of queueing it
    #[arg(long, requires = "rate")]
    pub(crate) refuse: bool,
}

impl ArrivalArgs {
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            deadline: self.deadline,
            when_full: if self.refuse {
                WhenFull::Refuse
            } else {
                WhenFull::Wait
            },
        }
    }
}

/// One measured run and its record.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Seed of the random order
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Measure up to this many times if other programs read the drive and spoil the proof
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// Where the record goes.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where a record goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// The file.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// End with status 1 if the run is not proven
    #[arg(long)]
    require_valid: bool,
}

impl OutputArgs {
    /// Prints one record and writes it where the flags say.
    ///
    /// # Errors
    /// A run that was interrupted, and one that is not proven where the flags ask for proof.
    pub(crate) fn emit(&self, record: &Record) -> Result<(), Error> {
        let text = report(std::slice::from_ref(record));
        emit(self.json.path(), &text, record)?;
        if record.is_partial() {
            return Err(Error::Interrupted);
        }
        self.check_valid(std::slice::from_ref(record))
    }

    /// Fails for a record that is not proven where the flags ask for proof.
    pub(crate) fn check_valid(&self, records: &[Record]) -> Result<(), Error> {
        let mut reasons = records
            .iter()
            .filter_map(|record| record.invalid_reason.as_ref());
        match reasons.next() {
            Some(reason) if self.require_valid => Err(Error::NotValid {
                reason: reason.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Where a result goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct JsonArgs {
    /// Write the result, with all its records, as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl JsonArgs {
    pub(crate) fn path(&self) -> Option<&Path> {
        self.json.as_deref()
    }
}

/// Variants that are measured in turn, under one load.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoundsArgs {
    /// The rows.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Where rows come from: the drive, or the shards' caches
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    pub(crate) cache: Cache,
    /// Duration of each run
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Runs of each variant
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Where the result goes.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// The end of a run that lasts `seconds`, or the default time, unless `queries` end it.
pub(crate) fn bound(queries: Option<NonZeroU64>, seconds: Option<Duration>) -> Bound {
    match queries {
        Some(queries) => Bound::Queries(queries.get()),
        None => Bound::Time(seconds.unwrap_or(DEFAULT_TIME)),
    }
}

/// The flags of a command with their defaults; `required` are the flags that have none.
pub(crate) fn defaults<A: Args>(required: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("bench").no_binary_name(true));
    command
        .try_get_matches_from(required)
        .and_then(|matches| A::from_arg_matches(&matches))
        .unwrap_or_else(|error| unreachable!("every other flag has a default: {error}"))
}

const DEFAULT_TIME: Duration = Duration::from_secs(10);
const SECONDS_MAX: f64 = 86_400.0;

pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
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

fn positive(number: &str) -> Option<f64> {
    let number = number.trim().parse::<f64>().ok()?;
    (number.is_finite() && number > 0.0).then_some(number)
}

pub(crate) fn parse_positive(text: &str) -> Result<f64, String> {
    positive(text).ok_or_else(|| "give a number above 0, such as 1500000 or 1.5e6".to_owned())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let rate = match text.strip_suffix('%') {
        Some(percent) => positive(percent).map(|percent| Rate::OfCapacity(percent / 100.0)),
        None => positive(text).map(Rate::PerSecond),
    };
    rate.ok_or_else(|| "give queries per second, or a share of the capacity such as 70%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
