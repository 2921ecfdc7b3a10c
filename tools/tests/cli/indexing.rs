//! `index`: what is built, what is refused, and what is left of a build that ends early.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch};
use arrow::datatypes::Float32Type;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Place, Ran, write_parquet};
use crate::taking::twenty_rows;

/// Elements of the vectors of [`indexed`].
pub(crate) const DIMS: usize = 8;

/// Rows whose vectors lie on a line, so that the nearest of a row are its neighbours. Row 5 has no
/// vector, row 6 one with a null item, row 7 one that is not finite, row 8 one of zeros.
pub(crate) fn line(rows: usize) -> RecordBatch {
    let vectors = (0..rows).map(|row| {
        let along = move |at: usize| match (row, at) {
            (6, 3) => None,
            (7, 2) => Some(f32::NAN),
            (8, _) => Some(0.0),
            _ => Some(row as f32 * 4.0 + at as f32 + 1.0),
        };
        (row != 5).then(|| (0..DIMS).map(along).collect::<Vec<_>>())
    });
    let vectors =
        FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, DIMS as i32);
    let ids = arrow::array::Int32Array::from_iter_values(0..rows as i32);
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("vector", Arc::new(vectors), true),
    ])
    .unwrap()
}

/// A place with a dataset `d` of `rows` rows of [`line`].
pub(crate) fn unindexed(rows: usize) -> Place {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &line(rows));
    let import = ["import", "a.parquet", "d", "--quiet"];
    place.run(&import).succeeds();
    place
}

/// The same with an index, for which `options` are given.
pub(crate) fn indexed(rows: usize, options: &[&str]) -> Place {
    let place = unindexed(rows);
    let index = [&["index", "d", "--quiet"], options].concat();
    let ran = place.run(&index).succeeds();
    assert!(ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran:?}");
    place
}

/// The names in dataset `d`.
fn names(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("d")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn index_file(place: &Place) -> PathBuf {
    place.path("d/c1.index")
}

#[test]
fn the_closing_line_says_what_was_built() {
    let place = unindexed(500);
    let ran = place.run(&["index", "d", "--partitions", "4"]).succeeds();
    assert!(ran.stdout.is_empty());
    let line = ran.stderr.trim_end();
    assert_eq!(ran.stderr.lines().count(), 1, "{line}");
    let bytes = std::fs::metadata(index_file(&place)).unwrap().len();
    for part in [
        "497 rows of `vector` indexed for l2",
        "and 3 left out (null, with items that are null or not finite, or too long)",
        "4 partitions",
        "bytes of memory per row",
        &indicatif::HumanBytes(bytes).to_string(),
        " s: d/c1.index",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let cosine = ["index", "d", "--column", "vector", "--metric", "cosine"];
    let ran = place.run(&cosine).succeeds();
    for part in [
        "496 rows",
        "for cosine",
        "4 left out",
        "not finite, too long, or zero)",
    ] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
    assert_eq!(
        names(&place)
            .iter()
            .filter(|name| name.contains("index"))
            .count(),
        1
    );
}

#[test]
fn options_decide_what_is_built_and_auto_chooses() {
    let place = unindexed(300);
    let built = |options: &[&str]| {
        place
            .run(&[&["index", "d", "--quiet"], options].concat())
            .succeeds();
        std::fs::read(index_file(&place)).unwrap()
    };
    let auto = built(&["--partitions", "auto", "--code-bytes", "auto"]);
    assert_eq!(
        auto,
        built(&[]),
        "auto is the default, and a build repeats itself"
    );
    assert_eq!(auto, built(&["--threads", "1", "--seed", "1"]));
    // One partition at this size, so that the seed changes nothing but itself.
    assert_ne!(auto, built(&["--seed", "2"]));
    assert!(built(&["--code-bytes", "2"]).len() < auto.len());
    assert!(built(&["--partitions", "8"]).len() > auto.len());
    let eight = built(&["--partitions", "8", "--iterations", "1"]);
    assert_ne!(eight, built(&["--partitions", "8", "--iterations", "9"]));
    // More partitions than rows are as many as there are sampled vectors.
    let many = place
        .run(&["index", "d", "--partitions", "5000"])
        .succeeds();
    assert!(many.stderr.contains("297 partitions"), "{}", many.stderr);
    let few = [
        "index",
        "d",
        "--partitions",
        "8",
        "--sample-per-partition",
        "1",
    ];
    let few = place.run(&few).succeeds();
    assert!(few.stderr.contains(" partitions"), "{}", few.stderr);
}

#[test]
fn an_empty_dataset_has_an_empty_index() {
    let place = unindexed(0);
    let ran = place.run(&["index", "d"]).succeeds();
    assert!(
        ran.stderr.starts_with("note: there are no rows"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("0 rows of `vector` indexed"),
        "{}",
        ran.stderr
    );
    assert!(index_file(&place).exists());
}

#[test]
fn what_cannot_be_indexed_is_refused_and_nothing_is_left() {
    let place = unindexed(50);
    let before = names(&place);
    let zero = "which cannot work";
    let refusals: [(&[&str], i32, &[&str]); 12] = [
        (&["--column", "nothing"], 1, &["`nothing`", "id, vector"]),
        (
            &["--column", "id"],
            1,
            &["`id`", "Int32", "fixed-size list"],
        ),
        (
            &["--partitions", "0"],
            1,
            &["partitions is 0", zero, "1 to 1048576"],
        ),
        (&["--code-bytes", "0"], 1, &["code_bytes is 0", zero]),
        (
            &["--code-bytes", "2049"],
            1,
            &["code_bytes is 2049", "1 to 2048"],
        ),
        (
            &["--partitions", "1048577"],
            1,
            &["partitions is 1048577", zero],
        ),
        (&["--partitions", "few"], 2, &["auto"]),
        (&["--code-bytes", "-1"], 2, &[]),
        (&["--metric", "hamming"], 2, &["l2, cosine or dot"]),
        (&["--threads", "x"], 2, &[]),
        (&["--threads", "0"], 2, &[]),
        (&["--sample-per-partition", "0"], 2, &[]),
    ];
    for (options, status, needles) in refusals {
        let ran = place.run(&[&["index", "d"], options].concat());
        if status == 1 {
            ran.fails(1, needles);
        } else {
            assert_eq!(ran.status, Some(2), "{options:?}: {}", ran.stderr);
            assert!(
                needles.iter().all(|needle| ran.stderr.contains(needle)),
                "{}",
                ran.stderr
            );
        }
        assert_eq!(names(&place), before, "{options:?}");
    }
    place
        .run(&["index", "nowhere"])
        .fails(1, &["nowhere", "nothing at this path"]);
    place
        .run(&["index", "a.parquet"])
        .fails(1, &["it is a file"]);
}

#[test]
fn the_column_need_be_named_only_where_several_hold_vectors() {
    let place = Place::new();
    let generate = ["generate", "plain", "--rows", "9", "--columns", "int64"];
    place.run(&generate).succeeds();
    place
        .run(&["index", "plain"])
        .fails(1, &["plain", "no column of vectors"]);
    let rows = line(30);
    let twice = [("a", rows.column(1)), ("b", rows.column(1))];
    let twice = twice.map(|(name, column)| (name, Arc::clone(column)));
    write_parquet(
        &place.path("b.parquet"),
        &RecordBatch::try_from_iter(twice).unwrap(),
    );
    place
        .run(&["import", "b.parquet", "d", "--quiet"])
        .succeeds();
    place
        .run(&["index", "d"])
        .fails(2, &["several columns", "--column", "a, b"]);
    for (column, file) in [("a", "d/c0.index"), ("b", "d/c1.index")] {
        let ran = place.run(&["index", "d", "--column", column]).succeeds();
        assert!(ran.stderr.contains(file), "{}", ran.stderr);
        assert!(place.path(file).exists());
    }
}

#[test]
fn a_dataset_that_is_imported_again_has_no_index() {
    let place = indexed(50, &[]);
    place
        .run(&["import", "a.parquet", "d", "--force", "--quiet"])
        .succeeds();
    assert!(!index_file(&place).exists());
}

#[test]
fn rows_of_damaged_vectors_fail_the_build_and_leave_the_index_before() {
    let place = indexed(50, &[]);
    let before = std::fs::read(index_file(&place)).unwrap();
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    let rows = info["files"][0]["path"].as_str().unwrap();
    let mut bytes = std::fs::read(place.path(rows)).unwrap();
    bytes[4096] ^= 1;
    std::fs::write(place.path(rows), bytes).unwrap();
    let names_before = names(&place);
    place
        .run(&["index", "d", "--quiet"])
        .fails(1, &["row 0 ", "checksum"]);
    assert_eq!(std::fs::read(index_file(&place)).unwrap(), before);
    assert_eq!(names(&place), names_before);
}

/// Whether a process of this status (proc(5)) has a handler for `signal`.
fn catches(status: &str, signal: Signal) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    caught.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// A build that takes as long as it is let, and listens to `asked`.
fn long_build(place: &Place, asked: Signal) -> Child {
    let rounds = u32::MAX.to_string();
    let index = ["index", "d", "--partitions", "64", "--iterations", &rounds];
    let mut command = place.ringtake(&index);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let patience = Instant::now() + Duration::from_secs(60);
    while !catches(&std::fs::read_to_string(&status).unwrap(), asked) {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the build ended by itself"
        );
        assert!(Instant::now() < patience, "the build did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Long enough in general to be among the rounds; any other moment will do as well.
    std::thread::sleep(Duration::from_millis(200));
    child
}

#[test]
fn a_build_that_is_asked_to_stop_leaves_the_index_before() {
    let place = unindexed(2_000);
    let without = names(&place);
    for (asked, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let child = long_build(&place, asked);
        kill_process(Pid::from_child(&child), asked).unwrap();
        Ran::of(child.wait_with_output().unwrap()).fails(status, &["stopped by"]);
        assert_eq!(names(&place), without);
    }
    place.run(&["index", "d", "--quiet"]).succeeds();
    let (before, with) = (std::fs::read(index_file(&place)).unwrap(), names(&place));
    let child = long_build(&place, Signal::INT);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    Ran::of(child.wait_with_output().unwrap()).fails(130, &["stopped by Ctrl-C"]);
    assert_eq!(std::fs::read(index_file(&place)).unwrap(), before);
    assert_eq!(names(&place), with);
}

#[test]
fn a_dataset_of_vectors_too_short_for_codes_is_indexed() {
    let place = twenty_rows();
    let ran = place.run(&["index", "d"]).succeeds();
    assert!(ran.stderr.contains("20 rows of `vector`"), "{}", ran.stderr);
}
