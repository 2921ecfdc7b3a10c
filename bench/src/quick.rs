//! `bench quick`, and `bench` without arguments: a dataset of its own, taken cold
//! and warm, a table, and nothing left behind.
//!
//! The dataset is made on a drive in one directory with a fixed name, under a
//! lock on the directory around it, so that what a killed run has left is found
//! and removed by the next, and two runs never share it.

use std::fs::{self, File, TryLockError};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_storage::layout::{GroupOptions, LayoutPolicy};
use ringtake_storage::write::{WriteOptions, Writer};

use crate::cli::{FileReadArgs, QuickArgs};
use crate::environment::memory_available_bytes;
use crate::error::Error;
use crate::figures::{bytes, whole};
use crate::file_read::measure;
use crate::measure::progress_bar;
use crate::proof::Cache;
use crate::record::Record;
use crate::report::{emit, report};

/// The directory a quick run makes and removes.
const DIRECTORY: &str = "ringtake-bench-quick-run";

/// Numbers in one vector: a common width of text embeddings.
const DIMENSION: i32 = 768;

/// What one row takes on the drive: its 3,072 bytes, kept within one page.
const ROW_STORED_BYTES: u64 = 4096;

/// Fewer rows than this tell nothing.
const ROWS_MIN: u64 = 1_000;

/// Rows written at a time.
const BATCH_ROWS: u64 = 4096;

/// Space and memory left to others.
const SPARE_BYTES: u64 = 256 << 20;

/// The warm run keeps the dataset in memory and a margin beside it; so many
/// bytes of memory per byte of dataset.
const MEMORY_FACTOR: u64 = 2;

/// When the writing ends, however many rows there are by then: the two minutes
/// of the whole run must also hold the syncing, the filling and the two runs.
const WRITE_TIME_MAX: Duration = Duration::from_secs(25);

/// The filling of the caches reads each row once; it may take this long.
const FILL_SECONDS_MAX: f64 = 25.0;

/// Makes, measures, tells, removes.
pub(crate) fn run(args: &QuickArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    let base = args.dir.clone().unwrap_or_else(default_base);
    let place = Place::prepare(&base)?;
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
    let mut file_read = FileReadArgs::for_dataset(dataset, Cache::Cold);
    file_read.seconds = Some(args.seconds);
    (file_read.threads, file_read.shards) = split_cpus();
    let cold = measure(&file_read, interrupted)?;

    eprintln!("3/3 warm: every row is put into memory first");
    file_read.cache = Cache::Warm;
    file_read.rows = rows_to_fill(&cold);
    let warm = measure(&file_read, interrupted)?;

    let same_rows = cold.rows_checksum_rows == warm.rows_checksum_rows
        && cold.config.rows_used == warm.config.rows_used;
    if same_rows && cold.rows_checksum != warm.rows_checksum {
        return Err(Error::DifferentRows {
            cold: cold.rows_checksum,
            warm: warm.rows_checksum,
        });
    }
    tell(args.json.as_deref(), &[cold, warm])
}

fn tell(json: Option<&Path>, records: &[Record]) -> Result<(), Error> {
    let text = report(records)
        + "\nMeasure your own data: `ringtake import SOURCE DATASET`, then `cargo run --release --bin bench -- file-read --dataset DATASET`.\n";
    emit(json, &text, &records)
}

/// Cargo's directory is on a drive and ignored by version control.
fn default_base() -> PathBuf {
    let target = PathBuf::from("target");
    if target.is_dir() {
        target
    } else {
        PathBuf::from(".")
    }
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
    let space = rustix::fs::statvfs(base)
        .map_err(|errno| Error::io("ask for the free space of", base)(errno.into()))?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    let by_space = free_bytes.saturating_sub(SPARE_BYTES) / ROW_STORED_BYTES;
    let by_memory = memory_available_bytes().map_or(u64::MAX, |available_bytes| {
        available_bytes.saturating_sub(SPARE_BYTES) / (ROW_STORED_BYTES * MEMORY_FACTOR)
    });
    let rows = asked.min(by_space).min(by_memory);
    if rows < asked.min(ROWS_MIN) {
        return Err(if by_space <= by_memory {
            Error::TooLittleSpace {
                path: base.to_path_buf(),
                available_bytes: free_bytes,
                needed_bytes: ROWS_MIN * ROW_STORED_BYTES + SPARE_BYTES,
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
    let rows = (cold.rows_per_s * FILL_SECONDS_MAX) as u64;
    if rows >= cold.config.dataset_rows {
        return None;
    }
    NonZeroU64::new(rows.max(cold.config.rows_per_query))
}

fn write_dataset(path: &Path, rows: u64, interrupted: &AtomicBool) -> Result<(), Error> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let vector = DataType::FixedSizeList(item.clone(), DIMENSION);
    let schema = Arc::new(Schema::new(vec![Field::new("vector", vector, false)]));
    let options = WriteOptions {
        grouping: GroupOptions {
            policy: LayoutPolicy::Page,
            ..GroupOptions::default()
        },
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &schema, options)?;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (started, bar) = (Instant::now(), progress_bar(rows, "writing"));
    let mut written = 0;
    while written < rows {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if started.elapsed() > WRITE_TIME_MAX && written >= ROWS_MIN {
            eprintln!(
                "warning: the drive is slow to write; going on with {} rows",
                whole(written)
            );
            break;
        }
        let batch_rows = BATCH_ROWS.min(rows - written);
        let vectors = FixedSizeListArray::new(
            item.clone(),
            DIMENSION,
            Arc::new(random_numbers(batch_rows * DIMENSION as u64, &mut random)),
            None,
        );
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(vectors) as ArrayRef])
            .unwrap_or_else(|error| unreachable!("the batch was made for its schema: {error}"));
        writer.write(&batch)?;
        written += batch_rows;
        bar.inc(batch_rows);
    }
    bar.finish_and_clear();
    writer.finish()?;
    Ok(())
}

/// Numbers from 0 to 1 that do not compress.
fn random_numbers(count: u64, random: &mut ChaCha8Rng) -> Float32Array {
    Float32Array::from_iter_values((0..count).map(|_| random.random::<f32>()))
}

/// The directory of one quick run; removed when dropped.
struct Place {
    path: PathBuf,
    /// Held until the directory is gone.
    _lock: File,
}

impl Place {
    fn prepare(base: &Path) -> Result<Place, Error> {
        let lock = File::open(base).map_err(Error::io("open", base))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::QuickRunBusy {
                    path: base.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", base)(error)),
        }
        let path = base.join(DIRECTORY);
        // Whoever left it no longer holds the lock.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(error));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(Error::io("make", &path))?;
        Ok(Place { path, _lock: lock })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!(
                "warning: cannot remove `{}`: {error}; remove it by hand",
                self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    #[test]
    fn place_is_removed_when_it_is_dropped_and_taken_by_one_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::prepare(base.path()).unwrap();
        fs::write(place.path.join("file"), "x").unwrap();
        assert!(matches!(
            Place::prepare(base.path()),
            Err(Error::QuickRunBusy { .. })
        ));
        assert!(place.path.join("file").exists());
        let path = place.path.clone();
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_run_has_left_is_removed_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let left = base.path().join(DIRECTORY).join("dataset");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("MANIFEST"), "old").unwrap();
        let place = Place::prepare(base.path()).unwrap();
        assert!(!left.exists());
        assert!(place.path.exists());
    }

    #[test]
    fn slow_drive_fills_fewer_rows() {
        let mut cold = record_of(&measurement());
        cold.rows_per_s = 1e9;
        assert_eq!(rows_to_fill(&cold), None);
        cold.rows_per_s = 1_000.0;
        assert_eq!(rows_to_fill(&cold), NonZeroU64::new(25_000));
        cold.rows_per_s = 1.0;
        assert_eq!(rows_to_fill(&cold), NonZeroU64::new(500));
    }
}
