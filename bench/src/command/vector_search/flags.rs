//! Flags of `bench vector-search`.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringtake_storage::vector::Metric;

use crate::command::args::{ArrivalArgs, LoadArgs, RunArgs, StoreArgs, bound, parse_seconds};
use crate::drive::load::Bound;
use crate::record::proof::Cache;

pub(crate) const EXAMPLES: &str = "\
Examples:
  bench vector-search                              makes a dataset and an index, and removes them
  bench vector-search --dir place                  the same, kept for the next run
  bench vector-search --dataset vectors --cache warm --nprobes 20 --threads 2
  bench vector-search --dataset vectors --queries queries.npy --rate 70%
  bench vector-search --dataset vectors --sweep --csv curve.csv
  bench vector-search --dataset vectors --yardstick map";

/// Flags of `bench vector-search`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VectorSearchArgs {
    /// A dataset with an index [default: one of clustered vectors is made]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dir", "rows", "dims", "partitions"])]
    pub(super) dataset: Option<PathBuf>,
    /// Directory to make that dataset in, or to find it again [default: one that is removed at the
    /// end, in ./target if it exists, else here]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Rows to make [default: those found, or 1,000,000]
    #[arg(long, value_name = "N")]
    pub(super) rows: Option<NonZeroU64>,
    /// Dimensions of each vector made [default: those found, or 768]
    #[arg(long, value_name = "N", value_parser = parse_dims)]
    pub(super) dims: Option<NonZeroU32>,
    /// Partitions of the index made [default: the store's]
    #[arg(long, value_name = "N")]
    pub(super) partitions: Option<NonZeroU32>,
    /// The column to search [default: the only one with an index]
    #[arg(long, value_name = "NAME")]
    pub(super) column: Option<String>,
    /// The distance: l2, cosine or dot [default: the index's, l2 for one that is made]
    #[arg(long, value_name = "M")]
    pub(super) metric: Option<Metric>,
    /// Queries, an .npy array of vectors [default: for a dataset that is made, drawn as its rows
    /// are; for another, rows with noise]
    #[arg(long, value_name = "FILE")]
    pub(super) queries: Option<PathBuf>,
    /// Queries to generate; none is repeated before all have been used
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        conflicts_with = "queries"
    )]
    pub(super) query_pool: NonZeroUsize,
    /// Queries that recall is measured with, 0 for no recall
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) recall_queries: usize,
    /// Rows that each search returns
    #[arg(long, value_name = "K", default_value = "50", value_parser = parse_count)]
    pub(super) k: usize,
    /// Partitions that a search scans; several are measured one after the other [default: 1,20]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = parse_count)]
    pub(super) nprobes: Vec<usize>,
    /// Refine factor: this many times k rows are read and ranked by their exact distance, or none;
    /// several are measured one after the other [default: 10]
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = parse_refine)]
    pub(super) refine_factor: Vec<Refine>,
    /// Further columns of the rows found
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// Measure many nprobes and refine factors, and print recall against speed
    #[arg(long, conflicts_with_all = ["yardstick", "rate"])]
    pub(super) sweep: bool,
    /// Write the curve to this file, `-` for standard output
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub(super) csv: Option<PathBuf>,
    /// Measure this yardstick instead of the store
    #[arg(long, value_enum)]
    pub(super) yardstick: Option<Yardstick>,
    /// Measure nothing; write vectors.npy, queries.npy and nearest.npy, the true nearest rows of the
    /// first queries, into this directory, to measure other software with them
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sweep", "yardstick", "json"])]
    pub(super) export: Option<PathBuf>,
    /// Where refined rows come from: cold from the drive, warm from the shards' caches
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    pub(super) cache: Cache,
    /// Duration of each run [default: 10, and 2 in a sweep]
    #[arg(long, value_name = "S", value_parser = parse_seconds, conflicts_with = "searches")]
    pub(super) seconds: Option<Duration>,
    /// End after this many queries instead
    #[arg(long, value_name = "Q")]
    pub(super) searches: Option<NonZeroU64>,
    /// The load.
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// The arrivals.
    #[command(flatten)]
    pub(super) arrivals: ArrivalArgs,
    /// The store.
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// The run.
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// A yardstick for searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Yardstick {
    /// A loop over a memory map that computes as many distances as a search refines
    Map,
}

/// How many times k rows are measured exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refine {
    /// None: rows are ranked by their codes.
    None,
    /// This many times.
    Times(u32),
}

impl Refine {
    pub(super) fn of(factor: Option<u32>) -> Refine {
        factor.map_or(Refine::None, Refine::Times)
    }

    pub(super) fn factor(self) -> Option<u32> {
        match self {
            Refine::None => None,
            Refine::Times(factor) => Some(factor),
        }
    }
}

impl fmt::Display for Refine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refine::None => f.write_str("none"),
            Refine::Times(factor) => factor.fmt(f),
        }
    }
}

impl VectorSearchArgs {
    /// When a run ends.
    pub(super) fn bound(&self) -> Bound {
        let seconds = self.seconds.or(self.sweep.then_some(SWEEP_TIME));
        bound(self.searches, seconds)
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("give a whole number from 1 on".to_owned()),
    }
}

/// Duration of each run of a sweep by default.
const SWEEP_TIME: Duration = Duration::from_secs(2);
const DIMS_MAX: u32 = 1 << 16;

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
