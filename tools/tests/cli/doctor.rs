//! `doctor`: facts, verdicts and remedies. What it finds depends on the machine.

use crate::taking::twenty_rows;

#[test]
fn doctor_tells_state_and_fact_of_every_topic() {
    let place = twenty_rows();
    let ran = place.run(&["doctor", "d", "--json"]);
    assert!(matches!(ran.status, Some(0 | 1)), "{}", ran.stderr);
    let findings = ran.json();
    let findings = findings.as_array().unwrap();
    for topic in [
        "kernel",
        "io_uring-sysctl",
        "io_uring",
        "memlock",
        "open-files",
        "counters",
        "cpus",
        "device",
        "direct-io",
    ] {
        assert!(
            findings.iter().any(|finding| finding["topic"] == topic),
            "{topic}"
        );
    }
    let mut failed = false;
    for finding in findings {
        let state = finding["state"].as_str().unwrap();
        failed |= state == "fail";
        assert!(!finding["fact"].as_str().unwrap().is_empty());
        assert_eq!(finding["remedy"].is_null(), state == "ok", "{finding}");
    }
    assert_eq!(ran.status, Some(i32::from(failed)));
    let text = place.run(&["doctor", "d"]);
    for line in text.text().lines() {
        let known = ["ok    ", "warn  ", "fail  ", "      "];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
    }
}

#[test]
fn doctor_leaves_nothing_in_the_directory_it_looks_at() {
    let place = twenty_rows();
    let before = std::fs::read_dir(place.path("")).unwrap().count();
    place.run(&["doctor", "."]);
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), before);
    place
        .run(&["doctor", "nowhere"])
        .fails(1, &["nowhere", "No such file"]);
}
