//! `search`: which rows, in which order, in which formats.

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use serde_json::Value;

use crate::harness::{Place, Ran, read_stream};
use crate::indexing::{DIMS, indexed, unindexed};

/// A NumPy file of f32, of one dimension or two.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let values = values.iter().flat_map(|value| value.to_le_bytes());
    let length = (header.len() as u16).to_le_bytes();
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(length);
    file.extend(header.into_bytes());
    file.extend(values);
    file
}

/// A vector beside those of the rows: between row `at` and the next if it is no whole number.
fn beside(at: f32) -> Vec<f32> {
    (0..DIMS).map(|dim| at * 4.0 + dim as f32 + 1.0).collect()
}

#[track_caller]
fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter()
        .map(|row| row["_rowid"].as_u64().unwrap())
        .collect()
}

fn search(place: &Place, options: &[&str]) -> Ran {
    place.run(&[&["search", "d"], options].concat())
}

fn json(place: &Place, options: &[&str]) -> Vec<Value> {
    let options = [options, &["--format", "jsonl"]].concat();
    search(place, &options).succeeds().rows()
}

#[test]
fn the_neighbours_of_a_row_are_found_nearest_first() {
    let place = indexed(400, &["--partitions", "8"]);
    let rows = json(&place, &["--row", "100", "--k", "5", "--columns", "id"]);
    assert_eq!(ids(&rows)[0], 100);
    let mut found = ids(&rows);
    found.sort_unstable();
    assert_eq!(found, [98, 99, 100, 101, 102]);
    let distances: Vec<f64> = rows
        .iter()
        .map(|row| row["_distance"].as_f64().unwrap())
        .collect();
    // One row further on is four further on in each element.
    let step = 16.0 * DIMS as f64;
    assert_eq!(distances, [0.0, step, step, 4.0 * step, 4.0 * step]);
    assert!(rows.iter().all(|row| row["id"] == row["_rowid"]));
    assert_eq!(json(&place, &["--row", "100"]).len(), 10, "ten by default");
    assert_eq!(
        json(&place, &["--row", "100", "-k", "1000"]).len(),
        397,
        "all there are"
    );
}

#[test]
fn rows_that_are_forbidden_or_not_allowed_are_not_found_and_others_take_their_places() {
    let place = indexed(400, &["--partitions", "8"]);
    place.write("seen.txt", b"99\n101\n");
    let near = |options: &[&str]| {
        let options = [&["--row", "100", "--k", "3"], options].concat();
        let mut found = ids(&json(&place, &options));
        found.sort_unstable();
        found
    };
    assert_eq!(near(&[]), [99, 100, 101]);
    let without = near(&["--forbid", "100,98"]);
    assert_eq!(without, [99, 101, 102]);
    assert_eq!(near(&["--forbid", "@seen.txt"]), [98, 100, 102]);
    assert_eq!(near(&["--allow", "0..=4"]), [2, 3, 4]);
    assert_eq!(near(&["--allow", "20"]), [20]);
    let past = search(&place, &["--row", "100", "--allow", "400"]);
    past.fails(1, &["row 400 does not exist"]);
}

#[test]
fn queries_come_from_a_file_and_are_numbered_if_they_are_several() {
    let place = indexed(400, &["--partitions", "4"]);
    let one = beside(200.25);
    let shape = format!("({DIMS},)");
    place.write("one.npy", &npy(&shape, &one));
    let rows = json(
        &place,
        &["--query", "one.npy", "--k", "2", "--nprobes", "4"],
    );
    assert_eq!(ids(&rows), [200, 201]);
    assert_eq!(rows[0].as_object().unwrap().len(), 2, "{rows:?}");
    place.write("matrix.npy", &npy(&format!("(1, {DIMS})"), &one));
    assert_eq!(json(&place, &["--query", "matrix.npy", "--k", "2"]), rows);
    let two = [one, beside(31.75)].concat();
    place.write("two.npy", &npy(&format!("(2, {DIMS})"), &two));
    let rows = json(
        &place,
        &["--query", "two.npy", "--k", "2", "--columns", "id"],
    );
    assert_eq!(ids(&rows), [200, 201, 32, 31]);
    let numbers: Vec<u64> = rows
        .iter()
        .map(|row| row["_query"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [0, 0, 1, 1]);
    let mut fvecs = Vec::new();
    for query in two.chunks(DIMS) {
        fvecs.extend((DIMS as i32).to_le_bytes());
        fvecs.extend(query.iter().flat_map(|value| value.to_le_bytes()));
    }
    place.write("two.fvecs", &fvecs);
    let same = json(
        &place,
        &["--query", "two.fvecs", "--k", "2", "--columns", "id"],
    );
    assert_eq!(same, rows);
}

#[test]
fn rows_are_printed_in_every_format() {
    let place = indexed(100, &[]);
    let print = |format: &str| {
        let options = [
            "--row",
            "50",
            "-k",
            "1",
            "--columns",
            "id,vector",
            "--format",
            format,
        ];
        search(&place, &options).succeeds()
    };
    let csv = print("csv");
    let mut lines = csv.text().lines();
    assert_eq!(lines.next(), Some("_rowid,_distance,id,vector"));
    assert!(
        lines.next().unwrap().starts_with("50,0.0,50,\"[201.0,"),
        "{}",
        csv.text()
    );
    let table = print("table");
    assert!(table.text().contains("_distance") && table.text().contains("... 8]"));
    let batch = read_stream(&print("arrow").stdout);
    assert_eq!(batch.column(0).as_primitive::<UInt64Type>().values(), &[50]);
    assert!(print("parquet").stdout.starts_with(b"PAR1"));
}

#[test]
fn without_refinement_distances_are_estimates_and_rows_are_still_there() {
    let place = indexed(400, &["--partitions", "8"]);
    let options = ["--row", "100", "--k", "20", "--refine-factor", "0"];
    let estimated = json(&place, &options);
    assert_eq!(estimated.len(), 20);
    let exact = json(&place, &["--row", "100", "--k", "20"]);
    assert_ne!(estimated, exact);
    let near = ids(&estimated)
        .into_iter()
        .filter(|&row| row.abs_diff(100) < 40)
        .count();
    assert!(near > 15, "{near}");
}

#[test]
fn searches_that_cannot_be_made_say_why() {
    let place = indexed(60, &["--metric", "cosine"]);
    place.write("short.npy", &npy("(3,)", &[1.0; 3]));
    place.write("zero.npy", &npy(&format!("({DIMS},)"), &[0.0; DIMS]));
    place.write("nan.npy", &npy(&format!("({DIMS},)"), &[f32::NAN; DIMS]));
    // Twice as many elements as a vector has are no two queries.
    place.write(
        "long.npy",
        &npy(&format!("({},)", 2 * DIMS), &[1.0; 2 * DIMS]),
    );
    place.write("none.npy", &npy(&format!("(0, {DIMS})"), &[]));
    let refusals: [(&[&str], &[&str]); 13] = [
        (&["--row", "60"], &["no row 60", "60 rows, 0 to 59"]),
        (&["--row", "5"], &["row 5 has no vector", "`vector`"]),
        (&["--row", "6"], &["row 6 has no vector"]),
        (&["--row", "7"], &["element 2 of the query is NaN"]),
        (&["--row", "1", "--k", "0"], &["k is 0"]),
        (&["--row", "1", "--nprobes", "0"], &["nprobes is 0"]),
        (
            &["--row", "1", "--column", "id"],
            &["`id` has no index", "ringtake index"],
        ),
        (
            &["--row", "1", "--columns", "nothing"],
            &["`nothing`", "id, vector"],
        ),
        (&["--query", "short.npy"], &["has 3 elements", "have 8"]),
        (&["--query", "long.npy"], &["has 16 elements", "have 8"]),
        (&["--query", "zero.npy"], &["length zero"]),
        (&["--query", "none.npy"], &["none.npy has no vector"]),
        (&["--query", "a.parquet"], &["a.parquet has 2 columns"]),
    ];
    for (options, needles) in refusals {
        let ran = search(&place, options).fails(1, needles);
        assert!(ran.stdout.is_empty(), "{options:?}");
    }
    search(&place, &["--query", "nan.npy"]).fails(1, &["element 0", "NaN"]);
    let beyond = [beside(1.0), vec![f32::INFINITY; DIMS]].concat();
    place.write("two.npy", &npy(&format!("(2, {DIMS})"), &beyond));
    search(&place, &["--query", "two.npy"]).fails(1, &["query 1", "element 0", "inf"]);
    place.write("query.txt", b"1 2 3");
    let ran = search(&place, &["--query", "query.txt"]).fails(1, &["query.txt", ".npy"]);
    assert!(!ran.stderr.contains("--format"), "{}", ran.stderr);
    search(&place, &["--row", "1", "--allow", ""]).fails(2, &["--allow names no row"]);
    search(&place, &["--row", "1", "--column", "nope"]).fails(1, &["no column `nope`"]);
    search(&place, &["--query", "gone.npy"]).fails(1, &["gone.npy", "No such file"]);
    for options in [
        &[][..],
        &["--row", "1", "--query", "zero.npy"],
        &["--row", "-1"],
    ] {
        assert_eq!(search(&place, options).status, Some(2), "{options:?}");
    }
}

#[test]
fn a_dataset_without_an_index_asks_for_one() {
    let place = unindexed(20);
    search(&place, &["--row", "1"]).fails(1, &["has no index", "ringtake index"]);
    place.write("one.npy", &npy(&format!("({DIMS},)"), &beside(1.0)));
    search(&place, &["--query", "one.npy"]).fails(1, &["has no index"]);
    let empty = unindexed(0);
    empty.run(&["index", "d", "--quiet"]).succeeds();
    empty.write("one.npy", &npy(&format!("({DIMS},)"), &beside(1.0)));
    assert!(json(&empty, &["--query", "one.npy"]).is_empty());
    let csv = search(&empty, &["--query", "one.npy", "--format", "csv"]).succeeds();
    assert_eq!(csv.text(), "_rowid,_distance\n");
}

#[test]
fn the_column_need_be_named_only_where_several_have_an_index() {
    let place = Place::new();
    let generate = ["generate", "d", "--rows", "50", "--vector", "4"];
    place.run(&generate).succeeds();
    let rows = read_stream(&place.run(&["export", "d", "-"]).succeeds().stdout);
    let twice = [("a", rows.column(0)), ("b", rows.column(0))];
    let twice = twice.map(|(name, column)| (name, std::sync::Arc::clone(column)));
    let twice = arrow::array::RecordBatch::try_from_iter(twice).unwrap();
    place.write("b.arrow", &crate::harness::stream(&[twice]));
    place
        .run(&["import", "b.arrow", "d", "--force", "--quiet"])
        .succeeds();
    place.run(&["index", "d", "--column", "b"]).succeeds();
    assert_eq!(ids(&json(&place, &["--row", "3", "-k", "1"])), [3]);
    place
        .run(&["index", "d", "--column", "a", "--metric", "cosine"])
        .succeeds();
    search(&place, &["--row", "3"]).fails(1, &["several columns", "a, b"]);
    for column in ["a", "b"] {
        assert_eq!(
            ids(&json(
                &place,
                &["--row", "3", "-k", "1", "--column", column]
            )),
            [3]
        );
    }
    // A copy of the index of one column is none of the other's.
    std::fs::copy(place.path("d/c1.index"), place.path("d/c0.index")).unwrap();
    let options = ["--row", "3", "--column", "a", "--format", "jsonl"];
    let ran = search(&place, &options);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("`a` has no index"), "{}", ran.stderr);
}
