//! One measurement of one subject: brings it into the state asked for, counts everything around
//! a loop of takes, and makes the record.
//!
//! The order matters. The counter of system calls is opened before the subject so that it
//! follows the subject's threads. The caches are filled and the warm-up queries asked before the
//! first count. The checksum over rows is taken after the last count, because hashing every byte
//! would cost more than reading it.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ringtake_runtime::{ShardStats, StoreMetrics};
use ringtake_storage::layout::PAGE_BYTES;

use crate::advice::advice;
use crate::device::{DeviceReads, Devices, NoDevice};
use crate::distribution::{CacheSize, Distribution, MIXED_HIT_SHARE};
use crate::driver::{self, Bound, Clients, InShard, Live, Load, Pace};
use crate::environment::Environment;
use crate::error::Error;
use crate::observed::Observed;
use crate::process::{self, Spent};
use crate::profile::window;
use crate::proof::Cache;
use crate::record::{Configuration, Measurement, OpenLoop, Record};
use crate::row_checksum::RowsChecksum;
use crate::sampler::Sampler;
use crate::subject::{Alarm, Answer as _, Subject, whole};
use crate::system_calls::SystemCalls;
use crate::verdict::judge;
use crate::workload::Workload;

/// The checksum covers the rows of so many queries, or of one pass if that is less.
pub(crate) const CHECKSUM_QUERIES: u64 = 64;

/// Rows of one take while the caches are filled.
const FILL_ROWS: u64 = 4096;

/// Rounds over the dataset in which the caches must come to hold it.
const FILL_ROUNDS_MAX: usize = 3;

/// How fast queries arrive in an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many queries per second.
    PerSecond(f64),
    /// This share of what a closed loop of the same load reaches, which is measured first.
    OfCapacity(f64),
}

/// Rows of one take while the caches of a mixed run are filled.
const FILL_DRAWS: u64 = 512;

/// Bytes of memory in which 90 of 100 accesses to `rows` rows of `row_bytes` bytes hit, if it
/// keeps the rows asked for last. Popular rows are scattered, so each takes whole pages.
pub fn mixed_memory_bytes(rows: u64, row_bytes: u64, distribution: Distribution) -> u64 {
    let size = CacheSize::for_hits(rows, distribution, MIXED_HIT_SHARE);
    size.rows * row_bytes.next_multiple_of(PAGE_BYTES)
}

/// What to measure and how hard to push. The default leaves out the dataset: `dataset`,
/// `dataset_rows` and `rows` must be said.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of the workload in the record.
    pub workload: &'static str,
    /// Where the rows must come from.
    pub cache: Cache,
    /// Client threads, queries in flight and the end of the run.
    pub load: Load,
    /// The rate of an open loop; `None` is a closed loop.
    pub rate: Option<Rate>,
    /// In an open loop, when an answer is of no more use, counted from the arrival.
    pub deadline: Option<Duration>,
    /// Rows of the dataset.
    pub dataset_rows: u64,
    /// Only the first of them are used; at most `dataset_rows`.
    pub rows: u64,
    /// Rows of each query, none of them twice.
    pub rows_per_query: u64,
    /// A subject that searches is asked for the number of a query, one of so many, instead of for
    /// rows; `rows_per_query` then only tells what a query costs.
    pub query_pool: Option<u64>,
    /// How popular rows are. A uniform run takes no row twice, unless it is mixed.
    pub distribution: Distribution,
    /// Chooses the order of the rows.
    pub seed: u64,
    /// How often to measure at most while other programs read the drive and spoil the proof.
    pub attempts: u32,
    /// The dataset, as the record names it.
    pub dataset: PathBuf,
    /// The columns taken, as the record names them.
    pub columns: Vec<String>,
    /// Bytes of those columns in one row, where every one is of fixed width.
    pub row_bytes: Option<u64>,
    /// What the drive has to move at least for such a row, where that is more, as in a page cache.
    /// Proves a cold run of a subject that does not count its reads.
    pub device_row_bytes: Option<u64>,
    /// Memory in which a subject that does not count its reads may hold rows; a mixed run is
    /// proven against it.
    pub memory_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            workload: "file-read",
            cache: Cache::Cold,
            load: Load {
                threads: NonZeroUsize::MIN,
                in_flight: NonZeroUsize::MIN.saturating_add(3),
                bound: Bound::Time(Duration::from_secs(10)),
            },
            rate: None,
            deadline: None,
            dataset_rows: 0,
            rows: 0,
            rows_per_query: 500,
            query_pool: None,
            distribution: Distribution::Uniform,
            seed: 1,
            attempts: 3,
            dataset: PathBuf::new(),
            columns: Vec::new(),
            row_bytes: None,
            device_row_bytes: None,
            memory_bytes: None,
        }
    }
}

impl Options {
    fn workload(&self) -> Result<Workload, Error> {
        match self.query_pool {
            Some(pool) => Workload::new(pool, 1, self.seed),
            None => self.workload_of(self.rows_per_query),
        }
    }

    /// A share of accesses cannot hit unless rows are asked for again.
    fn workload_of(&self, rows_per_query: u64) -> Result<Workload, Error> {
        match (self.distribution, self.cache) {
            (Distribution::Uniform, Cache::Cold | Cache::Warm) => {
                Workload::new(self.rows, rows_per_query, self.seed)
            }
            (distribution, _) => {
                Workload::drawn(self.rows, rows_per_query, self.seed, distribution)
            }
        }
    }
}

/// Opens a subject and measures it. `interrupted` ends the run early, with an error; see
/// [`crate::listen`].
///
/// # Errors
/// What `open` or a take returns; a dataset of less rows than a query; an interruption. A run
/// that cannot be proven is no error: its record says so.
pub fn measure<S: Subject>(
    options: &Options,
    interrupted: &AtomicBool,
    open: impl FnOnce() -> Result<S, Error>,
) -> Result<Record, Error> {
    measure_inside(options, interrupted, open, |_| None)?.whole()
}

/// [`measure`] with the clients of the measured loop where `inside` says, if it says so; a run that
/// is interrupted once queries have come back is no error.
pub(crate) fn measure_inside<S: Subject>(
    options: &Options,
    interrupted: &AtomicBool,
    open: impl FnOnce() -> Result<S, Error>,
    inside: impl FnOnce(&S) -> Option<InShard>,
) -> Result<Record, Error> {
    // A workload that is none is found before anything is opened.
    options.workload()?;
    let mut bench = Bench::open(interrupted, open)?;
    bench.inside = inside(&bench.subject);
    bench.fill(options)?;
    bench.measure(options)
}

/// A subject that stands ready, to be measured once or more often.
pub(crate) struct Bench<'a, S> {
    /// May be changed between two measurements.
    pub(crate) subject: S,
    devices: Result<Devices, NoDevice>,
    system_calls: RefCell<Result<SystemCalls, String>>,
    interrupted: &'a AtomicBool,
    /// Clients of the measured loop that are inside the shards.
    inside: Option<InShard>,
}

impl<'a, S: Subject> Bench<'a, S> {
    /// Opens the subject.
    pub(crate) fn open(
        interrupted: &'a AtomicBool,
        open: impl FnOnce() -> Result<S, Error>,
    ) -> Result<Bench<'a, S>, Error> {
        let system_calls = RefCell::new(SystemCalls::open());
        let subject = open()?;
        Ok(Bench {
            devices: Devices::holding(&subject.files()?),
            subject,
            system_calls,
            interrupted,
            inside: None,
        })
    }

    /// Brings the caches into the state that `options` ask for.
    pub(crate) fn fill(&self, options: &Options) -> Result<(), Error> {
        let workload = options.workload()?;
        let session = self.session(options, &workload);
        match options.cache {
            Cache::Cold => Ok(()),
            Cache::Warm => session.fill_caches(),
            Cache::Mixed => session.fill_by_draws(),
        }
    }

    /// Measures once. A run that is interrupted is a record that says so.
    pub(crate) fn measure(&self, options: &Options) -> Result<Record, Error> {
        let workload = options.workload()?;
        let session = self.session(options, &workload);
        session.warm_up()?;
        let (pace, capacity_per_s) = session.pace()?;
        let mut measurement = session.run_until_undisturbed(pace)?;
        if !measurement.run.interrupted {
            measurement.checksum = session.checksum()?;
        }
        let devices = self.devices.as_ref();
        let environment = Environment::observe(devices.map(Devices::describe).unwrap_or_default());
        let subject = &self.subject;
        let mut record = Record::new(
            &measurement,
            options.workload,
            subject.read_path(),
            environment,
            configuration(options, subject, session.clients()),
        );
        record.open_loop = OpenLoop::of(&measurement.run, pace, capacity_per_s, options.deadline);
        record.warnings = subject.warnings();
        record.warnings.extend(advice(&record, subject.facts()));
        record.verdict = judge(&record, subject.facts());
        Ok(record)
    }

    fn session<'b>(&'b self, options: &'b Options, workload: &'b Workload) -> Session<'b, S> {
        Session {
            inside: self.inside.as_ref(),
            subject: &self.subject,
            options,
            workload,
            devices: &self.devices,
            system_calls: &self.system_calls,
            interrupted: self.interrupted,
        }
    }
}

fn configuration(options: &Options, subject: &impl Subject, clients: Clients) -> Configuration {
    let (seconds, queries) = match options.load.bound {
        Bound::Time(time) => (Some(time.as_secs_f64()), None),
        Bound::Queries(queries) => (None, Some(queries)),
    };
    Configuration {
        dataset: options.dataset.clone(),
        dataset_rows: options.dataset_rows,
        rows_used: options.rows,
        columns: options.columns.clone(),
        row_bytes: options.row_bytes,
        memory_bytes: options.memory_bytes,
        seconds,
        queries,
        rows_per_query: options.rows_per_query,
        distribution: options.distribution.to_string(),
        clients,
        threads: options.load.threads.get(),
        in_flight: options.load.in_flight.get(),
        seed: options.seed,
        store: subject.configuration(),
        store_info: subject.description(),
    }
}

/// Every counter at one instant.
struct Counts {
    spent: Spent,
    store: Option<ShardStats>,
    device: Result<DeviceReads, NoDevice>,
    process_bytes: Option<u64>,
    system_calls: Result<u64, String>,
    metrics: Option<StoreMetrics>,
}

/// A subject under one workload.
struct Session<'a, S> {
    subject: &'a S,
    /// Where the clients of the measured loop are, if not on threads of their own.
    inside: Option<&'a InShard>,
    options: &'a Options,
    workload: &'a Workload,
    devices: &'a Result<Devices, NoDevice>,
    system_calls: &'a RefCell<Result<SystemCalls, String>>,
    interrupted: &'a AtomicBool,
}

impl<S: Subject> Session<'_, S> {
    fn clients(&self) -> Clients {
        match self.inside {
            Some(_) => Clients::InShard,
            None => Clients::Threads,
        }
    }

    /// When queries are asked, and the capacity if it had to be measured for that.
    fn pace(&self) -> Result<(Pace, Option<f64>), Error> {
        let seed = self.options.seed;
        let open = |rate_per_s| Pace::Open { rate_per_s, seed };
        match self.options.rate {
            None => Ok((Pace::Closed, None)),
            Some(Rate::PerSecond(rate_per_s)) => Ok((open(rate_per_s), None)),
            Some(Rate::OfCapacity(share)) => {
                let run = driver::run(
                    self.options.load,
                    Pace::Capacity,
                    self.workload,
                    self.interrupted,
                    self.subject,
                    &Live::default(),
                    || (),
                )?
                .whole()?;
                let capacity_per_s = run.queries as f64 / run.duration.as_secs_f64();
                if !(capacity_per_s.is_finite() && capacity_per_s > 0.0) {
                    return Err(Error::NoCapacity);
                }
                Ok((open(share * capacity_per_s), Some(capacity_per_s)))
            }
        }
    }

    fn run_until_undisturbed(&self, pace: Pace) -> Result<Measurement, Error> {
        let mut attempt = 1;
        loop {
            let measurement = Measurement {
                attempt,
                ..self.run(pace)?
            };
            match measurement.prove() {
                _ if measurement.run.interrupted => return Ok(measurement),
                Err(reason) if reason.is_disturbance() && attempt < self.options.attempts => {
                    eprintln!("measuring again: {reason}");
                    attempt += 1;
                }
                _ => return Ok(measurement),
            }
        }
    }

    /// One loop with every counter read before and after.
    fn run(&self, pace: Pace) -> Result<Measurement, Error> {
        let counts = || Counts {
            spent: Spent::by_process(),
            store: self.subject.counters(),
            device: self.device_reads(),
            process_bytes: process::read_bytes(),
            system_calls: match &mut *self.system_calls.borrow_mut() {
                Ok(calls) => calls.count(),
                Err(reason) => Err(reason.clone()),
            },
            metrics: self.subject.metrics(),
        };
        let mut before = None;
        let (load, workload, interrupted) = (self.options.load, self.workload, self.interrupted);
        let live = Live::default();
        let sampler = Sampler::new(self.subject, &live, self.devices, load.bound);
        let (run, after, series) = std::thread::scope(|scope| {
            let looking = scope.spawn(|| sampler.look_on());
            let running = sampler.until_dropped(looking.thread());
            let at_start = || {
                // What telling perf takes is no part of what is counted.
                window::begin();
                sampler.start(looking.thread());
                before = Some(counts());
            };
            let run = match self.inside {
                None => {
                    let subject = self.subject;
                    driver::run(load, pace, workload, interrupted, subject, &live, at_start)
                }
                Some(inside) => {
                    inside.run(load.bound, pace, workload, interrupted, &live, at_start)
                }
            };
            let after = counts();
            drop(running);
            window::end();
            let looked = looking.join();
            (
                run,
                after,
                looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let mut run = run?;
        let before =
            before.unwrap_or_else(|| unreachable!("the driver calls `at_start` in every run"));
        let store = after.store.zip(before.store).map(|(after, b)| after - b);
        let unique = self.workload.unique_rows(run.queries);
        let searches = self.options.query_pool.is_some();
        if searches {
            // The rows that were looked at; the answers have the best of them.
            let counted = store.map(|store| store.rows).filter(|rows| *rows > 0);
            let looked_at = self.subject.rows_read(run.queries).or(counted);
            run.rows = looked_at.unwrap_or(run.rows);
        }
        Ok(Measurement {
            cache: self.options.cache,
            attempt: 1,
            unique_rows: (!searches).then_some(unique),
            unique_queries: searches.then_some(unique),
            row_bytes: self.options.device_row_bytes.or(self.options.row_bytes),
            memory_bytes: self.options.memory_bytes,
            checksum: RowsChecksum::default(),
            spent: after.spent.since(before.spent),
            store,
            observed: Observed::between(before.metrics, after.metrics, series),
            device: after
                .device
                .and_then(|after| Ok(after.since(before.device?))),
            process_bytes: after
                .process_bytes
                .zip(before.process_bytes)
                .map(|(after, before)| after - before),
            system_calls: after
                .system_calls
                .and_then(|after| Ok(after - before.system_calls?)),
            run,
        })
    }

    fn device_reads(&self) -> Result<DeviceReads, NoDevice> {
        self.devices
            .clone()
            .and_then(|devices: Devices| devices.reads())
    }

    /// Takes every row once, in order, until a whole round needs no read.
    fn fill_caches(&self) -> Result<(), Error> {
        let rows = self.options.rows;
        // The subject's own count is not moved by other programs.
        let reads = || match self.subject.counters() {
            Some(counters) => counters.reads - counters.page_cache_hits,
            None => self.device_reads().map_or(0, DeviceReads::issued),
        };
        for round in 0..FILL_ROUNDS_MAX {
            let before = reads();
            let bar = progress_bar(rows, if round == 0 { "filling" } else { "checking" });
            self.drive(async {
                for start in (0..rows).step_by(FILL_ROWS as usize) {
                    stop_if(self.interrupted)?;
                    let row_ids: Vec<u64> = (start..rows.min(start + FILL_ROWS)).collect();
                    self.subject.fill(&row_ids).await?;
                    bar.inc(row_ids.len() as u64);
                }
                Ok(())
            })?;
            bar.finish_and_clear();
            if reads() == before {
                break;
            }
        }
        Ok(())
    }

    /// Draws rows as the run will, until a cache that holds the wanted share of the accesses is
    /// full.
    fn fill_by_draws(&self) -> Result<(), Error> {
        let options = self.options;
        let rows_per_query = options.rows_per_query.max(FILL_DRAWS.min(options.rows / 2));
        let draws = options.workload_of(rows_per_query)?;
        let size = CacheSize::for_hits(options.rows, options.distribution, MIXED_HIT_SHARE);
        let queries = (2 * size.accesses).div_ceil(rows_per_query);
        let bar = progress_bar(queries * rows_per_query, "filling");
        self.drive(async {
            let mut row_ids = Vec::new();
            for index in 0..queries {
                stop_if(self.interrupted)?;
                // Beyond the queries of the warm-up.
                draws.warm_up_query(index | 1 << 62, &mut row_ids);
                self.subject.take(&row_ids).await?;
                bar.inc(row_ids.len() as u64);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    fn warm_up(&self) -> Result<(), Error> {
        self.drive(async {
            let mut row_ids = Vec::new();
            for index in 0..self.workload.warm_up_queries() {
                stop_if(self.interrupted)?;
                self.workload.warm_up_query(index, &mut row_ids);
                self.subject.take(&row_ids).await?;
            }
            Ok(())
        })
    }

    /// The first queries of the workload again, every byte looked at.
    fn checksum(&self) -> Result<RowsChecksum, Error> {
        self.drive(async {
            let mut checksum = RowsChecksum::default();
            let mut row_ids = Vec::new();
            for index in 0..self.workload.pass_queries().min(CHECKSUM_QUERIES) {
                stop_if(self.interrupted)?;
                self.workload.query(index, &mut row_ids);
                let answer = self.subject.take(&row_ids).await?;
                let answer = whole(self.subject, row_ids.len(), answer)?;
                answer.add_to(&mut checksum, &row_ids)?;
            }
            Ok(checksum)
        })
    }

    fn drive<T>(&self, client: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.subject.drive(client, &Alarm::default())
    }
}

pub(crate) fn stop_if(interrupted: &AtomicBool) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::tests::Fake;

    /// The thread that looks on must not be waited for.
    #[test]
    fn client_that_panics_ends_the_run() {
        let subject = Fake(|_: &[u64]| async { panic!("no rows today") });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let options = Options {
                dataset_rows: 10_000,
                rows: 10_000,
                ..Options::default()
            };
            let never = AtomicBool::new(false);
            let bench = Bench::open(&never, || Ok(subject))?;
            let workload = options.workload()?;
            let session = bench.session(&options, &workload);
            session.run(Pace::Closed).map(|_: Measurement| ())
        }));
        assert!(outcome.is_err());
    }
}
