//! The record of one measurement: what `--json` writes.
//!
//! The names of the fields are a contract with scripts: fields are added, never
//! renamed. A number that could not be had is `null`, and `notes` says why; it
//! is never 0.

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringtake_runtime::ShardStats;
use serde::{Serialize, Serializer};

use crate::device::{DeviceReads, NoDevice};
use crate::driver::{Clients, Pace, Run, nanoseconds};
use crate::environment::Environment;
use crate::error::Error;
use crate::observations::{Observations, Percentile, Verdict};
use crate::observed::Observed;
use crate::process::Spent;
use crate::proof::{self, Cache, Counts, ForeignReads, Issued, NotProven, RunBytes};
use crate::row_checksum::RowsChecksum;
use crate::vector_search::SearchFigures;

/// Everything counted during one run, before any division.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) cache: Cache,
    pub(crate) run: Run,
    pub(crate) spent: Spent,
    /// What the subject counted, if it counts.
    pub(crate) store: Option<ShardStats>,
    pub(crate) device: Result<DeviceReads, NoDevice>,
    /// Bytes the kernel read from drives for this process, where it counts them.
    pub(crate) process_bytes: Option<u64>,
    pub(crate) system_calls: Result<u64, String>,
    /// Different rows among those taken; `None` where queries are no rows.
    pub(crate) unique_rows: Option<u64>,
    /// Different queries among those asked, where they are no rows.
    pub(crate) unique_queries: Option<u64>,
    /// Where time went, if what was measured tells.
    pub(crate) observed: Observed,
    /// Bytes that the drive moves for a row at least, where all its columns are of fixed width.
    pub(crate) row_bytes: Option<u64>,
    /// Bytes of memory for rows in a mixed run of what does not count its reads.
    pub(crate) memory_bytes: Option<u64>,
    /// Which try this is, counted from 1.
    pub(crate) attempt: u32,
    pub(crate) checksum: RowsChecksum,
}

impl Measurement {
    /// Whether the device's counters bear the run out.
    pub(crate) fn prove(&self) -> Result<Option<ForeignReads>, NotProven> {
        if let (Cache::Cold, Some(store), Ok(_)) = (self.cache, self.store, &self.device) {
            proof::prove_not_from_page_cache(store.reads, store.page_cache_hits)?;
        }
        let issued = match self.store {
            Some(store) => Issued::Reads {
                reads: store.reads - store.page_cache_hits,
                // The store counts the bytes of hits in the page cache with the others. None
                // is the safe count where it had any: it makes no read foreign.
                bytes: match store.page_cache_hits {
                    0 => store.read_bytes,
                    _ => 0,
                },
            },
            None => Issued::Uncounted(RunBytes {
                // A search chooses its rows: each counts, as if no other query had chosen it.
                unique: self.unique_rows.unwrap_or(self.run.rows) * self.row_bytes.unwrap_or(1),
                asked: self.row_bytes.map(|row_bytes| self.run.rows * row_bytes),
                memory: self.memory_bytes,
            }),
        };
        let counts = Counts {
            rows: self.run.rows,
            issued,
            device: &self.device,
            process_bytes: self.process_bytes,
        };
        proof::prove(self.cache, counts)
    }
}

/// How the run was asked for, and the store's configuration as resolved.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Configuration {
    pub(crate) dataset: PathBuf,
    pub(crate) dataset_rows: u64,
    pub(crate) rows_used: u64,
    pub(crate) columns: Vec<String>,
    pub(crate) row_bytes: Option<u64>,
    /// Memory that may hold rows, where what is measured does not say it itself.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) seconds: Option<f64>,
    pub(crate) queries: Option<u64>,
    pub(crate) rows_per_query: u64,
    /// How popular rows are.
    pub(crate) distribution: String,
    /// Where the clients run.
    pub(crate) clients: Clients,
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    pub(crate) seed: u64,
    pub(crate) store: serde_json::Value,
    pub(crate) store_info: serde_json::Value,
}

/// Latency of queries, from asking to answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct LatencyUs {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl LatencyUs {
    pub(crate) fn of(latency_ns: &Histogram<u64>) -> LatencyUs {
        let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        LatencyUs {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p999: us(0.999),
            max: latency_ns.max() as f64 / 1e3,
        }
    }
}

/// A number for each stage of a query, in their order, and one for what is in none.
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

/// What an open loop adds to a record.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct OpenLoop {
    /// Queries per second that were to arrive, on average.
    pub(crate) rate_asked_per_s: f64,
    /// Queries per second that were answered.
    pub(crate) rate_achieved_per_s: f64,
    /// What the closed loop before it reached, if the rate is a share of that.
    pub(crate) capacity_per_s: Option<f64>,
    /// Queries planned.
    pub(crate) planned: u64,
    /// Queries started more than 100 microseconds after their time.
    pub(crate) late_starts: u64,
    /// From the planned arrival to the start.
    pub(crate) start_late_us: LatencyUs,
    /// Queries planned that were not started before the run was over.
    pub(crate) never_started: u64,
    /// Queries that the store refused, since it was at its limits.
    pub(crate) refused: u64,
    /// Queries whose deadline came before their rows.
    pub(crate) expired: u64,
    /// From the planned arrival.
    pub(crate) deadline_ms: Option<f64>,
    /// Queries per second that were answered before their deadline: the goodput.
    pub(crate) in_time_per_s: Option<f64>,
    /// That over the capacity.
    pub(crate) goodput: Option<f64>,
}

impl OpenLoop {
    /// `None` for a closed loop.
    pub(crate) fn of(
        run: &Run,
        pace: Pace,
        capacity_per_s: Option<f64>,
        deadline: Option<Duration>,
    ) -> Option<OpenLoop> {
        let Pace::Open { rate_per_s, .. } = pace else {
            return None;
        };
        let arrivals = run.arrivals.as_ref()?;
        let seconds = run.duration.as_secs_f64();
        let in_time_per_s = deadline.map(|deadline| {
            let in_time = run.latency_ns.count_between(0, nanoseconds(deadline));
            in_time as f64 / seconds.max(f64::MIN_POSITIVE)
        });
        Some(OpenLoop {
            rate_asked_per_s: rate_per_s,
            rate_achieved_per_s: if seconds > 0.0 {
                run.queries as f64 / seconds
            } else {
                0.0
            },
            capacity_per_s,
            planned: arrivals.planned,
            late_starts: arrivals.late,
            start_late_us: LatencyUs::of(&arrivals.start_late_ns),
            never_started: arrivals.never_started,
            refused: arrivals.refused,
            expired: arrivals.expired,
            deadline_ms: deadline.map(|deadline| deadline.as_secs_f64() * 1e3),
            in_time_per_s,
            goodput: in_time_per_s
                .zip(capacity_per_s)
                .map(|(in_time, capacity)| in_time / capacity),
        })
    }
}

/// One measurement, divided and proven. It is made to be printed ([`crate::report`]) and written
/// ([`crate::write_json`]).
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// What was measured.
    pub(crate) workload: &'static str,
    /// The read path really used.
    pub(crate) read_path: String,
    pub(crate) cache: Cache,
    /// Whether the device's counters prove the run cold or warm.
    pub(crate) valid: bool,
    pub(crate) invalid_reason: Option<String>,
    /// A signal ended it before its time.
    pub(crate) partial: bool,
    /// Which try this is; those before were disturbed by other programs and are left out.
    pub(crate) attempt: u32,
    pub(crate) duration_s: f64,
    pub(crate) queries: u64,
    pub(crate) rows: u64,
    /// Different rows among `rows`; `null` for searches, which choose them.
    pub(crate) unique_rows: Option<u64>,
    /// Different queries among `queries`, of searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique_queries: Option<u64>,
    pub(crate) queries_per_s: f64,
    pub(crate) rows_per_s: f64,
    /// Rows for each second of CPU time, clients included.
    pub(crate) rows_per_s_per_core: Option<f64>,
    /// Queries for each second of CPU time, clients included.
    pub(crate) queries_per_s_per_core: Option<f64>,
    /// CPU time over time: how many CPUs were busy, clients included.
    pub(crate) cores_busy: f64,
    /// The same of all programs of the machine, this one among them; `null` where it is not known, or
    /// this one may not use all CPUs.
    pub(crate) machine_cores_busy: Option<f64>,
    pub(crate) cpu_us_per_row: Option<f64>,
    pub(crate) user_us_per_row: Option<f64>,
    pub(crate) sys_us_per_row: Option<f64>,
    /// The part of `cpu_us_per_row` spent in the client threads.
    pub(crate) client_cpu_us_per_row: Option<f64>,
    pub(crate) cpu_us_per_query: Option<f64>,
    pub(crate) device_reads_per_query: Option<f64>,
    /// Share of the CPU time of all threads in each stage of a query, where stages are counted.
    pub(crate) cpu_share: ByStage,
    /// The same in microseconds a query.
    pub(crate) cpu_us_per_query_by_stage: ByStage,
    pub(crate) device_reads_per_row: Option<f64>,
    pub(crate) device_bytes_per_row: Option<f64>,
    /// Reads the store says it issued.
    pub(crate) store_reads_per_row: Option<f64>,
    /// System calls the shards say they made for reads and to wait.
    pub(crate) store_syscalls_per_row: Option<f64>,
    /// Rows found in the shards' caches, of those taken.
    pub(crate) cache_hit_share: Option<f64>,
    pub(crate) context_switches_per_row: Option<f64>,
    pub(crate) syscalls_per_row: Option<f64>,
    /// From asking to answer; in an open loop from the planned arrival.
    pub(crate) latency_us: LatencyUs,
    /// The arrivals of an open loop; `null` for a closed one.
    pub(crate) open_loop: Option<OpenLoop>,
    /// Sum over the content of the first rows of the workload, see `row_checksum.rs`.
    pub(crate) rows_checksum: String,
    /// How many rows it covers.
    pub(crate) rows_checksum_rows: u64,
    /// Sum over one byte of every row and column of every answer: the answers were used.
    pub(crate) touched: u64,
    pub(crate) seed: u64,
    /// What the shards counted during the run, summed.
    pub(crate) store_counters: Option<ShardStats>,
    /// What limits the run; `null` where what was measured does not tell enough.
    pub(crate) verdict: Option<Verdict>,
    /// What was seen while it went on.
    pub(crate) observations: Observations,
    /// Why the numbers may mislead, and which flag mends it.
    pub(crate) warnings: Vec<String>,
    /// Why a field is `null`.
    pub(crate) notes: Vec<String>,
    /// What a search adds.
    #[serde(flatten)]
    pub(crate) search: Option<SearchFigures>,
    pub(crate) environment: Environment,
    pub(crate) config: Configuration,
}

impl Record {
    /// Whether the device's counters bear the run out.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// Whether a signal ended the run before its time.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// The record, if no signal ended the run before its time.
    pub(crate) fn whole(self) -> Result<Record, Error> {
        match self.partial {
            true => Err(Error::Interrupted),
            false => Ok(self),
        }
    }

    /// The same with what a search adds.
    #[must_use]
    pub fn with_search(self, search: SearchFigures) -> Record {
        Record {
            search: Some(search),
            ..self
        }
    }

    /// Divides what was counted and proves where the rows came from.
    pub(crate) fn new(
        measurement: &Measurement,
        workload: &'static str,
        read_path: String,
        environment: Environment,
        config: Configuration,
    ) -> Record {
        let run = &measurement.run;
        let seconds = run.duration.as_secs_f64();
        let per_second = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let per_row = |count: f64| (run.rows > 0).then(|| count / run.rows as f64);
        let per_query = |count: f64| (run.queries > 0).then(|| count / run.queries as f64);
        let us_per_row = |time: Duration| per_row(time.as_secs_f64() * 1e6);
        let cpu_seconds = measurement.spent.cpu().as_secs_f64();
        let device = measurement.device.as_ref().ok();
        let store = measurement.store;
        let proof = measurement.prove();
        let mut notes = Vec::new();
        if let Err(reason) = &measurement.device {
            notes.push(format!("the drive's reads are not counted: {reason}"));
        }
        if let Err(reason) = &measurement.system_calls {
            notes.push(reason.clone());
        }
        if let Ok(Some(foreign)) = &proof {
            notes.push(foreign.to_string());
        }
        Record {
            workload,
            read_path,
            cache: measurement.cache,
            valid: proof.is_ok(),
            partial: run.interrupted,
            invalid_reason: proof
                .err()
                .map(|reason| format!("{reason}{}", birthdays(measurement))),
            attempt: measurement.attempt,
            duration_s: seconds,
            queries: run.queries,
            rows: run.rows,
            unique_rows: measurement.unique_rows,
            unique_queries: measurement.unique_queries,
            queries_per_s: per_second(run.queries),
            rows_per_s: per_second(run.rows),
            rows_per_s_per_core: (cpu_seconds > 0.0).then(|| run.rows as f64 / cpu_seconds),
            queries_per_s_per_core: (cpu_seconds > 0.0).then(|| run.queries as f64 / cpu_seconds),
            cores_busy: if seconds > 0.0 {
                cpu_seconds / seconds
            } else {
                0.0
            },
            machine_cores_busy: measurement.observed.series.machine_cores_busy,
            cpu_us_per_row: us_per_row(measurement.spent.cpu()),
            user_us_per_row: us_per_row(measurement.spent.user),
            sys_us_per_row: us_per_row(measurement.spent.system),
            client_cpu_us_per_row: us_per_row(run.clients.cpu()),
            cpu_us_per_query: per_query(cpu_seconds * 1e6),
            cpu_share: ByStage::of(&measurement.observed.cpu, cpu_seconds, 1.0),
            cpu_us_per_query_by_stage: ByStage::of(
                &measurement.observed.cpu,
                cpu_seconds,
                cpu_seconds * 1e6 / run.queries.max(1) as f64,
            ),
            device_reads_per_query: device.and_then(|reads| per_query(reads.completed as f64)),
            device_reads_per_row: device.and_then(|reads| per_row(reads.completed as f64)),
            device_bytes_per_row: device.and_then(|reads| per_row(reads.bytes as f64)),
            store_reads_per_row: store.and_then(|store| per_row(store.reads as f64)),
            store_syscalls_per_row: store.and_then(|store| per_row(store.system_calls as f64)),
            cache_hit_share: store
                .filter(|store| store.rows > 0)
                .map(|store| store.cache_hits as f64 / store.rows as f64),
            context_switches_per_row: per_row(measurement.spent.switches() as f64),
            syscalls_per_row: measurement
                .system_calls
                .as_ref()
                .ok()
                .and_then(|calls| per_row(*calls as f64)),
            latency_us: LatencyUs::of(&run.latency_ns),
            open_loop: None,
            rows_checksum: measurement.checksum.hex(),
            rows_checksum_rows: measurement.checksum.rows(),
            touched: run.touched,
            seed: config.seed,
            store_counters: store,
            verdict: None,
            observations: Observations {
                shards: measurement.observed.shards.clone(),
                rate: measurement.observed.series.rate.clone(),
                device: measurement.observed.series.device.clone(),
                latency: percentiles(&run.latency_ns),
            },
            warnings: Vec::new(),
            notes,
            search: None,
            environment,
            config,
        }
    }
}

/// A run that is not cold may be so since it took the same rows again.
fn birthdays(measurement: &Measurement) -> String {
    let rows = measurement.run.rows;
    let unique = measurement.unique_rows.unwrap_or(rows);
    let repeated = rows.saturating_sub(unique);
    if measurement.cache != Cache::Cold || repeated * REPEATED_MAX < rows {
        return String::new();
    }
    format!(
        "; {repeated} of the {rows} rows had been taken before in the same run (the birthday trap): \
         take a larger dataset, or fewer rows"
    )
}

/// One row in so many may be taken again before it is worth a word.
const REPEATED_MAX: u64 = 50;

/// The latency of queries from the median on, in steps of an eighth of a nine.
fn percentiles(latency_ns: &Histogram<u64>) -> Vec<Percentile> {
    if latency_ns.is_empty() {
        return Vec::new();
    }
    let slower = |eighths: i32| 10_f64.powf(-f64::from(eighths) / 8.0);
    // From half of the queries on, until less than one is slower.
    let steps = (0..).map(slower).skip_while(|slower| *slower > 0.5);
    let steps = steps.take_while(|slower| slower * latency_ns.len() as f64 >= 1.0);
    let at = |share| Percentile {
        share,
        us: latency_ns.value_at_quantile(share) as f64 / 1e3,
    };
    let longest = Percentile {
        share: 1.0,
        us: latency_ns.max() as f64 / 1e3,
    };
    let from_half = std::iter::once(0.5).chain(steps.map(|slower| 1.0 - slower));
    from_half.map(at).chain([longest]).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn measurement() -> Measurement {
        let mut latency_ns = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        for ms in 1..=100 {
            latency_ns.record(ms * 1_000_000).unwrap();
        }
        Measurement {
            cache: Cache::Cold,
            run: Run {
                duration: Duration::from_secs(2),
                queries: 100,
                rows: 50_000,
                latency_ns,
                clients: Spent {
                    user: Duration::from_millis(50),
                    ..Spent::default()
                },
                touched: 0,
                arrivals: None,
                interrupted: false,
            },
            spent: Spent {
                user: Duration::from_millis(150),
                system: Duration::from_millis(350),
                switches_voluntary: 400,
                switches_involuntary: 100,
            },
            store: Some(ShardStats {
                rows: 50_000,
                cache_hits: 5_000,
                reads: 50_000,
                read_bytes: 50_000 * 4096,
                system_calls: 500,
                ..ShardStats::default()
            }),
            device: Ok(DeviceReads {
                completed: 50_000,
                merged: 0,
                bytes: 50_000 * 4096,
                ..DeviceReads::default()
            }),
            process_bytes: Some(50_000 * 4096),
            system_calls: Ok(5_000),
            unique_rows: Some(50_000),
            unique_queries: None,
            observed: Observed::default(),
            row_bytes: Some(3072),
            memory_bytes: None,
            attempt: 1,
            checksum: RowsChecksum::default(),
        }
    }

    pub(crate) fn record_of(measurement: &Measurement) -> Record {
        Record::new(
            measurement,
            "file-read",
            "ring-per-shard".to_owned(),
            Environment::observe(Vec::new()),
            Configuration {
                dataset: PathBuf::from("dataset"),
                dataset_rows: 100_000,
                rows_used: 100_000,
                columns: vec!["vector".to_owned()],
                row_bytes: Some(3072),
                memory_bytes: None,
                seconds: Some(2.0),
                queries: None,
                rows_per_query: 500,
                distribution: "uniform".to_owned(),
                clients: Clients::Threads,
                threads: 1,
                in_flight: 4,
                seed: 7,
                store: serde_json::Value::Null,
                store_info: serde_json::Value::Null,
            },
        )
    }

    #[test]
    fn counts_are_divided_by_rows_and_time() {
        let record = record_of(&measurement());
        assert!(record.valid);
        assert_eq!(record.queries_per_s, 50.0);
        assert_eq!(record.rows_per_s, 25_000.0);
        assert_eq!(record.cores_busy, 0.25);
        assert_eq!(record.rows_per_s_per_core, Some(100_000.0));
        assert_eq!(record.cpu_us_per_row, Some(10.0));
        assert_eq!(record.queries_per_s_per_core, Some(200.0));
        assert_eq!(record.cpu_us_per_query, Some(5_000.0));
        assert_eq!(record.device_reads_per_query, Some(500.0));
        assert_eq!(record.user_us_per_row, Some(3.0));
        assert_eq!(record.sys_us_per_row, Some(7.0));
        assert_eq!(record.client_cpu_us_per_row, Some(1.0));
        assert_eq!(record.device_reads_per_row, Some(1.0));
        assert_eq!(record.device_bytes_per_row, Some(4096.0));
        assert_eq!(record.context_switches_per_row, Some(0.01));
        assert_eq!(record.syscalls_per_row, Some(0.1));
        assert_eq!(record.store_reads_per_row, Some(1.0));
        assert_eq!(record.cache_hit_share, Some(0.1));
        assert_eq!(record.store_syscalls_per_row, Some(0.01));
        let near = |value: f64, ms: f64| (value / 1e3 - ms).abs() < ms * 0.002;
        assert!(near(record.latency_us.p50, 50.0), "{:?}", record.latency_us);
        assert!(near(record.latency_us.p99, 99.0), "{:?}", record.latency_us);
        assert!(
            near(record.latency_us.max, 100.0),
            "{:?}",
            record.latency_us
        );
    }

    #[test]
    fn stages_are_shares_of_the_cpu_and_the_rest_is_other() {
        let mut staged = measurement();
        staged.observed.cpu = vec![
            ("scan", Duration::from_millis(250)),
            ("refine", Duration::from_millis(125)),
        ];
        let json = serde_json::to_value(record_of(&staged)).unwrap();
        let shares = serde_json::json!({ "scan": 0.5, "refine": 0.25, "other": 0.25 });
        assert_eq!(json["cpu_share"], shares);
        assert_eq!(json["cpu_us_per_query_by_stage"]["scan"], 2_500.0);
        let none = serde_json::to_value(record_of(&measurement())).unwrap();
        assert_eq!(none["cpu_share"], serde_json::json!({}));
    }

    #[test]
    fn latency_is_told_from_the_median_to_the_longest() {
        let told = record_of(&measurement()).observations.latency;
        assert!(told.is_sorted_by(|one, next| one.share < next.share && one.us <= next.us));
        assert_eq!((told[0].share, told[told.len() - 1].share), (0.5, 1.0));
        assert!((told[0].us / 50_000.0 - 1.0).abs() < 0.002, "{told:?}");
        // Of a hundred queries nothing is told beyond the hundredth.
        assert!(told[told.len() - 2].share <= 0.99 + 1e-9, "{told:?}");
        assert!(told.iter().any(|at| (at.share - 0.9).abs() < 1e-9));
    }

    #[test]
    fn stages_that_lost_their_cpu_share_the_whole() {
        let mut staged = measurement();
        staged.observed.cpu = vec![
            ("submit", Duration::from_secs(3)),
            ("plan", Duration::from_secs(1)),
        ];
        let json = serde_json::to_value(record_of(&staged)).unwrap();
        let shares = serde_json::json!({ "submit": 0.75, "plan": 0.25, "other": 0.0 });
        assert_eq!(json["cpu_share"], shares);
    }

    #[test]
    fn cold_run_whose_reads_the_page_cache_served_is_refused() {
        let mut cached = measurement();
        let store = cached.store.as_mut().unwrap();
        store.page_cache_hits = 2_000;
        cached.device.as_mut().unwrap().completed = 48_000;
        let reason = record_of(&cached).invalid_reason.unwrap();
        assert!(reason.contains("2000 of 50000 reads"), "{reason}");
        assert!(reason.contains("page-cache trap"), "{reason}");
        cached.store.as_mut().unwrap().page_cache_hits = 1_000;
        cached.device.as_mut().unwrap().completed = 49_000;
        assert!(record_of(&cached).valid);
    }

    #[test]
    fn warm_run_beside_a_few_reads_of_others_is_valid_and_says_so() {
        let mut warm = measurement();
        warm.cache = Cache::Warm;
        warm.store = Some(ShardStats::default());
        warm.process_bytes = Some(0);
        let device = warm.device.as_mut().unwrap();
        device.completed = 50;
        let record = record_of(&warm);
        assert!(record.valid, "{:?}", record.invalid_reason);
        assert!(
            record.notes[0].contains("50 reads for other programs"),
            "{:?}",
            record.notes
        );
        warm.device.as_mut().unwrap().completed = 51;
        assert!(!record_of(&warm).valid);
    }

    #[test]
    fn run_that_the_counters_do_not_prove_is_marked_invalid() {
        let mut unproven = measurement();
        unproven.device = Ok(DeviceReads::default());
        let record = record_of(&unproven);
        assert!(!record.valid);
        assert!(record.invalid_reason.unwrap().contains("came from memory"));
    }

    #[test]
    fn rows_out_of_memory_name_the_trap_they_came_through() {
        let mut unproven = measurement();
        unproven.device = Ok(DeviceReads::default());
        let reason = record_of(&unproven).invalid_reason.unwrap();
        assert!(reason.contains("page-cache trap"), "{reason}");
        assert!(!reason.contains("birthday trap"), "{reason}");
        unproven.unique_rows = Some(40_000);
        let reason = record_of(&unproven).invalid_reason.unwrap();
        assert!(reason.contains("10000 of the 50000 rows"), "{reason}");
        assert!(reason.contains("birthday trap"), "{reason}");
    }

    #[test]
    fn numbers_that_cannot_be_had_are_null_and_explained() {
        let mut blind = measurement();
        blind.device = Err(NoDevice::NotOnDevice {
            path: PathBuf::from("/mem"),
            file_system: "tmpfs".to_owned(),
        });
        blind.system_calls = Err("system calls are not counted: no permission".to_owned());
        let json = serde_json::to_value(record_of(&blind)).unwrap();
        for name in [
            "device_reads_per_row",
            "device_bytes_per_row",
            "syscalls_per_row",
        ] {
            assert!(json[name].is_null(), "{name}");
        }
        assert_eq!(json["notes"].as_array().unwrap().len(), 2);
        assert_eq!(json["valid"], false);
    }

    #[test]
    fn run_without_rows_divides_by_nothing() {
        let mut empty = measurement();
        empty.run.rows = 0;
        empty.run.queries = 0;
        empty.run.duration = Duration::ZERO;
        let record = record_of(&empty);
        assert!(!record.valid);
        assert_eq!(record.cpu_us_per_row, None);
        assert_eq!(record.rows_per_s, 0.0);
    }

    #[test]
    fn fields_that_scripts_rely_on_are_there() {
        let json = serde_json::to_value(record_of(&measurement())).unwrap();
        let object = json.as_object().unwrap();
        for name in [
            "workload",
            "read_path",
            "cache",
            "valid",
            "queries_per_s",
            "rows_per_s",
            "rows_per_s_per_core",
            "device_reads_per_row",
            "device_bytes_per_row",
            "cpu_us_per_row",
            "context_switches_per_row",
            "syscalls_per_row",
            "latency_us",
            "unique_rows",
            "rows_checksum",
            "environment",
            "config",
        ] {
            assert!(object.contains_key(name), "{name}");
        }
        for name in ["p50", "p90", "p99", "p999", "max"] {
            assert!(json["latency_us"][name].is_number(), "{name}");
        }
        assert_eq!(json["workload"], "file-read");
        assert_eq!(json["cache"], "cold");
    }
}
