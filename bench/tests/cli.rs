//! The real binary, run as a user would run it, on datasets of a few hundred rows.
//!
//! Whether a run is proven depends on who else reads the drive, so no test here
//! asks for it; the rule itself is tested in `proof.rs`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use ringtake_storage::write::{WriteOptions, Writer};
use serde_json::Value;
use tempfile::TempDir;

const ROWS: i64 = 600;
const DIMENSION: i32 = 8;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory on the drive the tests are built on: the usual place for
/// temporary files may be in memory, which has no device to count.
fn place() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn dataset(place: &TempDir) -> PathBuf {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new(
            "vector",
            DataType::FixedSizeList(item.clone(), DIMENSION),
            false,
        ),
    ]));
    let numbers = (0..ROWS * i64::from(DIMENSION)).map(|value| value as f32);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..ROWS)),
        Arc::new(StringArray::from_iter(
            (0..ROWS).map(|row| (row % 7 != 0).then(|| format!("name of row {row}"))),
        )),
        Arc::new(FixedSizeListArray::new(
            item,
            DIMENSION,
            Arc::new(Float32Array::from_iter_values(numbers)),
            None,
        )),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let path = place.path().join("dataset");
    let mut writer = Writer::create(&path, &schema, WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    path
}

/// Runs `bench file-read` for 12 queries of 20 rows and returns its record.
fn record(dataset: &Path, flags: &[&str]) -> Value {
    let mut arguments = vec!["file-read", "--dataset", dataset.to_str().unwrap()];
    arguments.extend_from_slice(&["--queries", "12", "--rows-per-query", "20", "--json", "-"]);
    arguments.extend_from_slice(flags);
    let output = bench(&arguments);
    assert!(output.status.success(), "{flags:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn record_has_every_field_scripts_rely_on() {
    let place = place();
    let record = record(&dataset(&place), &["--cache", "cold", "--shards", "1"]);
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
        assert!(record.get(name).is_some(), "{name} is missing: {record:#}");
    }
    assert_eq!(record["workload"], "file-read");
    assert_eq!(record["cache"], "cold");
    assert_eq!(record["queries"], 12);
    assert_eq!(record["rows"], 240);
    assert_eq!(record["unique_rows"], 240);
    assert!(record["rows_per_s"].as_f64().unwrap() > 0.0);
    assert!(record["latency_us"]["p999"].as_f64().unwrap() > 0.0);
    assert_eq!(record["config"]["store"]["shards"], 1);
    assert_eq!(record["config"]["store"]["cache"], "off");
    assert!(record["environment"]["kernel"].is_string());
    assert_eq!(
        record["valid"].as_bool().unwrap(),
        record["invalid_reason"].is_null()
    );
    assert!(record["store_reads_per_row"].as_f64().unwrap() > 0.0);
}

#[test]
fn warm_run_reads_nothing_and_repeats_are_counted() {
    let place = place();
    let record = record(
        &dataset(&place),
        &["--cache", "warm", "--shards", "2", "--queries", "100"],
    );
    assert_eq!(record["cache"], "warm");
    assert_eq!(record["rows"], 2_000);
    // 30 queries of 20 rows, of which three are kept for the warm-up.
    assert_eq!(record["unique_rows"], 540);
    assert_eq!(record["store_reads_per_row"], 0.0);
}

#[test]
fn same_rows_have_the_same_checksum_however_they_are_read() {
    let place = place();
    let dataset = dataset(&place);
    let checksum = |flags: &[&str]| {
        let record = record(&dataset, flags);
        assert_eq!(record["rows_checksum_rows"], 27 * 20);
        record["rows_checksum"].as_str().unwrap().to_owned()
    };
    let expected = checksum(&["--cache", "cold", "--shards", "1"]);
    for flags in [
        &["--cache", "warm", "--shards", "1"][..],
        &[
            "--cache",
            "cold",
            "--shards",
            "2",
            "--threads",
            "2",
            "--in-flight",
            "3",
        ],
        &["--cache", "cold", "--read-path", "thread-pool:2"],
        &["--cache", "cold", "--skip-checksums", "--queue-depth", "8"],
    ] {
        assert_eq!(checksum(flags), expected, "{flags:?}");
    }
    for flags in [
        &["--seed", "2"][..],
        &["--columns", "id"],
        &["--columns", "vector,id"],
    ] {
        assert_ne!(checksum(flags), expected, "{flags:?}");
    }
}

#[test]
fn table_is_for_people_and_the_record_goes_to_a_file() {
    let place = place();
    let dataset = dataset(&place);
    let json = place.path().join("record.json");
    let output = bench(&[
        "file-read",
        "--dataset",
        dataset.to_str().unwrap(),
        "--seconds",
        "0.2",
        "--rows-per-query",
        "20",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    for part in [
        "rows per second",
        "drive reads per row",
        "proven",
        "debug build",
    ] {
        assert!(
            table.contains(part) || !cfg!(debug_assertions),
            "{part} in {table}"
        );
    }
    let record: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(record["config"]["seconds"], 0.2);
}

#[test]
fn what_cannot_be_measured_is_refused_in_one_sentence_with_status_one() {
    let place = place();
    let dataset = dataset(&place);
    let dataset = dataset.to_str().unwrap();
    let nowhere = place.path().join("nowhere");
    for (flags, part) in [
        (
            &["--dataset", nowhere.to_str().unwrap()][..],
            "is not a dataset",
        ),
        (&["--dataset", dataset, "--columns", "nam"], "nam"),
        (
            &["--dataset", dataset, "--rows-per-query", "601"],
            "--rows-per-query",
        ),
        (&["--dataset", dataset, "--shards", "0"], "shards"),
        (
            &[
                "--dataset",
                dataset,
                "--cache",
                "warm",
                "--cache-bytes",
                "1000000000000000",
            ],
            "--cache-bytes",
        ),
        (
            &[
                "--dataset",
                dataset,
                "--queries",
                "1",
                "--rows-per-query",
                "5",
                "--json",
                "/proc/no/record",
            ],
            "/proc/no/record",
        ),
    ] {
        let mut arguments = vec!["file-read"];
        arguments.extend_from_slice(flags);
        let output = bench(&arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{flags:?}: {said}");
        assert!(
            said.starts_with("bench: ") && said.contains(part),
            "{flags:?}: {said}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_status_two() {
    for flags in [
        &["file-read"][..],
        &["file-reed"],
        &["file-read", "--dataset", "d", "--cache", "tepid"],
        &["file-read", "--dataset", "d", "--seconds", "-1"],
        &["file-read", "--dataset", "d", "--queries", "0"],
        &["file-read", "--dataset", "d", "--read-path", "mapp"],
        &["quick", "--rows", "0"],
    ] {
        let output = bench(flags);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{flags:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn run_on_a_file_system_in_memory_is_not_proven_and_can_be_refused() {
    // A file system without a block device; where there is none the test has
    // nothing to say.
    let Ok(place) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let dataset = dataset(&place);
    let record = record(&dataset, &["--read-path", "thread-pool:2"]);
    assert_eq!(record["valid"], false);
    assert!(record["device_reads_per_row"].is_null());
    assert!(
        record["invalid_reason"]
            .as_str()
            .unwrap()
            .contains("no block device")
    );
    let output = bench(&[
        "file-read",
        "--dataset",
        dataset.to_str().unwrap(),
        "--read-path",
        "thread-pool:2",
        "--queries",
        "1",
        "--rows-per-query",
        "5",
        "--require-valid",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the run is not valid"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn quick_run_measures_both_and_leaves_nothing_behind() {
    let place = place();
    let output = bench(&[
        "quick",
        "--dir",
        place.path().to_str().unwrap(),
        "--rows",
        "4000",
        "--seconds",
        "0.3",
        "--json",
        "-",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let records: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(records[0]["cache"], "cold");
    assert_eq!(records[1]["cache"], "warm");
    assert_eq!(records[0]["rows_checksum"], records[1]["rows_checksum"]);
    assert_eq!(records[1]["store_reads_per_row"], 0.0);
    assert!(
        stderr(&output).contains("cold: from the drive"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn quick_run_stopped_by_a_signal_leaves_nothing_behind() {
    let place = place();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["quick", "--rows", "4000", "--seconds", "3600", "--dir"])
        .arg(place.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The line about the second step is the sign that the dataset is there.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.by_ref().any(|line| line.unwrap().starts_with("2/3")));
    assert!(
        place
            .path()
            .join("ringtake-bench-quick-run/dataset/MANIFEST")
            .exists()
    );
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(lines.any(|line| line.unwrap().contains("stopped by a signal")));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
