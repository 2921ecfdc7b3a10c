//! A rung of the ladder: one scheduler with one read path.

use ringtake_runtime::{ReadPathChoice, Scheduler};
use serde::Serialize;

use crate::measure::rounds::Spread;
use crate::record::Record;

/// One combination over all rounds.
#[derive(Debug, Serialize)]
pub(super) struct Rung {
    pub(super) scheduler: String,
    pub(super) read_path: String,
    /// Why it cannot be measured here.
    pub(super) refused: Option<String>,
    pub(super) rows_per_s: Option<Spread>,
    pub(super) cpu_us_per_row: Option<Spread>,
    pub(super) context_switches_per_row: Option<Spread>,
    pub(super) p99_us: Option<Spread>,
    /// Rounds whose proof failed; they are left out.
    pub(super) invalid_rounds: usize,
    /// Why the first of them failed.
    pub(super) invalid_reason: Option<String>,
    pub(super) records: Vec<Record>,
}

impl Rung {
    /// The medians over the proven of `results`.
    pub(super) fn of(
        scheduler: Scheduler,
        read_path: ReadPathChoice,
        results: Vec<Result<Record, String>>,
    ) -> Rung {
        let mut refused = None;
        let mut records = Vec::new();
        for result in results {
            match result {
                Ok(record) => records.push(record),
                Err(reason) => refused = Some(reason),
            }
        }
        let over = |of: fn(&Record) -> Option<f64>| {
            Spread::of(records.iter().filter(|record| record.valid).filter_map(of))
        };
        Rung {
            scheduler: scheduler.to_string(),
            read_path: read_path.to_string(),
            refused,
            rows_per_s: over(|record| Some(record.rates.rows_per_s)),
            cpu_us_per_row: over(|record| record.per_row.cpu_us_per_row),
            context_switches_per_row: over(|record| record.per_row.context_switches_per_row),
            p99_us: over(|record| Some(record.latency_us.p99)),
            invalid_rounds: records.iter().filter(|record| !record.valid).count(),
            invalid_reason: records
                .iter()
                .find_map(|record| record.invalid_reason.clone()),
            records,
        }
    }
}
