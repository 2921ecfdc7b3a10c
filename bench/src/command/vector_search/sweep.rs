//! The curve of recall against queries per second, over nprobes and refine factor.

use std::fmt::Write as _;
use std::path::Path;

use super::flags::Refine;
use crate::error::Error;
use crate::numbers::{NOT_AVAILABLE, latency, rounded, rounded_or_not};
use crate::record::Record;
use crate::tell::grid::grid;
use crate::tell::output::{goes_to_stdout, print};

/// The nprobes of a sweep by default.
pub(crate) const NPROBES: [usize; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// The refine factors of a sweep by default.
pub(crate) const REFINE: [Refine; 5] = [
    Refine::None,
    Refine::Times(2),
    Refine::Times(5),
    Refine::Times(10),
    Refine::Times(20),
];

/// The numbers of `asked` that differ from each other once capped at `partitions`.
pub(crate) fn distinct(asked: &[usize], partitions: usize) -> Vec<usize> {
    let mut capped: Vec<usize> = asked.iter().map(|n| (*n).min(partitions)).collect();
    capped.sort_unstable();
    capped.dedup();
    capped
}

/// Whether no other record is both faster and as right.
fn is_best(record: &Record, records: &[Record]) -> bool {
    let recall = |record: &Record| record.search.as_ref()?.recall_at_k;
    let Some(mine) = recall(record) else {
        return false;
    };
    !records.iter().any(|other| {
        recall(other).is_some_and(|theirs| {
            let (faster, slower) = (other.rates.queries_per_s, record.rates.queries_per_s);
            theirs >= mine && faster >= slower && (theirs > mine || faster > slower)
        })
    })
}

/// The table for the terminal.
pub(crate) fn table(records: &[Record]) -> String {
    let rows = records.iter().filter_map(|record| {
        let search = record.search.as_ref()?;
        Some(vec![
            nprobes_text(search.nprobes),
            Refine::of(search.refine_factor).to_string(),
            recall_text(search.recall_at_k),
            rounded(record.rates.queries_per_s),
            rounded_or_not(record.rates.queries_per_s_per_core),
            latency(record.latency_us.p50),
            latency(record.latency_us.p99),
            rounded_or_not(record.per_query.device_reads_per_query),
            if record.is_valid() { "yes" } else { "NO" }.to_owned(),
            if is_best(record, records) { "*" } else { "" }.to_owned(),
        ])
    });
    let head = [
        "nprobes",
        "refine",
        "recall",
        "queries/s",
        "per core",
        "p50",
        "p99",
        "drive reads",
        "proven",
        "best",
    ];
    let table = grid(&head, rows, ..);
    format!("{table}\n* nothing else here finds as much as fast\n")
}

pub(super) fn nprobes_text(nprobes: Option<usize>) -> String {
    nprobes.map_or_else(|| NOT_AVAILABLE.to_owned(), |nprobes| nprobes.to_string())
}

pub(super) fn recall_text(recall: Option<f64>) -> String {
    recall.map_or_else(|| NOT_AVAILABLE.to_owned(), |recall| format!("{recall:.4}"))
}

/// A line for each record.
pub(crate) fn csv(records: &[Record]) -> String {
    let mut text =
        "cache,k,nprobes,refine_factor,recall_at_k,queries_per_s,queries_per_s_per_core,\
                    p50_us,p99_us,device_reads_per_query,cpu_us_per_query,valid\n"
            .to_owned();
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for record in records {
        let Some(search) = &record.search else {
            continue;
        };
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            record.cache,
            search.k,
            search.nprobes.map_or_else(String::new, |n| n.to_string()),
            search
                .refine_factor
                .map_or_else(String::new, |n| n.to_string()),
            number(search.recall_at_k),
            record.rates.queries_per_s,
            number(record.rates.queries_per_s_per_core),
            record.latency_us.p50,
            record.latency_us.p99,
            number(record.per_query.device_reads_per_query),
            number(record.per_query.cpu_us_per_query),
            record.is_valid(),
        );
    }
    text
}

/// Writes the lines to `path`; `-` is standard output.
pub(crate) fn write_csv(path: &Path, records: &[Record]) -> Result<(), Error> {
    let text = csv(records);
    if goes_to_stdout(path) {
        print(&text)
    } else {
        std::fs::write(path, text).map_err(Error::io("write", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::search::tests::figures;
    use crate::record::tests::{measurement, record_of};

    fn record(nprobes: usize, recall: f64, queries_per_s: f64) -> Record {
        let mut record = record_of(&measurement());
        record.rates.queries_per_s = queries_per_s;
        record.search = Some(figures(nprobes, Some(10), recall));
        record
    }

    #[test]
    fn curve_marks_what_nothing_else_beats() {
        let records = [
            record(1, 0.5, 1_000.0),
            record(2, 0.4, 900.0),
            record(20, 0.9, 100.0),
            record(50, 0.9, 90.0),
        ];
        let best: Vec<bool> = records.iter().map(|one| is_best(one, &records)).collect();
        assert_eq!(best, [true, false, true, false]);
        let text = table(&records);
        assert_eq!(text.matches('*').count(), 3, "{text}");
    }

    #[test]
    fn lines_have_as_many_values_as_the_heading_names() {
        let mut unrefined = record(20, 0.75, 50.0);
        if let Some(search) = &mut unrefined.search {
            search.refine_factor = None;
        }
        let text = csv(&[record(1, 0.5, 1_000.0), unrefined]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines.iter().all(|line| line.len() == lines[0].len()),
            "{text}"
        );
        assert_eq!(lines[1][..6], ["cold", "50", "1", "10", "0.5", "1000"]);
        assert_eq!(lines[2][2..5], ["20", "", "0.75"]);
    }

    #[test]
    fn numbers_of_probes_that_come_to_the_same_are_tried_once() {
        assert_eq!(distinct(&NPROBES, 16), [1, 2, 5, 10, 16]);
        assert_eq!(distinct(&[20, 1], 256), [1, 20]);
    }
}
