//! `bench file-read`: opens a store, brings it into the state asked for, counts
//! everything around a closed loop of takes, and makes the record.
//!
//! The order matters. The counter of system calls is opened before the store so
//! that it follows the shards' threads. The caches are filled and the warm-up
//! queries asked before the first count. The checksum over rows is taken after
//! the last count, because hashing every byte would cost more than reading it.

use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use ringtake_runtime::{
    CacheChoice, Checksums, Config, IoMode, Projection, ShardStats, Store, TakeOptions,
};

use crate::advice::{Facts, advice};
use crate::cli::FileReadArgs;
use crate::dataset::DatasetFiles;
use crate::device::{DeviceReads, Devices, NoDevice};
use crate::driver::{self, Bound, Load};
use crate::environment::{Environment, memory_available_bytes};
use crate::error::Error;
use crate::process::Spent;
use crate::proof::Cache;
use crate::record::{Configuration, Measurement, Record};
use crate::row_checksum::RowsChecksum;
use crate::system_calls::SystemCalls;
use crate::workload::Workload;

/// The checksum covers the rows of so many queries, or of one pass if that is less.
const CHECKSUM_QUERIES: u64 = 64;

/// Rows of one take while the caches are filled.
const FILL_ROWS: u64 = 4096;

/// Rounds over the dataset in which the caches must come to hold it.
const FILL_ROUNDS_MAX: usize = 3;

/// A cache keeps more than the bytes of its rows: a quarter, and this much.
const CACHE_SLACK_BYTES: u64 = 64 << 20;

/// Share of the available memory a warm run may take, in percent.
const MEMORY_PERCENT_MAX: u64 = 90;

/// Takes the measurement that `args` ask for.
pub(crate) fn measure(args: &FileReadArgs, interrupted: &AtomicBool) -> Result<Record, Error> {
    let files = DatasetFiles::of(&args.dataset, &args.columns)?;
    let rows = args
        .rows
        .map_or(files.rows, |rows| rows.get().min(files.rows));
    let workload = Workload::new(rows, args.rows_per_query.get(), args.seed)?;
    let config = store_config(args, &files, rows)?;
    let mut system_calls = SystemCalls::open();

    let store = Store::open(&args.dataset, config)?;
    let subject = Subject {
        projection: if args.columns.is_empty() {
            store.all_columns()
        } else {
            store.projection(&args.columns)?
        },
        store,
    };
    if args.cache == Cache::Warm {
        subject.fill_caches(rows, interrupted)?;
    }
    subject.warm_up(&workload, interrupted)?;
    if args.cache == Cache::Cold && args.io == IoMode::Buffered {
        files.drop_from_page_cache();
    }

    // The files are looked up now, not before: a store opened while the dataset
    // was being replaced has the newer ones.
    let files = DatasetFiles::of(&args.dataset, &args.columns)?;
    let devices = Devices::holding(&files.paths);
    let mut attempt = 1;
    let mut measurement = loop {
        let measurement = Measurement {
            attempt,
            ..subject.run(args, &workload, &devices, &mut system_calls, interrupted)?
        };
        match measurement.prove() {
            Err(reason) if reason.is_disturbance() && attempt < args.attempts => {
                eprintln!("measuring again: {reason}");
                attempt += 1;
            }
            _ => break measurement,
        }
    };
    measurement.checksum = subject.checksum(&workload, interrupted)?;

    let environment = Environment::observe(devices.map(|d| d.describe()).unwrap_or_default());
    let resolved = subject.store.config();
    let mut record = Record::new(
        &measurement,
        resolved.read_path.to_string(),
        environment,
        configuration(args, &files, rows, &subject.store),
    );
    record.warnings = subject.store.info().warnings.clone();
    record.warnings.extend(advice(
        &record,
        Facts {
            shards: resolved.shards,
            queue_depth: resolved.queue_depth as usize,
        },
    ));
    Ok(record)
}

/// Every counter at one instant.
struct Counts {
    spent: Spent,
    store: ShardStats,
    device: Result<DeviceReads, NoDevice>,
    system_calls: Result<u64, String>,
}

fn store_config(args: &FileReadArgs, files: &DatasetFiles, rows: u64) -> Result<Config, Error> {
    let default = Config::default();
    Ok(Config {
        shards: args.shards,
        queue_depth: args.queue_depth.unwrap_or(default.queue_depth),
        cache: match (args.cache, args.io) {
            (Cache::Cold, _) | (_, IoMode::Buffered) => CacheChoice::Off,
            (Cache::Warm, IoMode::Direct) => CacheChoice::Bytes(cache_bytes(args, files, rows)?),
        },
        io: args.io,
        read_path: args.read_path,
        checksums: if args.skip_checksums {
            Checksums::Skip
        } else {
            Checksums::Verify
        },
        ..default
    })
}

/// What the rows need in the caches, if the machine has it.
fn cache_bytes(args: &FileReadArgs, files: &DatasetFiles, rows: u64) -> Result<u64, Error> {
    let share = rows as f64 / files.rows.max(1) as f64;
    let rows_bytes = (files.bytes as f64 * share) as u64;
    let cache_bytes = args
        .cache_bytes
        .unwrap_or(rows_bytes + rows_bytes / 4 + CACHE_SLACK_BYTES);
    if let Some(available_bytes) = memory_available_bytes()
        && cache_bytes > available_bytes / 100 * MEMORY_PERCENT_MAX
    {
        return Err(Error::TooLittleMemory {
            cache_bytes,
            available_bytes,
        });
    }
    Ok(cache_bytes)
}

fn configuration(
    args: &FileReadArgs,
    files: &DatasetFiles,
    rows: u64,
    store: &Store,
) -> Configuration {
    let (seconds, queries) = match args.bound() {
        Bound::Time(time) => (Some(time.as_secs_f64()), None),
        Bound::Queries(queries) => (None, Some(queries)),
    };
    Configuration {
        dataset: args.dataset.clone(),
        dataset_rows: files.rows,
        rows_used: rows,
        columns: files.columns.clone(),
        row_bytes: files.row_bytes,
        seconds,
        queries,
        rows_per_query: args.rows_per_query.get(),
        threads: args.threads.get(),
        in_flight: args.in_flight.get(),
        seed: args.seed,
        store: serde_json::to_value(store.config()).unwrap_or_default(),
        store_info: serde_json::to_value(store.info()).unwrap_or_default(),
    }
}

/// The store under measurement and the columns taken from it.
struct Subject {
    store: Store,
    projection: Projection,
}

impl Subject {
    fn take_async(
        &self,
        row_ids: &[u64],
    ) -> impl Future<Output = Result<arrow::array::RecordBatch, Error>> + use<> {
        let take = self
            .store
            .take_async(row_ids, &self.projection, TakeOptions::default());
        async move { Ok(take.await?) }
    }

    /// One closed loop with every counter read before and after.
    fn run(
        &self,
        args: &FileReadArgs,
        workload: &Workload,
        devices: &Result<Devices, NoDevice>,
        system_calls: &mut Result<SystemCalls, String>,
        interrupted: &AtomicBool,
    ) -> Result<Measurement, Error> {
        let mut counts = || Counts {
            spent: Spent::by_process(),
            store: self.counters(),
            device: devices.clone().and_then(|devices| devices.reads()),
            system_calls: match system_calls {
                Ok(calls) => calls.count(),
                Err(reason) => Err(reason.clone()),
            },
        };
        let mut before = None;
        let run = driver::run(
            Load {
                threads: args.threads,
                in_flight: args.in_flight,
                bound: args.bound(),
            },
            workload,
            interrupted,
            |row_ids: &[u64]| self.take_async(row_ids),
            || before = Some(counts()),
        )?;
        let after = counts();
        let before =
            before.unwrap_or_else(|| unreachable!("the driver calls `at_start` in every run"));
        Ok(Measurement {
            cache: args.cache,
            attempt: 1,
            unique_rows: workload.unique_rows(run.queries),
            checksum: RowsChecksum::default(),
            spent: after.spent.since(before.spent),
            store: after.store - before.store,
            device: after
                .device
                .and_then(|after| Ok(after.since(before.device?))),
            system_calls: after
                .system_calls
                .and_then(|after| Ok(after - before.system_calls?)),
            run,
        })
    }

    fn counters(&self) -> ShardStats {
        let shards = self.store.stats();
        shards
            .into_iter()
            .fold(ShardStats::default(), |sum, shard| sum + shard)
    }

    /// Reads that the kernel's page cache did not serve.
    fn drive_reads(&self) -> u64 {
        let counters = self.counters();
        counters.reads - counters.page_cache_hits
    }

    /// Takes every row once, in order, until a whole round needs no read.
    fn fill_caches(&self, rows: u64, interrupted: &AtomicBool) -> Result<(), Error> {
        for round in 0..FILL_ROUNDS_MAX {
            let before = self.drive_reads();
            let bar = progress_bar(rows, if round == 0 { "filling" } else { "checking" });
            for start in (0..rows).step_by(FILL_ROWS as usize) {
                stop_if(interrupted)?;
                let row_ids: Vec<u64> = (start..rows.min(start + FILL_ROWS)).collect();
                self.store.take(&row_ids, &self.projection)?;
                bar.inc(row_ids.len() as u64);
            }
            bar.finish_and_clear();
            if self.drive_reads() == before {
                break;
            }
        }
        Ok(())
    }

    fn warm_up(&self, workload: &Workload, interrupted: &AtomicBool) -> Result<(), Error> {
        let mut row_ids = Vec::new();
        for index in 0..workload.warm_up_queries() {
            stop_if(interrupted)?;
            workload.warm_up_query(index, &mut row_ids);
            self.store.take(&row_ids, &self.projection)?;
        }
        Ok(())
    }

    /// The first queries of the workload again, every byte looked at.
    fn checksum(
        &self,
        workload: &Workload,
        interrupted: &AtomicBool,
    ) -> Result<RowsChecksum, Error> {
        let mut checksum = RowsChecksum::default();
        let mut row_ids = Vec::new();
        for index in 0..workload.pass_queries().min(CHECKSUM_QUERIES) {
            stop_if(interrupted)?;
            workload.query(index, &mut row_ids);
            checksum.add(&row_ids, &self.store.take(&row_ids, &self.projection)?)?;
        }
        Ok(checksum)
    }
}

fn stop_if(interrupted: &AtomicBool) -> Result<(), Error> {
    if interrupted.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// A bar on standard error; nothing where that is no terminal.
pub(crate) fn progress_bar(rows: u64, verb: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(rows).with_message(verb);
    if let Ok(style) = ProgressStyle::with_template(
        "{msg} {bar:40} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
    ) {
        bar.set_style(style);
    }
    bar
}
