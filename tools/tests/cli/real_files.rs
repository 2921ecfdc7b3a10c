//! Files that other programs wrote.

use std::path::PathBuf;

use crate::harness::{Place, read_parquet};
use crate::round_trip::assert_same_rows;

fn real(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn real_parquet_files_come_back_row_by_row() {
    for (name, rows) in [("diamonds.parquet", 10), ("timestamps.parquet", 3)] {
        let place = Place::new();
        let file = real(name);
        place.run(&["import", &file, "d"]).succeeds();
        place.run(&["verify", "d"]).succeeds();
        place.run(&["export", "d", "found.parquet"]).succeeds();
        let given = read_parquet(file.as_ref());
        assert_eq!(given.num_rows(), rows);
        assert_same_rows(&given, &read_parquet(&place.path("found.parquet")));
    }
}

#[test]
fn a_row_of_a_real_file_reads_as_it_was_published() {
    let place = Place::new();
    place
        .run(&["import", &real("diamonds.parquet"), "d"])
        .succeeds();
    let columns = "carat,cut,color,clarity,depth,table,price";
    let take = [
        "take",
        "d",
        "--rows",
        "2",
        "--columns",
        columns,
        "--format",
        "csv",
    ];
    let taken = place.run(&take).succeeds();
    let expected = "carat,cut,color,clarity,depth,table,price\n0.23,Good,E,VS1,56.9,65.0,327\n";
    assert_eq!(taken.text(), expected);
}

// Arrow 0.17 marked compression where no reader of today looks. Read without a look at that mark,
// the compressed bytes came out as values.
#[test]
fn the_experimental_compression_of_arrow_0_17_is_refused() {
    let place = Place::new();
    let import = ["import", &real("compressed.feather"), "d"];
    place
        .run(&import)
        .fails(1, &["compressed.feather", "Arrow 0.17"]);
    assert!(!place.path("d").exists());
}
