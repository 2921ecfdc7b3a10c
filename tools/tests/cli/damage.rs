//! Damaged datasets: every finding is named, and what is intact still comes back.

use std::path::PathBuf;

use crate::harness::{Place, Ran};
use crate::taking::twenty_rows;

/// The file of dataset `d` that ends in `name`.
fn file(place: &Place, name: &str) -> PathBuf {
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    let files = info["files"].as_array().unwrap();
    let paths = files.iter().map(|file| file["path"].as_str().unwrap());
    place.path(paths.into_iter().find(|path| path.ends_with(name)).unwrap())
}

fn change(path: &PathBuf, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Where the value of row 7 of column `name` is.
fn place_of(bytes: &[u8], text: &str) -> usize {
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .unwrap()
}

#[test]
fn one_flipped_bit_costs_one_row_and_names_file_page_and_group() {
    let place = twenty_rows();
    let values = file(&place, "g1.values");
    change(&values, |bytes| {
        let at = place_of(bytes, "name 7");
        bytes[at] ^= 1;
    });
    let take = [
        "take",
        "d",
        "--rows",
        "6,7,9,7",
        "--columns",
        "name",
        "--format",
        "jsonl",
    ];
    let ran = place
        .run(&take)
        .fails(1, &["row 7", "g1.values", "page 1", "column group 1"]);
    assert_eq!(ran.text(), "{\"name\":\"name 6\"}\n{\"name\":\"name 9\"}\n");
    // A column that is not damaged has all rows.
    let take = [
        "take",
        "d",
        "--rows",
        "..",
        "--columns",
        "id,vector",
        "--format",
        "jsonl",
    ];
    assert_eq!(place.run(&take).succeeds().rows().len(), 20);
    // The byte as it is, for those who want to see it.
    let take = [
        "take",
        "d",
        "--rows",
        "7",
        "--columns",
        "name",
        "--format",
        "jsonl",
    ];
    let raw = place
        .run(&[take.as_slice(), &["--checksums", "skip"]].concat())
        .succeeds();
    assert_eq!(raw.text(), "{\"name\":\"oame 7\"}\n");
    let ran = place.run(&["verify", "d", "--quiet"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.text().lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("g1.values (page 1, column group 1, row 7)"),
        "{lines:?}"
    );
    place
        .run(&["export", "d", "b.parquet", "--quiet"])
        .fails(1, &["row 7", "g1.values"]);
    assert!(!place.path("b.parquet").exists());
}

#[test]
fn every_damaged_row_is_named_once() {
    let place = twenty_rows();
    let rows = file(&place, "g0.rows");
    change(&rows, |bytes| {
        for byte in &mut bytes[4096..4096 + 40] {
            *byte ^= 0x10;
        }
    });
    let ran = place.run(&["take", "d", "--rows", "..", "--format", "jsonl"]);
    assert_eq!(ran.status, Some(1));
    let named = ran.stderr.lines().count();
    assert!((2..20).contains(&named), "{}", ran.stderr);
    assert!(
        ran.stderr
            .lines()
            .all(|line| line.starts_with("error: row ")),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.rows().len(), 20 - named);
    let findings = place.run(&["verify", "d", "--json"]).json();
    assert_eq!(findings["findings"].as_array().unwrap().len(), named);
}

#[test]
fn verify_finds_bytes_that_belong_to_nothing() {
    let place = twenty_rows();
    change(&file(&place, "g0.rows"), |bytes| {
        let last = bytes.len() - 1;
        bytes[last] = 1;
    });
    let ran = place.run(&["verify", "d"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.text().contains("not zero"), "{}", ran.text());
    assert!(ran.stderr.contains("1 finding"), "{}", ran.stderr);
}

#[test]
fn files_cut_short_swapped_or_missing_are_found() {
    for name in ["g0.rows", "g1.values", "g1.ends", "c1.valid"] {
        let place = twenty_rows();
        let path = file(&place, name);
        change(&path, |bytes| bytes.truncate(bytes.len() / 2));
        let ran = place.run(&["verify", "d"]);
        assert_eq!(ran.status, Some(1), "{name}");
        assert!(ran.text().contains(name), "{}", ran.text());
        assert_eq!(
            place.run(&["take", "d", "--rows", "19"]).status,
            Some(1),
            "{name}"
        );
        std::fs::remove_file(&path).unwrap();
        let ran = place.run(&["verify", "d"]);
        assert_eq!(ran.status, Some(1), "{name}");
        assert!(
            ran.text().contains(name) && ran.text().contains("missing"),
            "{}",
            ran.text()
        );
        assert_eq!(
            place.run(&["take", "d", "--rows", "19"]).status,
            Some(1),
            "{name}"
        );
    }
    let place = twenty_rows();
    std::fs::copy(file(&place, "g1.values"), file(&place, "g0.rows")).unwrap();
    let ran = place.run(&["verify", "d"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.text().contains("g0.rows"), "{}", ran.text());
    let ran = place.run(&["take", "d", "--rows", "19"]);
    assert!(
        ran.status == Some(1) && ran.stderr.contains("g0.rows"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_manifest_of_a_newer_version_asks_for_an_upgrade() {
    let place = twenty_rows();
    change(&place.path("d/MANIFEST"), |bytes| bytes[8] = 9);
    for command in [
        vec!["info", "d"],
        vec!["verify", "d"],
        vec!["take", "d", "--rows", "1"],
    ] {
        place.run(&command).fails(1, &["version 9", "upgrade"]);
    }
    change(&place.path("d/MANIFEST"), |bytes| bytes[8] = 1);
    place.run(&["verify", "d"]).succeeds();
    change(&place.path("d/MANIFEST"), |bytes| bytes[70] ^= 1);
    place.run(&["info", "d"]).fails(1, &["MANIFEST", "damaged"]);
}

#[test]
fn a_file_that_cannot_be_read_hides_no_damage_in_others() {
    let place = twenty_rows();
    let values = file(&place, "g1.values");
    change(&values, |bytes| {
        let at = place_of(bytes, "name 7");
        bytes[at] ^= 1;
    });
    let rows = file(&place, "g0.rows");
    std::fs::remove_file(&rows).unwrap();
    std::fs::create_dir(&rows).unwrap();
    let ran = place.run(&["verify", "d", "--quiet"]).status_is(1);
    assert_eq!(ran.stderr, "");
    let reported = |what: [&str; 2]| {
        let mut lines = ran.text().lines();
        lines.any(|line| what.iter().all(|part| line.contains(part)))
    };
    assert!(reported(["g0.rows", "cannot be read"]), "{}", ran.text());
    assert!(reported(["g1.values", "row 7"]), "{}", ran.text());
}

#[test]
fn a_warning_that_cannot_be_written_costs_no_row() {
    let place = crate::indexing::indexed(600, &["--partitions", "2"]);
    change(&place.path("d/c1.index"), |bytes| bytes[70] ^= 1);
    let take = ["take", "d", "--rows", "1", "--columns", "id"];
    let heard = place.run(&take).succeeds();
    assert!(heard.stderr.contains("c1.index"), "{}", heard.stderr);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let deaf = place.ringtake(&take).stderr(full.unwrap()).output();
    let deaf = Ran::of(deaf.unwrap()).succeeds();
    assert_eq!(deaf.text(), heard.text());
}
