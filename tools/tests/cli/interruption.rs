//! Imports that are stopped midway leave no dataset, or the whole one before.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch};
use arrow::datatypes::Float32Type;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Place, Ran, stream, write_parquet};
use crate::samples::small;
use crate::taking::twenty_rows;

/// An import that has written something and waits for more.
fn stuck_import(place: &Place) -> Child {
    let mut command = place.ringtake(&["import", "-", "d", "--force"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // More than the writer's buffers, which are a few megabytes.
    let wide = wide(6_000);
    let arrow = stream(&[wide.clone(), wide.clone(), wide.clone(), wide]);
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(&arrow[..arrow.len() * 7 / 8]).unwrap();
    stdin.flush().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while written_bytes(&place.path("d")) == 0 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the import ended by itself"
        );
        assert!(Instant::now() < patience, "the import wrote nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Vectors of a kilobyte.
fn wide(rows: usize) -> RecordBatch {
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..rows).map(|row| Some((0..256).map(move |at| Some((row * at) as f32)))),
        256,
    );
    RecordBatch::try_from_iter([("vector", Arc::new(vectors) as ArrayRef)]).unwrap()
}

/// Bytes in generations other than the one that the manifest names.
fn written_bytes(dataset: &Path) -> u64 {
    let named = std::fs::read(dataset.join("MANIFEST")).unwrap_or_default();
    let named = String::from_utf8_lossy(&named).into_owned();
    let Ok(entries) = std::fs::read_dir(dataset) else {
        return 0;
    };
    let generations = entries.flatten().filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.strip_prefix("data-")
            .is_some_and(|generation| !named.contains(generation))
    });
    generations
        .flat_map(|generation| std::fs::read_dir(generation.path()).into_iter().flatten())
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_killed_import_leaves_no_dataset_and_the_next_one_clears_up() {
    let place = Place::new();
    let child = stuck_import(&place);
    signal(&child, Signal::KILL);
    child.wait_with_output().unwrap();
    assert!(written_bytes(&place.path("d")) > 0);
    place
        .run(&["info", "d"])
        .fails(1, &["is not a Ringtake dataset"]);
    write_parquet(&place.path("a.parquet"), &small(20));
    place.run(&["import", "a.parquet", "d"]).succeeds();
    assert_eq!(written_bytes(&place.path("d")), 0);
    place.run(&["verify", "d"]).succeeds();
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 20);
}

#[test]
fn a_killed_replacement_leaves_the_dataset_before() {
    let place = twenty_rows();
    let child = stuck_import(&place);
    signal(&child, Signal::KILL);
    child.wait_with_output().unwrap();
    place.run(&["verify", "d"]).succeeds();
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 20);
}

#[test]
fn an_import_that_is_asked_to_stop_removes_what_it_wrote() {
    for (asked, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let place = Place::new();
        let child = stuck_import(&place);
        signal(&child, asked);
        Ran::of(child.wait_with_output().unwrap()).fails(status, &["stopped by"]);
        assert!(!place.path("d").exists());
        let place = twenty_rows();
        let child = stuck_import(&place);
        signal(&child, asked);
        Ran::of(child.wait_with_output().unwrap()).fails(status, &["stopped by"]);
        assert_eq!(written_bytes(&place.path("d")), 0);
        place.run(&["verify", "d"]).succeeds();
    }
}

#[test]
fn a_second_import_into_the_same_place_waits_for_its_turn_elsewhere() {
    let place = Place::new();
    let mut child = stuck_import(&place);
    write_parquet(&place.path("a.parquet"), &small(20));
    place
        .run(&["import", "a.parquet", "d"])
        .fails(1, &["being written by another process"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_dataset_can_be_read_while_imports_replace_it() {
    let place = twenty_rows();
    write_parquet(&place.path("b.parquet"), &small(30));
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            for file in ["b.parquet", "a.parquet"].iter().cycle().take(20) {
                place.run(&["import", file, "d", "--force"]).succeeds();
            }
        });
        // At least once, and until the last replacement.
        loop {
            let last = replacing.is_finished();
            let taken = place
                .run(&["take", "d", "--rows", "..", "--format", "jsonl"])
                .succeeds();
            let rows = taken.rows();
            assert!(matches!(rows.len(), 20 | 30), "{}", rows.len());
            assert!(
                rows.iter()
                    .enumerate()
                    .all(|(row, value)| value["id"] == row)
            );
            place.run(&["info", "d", "--json"]).succeeds();
            if last {
                break;
            }
        }
        replacing.join().unwrap();
    });
}

/// The real import, killed at random moments: each time the dataset is the one before or the one
/// after, and `verify` finds no damage.
#[test]
fn an_import_killed_a_hundred_times_loses_nothing() {
    const KILLS: u32 = 100;
    let place = Place::new();
    // The number of rows tells which import a dataset is from.
    let rows = |version: u32| 2_000 + 100 * (version as usize % 3);
    for version in 0..3 {
        write_parquet(
            &place.path(&format!("{version}.parquet")),
            &wide(rows(version)),
        );
    }
    let import = |version: u32| {
        let file = format!("{}.parquet", version % 3);
        place.ringtake(&["import", &file, "d", "--force", "--quiet"])
    };
    let started = Instant::now();
    assert!(import(0).status().unwrap().success());
    let takes = started.elapsed();
    let mut now = 0;
    let (mut old, mut new) = (0, 0);
    for kill in 1..=KILLS {
        let mut child = import(kill).stderr(Stdio::null()).spawn().unwrap();
        // Evenly over the time that an import takes, and somewhat beyond.
        std::thread::sleep(takes * kill / KILLS * 6 / 5);
        // One that has ended cannot be killed.
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
        let info = place.run(&["info", "d", "--json"]).succeeds().json();
        let found = info["rows"].as_u64().unwrap() as usize;
        if found == rows(kill) {
            (now, new) = (kill, new + 1);
        } else {
            assert_eq!(found, rows(now), "kill {kill}");
            old += 1;
        }
        place.run(&["verify", "d", "--quiet"]).succeeds();
    }
    println!("{KILLS} kills: {old} times the dataset before, {new} times the one after");
    assert!(old > 0 && new > 0, "{old} {new}");
    // Whatever they left behind, the next one clears up.
    assert!(import(1).status().unwrap().success());
    let generations = std::fs::read_dir(place.path("d")).unwrap().flatten();
    let generations = generations.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(generations, 1);
}
