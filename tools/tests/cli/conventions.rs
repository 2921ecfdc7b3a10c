//! Conventions that every command follows: help, exit status, pipes.

use std::io::Read;
use std::process::Stdio;

use crate::harness::Place;
use crate::taking::twenty_rows;

#[test]
fn help_has_examples_and_goes_to_standard_output() {
    let place = Place::new();
    for command in [
        "import",
        "info",
        "index",
        "search",
        "take",
        "export",
        "verify",
        "generate",
        "doctor",
        "completions",
    ] {
        let ran = place.run(&[command, "--help"]).succeeds();
        assert!(ran.text().contains("Examples:\n  ringtake "), "{command}");
        assert!(ran.stderr.is_empty(), "{command}");
    }
    assert!(
        place
            .run(&["--version"])
            .succeeds()
            .text()
            .starts_with("ringtake ")
    );
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let place = Place::new();
    for arguments in [
        vec![],
        vec!["frobnicate"],
        vec!["import"],
        vec!["import", "only-one"],
        vec!["take", "d"],
        vec!["take", "d", "--rows", "1", "--format", "xml"],
        vec!["import", "a.parquet", "d", "--layout", "diagonal"],
        vec!["import", "a.parquet", "d", "--columns", ""],
        vec!["generate", "d", "--rows", "-5", "--vector", "3"],
        vec!["generate", "d", "--rows", "5"],
        vec!["generate", "d", "--rows", "5", "--vector", "0"],
        vec!["generate", "d", "--rows", "5", "--columns", "int65"],
        vec!["generate", "d", "--rows", "5", "--columns", "int64:0"],
        vec![
            "generate",
            "d",
            "--rows",
            "5",
            "--vector",
            "3",
            "--null-share",
            "2",
        ],
    ] {
        let ran = place.run(&arguments);
        assert_eq!(ran.status, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{arguments:?}");
        assert!(!place.path("d").exists(), "{arguments:?}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run(&["completions", shell]).succeeds();
        assert!(
            ["ringtake", "import", "index", "search"].map(|word| ran.text().contains(word))
                == [true; 4],
            "{shell}"
        );
    }
}

#[test]
fn piped_output_has_no_colour() {
    let place = twenty_rows();
    for arguments in [
        vec!["take", "d", "--rows", "1"],
        vec!["take", "d", "--rows", "99"],
        vec!["-vv", "take", "d", "--rows", "1"],
        vec!["info", "d"],
        vec!["doctor"],
        vec!["frobnicate"],
    ] {
        let ran = place.run(&arguments);
        let escape = |text: &str| text.contains('\u{1b}');
        assert!(!escape(ran.text()) && !escape(&ran.stderr), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    place
        .run(&["generate", "d", "--rows", "20000", "--vector", "64"])
        .succeeds();
    for arguments in [
        vec!["take", "d", "--rows", "..", "--format", "jsonl"],
        vec!["take", "d", "--rows", "..", "--format", "csv"],
        vec!["take", "d", "--rows", "..", "--format", "table"],
        vec!["take", "d", "--rows", "..", "--format", "arrow"],
        vec!["take", "d", "--rows", "..", "--format", "parquet"],
        vec!["export", "d", "-"],
    ] {
        let mut command = place.ringtake(&arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut beginning = [0; 4];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut beginning).unwrap();
        drop(stdout);
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            (ended.status.code(), stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_full_standard_output_is_a_failure() {
    let place = twenty_rows();
    for format in ["table", "jsonl", "csv", "arrow", "parquet"] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = place.ringtake(&["take", "d", "--rows", "..", "--format", format]);
        let ended = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let ran = crate::harness::Ran::of(ended.wait_with_output().unwrap());
        ran.fails(1, &["No space left on device"]);
    }
}

#[test]
fn the_closing_line_says_rows_bytes_seconds_and_where() {
    let place = Place::new();
    let ran = place
        .run(&["generate", "d", "--rows", "1234", "--vector", "4"])
        .succeeds();
    let line = ran.stderr.trim_end();
    assert!(
        line.starts_with("1,234 rows, ") && line.ends_with(" s: d"),
        "{line}"
    );
    assert!(ran.stdout.is_empty());
    let quiet = [
        "generate", "e", "--rows", "1234", "--vector", "4", "--quiet",
    ];
    assert!(place.run(&quiet).succeeds().stderr.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_rows() {
    let place = Place::new();
    let rows = |dataset: &str, seed: &str| {
        let generate = [
            "generate", dataset, "--rows", "50", "--vector", "3", "--seed", seed,
        ];
        place.run(&generate).succeeds();
        let take = ["take", dataset, "--rows", "..", "--format", "jsonl"];
        place.run(&take).succeeds().stdout
    };
    assert_eq!(rows("a", "5"), rows("b", "5"));
    assert_ne!(rows("c", "6"), rows("d", "5"));
}

#[test]
fn info_tells_programs_everything() {
    let place = twenty_rows();
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    assert_eq!(info["rows"], 20);
    assert_eq!(info["columns"][2]["name"], "vector");
    assert_eq!(info["columns"][1]["nullable"], true);
    assert_eq!(info["groups"].as_array().unwrap().len(), 2);
    let listed: u64 = info["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let path = place.path("").join(file["path"].as_str().unwrap());
            let bytes = std::fs::metadata(path).unwrap().len();
            assert_eq!(file["bytes"], bytes);
            bytes
        })
        .sum();
    assert_eq!(info["bytes"], listed);
    let text = place.run(&["info", "d"]).succeeds();
    assert!(text.text().contains("20 rows") && text.text().contains("vector"));
}
