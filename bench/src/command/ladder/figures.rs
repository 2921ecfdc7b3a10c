//! The figures of the ladder, and the labels of its rungs.

use ringtake_runtime::{ReadPathChoice, Scheduler};

use crate::measure::experiment::Figure;
use crate::record::Record;

pub(super) const FIGURES: &[Figure] = &[
    Figure {
        field: "rows_per_s",
        title: "rows/s",
        of: rows_per_s,
    },
    Figure {
        field: "cpu_us_per_row",
        title: "CPU per row, µs",
        of: cpu_us_per_row,
    },
    Figure {
        field: "context_switches_per_row",
        title: "context switches per row",
        of: |record| record.per_row.context_switches_per_row,
    },
    Figure {
        field: "p99_us",
        title: "p99, µs",
        of: |record| Some(record.latency_us.p99),
    },
];

pub(super) fn rows_per_s(record: &Record) -> Option<f64> {
    Some(record.rates.rows_per_s)
}

pub(super) fn cpu_us_per_row(record: &Record) -> Option<f64> {
    record.per_row.cpu_us_per_row
}

pub(super) fn labels(
    (scheduler, read_path): &(Scheduler, ReadPathChoice),
) -> Vec<(&'static str, String)> {
    vec![
        ("read_path", read_path.to_string()),
        ("scheduler", scheduler.to_string()),
    ]
}
