//! Records read back from the files of `--json`, of this version or another.
//!
//! A missing field is unknown; no record is rejected for it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::record::series::{Observations, Verdict};

/// A record read from a file.
#[derive(Debug, Clone)]
pub(crate) struct ArchivedRecord {
    /// The file.
    pub(crate) path: PathBuf,
    json: Value,
}

impl ArchivedRecord {
    /// The records of a file: one, or a list.
    pub(crate) fn read(path: &Path) -> Result<Vec<ArchivedRecord>, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let not_a_record = || Error::NotARecord {
            path: path.to_path_buf(),
        };
        let json: Value = serde_json::from_str(&text).map_err(|_| not_a_record())?;
        let list = match json {
            Value::Array(list) => list,
            one => vec![one],
        };
        let recorded = |json: Value| ArchivedRecord {
            path: path.to_path_buf(),
            json,
        };
        let records: Vec<ArchivedRecord> = list.into_iter().map(recorded).collect();
        let all_are = records.iter().all(|record| {
            record.text("workload").is_some() && record.number("rows_per_s").is_some()
        });
        match records.is_empty() || !all_are {
            true => Err(not_a_record()),
            false => Ok(records),
        }
    }

    /// The value at a path of names with dots between them.
    pub(crate) fn at(&self, path: &str) -> Option<&Value> {
        let found = path
            .split('.')
            .try_fold(&self.json, |value, name| value.get(name))?;
        (!found.is_null()).then_some(found)
    }

    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        self.at(path)?.as_f64()
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_str()
    }

    fn of<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        serde_json::from_value(self.at(path)?.clone()).ok()
    }

    /// Whether the drive's counters bear it out.
    pub(crate) fn is_valid(&self) -> bool {
        self.at("valid").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.at("partial").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn observations(&self) -> Observations {
        self.of("observations").unwrap_or_default()
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.of("verdict")
    }

    /// Sentences in a list.
    pub(crate) fn sentences(&self, path: &str) -> Vec<String> {
        self.of(path).unwrap_or_default()
    }

    /// The setup that distinguishes it from other records: the workload, where its rows came from,
    /// and the parameters of a search.
    pub(crate) fn setup(&self) -> String {
        let mut words = vec![
            self.text("workload").unwrap_or("unknown").to_owned(),
            self.text("cache").unwrap_or("unknown").to_owned(),
        ];
        for name in ["nprobes", "refine_factor", "k"] {
            if let Some(value) = self.number(name) {
                words.push(format!("{} {value}", name.replace('_', " ")));
            }
        }
        words.join(", ")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A record as an older version wrote it, with these fields besides.
    pub(crate) fn recorded(more: Value) -> ArchivedRecord {
        let mut json = serde_json::json!({
            "workload": "file-read", "cache": "cold", "valid": true, "rows_per_s": 50_000.0,
            "latency_us": { "p50": 900.0, "p99": 2_000.0 },
            "config": { "dataset": "vectors", "rows_used": 1000 },
        });
        for (name, value) in more.as_object().unwrap() {
            json[name] = value.clone();
        }
        ArchivedRecord {
            path: PathBuf::from("run.json"),
            json,
        }
    }

    #[test]
    fn file_of_one_record_and_file_of_a_list_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let one = r#"{"workload": "file-read", "rows_per_s": 1.5, "latency_us": {"p99": 2}}"#;
        std::fs::write(&path, one).unwrap();
        let records = ArchivedRecord::read(&path).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].number("latency_us.p99"), Some(2.0));
        assert_eq!(records[0].number("latency_us.p50"), None);
        assert_eq!(records[0].observations(), Observations::default());
        assert_eq!(records[0].verdict(), None);
        std::fs::write(&path, format!("[{one}, {one}]")).unwrap();
        assert_eq!(ArchivedRecord::read(&path).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        assert!(matches!(ArchivedRecord::read(&path), Err(Error::Io { .. })));
        for text in ["", "[]", "{}", "3", r#"[{"workload": "x"}]"#] {
            std::fs::write(&path, text).unwrap();
            let refused = ArchivedRecord::read(&path);
            assert!(matches!(refused, Err(Error::NotARecord { .. })), "{text}");
        }
    }

    #[test]
    fn setup_names_what_differs() {
        assert_eq!(recorded(serde_json::json!({})).setup(), "file-read, cold");
        let search = serde_json::json!({ "workload": "vector-search", "nprobes": 20, "k": 50 });
        let setup = recorded(search).setup();
        assert_eq!(setup, "vector-search, cold, nprobes 20, k 50");
    }
}
