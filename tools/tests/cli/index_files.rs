//! Indexes as `info` shows them and `verify` checks them, whole, damaged and of other datasets.

use std::path::PathBuf;

use crate::harness::Place;
use crate::indexing::{DIMS, indexed, unindexed};

fn index_file(place: &Place) -> PathBuf {
    place.path("d/c1.index")
}

fn change(place: &Place, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(index_file(place)).unwrap();
    change(&mut bytes);
    std::fs::write(index_file(place), bytes).unwrap();
}

/// The one finding of `verify`, which must be of the index.
#[track_caller]
fn finding(place: &Place) -> String {
    let ran = place.run(&["verify", "d", "--quiet"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.text().lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("d/c1.index (page "), "{lines:?}");
    let json = place.run(&["verify", "d", "--json"]).json();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["file"], "d/c1.index");
    lines[0].to_owned()
}

#[test]
fn info_shows_each_index() {
    let place = unindexed(300);
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    assert_eq!(info["indexes"], serde_json::json!([]));
    let text = place.run(&["info", "d"]).succeeds();
    assert!(!text.text().contains("index"), "{}", text.text());
    let options = [
        "--metric",
        "cosine",
        "--partitions",
        "4",
        "--code-bytes",
        "3",
        "--quiet",
    ];
    place
        .run(&[&["index", "d"], &options[..]].concat())
        .succeeds();
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    let index = &info["indexes"][0];
    for (key, value) in [
        ("column", serde_json::json!("vector")),
        ("path", "d/c1.index".into()),
        ("reason", serde_json::Value::Null),
        ("metric", "cosine".into()),
        ("element", "f32".into()),
        ("dims", DIMS.into()),
        ("partitions", 4.into()),
        ("code_bytes_per_row", 3.into()),
        ("rows", 300.into()),
        ("rows_indexed", 296.into()),
        (
            "file_bytes",
            std::fs::metadata(index_file(&place)).unwrap().len().into(),
        ),
    ] {
        assert_eq!(index[key], value, "{key}");
    }
    let memory = index["bytes_per_row"].as_f64().unwrap();
    assert!((7.0..40.0).contains(&memory), "{memory}");
    let text = place.run(&["info", "d"]).succeeds();
    let text = text.text();
    for part in [
        "index of",
        "cosine",
        "8 x f32",
        "296 of 300",
        &format!("{memory:.1}"),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("cannot be used"), "{text}");
}

#[test]
fn what_index_says_is_what_info_shows() {
    let place = unindexed(300);
    let built = place.run(&["index", "d", "--partitions", "4"]).succeeds();
    let index = place.run(&["info", "d", "--json"]).succeeds().json()["indexes"][0].clone();
    let memory = format!(
        "{:.1} bytes of memory per row",
        index["bytes_per_row"].as_f64().unwrap()
    );
    assert!(
        built.stderr.contains(&memory),
        "{memory} in {}",
        built.stderr
    );
}

#[test]
fn an_index_that_cannot_be_used_is_shown_with_the_reason() {
    let place = indexed(100, &[]);
    change(&place, |bytes| bytes[64] ^= 1);
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    let index = &info["indexes"][0];
    let reason = index["reason"].as_str().unwrap();
    assert!(
        reason.contains("damaged") && reason.contains("ringtake index"),
        "{reason}"
    );
    assert!(index["rows"].is_null() && index["column"] == "vector");
    let text = place.run(&["info", "d"]).succeeds();
    let line = text.text().lines().last().unwrap();
    assert!(
        line.starts_with("the index of vector cannot be used: d/c1.index is damaged"),
        "{line}"
    );
    // A search says the same, and building it again mends it.
    place
        .run(&["search", "d", "--row", "1", "--format", "jsonl"])
        .status_is(1);
    place.run(&["index", "d", "--quiet"]).succeeds();
    place.run(&["search", "d", "--row", "1"]).succeeds();
}

#[test]
fn verify_checks_indexes_too() {
    let place = indexed(300, &["--partitions", "3"]);
    let ran = place.run(&["verify", "d"]).succeeds();
    assert!(
        ran.stderr.contains("everything is as written"),
        "{}",
        ran.stderr
    );
    let with = place.run(&["verify", "d", "--json"]).json();
    let bytes = std::fs::metadata(index_file(&place)).unwrap().len();
    let path = place.path("elsewhere");
    std::fs::rename(index_file(&place), &path).unwrap();
    let without = place.run(&["verify", "d", "--json"]).json();
    let of = |report: &serde_json::Value, key: &str| report[key].as_u64().unwrap();
    assert_eq!(of(&with, "files"), of(&without, "files") + 1);
    assert_eq!(of(&with, "bytes"), of(&without, "bytes") + bytes);
    std::fs::rename(path, index_file(&place)).unwrap();
    let whole = std::fs::read(index_file(&place)).unwrap();
    // A bit anywhere, and the file cut short anywhere.
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        change(&place, |bytes| bytes[at] ^= 4);
        let ran = place.run(&["verify", "d", "--quiet"]);
        assert_eq!(ran.status, Some(1), "byte {at}");
        assert!(
            ran.text().starts_with("d/c1.index (page "),
            "byte {at}: {}",
            ran.text()
        );
        std::fs::write(index_file(&place), &whole[..at]).unwrap();
        finding(&place);
        std::fs::write(index_file(&place), &whole).unwrap();
    }
    place.run(&["verify", "d"]).succeeds();
}

#[test]
fn an_index_of_an_older_version_or_of_another_dataset_is_a_finding() {
    let place = indexed(100, &[]);
    let old = std::fs::read(index_file(&place)).unwrap();
    place
        .run(&["import", "a.parquet", "d", "--force", "--quiet"])
        .succeeds();
    place.run(&["verify", "d"]).succeeds();
    std::fs::write(index_file(&place), &old).unwrap();
    let line = finding(&place);
    assert!(
        line.contains("another version of this one; build it again"),
        "{line}"
    );
    let info = place.run(&["info", "d"]).succeeds();
    assert!(
        info.text().contains("another version of this one"),
        "{}",
        info.text()
    );
    let search = ["search", "d", "--row", "1", "--format", "jsonl"];
    let ran = place.run(&search).status_is(1);
    assert!(
        ran.stderr.contains("another version of this one"),
        "{}",
        ran.stderr
    );
    // Rows are there all the same.
    place.run(&["take", "d", "--rows", "1"]).succeeds();
}

#[test]
fn an_index_of_a_newer_format_asks_for_an_upgrade() {
    let place = indexed(100, &[]);
    change(&place, |bytes| bytes[8] = 9);
    let line = finding(&place);
    assert!(
        line.contains("version 9") && line.contains("upgrade"),
        "{line}"
    );
    let info = place.run(&["info", "d"]).succeeds();
    assert!(info.text().contains("version 9"), "{}", info.text());
}

#[test]
fn an_unfinished_index_does_no_harm_and_goes_with_the_next_build() {
    let place = indexed(100, &[]);
    let unfinished = place.path("d/c1.index.new");
    std::fs::write(&unfinished, b"RTINDEX1 and no more").unwrap();
    place.run(&["verify", "d"]).succeeds();
    let info = place.run(&["info", "d", "--json"]).succeeds().json();
    assert_eq!(info["indexes"].as_array().unwrap().len(), 1);
    place.run(&["search", "d", "--row", "1"]).succeeds();
    place.run(&["index", "d", "--quiet"]).succeeds();
    assert!(!unfinished.exists());
    std::fs::write(&unfinished, b"RTINDEX1 and no more").unwrap();
    place
        .run(&["import", "a.parquet", "d", "--force", "--quiet"])
        .succeeds();
    assert!(!unfinished.exists());
}

#[test]
fn an_index_of_a_column_that_is_not_there_is_a_finding() {
    let place = indexed(100, &[]);
    std::fs::copy(index_file(&place), place.path("d/c7.index")).unwrap();
    let ran = place.run(&["verify", "d", "--quiet"]);
    assert_eq!(ran.status, Some(1));
    assert!(
        ran.text().starts_with("d/c7.index (page 0): "),
        "{}",
        ran.text()
    );
}
