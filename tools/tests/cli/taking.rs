//! `take`: which rows, in which order, of which columns.

use crate::harness::{Place, write_parquet};
use crate::samples::small;

/// A place with a dataset `d` of twenty rows.
pub(crate) fn twenty_rows() -> Place {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(20));
    place
        .run(&["import", "a.parquet", "d", "--quiet"])
        .succeeds();
    place
}

fn ids(place: &Place, rows: &str, input: &[u8]) -> Vec<i64> {
    let take = [
        "take",
        "d",
        "--rows",
        rows,
        "--columns",
        "id",
        "--format",
        "jsonl",
    ];
    let taken = place.run_with_input(&take, input).succeeds();
    taken
        .rows()
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect()
}

#[test]
fn rows_come_in_the_order_asked_for_with_duplicates() {
    let place = twenty_rows();
    assert_eq!(ids(&place, "5,7,5,0", b""), [5, 7, 5, 0]);
    assert_eq!(ids(&place, "17..", b""), [17, 18, 19]);
    assert_eq!(ids(&place, "3..=5,1", b""), [3, 4, 5, 1]);
    assert_eq!(ids(&place, "", b""), [0_i64; 0]);
}

#[test]
fn ids_are_read_from_standard_input_and_from_a_file() {
    let place = twenty_rows();
    assert_eq!(ids(&place, "-", b"5\n7\n\n19 2,3\r\n"), [5, 7, 19, 2, 3]);
    assert_eq!(ids(&place, "-", b""), [0_i64; 0]);
    place.write("ids.txt", b"4\n4\n1..3");
    assert_eq!(ids(&place, "@ids.txt", b""), [4, 4, 1, 2]);
}

#[test]
fn senseless_ids_are_named_and_nothing_is_printed() {
    let place = twenty_rows();
    for (rows, needles) in [
        ("-3", ["row id -3 is negative", ""]),
        ("3,-1", ["row id -1 is negative", ""]),
        ("3,x", ["\"x\" is not a row id", ""]),
        ("1.5", ["\"1.5\" is not a row id", ""]),
        ("3,20", ["row 20 does not exist", "20 rows, 0 to 19"]),
        ("18..22", ["row 20 does not exist", ""]),
        ("5..2", ["5..2", "ends before it begins"]),
        ("@nowhere.txt", ["nowhere.txt", "No such file"]),
    ] {
        let ran = place.run(&["take", "d", "--rows", rows]).fails(1, &needles);
        assert!(ran.stdout.is_empty(), "{rows}");
    }
    for (input, needles) in [
        (
            "1\n2\nthree\n",
            ["\"three\" is not a row id", "line 3 of standard input"],
        ),
        (
            "1\n-2\n",
            ["row id -2 is negative", "line 2 of standard input"],
        ),
        (
            "1,2\n3 99\n",
            ["row 99 does not exist", "line 2 of standard input"],
        ),
    ] {
        let take = ["take", "d", "--rows", "-", "--format", "jsonl"];
        let ran = place
            .run_with_input(&take, input.as_bytes())
            .fails(1, &needles);
        assert!(ran.stdout.is_empty(), "{input}");
    }
    let take = ["take", "d", "--rows", "-"];
    place
        .run_with_input(&take, b"1\n\xff\xfe\n")
        .fails(1, &["standard input", "UTF-8"]);
}

#[test]
fn missing_rows_are_nulls_where_that_is_asked_for() {
    let place = twenty_rows();
    let take = [
        "take",
        "d",
        "--rows",
        "3,20",
        "--columns",
        "id,name",
        "--format",
        "jsonl",
    ];
    let taken = place
        .run(&[take.as_slice(), &["--missing", "null"]].concat())
        .succeeds();
    assert_eq!(
        taken.text(),
        "{\"id\":3,\"name\":\"name 3\"}\n{\"id\":null,\"name\":null}\n"
    );
}

#[test]
fn unknown_columns_are_refused_with_those_that_there_are() {
    let place = twenty_rows();
    let take = ["take", "d", "--rows", "3", "--columns", "id,nam"];
    place.run(&take).fails(1, &["nam", "id", "name", "vector"]);
    let export = ["export", "d", "b.parquet", "--columns", "x"];
    place.run(&export).fails(1, &["`x`", "vector"]);
    assert!(!place.path("b.parquet").exists());
}

#[test]
fn many_rows_are_taken_in_several_chunks() {
    let place = Place::new();
    let generate = ["generate", "d", "--rows", "70000", "--columns", "int32"];
    place.run(&generate).succeeds();
    let ids: String = (0..70_000).rev().map(|id| format!("{id}\n")).collect();
    let take = ["take", "d", "--rows", "-", "--format", "jsonl"];
    let backwards = place.run_with_input(&take, ids.as_bytes()).succeeds();
    let forwards = place
        .run(&["take", "d", "--rows", "..", "--format", "jsonl"])
        .succeeds();
    let mut lines: Vec<&str> = backwards.text().lines().collect();
    lines.reverse();
    assert_eq!(lines.len(), 70_000);
    assert!(lines == forwards.text().lines().collect::<Vec<_>>());
}
