//! `bench quick`, and `bench` without arguments: a dataset of its own, taken cold
//! and warm, a table, and nothing left behind.
//!
//! The dataset is made on a drive, in a scratch directory.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::command::args::{JsonArgs, defaults, parse_seconds};
use crate::command::file_read::FileReadArgs;
use crate::command::scratch::{SPARE_BYTES, Scratch, default_base, free_bytes};
use crate::count::environment::memory_available_bytes;
use crate::error::Error;
use crate::numbers::{bytes, whole};
use crate::record::Record;
use crate::record::proof::Cache;
use crate::tell::output::emit;
use crate::tell::table::report;
use crate::workload::made_dataset::{DatasetSpec, write_vectors};

/// The directory a quick run makes and removes.
const DIRECTORY: &str = "ringtake-bench-quick-run";

/// Numbers in one vector: a common width of text embeddings.
const DIMENSION: u32 = 768;

/// Bytes of one row on the drive, kept within one page.
const ROW_STORED_BYTES: u64 = 4096;

/// The fewest rows that are worth a measurement.
const ROWS_MIN: u64 = 1_000;

/// Bytes of memory per byte of dataset: the warm run keeps the dataset in
/// memory, with a margin.
const MEMORY_FACTOR: u64 = 2;

/// When the writing ends, however many rows there are by then: the two minutes
/// of the whole run must also hold the syncing, the filling and the two runs.
const WRITE_TIME_MAX: Duration = Duration::from_secs(25);

/// The filling of the caches reads each row once; it may take this long.
const FILL_SECONDS_MAX: f64 = 25.0;

/// Flags of `bench quick`.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuickArgs {
    /// Directory for the dataset: on a drive, not in memory [default: ./target if there is one, else here]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rows of the dataset; fewer are made where space, memory or time is short
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(500..))]
    rows: u64,
    /// Duration of each of the two runs
    #[arg(long, value_name = "S", default_value = "6", value_parser = parse_seconds)]
    seconds: Duration,
    /// Where both records go.
    #[command(flatten)]
    json: JsonArgs,
}

impl Default for QuickArgs {
    fn default() -> QuickArgs {
        defaults(&[])
    }
}

/// Makes a dataset, measures it cold and warm, prints both records, and removes the dataset.
pub(crate) fn run(args: &QuickArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    let base = args.dir.clone().unwrap_or_else(default_base);
    let place = Scratch::prepare(&base, DIRECTORY)?;
    let rows = affordable_rows(args.rows, &base)?;
    let dataset = place.path.join("dataset");
    eprintln!(
        "1/3 making a dataset of {} vectors of {DIMENSION} numbers, {} on the drive, in {}",
        whole(rows),
        bytes(rows * ROW_STORED_BYTES),
        place.path.display(),
    );
    write_dataset(&dataset, rows, interrupted)?;

    eprintln!("2/3 cold: every row is read from the drive");
    let mut file_read = FileReadArgs::of_dataset(&dataset, Cache::Cold);
    file_read.bound.seconds = Some(args.seconds);
    (file_read.load.threads, file_read.store.shards) = split_cpus();
    let cold = file_read.measure(interrupted)?;

    eprintln!("3/3 warm: every row is put into memory first");
    file_read.cache = Cache::Warm;
    file_read.part.rows = rows_to_fill(&cold);
    let warm = file_read.measure(interrupted)?;

    let same_rows = cold.rows_checksum_rows == warm.rows_checksum_rows
        && cold.config.rows_used == warm.config.rows_used;
    if same_rows && cold.rows_checksum != warm.rows_checksum {
        return Err(Error::DifferentRows {
            cold: cold.rows_checksum,
            warm: warm.rows_checksum,
        });
    }
    print_records(args.json.path(), &[cold, warm])
}

fn print_records(json: Option<&Path>, records: &[Record]) -> Result<(), Error> {
    let text = report(records)
        + "\nMeasure your own data: `ringtake import SOURCE DATASET`, then `cargo run --release --bin bench -- file-read --dataset DATASET`.\n";
    emit(json, &text, &records)
}

/// Half of the CPUs for the clients and half for the shards, so that neither
/// takes the other's time.
fn split_cpus() -> (NonZeroUsize, Option<usize>) {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = NonZeroUsize::new(cpus / 2).unwrap_or(NonZeroUsize::MIN);
    (threads, Some((cpus - cpus / 2).max(1)))
}

/// As many rows as asked for, or as the drive and the memory have room for.
fn affordable_rows(asked: u64, base: &Path) -> Result<u64, Error> {
    let free_bytes = free_bytes(base)?;
    let by_space = free_bytes / ROW_STORED_BYTES;
    let by_memory = memory_available_bytes().map_or(u64::MAX, |available_bytes| {
        available_bytes.saturating_sub(SPARE_BYTES) / (ROW_STORED_BYTES * MEMORY_FACTOR)
    });
    let rows = asked.min(by_space).min(by_memory);
    if rows < asked.min(ROWS_MIN) {
        return Err(if by_space <= by_memory {
            Error::TooLittleSpace {
                path: base.to_path_buf(),
                available_bytes: free_bytes,
                needed_bytes: ROWS_MIN * ROW_STORED_BYTES,
            }
        } else {
            Error::TooLittleMemory {
                cache_bytes: ROWS_MIN * ROW_STORED_BYTES * MEMORY_FACTOR + SPARE_BYTES,
                available_bytes: memory_available_bytes().unwrap_or(0),
            }
        });
    }
    if rows < asked {
        eprintln!(
            "warning: {} rows instead of {}: {} are free in {} and the memory must hold the rows too",
            whole(rows),
            whole(asked),
            bytes(free_bytes),
            base.display(),
        );
    }
    Ok(rows)
}

/// Fewer rows where reading them all once at the speed found would take too long.
fn rows_to_fill(cold: &Record) -> Option<NonZeroU64> {
    let rows = (cold.rates.rows_per_s * FILL_SECONDS_MAX) as u64;
    if rows >= cold.config.dataset_rows {
        return None;
    }
    NonZeroU64::new(rows.max(cold.config.rows_per_query))
}

fn write_dataset(path: &Path, rows: u64, interrupted: &AtomicBool) -> Result<(), Error> {
    let spec = DatasetSpec {
        rows,
        dims: DIMENSION,
        time_max: Some((WRITE_TIME_MAX, ROWS_MIN)),
    };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // Numbers from 0 to 1 that do not compress.
    write_vectors(path, spec, interrupted, |_, numbers| {
        numbers.fill_with(|| random.random());
    })
}
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    #[test]
    fn slow_drive_fills_fewer_rows() {
        let mut cold = record_of(&measurement());
        cold.rates.rows_per_s = 1e9;
        assert_eq!(rows_to_fill(&cold), None);
        cold.rates.rows_per_s = 1_000.0;
        assert_eq!(rows_to_fill(&cold), NonZeroU64::new(25_000));
        cold.rates.rows_per_s = 1.0;
        assert_eq!(rows_to_fill(&cold), NonZeroU64::new(500));
    }
}
