//! One subject under one workload: its caches are filled, the load runs, and everything is counted
//! around it.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use ringtake_runtime::{ShardStats, StoreMetrics};

use crate::count::device::{DeviceReads, Devices, NoDevice};
use crate::count::perf_window;
use crate::count::process::{self, Spent};
use crate::count::system_calls::SystemCalls;
use crate::drive::clients::{Clients, Work};
use crate::drive::live::Live;
use crate::drive::load::{Pace, Rate};
use crate::drive::run::Run;
use crate::drive::subject::{Alarm, Answer as _, Query as _, Subject, whole};
use crate::drive::threads::Threads;
use crate::error::Error;
use crate::interrupt::stop_if;
use crate::measure::options::Options;
use crate::measure::sampler::Sampler;
use crate::progress::progress_bar;
use crate::record::activity::Activity;
use crate::record::measurement::Measurement;
use crate::record::series::Series;
use crate::workload::Workload;
use crate::workload::distribution::{CacheSize, MIXED_HIT_SHARE};
use crate::workload::row_checksum::RowsChecksum;

/// Queries whose rows the checksum covers, or those of one pass if that is fewer.
pub(crate) const CHECKSUM_QUERIES: u64 = 64;

/// Rows of one take while the caches are filled.
const FILL_ROWS: u64 = 4096;

/// The most rounds over the dataset to fill the caches.
const FILL_ROUNDS_MAX: usize = 3;

/// Rows of one take while the caches of a mixed run are filled.
const FILL_DRAWS: u64 = 512;

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
pub(crate) struct Session<'a, S> {
    pub(crate) subject: &'a S,
    /// The clients of the measured loop.
    pub(crate) clients: &'a dyn Clients,
    pub(crate) options: &'a Options,
    pub(crate) workload: &'a Workload,
    pub(crate) devices: &'a Result<Devices, NoDevice>,
    pub(crate) system_calls: &'a RefCell<Result<SystemCalls, String>>,
    pub(crate) interrupted: &'a AtomicBool,
}

impl<S: Subject> Session<'_, S> {
    /// When queries are asked, and the capacity if it had to be measured for that.
    pub(crate) fn pace(&self) -> Result<(Pace, Option<f64>), Error> {
        let seed = self.options.seed;
        let open = |rate_per_s| Pace::Open { rate_per_s, seed };
        match self.options.rate {
            None => Ok((Pace::Closed, None)),
            Some(Rate::PerSecond(rate_per_s)) => Ok((open(rate_per_s), None)),
            Some(Rate::OfCapacity(share)) => {
                let live = Live::default();
                let work = self.work(Pace::Capacity, &live);
                let run = Threads(self.subject).run(work, &mut || ())?.whole()?;
                let capacity_per_s = run.queries as f64 / run.duration.as_secs_f64();
                if !(capacity_per_s.is_finite() && capacity_per_s > 0.0) {
                    return Err(Error::NoCapacity);
                }
                Ok((open(share * capacity_per_s), Some(capacity_per_s)))
            }
        }
    }

    pub(crate) fn run_until_undisturbed(&self, pace: Pace) -> Result<Measurement, Error> {
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
    pub(crate) fn run(&self, pace: Pace) -> Result<Measurement, Error> {
        let observed = self.subject.observed();
        let counts = || Counts {
            spent: Spent::by_process(),
            store: observed.counters(),
            device: self.device_reads(),
            process_bytes: process::read_bytes(),
            system_calls: match &mut *self.system_calls.borrow_mut() {
                Ok(calls) => calls.count(),
                Err(reason) => Err(reason.clone()),
            },
            metrics: observed.metrics(),
        };
        let mut before = None;
        let live = Live::default();
        let work = self.work(pace, &live);
        let sampler = Sampler::new(observed, &live, self.devices, work.load.bound);
        let (run, after, series) = std::thread::scope(|scope| {
            let looking = scope.spawn(|| sampler.look_on());
            let running = sampler.until_dropped(looking.thread());
            let mut at_start = || {
                // What telling perf takes is no part of what is counted.
                perf_window::begin();
                sampler.start(looking.thread());
                before = Some(counts());
            };
            let run = self.clients.run(work, &mut at_start);
            let after = counts();
            drop(running);
            perf_window::end();
            let looked = looking.join();
            (
                run,
                after,
                looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let before =
            before.unwrap_or_else(|| unreachable!("the driver calls `at_start` in every run"));
        Ok(self.measurement(run?, before, after, series))
    }

    /// The run and the counts around it, still without a checksum.
    fn measurement(
        &self,
        mut run: Run,
        before: Counts,
        after: Counts,
        series: Series,
    ) -> Measurement {
        let store = after.store.zip(before.store).map(|(after, b)| after - b);
        let unique = self.workload.unique_rows(run.queries);
        let searches = self.options.query_pool.is_some();
        if searches {
            // The rows that were looked at; the answers have the best of them.
            let counted = store.map(|store| store.rows).filter(|rows| *rows > 0);
            let looked_at = self.subject.rows_read(run.queries).or(counted);
            run.rows = looked_at.unwrap_or(run.rows);
        }
        Measurement {
            cache: self.options.cache,
            attempt: 1,
            unique_rows: (!searches).then_some(unique),
            unique_queries: searches.then_some(unique),
            row_bytes: self.options.device_row_bytes.or(self.options.row_bytes),
            memory_bytes: self.options.memory_bytes,
            checksum: RowsChecksum::default(),
            spent: after.spent.since(before.spent),
            store,
            observed: Activity::between(before.metrics, after.metrics, series),
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
        }
    }

    fn work<'b>(&'b self, pace: Pace, live: &'b Live) -> Work<'b> {
        Work {
            load: self.options.load,
            pace,
            workload: self.workload,
            interrupted: self.interrupted,
            live,
        }
    }

    fn device_reads(&self) -> Result<DeviceReads, NoDevice> {
        self.devices
            .clone()
            .and_then(|devices: Devices| devices.reads())
    }

    /// Takes every row once, in order, until a whole round needs no read.
    pub(crate) fn fill_caches(&self) -> Result<(), Error> {
        let rows = self.options.rows;
        // The subject's own count is not moved by other programs.
        let reads = || match self.subject.observed().counters() {
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
    pub(crate) fn fill_by_draws(&self) -> Result<(), Error> {
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
                self.subject.take(S::Query::of(&row_ids)).await?;
                bar.inc(row_ids.len() as u64);
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    pub(crate) fn warm_up(&self) -> Result<(), Error> {
        self.drive(async {
            let mut row_ids = Vec::new();
            for index in 0..self.workload.warm_up_queries() {
                stop_if(self.interrupted)?;
                self.workload.warm_up_query(index, &mut row_ids);
                self.subject.take(S::Query::of(&row_ids)).await?;
            }
            Ok(())
        })
    }

    /// The first queries of the workload again, every byte looked at.
    pub(crate) fn checksum(&self) -> Result<RowsChecksum, Error> {
        self.drive(async {
            let mut checksum = RowsChecksum::default();
            let mut row_ids = Vec::new();
            for index in 0..self.workload.pass_queries().min(CHECKSUM_QUERIES) {
                stop_if(self.interrupted)?;
                self.workload.query(index, &mut row_ids);
                let answer = self.subject.take(S::Query::of(&row_ids)).await?;
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
