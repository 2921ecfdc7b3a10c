//! The page and the comparison, made from records.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{bench, dataset, place, stderr, stdout};

/// A record of a short run.
fn recorded(place: &TempDir, name: &str) -> PathBuf {
    let path = place.path().join(name);
    let dataset = dataset(place);
    let output = bench(&[
        "file-read",
        "--dataset",
        dataset.to_str().unwrap(),
        "--queries",
        "20",
        "--rows-per-query",
        "50",
        "--shards",
        "2",
        "--json",
        path.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    path
}

#[test]
fn page_of_a_run_shows_what_was_seen() {
    let place = place();
    let run = recorded(&place, "run.json");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&run).unwrap()).unwrap();
    let shards = json["observations"]["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    for shard in shards {
        let stages = shard["stages"].as_array().unwrap();
        let shares: f64 = stages
            .iter()
            .map(|stage| stage["share"].as_f64().unwrap())
            .sum();
        assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    }
    assert!(json["verdict"]["words"].is_string() && json["partial"] == false);
    let page = place.path().join("page.html");
    let page_path = page.to_str().unwrap();
    let output = bench(&["report", run.to_str().unwrap(), "-o", page_path]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), page_path);
    let text = std::fs::read_to_string(&page).unwrap();
    for part in ["Time by stage", "shard 1:", "<svg", "</html>"] {
        assert!(text.contains(part), "{part}");
    }
    let output = bench(&["report", run.to_str().unwrap(), "-o", "-"]);
    assert_eq!(stdout(&output), text);
}

/// A signal that comes before the first answer leaves nothing, so it is sent later and later.
#[test]
fn run_that_is_interrupted_is_kept_as_a_part() {
    let place = place();
    let (dataset, path) = (dataset(&place), place.path().join("part.json"));
    let mut status = None;
    for seconds in [1, 2, 4, 8, 16] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["file-read", "--seconds", "3600", "--rows-per-query", "10"])
            .arg("--dataset")
            .arg(&dataset)
            .arg("--json")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(seconds));
        let process = rustix::process::Pid::from_child(&run);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        status = run.wait().unwrap().code();
        if path.exists() {
            break;
        }
    }
    assert_eq!(status, Some(130));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(json["partial"], true);
    assert!(json["queries"].as_u64().unwrap() > 0);
    assert!(json["duration_s"].as_f64().unwrap() < 60.0);
}

#[test]
fn page_of_what_is_no_record_is_refused() {
    let place = place();
    let path = place.path().join("no.json");
    std::fs::write(&path, "[1]").unwrap();
    let output = bench(&["report", path.to_str().unwrap(), "-o", "-"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no.json"), "{}", stderr(&output));
    assert_eq!(bench(&["report"]).status.code(), Some(2));
}

#[test]
fn comparison_ends_with_the_status_of_its_conditions() {
    let place = place();
    let run = recorded(&place, "run.json");
    // Whether it is proven depends on who else reads the drive.
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&run).unwrap()).unwrap();
    json["valid"] = true.into();
    json["rows_per_s"] = 1000.0.into();
    std::fs::write(&run, json.to_string()).unwrap();
    json["rows_per_s"] = 940.0.into();
    let after = place.path().join("after.json");
    std::fs::write(&after, json.to_string()).unwrap();
    let (run, after) = (run.to_str().unwrap(), after.to_str().unwrap());
    for (condition, status) in [
        ("rows_per_s < 0.95x", 1),
        ("rows_per_s < 0.9x", 0),
        ("rows_per_s >= 941", 0),
        ("latency_us.p99 > 1x", 0),
        ("no_such_field > 1", 2),
        ("rows_per_s = 3", 2),
    ] {
        let output = bench(&["compare", run, after, "--fail-if", condition]);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{condition}: {}",
            stderr(&output)
        );
        if status == 1 {
            assert!(
                stderr(&output).contains("940 after 1,000"),
                "{}",
                stderr(&output)
            );
        }
    }
    let output = bench(&["compare", run, after, "--json", "-"]);
    let compared: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let figure = &compared[0]["figures"][0];
    assert_eq!(figure["name"], "rows_per_s");
    assert!((figure["difference"]["ratio"].as_f64().unwrap() - 0.94).abs() < 1e-9);
    // Other rows.
    json["config"]["rows_used"] = 7.into();
    std::fs::write(after, json.to_string()).unwrap();
    let output = bench(&["compare", run, after]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
    assert!(bench(&["compare", run, after, "--force"]).status.success());
}
