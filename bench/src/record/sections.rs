//! The numbers of a record: counts divided by time, by rows and by queries.
//!
//! The sections are flattened into the record; their fields are fields of its JSON.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::record::measurement::Measurement;

/// Counts over the time of the run, and over its CPU time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Rates {
    pub(crate) queries_per_s: f64,
    pub(crate) rows_per_s: f64,
    /// Rows for each second of CPU time, clients included.
    pub(crate) rows_per_s_per_core: Option<f64>,
    /// Queries for each second of CPU time, clients included.
    pub(crate) queries_per_s_per_core: Option<f64>,
    /// CPUs kept busy, by clients too.
    pub(crate) cores_busy: f64,
    /// CPUs that all programs of the machine kept busy, this one among them; `null` where it is not
    /// known, or this one may not use all CPUs.
    pub(crate) machine_cores_busy: Option<f64>,
}

impl Rates {
    pub(crate) fn new(measurement: &Measurement) -> Rates {
        let run = &measurement.run;
        let seconds = run.duration.as_secs_f64();
        let per_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let cpu_seconds = measurement.spent.cpu().as_secs_f64();
        let per_cpu_second = |count: u64| (cpu_seconds > 0.0).then(|| count as f64 / cpu_seconds);
        Rates {
            queries_per_s: per_second(run.queries as f64),
            rows_per_s: per_second(run.rows as f64),
            rows_per_s_per_core: per_cpu_second(run.rows),
            queries_per_s_per_core: per_cpu_second(run.queries),
            cores_busy: per_second(cpu_seconds),
            machine_cores_busy: measurement.observed.series.machine_cores_busy,
        }
    }
}

/// Counts over the rows of the run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PerRow {
    pub(crate) cpu_us_per_row: Option<f64>,
    pub(crate) user_us_per_row: Option<f64>,
    pub(crate) sys_us_per_row: Option<f64>,
    /// The part of `cpu_us_per_row` spent in the client threads.
    pub(crate) client_cpu_us_per_row: Option<f64>,
    pub(crate) device_reads_per_row: Option<f64>,
    pub(crate) device_bytes_per_row: Option<f64>,
    /// Reads that the store counted.
    pub(crate) store_reads_per_row: Option<f64>,
    /// System calls that the shards counted, for reads and to wait.
    pub(crate) store_syscalls_per_row: Option<f64>,
    /// Share of the rows found in the shards' caches.
    pub(crate) cache_hit_share: Option<f64>,
    pub(crate) context_switches_per_row: Option<f64>,
    pub(crate) syscalls_per_row: Option<f64>,
}

impl PerRow {
    pub(crate) fn new(measurement: &Measurement) -> PerRow {
        let Measurement { run, spent, .. } = measurement;
        let per_row = |count: f64| (run.rows > 0).then(|| count / run.rows as f64);
        let us_per_row = |time: Duration| per_row(time.as_secs_f64() * 1e6);
        let device = measurement.device.as_ref().ok();
        let store = measurement.store;
        let system_calls = measurement.system_calls.as_ref().ok();
        PerRow {
            cpu_us_per_row: us_per_row(spent.cpu()),
            user_us_per_row: us_per_row(spent.user),
            sys_us_per_row: us_per_row(spent.system),
            client_cpu_us_per_row: us_per_row(run.clients.cpu()),
            device_reads_per_row: device.and_then(|reads| per_row(reads.completed as f64)),
            device_bytes_per_row: device.and_then(|reads| per_row(reads.bytes as f64)),
            store_reads_per_row: store.and_then(|store| per_row(store.reads as f64)),
            store_syscalls_per_row: store.and_then(|store| per_row(store.system_calls as f64)),
            cache_hit_share: store
                .filter(|store| store.rows > 0)
                .map(|store| store.cache_hits as f64 / store.rows as f64),
            context_switches_per_row: per_row(spent.switches() as f64),
            syscalls_per_row: system_calls.and_then(|calls| per_row(*calls as f64)),
        }
    }
}

/// Counts over the queries of the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PerQuery {
    pub(crate) cpu_us_per_query: Option<f64>,
    pub(crate) device_reads_per_query: Option<f64>,
    /// Share of the CPU time of all threads in each stage of a query, where stages are counted.
    pub(crate) cpu_share: ByStage,
    /// CPU microseconds per query in each stage.
    pub(crate) cpu_us_per_query_by_stage: ByStage,
}

impl PerQuery {
    pub(crate) fn new(measurement: &Measurement) -> PerQuery {
        let queries = measurement.run.queries;
        let per_query = |count: f64| (queries > 0).then(|| count / queries as f64);
        let cpu_seconds = measurement.spent.cpu().as_secs_f64();
        let cpu_us_per_query = cpu_seconds * 1e6 / queries.max(1) as f64;
        let stages = &measurement.observed.cpu;
        let device = measurement.device.as_ref().ok();
        PerQuery {
            cpu_us_per_query: per_query(cpu_seconds * 1e6),
            device_reads_per_query: device.and_then(|reads| per_query(reads.completed as f64)),
            cpu_share: ByStage::of(stages, cpu_seconds, 1.0),
            cpu_us_per_query_by_stage: ByStage::of(stages, cpu_seconds, cpu_us_per_query),
        }
    }
}

/// A number for each stage of a query, in their order, and one for the rest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ByStage(pub(crate) Vec<(&'static str, f64)>);

impl ByStage {
    /// Parts of `whole`, which `cpu_seconds` come to. Stages are timed by the clock, so that what
    /// took their CPU away counts as theirs; where they come to more, they share the whole.
    fn of(stages: &[(&'static str, Duration)], cpu_seconds: f64, whole: f64) -> ByStage {
        if stages.is_empty() || cpu_seconds <= 0.0 {
            return ByStage(Vec::new());
        }
        let sum: f64 = stages.iter().map(|(_, time)| time.as_secs_f64()).sum();
        let all = sum.max(cpu_seconds);
        let known = stages
            .iter()
            .map(|(name, time)| (*name, time.as_secs_f64() / all * whole));
        let rest = ("other", (1.0 - sum / all) * whole);
        ByStage(known.chain([rest]).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for ByStage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}
