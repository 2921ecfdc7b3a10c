//! One measurement of one subject: fills its caches as asked, counts everything around a loop of
//! takes, and makes the record.
//!
//! The order matters. The counter of system calls is opened before the subject so that it
//! follows the subject's threads. The caches are filled and the warm-up queries asked before the
//! first count. The checksum over rows is taken after the last count, because hashing every byte
//! would cost more than reading it.

pub(crate) mod experiment;
pub(crate) mod options;
pub(crate) mod rounds;
pub(crate) mod sampler;
pub(crate) mod session;

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use crate::count::device::{Devices, NoDevice};
use crate::count::environment::Environment;
use crate::count::system_calls::SystemCalls;
use crate::drive::clients::Clients;
use crate::drive::load::ClientPlace;
use crate::drive::subject::{Observed, Subject};
use crate::drive::threads::Threads;
use crate::error::Error;
use crate::measure::options::Options;
use crate::measure::session::Session;
use crate::record::Record;
use crate::record::advice::advice;
use crate::record::configuration::{Configuration, seconds_or_queries};
use crate::record::open_loop::OpenLoop;
use crate::record::proof::Cache;
use crate::record::verdict::judge;
use crate::workload::Workload;

/// Opens a subject and measures it. `interrupted` ends the run early, with an error; see
/// [`crate::listen`].
///
/// # Errors
/// An error of `open` or of a take; a dataset with fewer rows than a query; an interruption. A run
/// that cannot be proven is no error: its record says so.
pub fn measure<S: Subject>(
    options: &Options,
    interrupted: &AtomicBool,
    open: impl FnOnce() -> Result<S, Error>,
) -> Result<Record, Error> {
    // A workload that is none is found before anything is opened.
    options.workload()?;
    let bench = Bench::open(interrupted, open)?;
    bench.fill(options)?;
    bench.measure(options)?.whole()
}

/// An open subject, to be measured once or several times.
pub(crate) struct Bench<'a, S> {
    /// May be changed between two measurements.
    pub(crate) subject: S,
    devices: Result<Devices, NoDevice>,
    system_calls: RefCell<Result<SystemCalls, String>>,
    interrupted: &'a AtomicBool,
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
            devices: Devices::holding(&subject.observed().files()?),
            subject,
            system_calls,
            interrupted,
        })
    }

    /// Brings the caches into the state that `options` ask for.
    pub(crate) fn fill(&self, options: &Options) -> Result<(), Error> {
        let workload = options.workload()?;
        let clients = Threads(&self.subject);
        let session = self.session(&clients, options, &workload);
        match options.cache {
            Cache::Cold => Ok(()),
            Cache::Warm => session.fill_caches(),
            Cache::Mixed => session.fill_by_draws(),
        }
    }

    /// Measures once, with clients on threads of their own. A run that is interrupted is a record
    /// that says so.
    pub(crate) fn measure(&self, options: &Options) -> Result<Record, Error> {
        self.measure_by(&Threads(&self.subject), options)
    }

    /// The same with other clients in the measured loop.
    pub(crate) fn measure_by(
        &self,
        clients: &dyn Clients,
        options: &Options,
    ) -> Result<Record, Error> {
        let workload = options.workload()?;
        let session = self.session(clients, options, &workload);
        session.warm_up()?;
        let (pace, capacity_per_s) = session.pace()?;
        let mut measurement = session.run_until_undisturbed(pace)?;
        if !measurement.run.interrupted {
            measurement.checksum = session.checksum()?;
        }
        let devices = self.devices.as_ref();
        let environment = Environment::observe(devices.map(Devices::describe).unwrap_or_default());
        let observed = self.subject.observed();
        let mut record = Record::new(
            &measurement,
            options.workload,
            observed.read_path(),
            environment,
            configuration(options, observed, clients.place()),
        );
        record.open_loop = OpenLoop::of(&measurement.run, pace, capacity_per_s, options.deadline);
        record.warnings = observed.warnings();
        record.warnings.extend(advice(&record, observed.limits()));
        record.verdict = judge(&record, observed.limits());
        Ok(record)
    }

    fn session<'b>(
        &'b self,
        clients: &'b dyn Clients,
        options: &'b Options,
        workload: &'b Workload,
    ) -> Session<'b, S> {
        Session {
            clients,
            subject: &self.subject,
            options,
            workload,
            devices: &self.devices,
            system_calls: &self.system_calls,
            interrupted: self.interrupted,
        }
    }
}

fn configuration(
    options: &Options,
    observed: &dyn Observed,
    clients: ClientPlace,
) -> Configuration {
    let (seconds, queries) = seconds_or_queries(options.load.bound);
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
        store: observed.configuration(),
        store_info: observed.description(),
    }
}

#[cfg(test)]
mod tests;
