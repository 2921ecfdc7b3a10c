//! `ringtake take`: rows by id, on standard output.

use std::collections::HashSet;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use clap::{Args, ValueEnum};
use ringtake_runtime::{Checksums, Config, Error, Lab, Missing, Projection, Store};

use crate::failure::Failure;
use crate::ingest::split_columns;
use crate::notice;
use crate::output::Output;
use crate::row_ids::{PastTheEnd, RowIdOrigin};
use crate::sink::RowFormat;

/// Print rows by id
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Take {
    /// Directory of the dataset
    dataset: PathBuf,

    /// Row ids: 5,7 or 3..10 or @FILE or - for standard input
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    rows: String,

    /// Columns to take, in this order, such as a,b; default: all
    #[arg(long)]
    columns: Option<String>,

    /// Format of the rows
    #[arg(long, default_value = "table")]
    format: RowFormat,

    /// Treatment of a row id past the end
    #[arg(long, value_name = "WHAT", default_value = "error")]
    missing: MissingRow,

    /// Treatment of a row that does not match its checksum
    #[arg(long, value_name = "WHETHER", default_value = "verify")]
    checksums: ChecksumPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MissingRow {
    /// Fail before any row is printed
    Error,
    /// Print a row of nulls
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChecksumPolicy {
    /// Report a damaged row as an error
    Verify,
    /// Print a damaged row as it is
    Skip,
}

const EXAMPLES: &str = "\
Examples:
  ringtake take embeddings.ringtake --rows 5,7
  ringtake take embeddings.ringtake --rows 0..10 --columns id,title
  ringtake take embeddings.ringtake --rows @ids.txt --format jsonl
  search-for-ids | ringtake take embeddings.ringtake --rows - --format arrow > rows.arrow

Ids may be separated by commas, spaces and new lines; A..B leaves B out, A..=B includes it, and
A.. goes to the end. Rows come in the order asked for, duplicates included. If rows are damaged
the others are still printed, each damaged one is named on standard error, and the status is 1.";

/// Target size in bytes of a chunk of rows taken at once.
const CHUNK_BYTES: u64 = 8 << 20;
/// Fewest and most rows of a chunk.
const CHUNK_ROWS: std::ops::RangeInclusive<u64> = 64..=65_536;
/// Most damaged rows that are reported one by one.
const FAULTS_NAMED: u64 = 100;

impl Take {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let columns = self.columns.as_deref().map(split_columns);
        let past_the_end = match self.missing {
            MissingRow::Error => PastTheEnd::Refused,
            MissingRow::Null => PastTheEnd::Accepted,
        };
        let store = open(&self.dataset, self.checksums)?;
        let projection = project(&store, columns.as_deref())?;
        let ids = RowIdOrigin::parse(&self.rows).read(store.row_count(), past_the_end)?;
        let missing = match self.missing {
            MissingRow::Error => Missing::Error,
            MissingRow::Null => Missing::Null,
        };
        let (output, writer) = Output::standard();
        let taken = (|| {
            let mut sink = self.format.stream(writer, &projection.schema(missing))?;
            let mut faults = 0;
            for chunk in ids.chunks(chunk_rows(&store)) {
                let intact = take_intact(&store, chunk, &projection, missing, &mut faults)?;
                sink.write(&intact)?;
            }
            sink.finish()?;
            Ok(faults)
        })();
        match taken {
            Err(_) if output.reader_gone() => Ok(()),
            Err(failure) => Err(failure),
            Ok(0) => Ok(()),
            Ok(faults) => {
                if faults > FAULTS_NAMED {
                    notice::error(&format!("{} more rows are damaged", faults - FAULTS_NAMED));
                }
                Err(Failure::Reported)
            }
        }
    }
}

/// Opens a dataset without a cache, for a command that ends soon.
pub(super) fn open(dataset: &std::path::Path, checksums: ChecksumPolicy) -> Result<Store, Failure> {
    let config = Config {
        lab: Lab {
            checksums: match checksums {
                ChecksumPolicy::Verify => Checksums::Verify,
                ChecksumPolicy::Skip => Checksums::Skip,
            },
            ..Lab::default()
        },
        ..Config::default()
    };
    Ok(Store::open(dataset, config)?)
}

/// Projection of the named columns, or of all.
pub(super) fn project(store: &Store, columns: Option<&[String]>) -> Result<Projection, Failure> {
    match columns {
        None => Ok(store.all_columns()),
        Some(names) => Ok(store.projection(names)?),
    }
}

/// Number of rows to take at once, so that a chunk stays near its target size.
pub(super) fn chunk_rows(store: &Store) -> usize {
    let layout = store.dataset().layout();
    let stored: u64 = layout
        .groups
        .iter()
        .flat_map(|group| group.file_bytes())
        .sum();
    let row_bytes = (stored / layout.rows.max(1)).max(1);
    let rows = (CHUNK_BYTES / row_bytes).clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end());
    rows as usize
}

/// Takes the intact rows of `ids`. Damaged rows are reported and counted.
fn take_intact(
    store: &Store,
    mut ids: Vec<u64>,
    projection: &Projection,
    missing: Missing,
    faults: &mut u64,
) -> Result<RecordBatch, Failure> {
    loop {
        match store.take(&ids, projection).missing(missing).wait() {
            Ok(batch) => return Ok(batch),
            Err(Error::Rows {
                faults: found,
                rows,
            }) if !found.is_empty() => {
                let mut damaged = HashSet::new();
                let mut named = HashSet::new();
                for fault in &found {
                    // A row with damage in two groups is one damaged row with two reports; a row
                    // asked for twice is reported once.
                    if damaged.insert(fault.row) {
                        *faults += 1;
                    }
                    if named.insert((fault.row, fault.group)) && *faults <= FAULTS_NAMED {
                        notice::error(fault);
                    }
                }
                tracing::debug!(rows, "taking the intact rows of a chunk again");
                ids.retain(|id| !damaged.contains(id));
            }
            Err(other) => return Err(other.into()),
        }
    }
}
