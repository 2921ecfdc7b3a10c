//! The real binary, run as a user would run it, on datasets of a few hundred rows.
//!
//! Whether a run is proven depends on who else reads the drive, so no test here
//! asks for it; the rule itself is tested in `proof.rs`.

#![allow(clippy::unwrap_used)]

mod profile;
mod records;
mod rounds;
mod vector_search;

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
fn impossible_measurements_are_rejected_in_one_sentence_with_status_one() {
    let place = place();
    let dataset = dataset(&place);
    let dataset = dataset.to_str().unwrap();
    let nowhere = place.path().join("nowhere");
    // Other programs that read the drive would make it say why it measures again.
    let unwritable = "--queries 1 --rows-per-query 5 --attempts 1 --json /proc/no/record";
    for (dataset, flags, part) in [
        (nowhere.to_str().unwrap(), "", "is not a Ringtake dataset"),
        (dataset, "--columns nam", "nam"),
        (dataset, "--rows-per-query 601", "--rows-per-query"),
        (dataset, "--shards 0", "shards"),
        (dataset, "--clients in-shard --rate 9", "--rows-per-query 1"),
        (
            dataset,
            "--clients in-shard --rate 70% --rows-per-query 1",
            "--rate 10000",
        ),
        (dataset, "--cache-bytes pinned", "a cold run has no cache"),
        (
            dataset,
            "--cache warm --cache-bytes 1000000000000000",
            "--cache-bytes",
        ),
        (dataset, unwritable, "/proc/no/record"),
    ] {
        let mut arguments = vec!["file-read", "--dataset", dataset];
        arguments.extend(flags.split_whitespace());
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
        &["file-read", "--dataset", "d", "--rate", "fast"],
        &["file-read", "--dataset", "d", "--distribution", "zipf"],
        &["file-read", "--dataset", "d", "--scheduler", "none"],
        &["ceiling"],
        &["ceiling", "--dataset", "d", "--queue-depth", "0"],
        &["ladder", "--dataset", "d", "--read-paths", "auto,mapp"],
        &["plan", "--cores", "48", "--iops", "1e6"],
        &["plan", "--cores", "48", "--iops", "0", "--from", "f"],
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
    // A file system without a block device.
    let place = match tempfile::tempdir_in("/dev/shm") {
        Ok(place) => place,
        Err(error) => {
            let name = "run_on_a_file_system_in_memory_is_not_proven_and_can_be_refused";
            return ringtake_testing::skip(name, format!("/dev/shm: {error}"));
        }
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

/// Runs `bench ARGUMENTS --dataset DATASET --json -` and returns what it writes.
fn written(dataset: &Path, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend_from_slice(&["--dataset", dataset.to_str().unwrap(), "--json", "-"]);
    let output = bench(&all);
    assert!(output.status.success(), "{all:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn ceiling_returns_the_rows_of_the_store_by_every_means_in_a_record_of_the_same_keys() {
    let place = place();
    let dataset = dataset(&place);
    // The strings are a group of one column; they have nulls, so only the vectors can be
    // checked, and they are stored with the numbers unless they are alone.
    let vectors = alone(&place);
    let of_store = record(&vectors, &["--cache", "cold", "--shards", "1"]);
    for (by, read_path, cache) in [
        ("ring", "bare-ring", "cold"),
        ("mmap", "mmap-loop", "warm"),
        ("pread", "pread-loop", "warm"),
    ] {
        let flags = [
            "ceiling",
            "--by",
            by,
            "--queries",
            "12",
            "--rows-per-query",
            "20",
        ];
        let record = written(&vectors, &flags);
        for key in of_store.as_object().unwrap().keys() {
            assert!(record.get(key).is_some(), "{by}: {key}");
        }
        assert_eq!(record["workload"], "ceiling");
        assert_eq!(record["read_path"], read_path);
        assert_eq!(record["cache"], cache);
        assert_eq!(record["rows"], 240);
        assert_eq!(record["rows_checksum"], of_store["rows_checksum"], "{by}");
        assert_eq!(record["rows_checksum_rows"], of_store["rows_checksum_rows"]);
    }
    let ring = written(
        &vectors,
        &[
            "ceiling",
            "--queries",
            "12",
            "--rows-per-query",
            "20",
            "--threads",
            "2",
        ],
    );
    assert_eq!(ring["rows"], 240);
    // The store reads no more: takes share what is in flight, and it merges more neighbours.
    let of_both = |name: &str| {
        let number = |record: &Value| record["store_counters"][name].as_u64().unwrap();
        (number(&of_store), number(&ring))
    };
    for (store, bare) in [of_both("reads"), of_both("read_bytes")] {
        assert!(store > 0 && store <= bare, "{store} {bare}");
    }
    let several = written(
        &dataset,
        &["ceiling", "--queries", "3", "--rows-per-query", "20"],
    );
    assert_eq!(several["rows_checksum_rows"], 0);
    assert!(
        several["notes"]
            .to_string()
            .contains("no checksum over rows")
    );
}

/// A dataset of vectors and nothing else.
fn alone(place: &TempDir) -> PathBuf {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let vector = DataType::FixedSizeList(item.clone(), DIMENSION);
    let schema = Arc::new(Schema::new(vec![Field::new("vector", vector, false)]));
    let numbers = (0..ROWS * i64::from(DIMENSION)).map(|value| value as f32);
    let vectors = FixedSizeListArray::new(
        item,
        DIMENSION,
        Arc::new(Float32Array::from_iter_values(numbers)),
        None,
    );
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(vectors) as ArrayRef]).unwrap();
    let path = place.path().join("vectors");
    let mut writer = Writer::create(&path, &schema, WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    path
}

#[test]
fn open_loop_says_what_was_asked_for_and_what_was_reached() {
    let place = place();
    let dataset = dataset(&place);
    let fixed = record(&dataset, &["--rate", "500"]);
    assert_eq!(fixed["open_loop"]["rate_asked_per_s"], 500.0);
    assert_eq!(fixed["open_loop"]["planned"], 12);
    assert_eq!(fixed["open_loop"]["never_started"], 0);
    assert!(fixed["open_loop"]["capacity_per_s"].is_null());
    let share = record(&dataset, &["--rate", "50%", "--threads", "2"]);
    let number = |name: &str| share["open_loop"][name].as_f64().unwrap();
    assert!((number("rate_asked_per_s") / number("capacity_per_s") - 0.5).abs() < 1e-9);
    assert!(number("rate_achieved_per_s").is_finite());
    assert!(share["open_loop"]["start_late_us"]["p999"].is_number());
    // The same queries in a closed loop.
    let closed = record(&dataset, &[]);
    assert!(closed["open_loop"].is_null());
    assert_eq!(closed["touched"], fixed["touched"]);
    assert_eq!(closed["touched"], share["touched"]);
}

#[test]
fn clients_in_the_shards_ask_the_queries_that_clients_outside_ask() {
    let place = place();
    let dataset = dataset(&place);
    let one_row = ["--rate", "500", "--rows-per-query", "1", "--shards", "2"];
    let outside = record(&dataset, &one_row);
    let inside = record(
        &dataset,
        &[&one_row[..], &["--clients", "in-shard"]].concat(),
    );
    assert_eq!(outside["config"]["clients"], "threads");
    assert_eq!(inside["config"]["clients"], "in-shard");
    for name in ["queries", "rows", "touched", "rows_checksum"] {
        assert_eq!(inside[name], outside[name], "{name}");
    }
    assert_eq!(inside["open_loop"]["planned"], inside["queries"]);
    assert_eq!(inside["open_loop"]["rate_asked_per_s"], 500.0);
    assert!(inside["latency_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(inside["open_loop"]["start_late_us"]["p50"].is_number());
}

#[test]
fn mixed_run_finds_some_rows_in_the_cache_and_reads_the_others() {
    let place = place();
    let dataset = dataset(&place);
    let flags = ["--cache", "mixed", "--shards", "1", "--columns", "vector"];
    let small = record(
        &dataset,
        &[
            &flags[..],
            // One query at a time: those in flight together share reads, and may find nothing.
            &[
                "--cache-bytes",
                "16384",
                "--distribution",
                "zipf:0.99",
                "--in-flight",
                "1",
            ],
        ]
        .concat(),
    );
    assert_eq!(small["cache"], "mixed");
    assert_eq!(small["config"]["distribution"], "zipf:0.99");
    let share = small["cache_hit_share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{share}");
    assert!(small["store_reads_per_row"].as_f64().unwrap() > 0.0);
    assert!(small["unique_rows"].as_u64().unwrap() < 240);
    let cold = record(&dataset, &["--cache", "cold"]);
    assert_eq!(cold["cache_hit_share"], 0.0);
    assert_eq!(cold["config"]["distribution"], "uniform");
    let all = record(&dataset, &flags);
    assert!(all["cache_hit_share"].as_f64().unwrap() > share, "{all:#}");
}
