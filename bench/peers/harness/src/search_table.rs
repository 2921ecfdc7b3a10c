//! The table of many records of searches: one line for each subject and kind of run, medians over
//! the rounds, and Ringtake's rate over each other's.
//!
//! The k-th record of a subject belongs to round k, and a ratio is taken within a round. A record
//! that is not proven is counted and never averaged. Recall tells whether two subjects may be
//! compared; what they find is not the same.

use std::path::PathBuf;

use comfy_table::Table;
use serde::Deserialize;

use crate::error::Result;
use crate::table::{empty_table, entry, median, print, ratio_of, read};

const RINGTAKE: &str = "Ringtake";

/// The fields of a record in the table.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    workload: String,
    read_path: String,
    cache: String,
    valid: bool,
    invalid_reason: Option<String>,
    k: u64,
    nprobes: u64,
    refine_factor: Option<u64>,
    partitions: Option<u64>,
    queries_per_s: f64,
    cpu_us_per_query: Option<f64>,
    device_reads_per_query: Option<f64>,
    recall_at_k: Option<f64>,
    latency_us: Latency,
}

#[derive(Debug, Clone, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

impl Row {
    fn subject(&self) -> &str {
        match self.workload.as_str() {
            "vector-search" => RINGTAKE,
            _ => &self.read_path,
        }
    }

    fn kind(&self) -> String {
        let number = |value: Option<u64>| value.map_or("no".to_owned(), |value| value.to_string());
        format!(
            "{}, k {}, nprobes {} of {} partitions, refine factor {}",
            self.cache,
            self.k,
            self.nprobes,
            number(self.partitions),
            number(self.refine_factor)
        )
    }
}

/// A subject and its records.
type Rounds = (String, Vec<Row>);

/// The table of the records in `paths`.
pub(crate) fn of(paths: &[PathBuf]) -> Result<String> {
    // In the order of their first record.
    let mut kinds: Vec<(String, Vec<Rounds>)> = Vec::new();
    for path in paths {
        let row: Row = read(path)?;
        let subjects = entry(&mut kinds, row.kind());
        entry(subjects, row.subject().to_owned()).push(row);
    }
    let mut text = String::new();
    for (kind, subjects) in &kinds {
        text += &format!("{kind}\n\n{}\n\n", figures(subjects));
        for (name, rounds) in subjects {
            let invalid: Vec<&Row> = rounds.iter().filter(|row| !row.valid).collect();
            if let Some(reason) = invalid.iter().find_map(|row| row.invalid_reason.as_ref()) {
                let (some, all) = (invalid.len(), rounds.len());
                text += &format!("- {name}: {some} of {all} runs invalid: {reason}\n");
            }
        }
    }
    Ok(text)
}

/// Medians of each subject, and Ringtake's rate over its own.
fn figures(subjects: &[Rounds]) -> Table {
    let header = [
        "",
        "valid",
        "recall",
        "queries/s",
        "CPU ms/query",
        "drive reads/query",
        "p50 ms",
        "p99 ms",
        "Ringtake's queries/s over it",
    ];
    let ours = subjects.iter().find(|(name, _)| name == RINGTAKE);
    let mut table = empty_table(header.map(str::to_owned));
    for (name, rounds) in subjects {
        let valid = rounds.iter().filter(|row| row.valid);
        let of = |value: fn(&Row) -> Option<f64>, digits: usize| {
            print(median(valid.clone().filter_map(value).collect()), digits)
        };
        let ratios = ours.filter(|(ours, _)| ours != name).map(|(_, ours)| {
            let pairs = ours.iter().zip(rounds);
            let pairs = pairs.filter(|(a, b)| a.valid && b.valid);
            ratio_of(pairs.map(|(a, b)| a.queries_per_s / b.queries_per_s))
        });
        table.add_row([
            name.clone(),
            format!("{}/{}", valid.clone().count(), rounds.len()),
            of(|row| row.recall_at_k, 4),
            of(|row| Some(row.queries_per_s), 0),
            of(|row| Some(row.cpu_us_per_query? / 1e3), 2),
            of(|row| row.device_reads_per_query, 0),
            of(|row| Some(row.latency_us.p50 / 1e3), 2),
            of(|row| Some(row.latency_us.p99 / 1e3), 2),
            ratios.unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn record(dir: &Path, index: usize, subject: &str, queries_per_s: f64, valid: bool) -> PathBuf {
        let record = serde_json::json!({
            "workload": if subject == RINGTAKE { "vector-search" } else { "peer-search" },
            "read_path": subject, "cache": "warm", "valid": valid,
            "invalid_reason": (!valid).then_some("the drive was busy"),
            "k": 50, "nprobes": 20, "refine_factor": 10, "partitions": 256,
            "queries_per_s": queries_per_s, "cpu_us_per_query": 1500.0,
            "device_reads_per_query": 0.0, "recall_at_k": 0.94,
            "latency_us": { "p50": 1000.0, "p99": 2000.0 },
        });
        let path = dir.join(format!("{index}.json"));
        std::fs::write(&path, record.to_string()).unwrap();
        path
    }

    #[test]
    fn rates_are_compared_within_a_round_and_unproven_runs_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [
            record(dir.path(), 0, RINGTAKE, 1000.0, true),
            record(dir.path(), 1, "x", 100.0, true),
            record(dir.path(), 2, RINGTAKE, 3000.0, true),
            record(dir.path(), 3, "x", 200.0, true),
            record(dir.path(), 4, RINGTAKE, 900.0, true),
            record(dir.path(), 5, "x", 77_777.0, false),
        ];
        let text = of(&paths).unwrap();
        assert!(
            text.contains("warm, k 50, nprobes 20 of 256 partitions, refine factor 10"),
            "{text}"
        );
        let line = text.lines().find(|line| line.contains("| x")).unwrap();
        assert!(
            line.contains(" 2/3 ") && line.contains(" 150 ") && line.contains("0.9400"),
            "{text}"
        );
        assert!(line.contains("12.50 (10.00 to 15.00)"), "{text}");
        assert!(
            !text.contains("77777") && text.contains("the drive was busy"),
            "{text}"
        );
    }
}
