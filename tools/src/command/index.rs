//! `ringtake index`: the index of a column of vectors, beside its dataset.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use ringtake_runtime::{Error, IndexInfo, IndexOptions, Store};
use ringtake_storage::vector::index::index_name;
use ringtake_storage::vector::{Metric, VectorColumn};

use super::take::{ChecksumPolicy, open};
use crate::failure::Failure;
use crate::grid::counted;
use crate::interrupt;
use crate::notice::note;
use crate::progress::{Progress, Visibility};

/// Build the index that searches of a column of vectors need
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Index {
    /// Directory of the dataset
    dataset: PathBuf,

    /// Column of vectors; default: the only one
    #[arg(long)]
    column: Option<String>,

    /// Distance: l2, cosine or dot
    #[arg(long, default_value_t = Metric::default())]
    metric: Metric,

    /// Number of partitions; more make each probe cheaper and find less
    #[arg(long, value_name = "NUMBER", default_value = "auto")]
    partitions: Choice<u32>,

    /// Bytes of memory per row for its codes; more rank rows more exactly
    #[arg(long, value_name = "BYTES", default_value = "auto")]
    code_bytes: Choice<u32>,

    /// Rounds of k-means
    #[arg(long, value_name = "ROUNDS", default_value_t = IndexOptions::default().iterations)]
    iterations: u32,

    /// Vectors sampled per partition for training
    #[arg(
        long,
        value_name = "ROWS",
        default_value_t = IndexOptions::default().sample_rows_per_partition,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    sample_per_partition: u32,

    /// Threads that compute; default: one per CPU
    #[arg(long)]
    threads: Option<NonZeroUsize>,

    /// Seed of the choice of the sample
    #[arg(long, default_value_t = IndexOptions::default().seed)]
    seed: u64,

    /// Print no progress bar and no summary
    #[arg(short, long)]
    quiet: bool,
}

/// A number, or `auto` for a default that depends on the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice<T> {
    Auto,
    Given(T),
}

impl<T: FromStr> FromStr for Choice<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice<T>, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            number => number
                .parse()
                .map(Choice::Given)
                .map_err(|_| "give a number, or auto".to_owned()),
        }
    }
}

impl<T> Choice<T> {
    fn given(self) -> Option<T> {
        match self {
            Choice::Auto => None,
            Choice::Given(given) => Some(given),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  ringtake index embeddings.ringtake
  ringtake index embeddings.ringtake --column vector --metric cosine
  ringtake index embeddings.ringtake --partitions 4096 --code-bytes 64

The index is a file beside the rows; an index of the same column is replaced once the new one is
whole, and stores that are open keep the one they opened. Nothing is left behind if it fails.
Import the dataset again and it has no index.";

impl Index {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let started = Instant::now();
        interrupt::listen();
        let store = open(&self.dataset, ChecksumPolicy::Verify)?;
        let (column, name) = self.column(&store)?;
        let options = IndexOptions {
            metric: self.metric,
            partitions: self.partitions.given(),
            code_bytes: self.code_bytes.given(),
            iterations: self.iterations,
            sample_rows_per_partition: self.sample_per_partition,
            threads: self.threads.map(NonZeroUsize::get),
            seed: self.seed,
            ..IndexOptions::default()
        };
        let progress = Progress::start_stages(Visibility::quiet(self.quiet))?;
        let built = store.build_index(&name, &options, &mut |at| {
            progress.stage(at.stage, at.done, at.of);
            match interrupt::pending() {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        });
        drop(progress);
        let built = match (built, interrupt::pending()) {
            (Err(Error::Stopped), Some(number)) => return Err(Failure::Interrupted(number)),
            (built, _) => built?,
        };
        if store.row_count() == 0 {
            note("note: there are no rows, so the index is empty");
        }
        if !self.quiet {
            let seconds = started.elapsed().as_secs_f64();
            let file = self.dataset.join(index_name(column));
            note(&format!(
                "{}, {seconds:.1} s: {}",
                summary(&built),
                file.display()
            ));
        }
        Ok(())
    }

    /// Place and name of the column to index: the one named, or the only one that holds vectors.
    fn column(&self, store: &Store) -> Result<(usize, String), Failure> {
        let schema = store.schema();
        if let Some(name) = &self.column {
            let column = VectorColumn::named(schema, name)?;
            return Ok((column.column, name.clone()));
        }
        let fields = schema.fields().iter().enumerate();
        let vectors: Vec<(usize, String)> = fields
            .filter(|(place, _)| VectorColumn::at(schema, *place).is_some())
            .map(|(place, field)| (place, field.name().clone()))
            .collect();
        match vectors.as_slice() {
            [] => Err(Failure::NoVectors(self.dataset.clone())),
            [only] => Ok(only.clone()),
            several => {
                let names: Vec<&str> = several.iter().map(|(_, name)| name.as_str()).collect();
                Err(Failure::Usage(format!(
                    "several columns hold vectors; name one with --column: {}",
                    names.join(", ")
                )))
            }
        }
    }
}

/// Summary of an index that was built, without its path and the time it took.
fn summary(built: &IndexInfo) -> String {
    let left_out = match built.rows - built.rows_indexed {
        0 => String::new(),
        rows => {
            let ends = match built.metric {
                Metric::Cosine => "too long, or zero",
                Metric::L2 | Metric::Dot => "or too long",
            };
            let rows = HumanCount(rows);
            format!(" and {rows} left out (null, with items that are null or not finite, {ends})")
        }
    };
    format!(
        "{} rows of `{}` indexed for {}{left_out}, {}, {:.1} bytes of memory per row, {}",
        HumanCount(built.rows_indexed),
        built.column,
        built.metric,
        counted(built.partitions as u64, "partition", "partitions"),
        built.bytes_per_row,
        HumanBytes(built.file_bytes),
    )
}
