//! The table of many records: one line for each subject and kind of run, medians over the
//! rounds, beside Ringtake's.
//!
//! The k-th record of a subject belongs to round k, and a ratio is taken within a round. A
//! record that is not proven is counted and never averaged. Records of the same queries must
//! have the same checksum.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

const RINGTAKE: &str = "Ringtake";
const PINNED: &str = "Ringtake, pinned";
const NONE: &str = "n/a";
const MIXED: &str = "mixed";

/// The fields of a record in the table.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    workload: String,
    read_path: String,
    cache: String,
    valid: bool,
    invalid_reason: Option<String>,
    rows_per_s: f64,
    rows_per_s_per_core: Option<f64>,
    cpu_us_per_row: Option<f64>,
    device_reads_per_row: Option<f64>,
    device_bytes_per_row: Option<f64>,
    latency_us: Latency,
    rows_checksum: String,
    seed: u64,
    config: Config,
}

#[derive(Debug, Clone, Deserialize)]
struct Latency {
    p99: f64,
}

#[derive(Debug, Clone, Deserialize)]
struct Config {
    rows_per_query: u64,
    #[serde(default = "uniform")]
    distribution: String,
    #[serde(default)]
    store: serde_json::Value,
}

const UNIFORM: &str = "uniform";

fn uniform() -> String {
    UNIFORM.to_owned()
}

impl Row {
    fn subject(&self) -> String {
        match self.workload.as_str() {
            "peer" => self.read_path.clone(),
            _ if self
                .config
                .store
                .get("cache")
                .and_then(|cache| cache.as_str())
                == Some("pinned") =>
            {
                PINNED.to_owned()
            }
            _ => RINGTAKE.to_owned(),
        }
    }
}

/// All rounds of one subject in one kind of run.
type Rounds = Vec<Row>;

/// The parameters that the runs of a kind share.
#[derive(Debug, Clone, PartialEq)]
struct Kind {
    cache: String,
    distribution: String,
    rows_per_query: u64,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, ", self.cache)?;
        if self.distribution != UNIFORM {
            write!(f, "{}, ", self.distribution)?;
        }
        write!(f, "{} rows a query", self.rows_per_query)
    }
}

/// The table of the records in `paths`.
pub(crate) fn of(paths: &[PathBuf]) -> Result<String> {
    let mut checksums = BTreeMap::new();
    // In the order of their first record.
    let mut kinds: Vec<(Kind, Vec<(String, Rounds)>)> = Vec::new();
    for path in paths {
        let row: Row = read(path)?;
        let kind = Kind {
            cache: row.cache.clone(),
            distribution: row.config.distribution.clone(),
            rows_per_query: row.config.rows_per_query,
        };
        // Mixed runs draw rows anew even where all are alike.
        let drawn = kind.cache == MIXED || kind.distribution != UNIFORM;
        let queries = (
            kind.rows_per_query,
            kind.distribution.clone(),
            drawn,
            row.seed,
        );
        let expected = checksums
            .entry(queries)
            .or_insert_with(|| row.rows_checksum.clone());
        if *expected != row.rows_checksum {
            return Err(Error::DifferentRows {
                path: path.clone(),
                found: row.rows_checksum,
                expected: expected.clone(),
            });
        }
        let subjects = entry(&mut kinds, kind);
        entry(subjects, row.subject()).push(row);
    }
    let mut text = String::new();
    for (kind, subjects) in &kinds {
        let _ = writeln!(text, "{kind}\n");
        let _ = writeln!(text, "{}\n", figures(subjects));
        for ours in [RINGTAKE, PINNED] {
            if let Some((_, rounds)) = subjects.iter().find(|(name, _)| name == ours) {
                let _ = writeln!(text, "{}\n", ratios(subjects, ours, rounds));
            }
        }
        for reason in reasons(subjects) {
            let _ = writeln!(text, "- {reason}");
        }
        let _ = writeln!(text);
    }
    Ok(text)
}

/// The record in `path`, as far as `T` wants it.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|error| Error::NoRecord {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}

pub(crate) fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let at = list.iter().position(|(known, _)| *known == key);
    let at = at.unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

/// A table with `header`.
pub(crate) fn empty_table(header: impl IntoIterator<Item = String>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Medians of each subject.
fn figures(subjects: &[(String, Rounds)]) -> Table {
    let header = [
        "",
        "valid",
        "rows/s",
        "rows/s/core",
        "CPU µs/row",
        "reads/row",
        "bytes/row",
        "p99 ms",
    ];
    let mut table = empty_table(header.map(str::to_owned));
    for (name, rounds) in subjects {
        let of = |value: fn(&Row) -> Option<f64>, digits: usize| {
            let valid = rounds.iter().filter(|row| row.valid);
            print(median(valid.filter_map(value).collect()), digits)
        };
        table.add_row([
            name.clone(),
            format!(
                "{}/{}",
                rounds.iter().filter(|row| row.valid).count(),
                rounds.len()
            ),
            of(|row| Some(row.rows_per_s), 0),
            of(|row| row.rows_per_s_per_core, 0),
            of(|row| row.cpu_us_per_row, 2),
            of(|row| row.device_reads_per_row, 2),
            of(|row| row.device_bytes_per_row, 0),
            of(|row| Some(row.latency_us.p99 / 1e3), 2),
        ]);
    }
    table
}

/// The subject named `ours`, measured in `rounds`, over each other.
fn ratios(subjects: &[(String, Rounds)], ours: &str, rounds: &[Row]) -> Table {
    let header = ["rows/s", "CPU/row", "rows/s/core"].map(str::to_owned);
    let mut table = empty_table([format!("{ours} ÷")].into_iter().chain(header));
    for (name, theirs) in subjects.iter().filter(|(name, _)| name != ours) {
        table.add_row([
            name.clone(),
            ratio(rounds, theirs, |row| Some(row.rows_per_s)),
            ratio(rounds, theirs, |row| row.cpu_us_per_row),
            ratio(rounds, theirs, |row| row.rows_per_s_per_core),
        ]);
    }
    table
}

/// The median of the ratios of the rounds, with their range if there is more than one.
fn ratio(ours: &[Row], theirs: &[Row], value: fn(&Row) -> Option<f64>) -> String {
    let pairs = ours.iter().zip(theirs).filter(|(a, b)| a.valid && b.valid);
    ratio_of(pairs.filter_map(|(a, b)| Some(value(a)? / value(b)?)))
}

/// The median of `ratios`, with their range if there is more than one.
pub(crate) fn ratio_of(ratios: impl Iterator<Item = f64>) -> String {
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.as_slice() {
        [] => NONE.to_owned(),
        [one] => format!("{one:.2}"),
        [low, .., high] => {
            let middle = print(median(ratios.clone()), 2);
            format!("{middle} ({low:.2} to {high:.2})")
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

pub(crate) fn print(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.digits$}"))
}

/// Why runs are not in the medians, each subject's first reason.
fn reasons(subjects: &[(String, Rounds)]) -> impl Iterator<Item = String> {
    subjects.iter().filter_map(|(name, rounds)| {
        let invalid = rounds.iter().filter(|row| !row.valid);
        let reason = invalid.clone().find_map(|row| row.invalid_reason.clone())?;
        Some(format!(
            "{name}: {} of {} runs invalid: {reason}",
            invalid.count(),
            rounds.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(
        dir: &Path,
        index: usize,
        peer: &str,
        rows_per_s: f64,
        valid: bool,
        sum: &str,
    ) -> PathBuf {
        let record = serde_json::json!({
            "workload": if peer == RINGTAKE { "file-read" } else { "peer" },
            "read_path": peer, "cache": "cold", "valid": valid,
            "invalid_reason": (!valid).then_some("the drive was idle"),
            "rows_per_s": rows_per_s, "rows_per_s_per_core": null, "cpu_us_per_row": 2.0,
            "device_reads_per_row": 1.0, "device_bytes_per_row": 4096.0,
            "latency_us": { "p99": 1500.0 }, "rows_checksum": sum, "seed": 1,
            "config": { "rows_per_query": 500 },
        });
        let path = dir.join(format!("{index}.json"));
        std::fs::write(&path, record.to_string()).unwrap();
        path
    }

    #[test]
    fn invalid_run_is_counted_and_not_averaged() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [
            write(dir.path(), 0, RINGTAKE, 100.0, true, "a"),
            write(dir.path(), 1, "x", 50.0, true, "a"),
            write(dir.path(), 2, RINGTAKE, 100.0, true, "a"),
            write(dir.path(), 3, "x", 9_999.0, false, "a"),
        ];
        let text = of(&paths).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("| x")).collect();
        assert!(
            lines[0].contains("1/2") && lines[0].contains(" 50 ") && lines[1].contains("2.00"),
            "{text}"
        );
        assert!(!text.contains("9999"), "{text}");
        assert!(
            text.contains("x: 1 of 2 runs invalid: the drive was idle"),
            "{text}"
        );
    }

    #[test]
    fn records_of_other_rows_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [
            write(dir.path(), 0, RINGTAKE, 100.0, true, "a"),
            write(dir.path(), 1, "x", 50.0, true, "b"),
        ];
        assert!(matches!(of(&paths), Err(Error::DifferentRows { .. })));
    }

    #[test]
    fn mixed_runs_have_rows_of_their_own_and_a_table_with_bytes_from_the_drive() {
        let dir = tempfile::tempdir().unwrap();
        let mixed = |index, peer, sum| {
            let path = write(dir.path(), index, peer, 100.0, true, sum);
            let record = std::fs::read_to_string(&path).unwrap();
            let record = record
                .replace(r#""cache":"cold""#, r#""cache":"mixed""#)
                .replace("4096.0", "409.6")
                .replace(
                    r#""rows_per_query":500"#,
                    r#""rows_per_query":500,"distribution":"zipf:0.99""#,
                );
            std::fs::write(&path, record).unwrap();
            path
        };
        let cold = write(dir.path(), 0, "x", 50.0, true, "a");
        let paths = [cold, mixed(1, RINGTAKE, "b"), mixed(2, "x", "b")];
        let text = of(&paths).unwrap();
        let (_, mixed_text) = text
            .split_once("mixed, zipf:0.99, 500 rows a query")
            .unwrap();
        assert!(
            mixed_text.contains(" 410 ") && !mixed_text.contains(" 4096 "),
            "{text}"
        );
        let other = [mixed(3, RINGTAKE, "b"), mixed(4, "x", "c")];
        assert!(matches!(of(&other), Err(Error::DifferentRows { .. })));
    }

    #[test]
    fn pinned_runs_are_a_subject_of_their_own_with_ratios_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let pinned = write(dir.path(), 1, RINGTAKE, 300.0, true, "a");
        let record = std::fs::read_to_string(&pinned).unwrap();
        let record = record.replace(
            r#""rows_per_query":500"#,
            r#""rows_per_query":500,"store":{"cache":"pinned"}"#,
        );
        std::fs::write(&pinned, record).unwrap();
        let paths = [
            write(dir.path(), 0, RINGTAKE, 100.0, true, "a"),
            pinned,
            write(dir.path(), 2, "x", 50.0, true, "a"),
        ];
        let text = of(&paths).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("| x")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[1].contains(" 2.00 ") && lines[2].contains(" 6.00 "),
            "{text}"
        );
    }
}
