//! A workload under perf, where there is one, and where there is none.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{dataset, place, stderr};

/// Profiles a short run; programs are looked for in `path` only, if it says where.
fn profile(dataset: &Path, folder: &Path, programs: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["profile", "-o"]).arg(folder);
    command.args(["--frequency", "999", "--", "file-read", "--dataset"]);
    command.arg(dataset);
    command.args(["--queries", "200", "--rows-per-query", "50"]);
    if let Some(programs) = programs {
        command.env("PATH", programs);
    }
    command.output().unwrap()
}

fn expect_record_and_page(folder: &Path) {
    let record = std::fs::read_to_string(folder.join("record.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["queries"], 200);
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("Time by stage") && page.ends_with("</html>"));
}

#[test]
fn without_perf_there_is_all_but_flame_graphs_and_the_remedy() {
    let place = place();
    let (dataset, folder) = (dataset(&place), place.path().join("profile"));
    let output = profile(&dataset, &folder, Some(place.path()));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("linux-perf"),
        "{}",
        stderr(&output)
    );
    expect_record_and_page(&folder);
    assert!(!folder.join("flamegraph-all.svg").exists());
    // Once more: it is not overwritten unasked.
    let output = profile(&dataset, &folder, Some(place.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("--overwrite"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn with_perf_or_its_remedy_the_workload_is_measured() {
    let place = place();
    let (dataset, folder) = (dataset(&place), place.path().join("profile"));
    let output = profile(&dataset, &folder, None);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_record_and_page(&folder);
    let missing = stderr(&output).contains("so there are no flame graphs");
    let drawn = folder.join("stacks.folded").exists();
    assert!(missing != drawn, "{}", stderr(&output));
    assert!(!folder.join("perf.data").exists());
    if drawn {
        let folded = std::fs::read_to_string(folder.join("stacks.folded")).unwrap();
        let empty = stderr(&output).contains("no sample of the measured window");
        assert_eq!(folder.join("flamegraph-all.svg").exists(), !empty);
        assert_eq!(folded.is_empty(), empty);
    }
}

#[test]
fn what_is_no_workload_is_refused_before_anything_is_made() {
    let place = place();
    let folder = place.path().join("profile");
    for (words, status) in [
        (&["compare", "a", "b"][..], 1),
        (&["file-read", "--no-such-flag"], 2),
        (&["no-such-workload"], 2),
        (&[], 2),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["profile", "-o"])
            .arg(&folder)
            .arg("--")
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{words:?}");
        assert!(!folder.exists(), "{words:?}");
    }
}

#[test]
fn workload_that_fails_says_why_and_so_does_the_profile() {
    let place = place();
    let folder = place.path().join("profile");
    let output = profile(Path::new("/no/such/dataset"), &folder, Some(place.path()));
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(
        message.contains("/no/such/dataset") && message.contains("the workload ended"),
        "{message}"
    );
}
