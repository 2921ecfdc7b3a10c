//! The record of one measurement, which `--json` writes.
//!
//! The names of the fields are a contract with scripts: fields are added, never
//! renamed. A missing number is `null`, and `notes` says why; it is never 0.

pub(crate) mod activity;
pub(crate) mod advice;
pub(crate) mod archive;
pub(crate) mod configuration;
pub(crate) mod latency;
pub(crate) mod measurement;
pub(crate) mod open_loop;
pub(crate) mod proof;
pub(crate) mod search;
pub(crate) mod sections;
pub(crate) mod series;
pub(crate) mod verdict;

use ringtake_runtime::ShardStats;
use serde::Serialize;

use crate::count::environment::Environment;
use crate::error::Error;
use crate::record::configuration::Configuration;
use crate::record::latency::{LatencyUs, percentiles};
use crate::record::measurement::Measurement;
use crate::record::open_loop::OpenLoop;
use crate::record::proof::Cache;
use crate::record::search::SearchFigures;
use crate::record::sections::{PerQuery, PerRow, Rates};
use crate::record::series::{Observations, Verdict};

/// One measurement, divided and proven. It is made to be printed ([`crate::report`]) and written
/// ([`crate::write_json`]).
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// The name of the workload.
    pub(crate) workload: &'static str,
    /// The read path really used.
    pub(crate) read_path: String,
    pub(crate) cache: Cache,
    /// Whether the device's counters prove the run cold or warm.
    pub(crate) valid: bool,
    pub(crate) invalid_reason: Option<String>,
    /// A signal ended it before its time.
    pub(crate) partial: bool,
    /// The number of this attempt; other programs disturbed those before, which are left out.
    pub(crate) attempt: u32,
    pub(crate) duration_s: f64,
    pub(crate) queries: u64,
    pub(crate) rows: u64,
    /// Different rows among `rows`; `null` for searches, which choose them.
    pub(crate) unique_rows: Option<u64>,
    /// Different queries among `queries`, of searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique_queries: Option<u64>,
    /// Counts over time.
    #[serde(flatten)]
    pub(crate) rates: Rates,
    /// Counts over rows.
    #[serde(flatten)]
    pub(crate) per_row: PerRow,
    /// Counts over queries.
    #[serde(flatten)]
    pub(crate) per_query: PerQuery,
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
    /// Counters of the shards during the run, summed.
    pub(crate) store_counters: Option<ShardStats>,
    /// The limit of the run; `null` where the subject does not measure enough.
    pub(crate) verdict: Option<Verdict>,
    /// Samples over the run.
    pub(crate) observations: Observations,
    /// Why the numbers may mislead, and which flag mends it.
    pub(crate) warnings: Vec<String>,
    /// Why a field is `null`.
    pub(crate) notes: Vec<String>,
    /// The fields of a search.
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

    /// This record with the fields of a search.
    #[must_use]
    pub fn with_search(self, search: SearchFigures) -> Record {
        Record {
            search: Some(search),
            ..self
        }
    }

    /// Divides the counts and proves where the rows came from.
    pub(crate) fn new(
        measurement: &Measurement,
        workload: &'static str,
        read_path: String,
        environment: Environment,
        config: Configuration,
    ) -> Record {
        let run = &measurement.run;
        let proof = measurement.prove();
        let mut notes = measurement.notes();
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
                .map(|reason| format!("{reason}{}", measurement.birthdays())),
            attempt: measurement.attempt,
            duration_s: run.duration.as_secs_f64(),
            queries: run.queries,
            rows: run.rows,
            unique_rows: measurement.unique_rows,
            unique_queries: measurement.unique_queries,
            rates: Rates::new(measurement),
            per_row: PerRow::new(measurement),
            per_query: PerQuery::new(measurement),
            latency_us: LatencyUs::of(&run.latency_ns),
            open_loop: None,
            rows_checksum: measurement.checksum.hex(),
            rows_checksum_rows: measurement.checksum.rows(),
            touched: run.touched,
            seed: config.seed,
            store_counters: measurement.store,
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

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;
    use crate::count::device::{DeviceReads, NoDevice};
    use crate::count::process::Spent;
    use crate::drive::load::ClientPlace;
    use crate::drive::run::Run;
    use crate::record::activity::Activity;
    use crate::workload::row_checksum::RowsChecksum;

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
            observed: Activity::default(),
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
                clients: ClientPlace::Threads,
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
        assert_eq!(record.rates.queries_per_s, 50.0);
        assert_eq!(record.rates.rows_per_s, 25_000.0);
        assert_eq!(record.rates.cores_busy, 0.25);
        assert_eq!(record.rates.rows_per_s_per_core, Some(100_000.0));
        assert_eq!(record.per_row.cpu_us_per_row, Some(10.0));
        assert_eq!(record.rates.queries_per_s_per_core, Some(200.0));
        assert_eq!(record.per_query.cpu_us_per_query, Some(5_000.0));
        assert_eq!(record.per_query.device_reads_per_query, Some(500.0));
        assert_eq!(record.per_row.user_us_per_row, Some(3.0));
        assert_eq!(record.per_row.sys_us_per_row, Some(7.0));
        assert_eq!(record.per_row.client_cpu_us_per_row, Some(1.0));
        assert_eq!(record.per_row.device_reads_per_row, Some(1.0));
        assert_eq!(record.per_row.device_bytes_per_row, Some(4096.0));
        assert_eq!(record.per_row.context_switches_per_row, Some(0.01));
        assert_eq!(record.per_row.syscalls_per_row, Some(0.1));
        assert_eq!(record.per_row.store_reads_per_row, Some(1.0));
        assert_eq!(record.per_row.cache_hit_share, Some(0.1));
        assert_eq!(record.per_row.store_syscalls_per_row, Some(0.01));
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
    fn latency_is_recorded_from_the_median_to_the_longest() {
        let latency = record_of(&measurement()).observations.latency;
        assert!(latency.is_sorted_by(|one, next| one.share < next.share && one.us <= next.us));
        assert_eq!(
            (latency[0].share, latency[latency.len() - 1].share),
            (0.5, 1.0)
        );
        assert!(
            (latency[0].us / 50_000.0 - 1.0).abs() < 0.002,
            "{latency:?}"
        );
        // A hundred queries have no percentile beyond the hundredth.
        assert!(
            latency[latency.len() - 2].share <= 0.99 + 1e-9,
            "{latency:?}"
        );
        assert!(latency.iter().any(|at| (at.share - 0.9).abs() < 1e-9));
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
    fn missing_numbers_are_null_and_explained() {
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
        assert_eq!(record.per_row.cpu_us_per_row, None);
        assert_eq!(record.rates.rows_per_s, 0.0);
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
