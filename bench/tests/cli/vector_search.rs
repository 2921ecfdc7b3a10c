//! `bench vector-search` on a few thousand vectors.

use std::path::{Path, PathBuf};

use ringtake_vectors::npy::{read_row_lists, read_vectors, write_header};
use serde_json::Value;
use tempfile::TempDir;

use crate::{alone, bench, place, record as file_read, stderr, stdout};

const ROWS: u64 = 3_000;
const DIMS: usize = 32;
const PARTITIONS: usize = 8;

/// Runs `bench vector-search` on the dataset that is made in `place`, for a few queries.
fn run(place: &TempDir, flags: &[&str]) -> std::process::Output {
    let dir = place.path().to_str().unwrap();
    let (rows, dims) = (ROWS.to_string(), DIMS.to_string());
    let partitions = PARTITIONS.to_string();
    let mut arguments = vec!["vector-search", "--dir", dir, "--rows", &rows];
    arguments.extend(["--dims", &dims, "--partitions", &partitions]);
    arguments.extend(["--searches", "24", "--recall-queries", "16"]);
    arguments.extend(["--k", "10", "--query-pool", "200"]);
    arguments.extend_from_slice(flags);
    bench(&arguments)
}

/// Runs the command and returns the record that it writes.
fn written(place: &TempDir, flags: &[&str]) -> Value {
    let output = run(place, &[flags, &["--json", "-"]].concat());
    assert!(output.status.success(), "{flags:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn truth_file(place: &TempDir, metric: &str) -> PathBuf {
    place
        .path()
        .join(format!("dataset.nearest-{metric}-10.npy"))
}

/// An `.npy` file of vectors of `dims` numbers.
fn npy(path: &Path, rows: usize, dims: usize) {
    let mut bytes = Vec::new();
    write_header(&mut bytes, "<f4", rows as u64, dims as u64).unwrap();
    for number in 0..rows * dims {
        let number = ((number * 7919) % 101) as f32 / 100.0;
        bytes.extend(number.to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn record_has_the_keys_of_a_take_and_those_of_a_search_for_each_number_of_probes() {
    let place = place();
    let records = written(&place, &["--cache", "cold"]);
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), 2);
    let vectors = alone(&place);
    let of_takes = file_read(&vectors, &["--cache", "cold"]);
    for (record, nprobes) in records.iter().zip([1, 20]) {
        for key in of_takes.as_object().unwrap().keys() {
            assert!(record.get(key).is_some(), "{key}: {record:#}");
        }
        let recall = record["recall_at_k"].as_f64().unwrap();
        assert!((0.1..=1.0).contains(&recall), "{recall}");
        for name in [
            "queries_per_s_per_core",
            "index_bytes_per_row",
            "device_reads_per_query",
        ] {
            assert!(record[name].as_f64().unwrap() > 0.0, "{name}: {record:#}");
        }
        for (name, expected) in [
            ("workload", Value::from("vector-search")),
            ("cache", "cold".into()),
            ("nprobes", nprobes.into()),
            ("refine_factor", 10.into()),
            ("k", 10.into()),
            ("queries", 24.into()),
            ("unique_queries", 24.into()),
            ("query_source", "same_mixture".into()),
            ("query_pool", 200.into()),
            ("recall_queries", 16.into()),
            ("metric", "l2".into()),
        ] {
            assert_eq!(record[name], expected, "{name}");
        }
        // 100 candidates a query are in any partition.
        assert_eq!(record["rows"], 2_400);
        let shares = record["cpu_share"].as_object().unwrap();
        for stage in [
            "rank", "tables", "scan", "select", "refine", "merge", "other",
        ] {
            assert!(shares[stage].as_f64().unwrap() >= 0.0, "{shares:?}");
        }
        assert!(shares["scan"].as_f64().unwrap() > 0.0, "{shares:?}");
    }
    assert!(records[0]["recall_at_k"].as_f64() < records[1]["recall_at_k"].as_f64());
}

#[test]
fn exported_arrays_have_the_rows_the_queries_and_the_nearest_rows_of_the_first_of_them() {
    let place = place();
    let exported = place.path().join("exported");
    let output = run(&place, &["--export", exported.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let vectors = read_vectors(&exported.join("vectors.npy")).unwrap();
    let queries = read_vectors(&exported.join("queries.npy")).unwrap();
    assert_eq!(vectors.numbers.len(), ROWS as usize * DIMS);
    assert_eq!(queries.numbers.len(), 200 * DIMS);
    let nearest = exported.join("nearest.npy");
    let kept = std::fs::read(truth_file(&place, "l2")).unwrap();
    assert_eq!(std::fs::read(&nearest).unwrap(), kept);
    let nearest = read_row_lists(&nearest).unwrap();
    // More than k where rows are as near as the last.
    assert!(nearest.length >= 10);
    let lists = nearest.ids.chunks_exact(nearest.length);
    assert_eq!(lists.len(), 16);
    for (query, list) in queries.numbers.chunks_exact(DIMS).zip(lists) {
        let squared = |row: &[f32]| -> f32 {
            let differences = row.iter().zip(query).map(|(x, y)| (x - y) * (x - y));
            differences.sum()
        };
        let mut all: Vec<(f32, usize)> = vectors
            .numbers
            .chunks_exact(DIMS)
            .map(squared)
            .zip(0..)
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rows: Vec<i64> = all[..10].iter().map(|(_, row)| *row as i64).collect();
        assert_eq!(list[..10], rows);
    }
    // What is exported is asked for as if it had been made up anew.
    let made = written(&place, &["--nprobes", "4"]);
    let (dataset, queries) = (place.path().join("dataset"), exported.join("queries.npy"));
    let (dataset, queries) = (dataset.to_str().unwrap(), queries.to_str().unwrap());
    let given = [
        "--dataset",
        dataset,
        "--queries",
        queries,
        "--nprobes",
        "4",
        "--json",
        "-",
        "--searches",
        "24",
        "--recall-queries",
        "16",
        "--k",
        "10",
    ];
    let output = bench(&[&["vector-search"], &given[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let given: Value = serde_json::from_str(&stdout(&output)).unwrap();
    for name in ["recall_at_k", "rows_checksum"] {
        assert_eq!(given[name], made[name], "{name}");
    }
}

#[test]
fn search_of_everything_finds_everything_as_the_loop_over_a_map_does() {
    let place = place();
    for metric in ["l2", "cosine", "dot"] {
        let all = ["--nprobes", "1000", "--refine-factor", "300"];
        let search = [&all[..], &["--cache", "warm", "--metric", metric]].concat();
        let record = written(&place, &search);
        assert_eq!(record["recall_at_k"], 1.0, "{metric}");
        assert_eq!(record["metric"], metric);
        assert_eq!(record["rows"], 24 * ROWS);
        assert_eq!(record["store_reads_per_row"], 0.0);
        let yardstick = [&all[2..], &["--yardstick", "map", "--metric", metric]].concat();
        let yardstick = written(&place, &yardstick);
        assert_eq!(yardstick["rows"], 24 * ROWS);
        assert_eq!(yardstick["rows_checksum"], record["rows_checksum"]);
        assert_eq!(
            yardstick["rows_checksum_rows"],
            record["rows_checksum_rows"]
        );
        assert_eq!(yardstick["read_path"], "mmap-loop");
        assert!(yardstick["recall_at_k"].is_null());
    }
}

#[test]
fn true_neighbours_are_kept_beside_the_dataset_and_found_again_where_they_do_not_belong() {
    let place = place();
    let flags = ["--nprobes", "2"];
    let first = written(&place, &flags);
    let path = truth_file(&place, "l2");
    let sound = std::fs::read(&path).unwrap();
    let again = |why: &str, says: &str| {
        let output = run(&place, &[&flags[..], &["--json", "-"]].concat());
        assert!(output.status.success(), "{why}: {}", stderr(&output));
        assert_eq!(
            stderr(&output).contains("computed again"),
            !says.is_empty(),
            "{why}"
        );
        assert!(stderr(&output).contains(says), "{why}: {}", stderr(&output));
        let record: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(record["recall_at_k"], first["recall_at_k"], "{why}");
        assert_eq!(std::fs::read(&path).unwrap(), sound, "{why}");
    };
    again("nothing has changed", "");
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    again("a bit is wrong", "is damaged");
    std::fs::write(&path, &sound[..100]).unwrap();
    again("it is cut short", "is damaged");
    std::fs::write(&path, "").unwrap();
    again("it is empty", "is damaged");
    written(&place, &["--nprobes", "2", "--recall-queries", "15"]);
    again("it was for other queries", "other queries");
    std::fs::remove_file(&path).unwrap();
    again("it is gone", "");
    // Believed as it is where it belongs: what it says decides the recall.
    assert_eq!(
        written(&place, &["--recall-queries", "0", "--nprobes", "1"])["recall_at_k"],
        Value::Null
    );
}

#[test]
fn given_dataset_is_asked_for_its_rows_with_noise_or_for_the_queries_of_a_file() {
    let place = place();
    written(&place, &["--nprobes", "1"]);
    let dataset = place.path().join("dataset");
    let dataset = dataset.to_str().unwrap();
    let given = |flags: &[&str]| {
        let count = ["--searches", "10", "--k", "5", "--nprobes", "20"];
        let all = [&["vector-search", "--dataset", dataset][..], &count, flags].concat();
        let output = bench(&[&all[..], &["--json", "-"]].concat());
        assert!(output.status.success(), "{flags:?}: {}", stderr(&output));
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()
    };
    let noisy = given(&[]);
    assert_eq!(noisy["query_source"], "noisy_rows");
    assert_eq!(noisy["query_pool"], ROWS);
    assert_eq!(noisy["recall_at_k"], 1.0);
    let path = place.path().join("queries.npy");
    npy(&path, 20, DIMS);
    let path = path.to_str().unwrap();
    let of_file = given(&["--queries", path]);
    assert_eq!(of_file["query_source"]["file"], path);
    assert_eq!(of_file["query_pool"], 20);
    assert_eq!(of_file["recall_queries"], 20);
    // A run of more queries than there are says how many were different.
    let repeated = given(&["--queries", path, "--searches", "100"]);
    assert_eq!(
        (&repeated["queries"], &repeated["unique_queries"]),
        (&100.into(), &18.into())
    );
}

#[test]
fn sweep_writes_a_line_and_a_record_for_each_point() {
    let place = place();
    let csv = place.path().join("curve.csv");
    let sweep = ["--sweep", "--csv", csv.to_str().unwrap(), "--cache", "warm"];
    let output = run(&place, &[&sweep[..], &["--json", "-"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let records: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let records = records.as_array().unwrap();
    // 1, 2, 5 and all 8 partitions, unrefined and with four factors.
    assert_eq!(records.len(), 4 * 5);
    let lines = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(lines.lines().count(), 1 + records.len());
    assert!(lines.starts_with("cache,k,nprobes,refine_factor,recall_at_k,queries_per_s"));
    assert_eq!(records[19]["nprobes"], PARTITIONS);
    assert_eq!(records[19]["refine_factor"], 20);
    assert!(records[0]["refine_factor"].is_null());
    let recall = |index: usize| records[index]["recall_at_k"].as_f64().unwrap();
    assert!(recall(19) > recall(0), "{lines}");
    for part in ["nprobes", "recall", "best", "*"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    // What is said is measured, in the order said.
    let two = ["--sweep", "--nprobes", "4,2", "--refine-factor", "none"];
    let records = written(&place, &two);
    let nprobes: Vec<&Value> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["nprobes"])
        .collect();
    assert_eq!(nprobes, [4, 2]);
    assert!(records[0]["refine_factor"].is_null());
    // Nothing is read, so it is warm, although cold is what was asked for.
    assert_eq!(records[0]["cache"], "warm");
}

#[test]
fn open_loop_of_searches_says_what_was_reached() {
    let place = place();
    let flags = [
        "--nprobes",
        "2",
        "--rate",
        "200",
        "--deadline",
        "1000",
        "--refuse",
    ];
    let record = written(&place, &flags);
    assert_eq!(record["open_loop"]["planned"], 24);
    assert_eq!(record["open_loop"]["rate_asked_per_s"], 200.0);
    assert!(record["open_loop"]["in_time_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn dataset_is_made_once_and_a_run_without_a_place_leaves_nothing() {
    let place = place();
    written(&place, &["--nprobes", "1"]);
    let manifest = place.path().join("dataset/MANIFEST");
    let before = std::fs::read(&manifest).unwrap();
    let output = run(&place, &["--nprobes", "1", "--rows", "4000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("3000 vectors of 32 numbers"),
        "{}",
        stderr(&output)
    );
    written(&place, &["--nprobes", "1"]);
    assert_eq!(std::fs::read(&manifest).unwrap(), before);

    let elsewhere = crate::place();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "vector-search",
            "--rows",
            "2000",
            "--dims",
            "16",
            "--searches",
            "5",
        ])
        .args(["--nprobes", "1", "--k", "5"])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for part in ["recall", "queries per second", "CPU by stage"] {
        assert!(
            stdout(&output).contains(part),
            "{part} in {}",
            stdout(&output)
        );
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn bad_flags_are_refused_in_one_sentence() {
    let place = place();
    let nowhere = place.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    for (flags, part) in [
        (&["--dataset", nowhere, "--k", "0"][..], "from 1 on"),
        (&["--dataset", nowhere, "--nprobes", "0"], "from 1 on"),
        (&["--dataset", nowhere, "--nprobes", "1,0"], "from 1 on"),
        (
            &["--dataset", nowhere, "--refine-factor", "0"],
            "from 1 on, or none",
        ),
        (
            &["--dataset", nowhere, "--metric", "hamming"],
            "l2, cosine or dot",
        ),
        (&["--dims", "0"], "from 1 to"),
        (&["--csv", "curve.csv"], "--sweep"),
        (
            &["--dataset", nowhere, "--dir", nowhere],
            "cannot be used with",
        ),
    ] {
        let output = bench(&[&["vector-search"], flags].concat());
        assert_eq!(
            output.status.code(),
            Some(2),
            "{flags:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(part),
            "{flags:?}: {}",
            stderr(&output)
        );
    }
    let vectors = alone(&place);
    let vectors = vectors.to_str().unwrap();
    written(&place, &["--nprobes", "1"]);
    let indexed = place.path().join("dataset");
    let indexed = indexed.to_str().unwrap();
    let short = place.path().join("short.npy");
    npy(&short, 3, 7);
    for (flags, part) in [
        (&["--dataset", nowhere][..], "is not a Ringtake dataset"),
        (&["--dataset", vectors], "has no index"),
        (&["--dataset", indexed, "--cache", "mixed"], "--cache warm"),
        (&["--dataset", indexed, "--metric", "dot"], "built for l2"),
        (&["--dataset", indexed, "--column", "title"], "title"),
        (
            &["--dataset", indexed, "--queries", short.to_str().unwrap()],
            "have 7 numbers and the vectors of column `vector` have 32",
        ),
        (&["--dataset", indexed, "--queries", nowhere], nowhere),
    ] {
        let output = bench(&[&["vector-search"], flags].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{flags:?}: {said}");
        assert!(
            said.starts_with("bench: ") && said.contains(part),
            "{flags:?}: {said}"
        );
    }
}
