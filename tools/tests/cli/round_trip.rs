//! Imported rows come back unchanged.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use proptest::prelude::*;

use crate::harness::{Place, read_parquet, read_stream, stream, write_parquet};
use crate::samples::{every_type, small};

/// A column as a dataset stores it: dictionaries and views unpacked.
fn stored(column: &ArrayRef) -> ArrayRef {
    let stored_type = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::Utf8View => DataType::Utf8,
        other => other.clone(),
    };
    cast(column, &stored_type).unwrap()
}

#[track_caller]
pub(crate) fn assert_same_rows(given: &RecordBatch, found: &RecordBatch) {
    assert_eq!(given.num_columns(), found.num_columns());
    assert_eq!(given.num_rows(), found.num_rows());
    for (place, field) in given.schema().fields().iter().enumerate() {
        assert_eq!(field.name(), found.schema().field(place).name());
        let (given, found) = (stored(given.column(place)), found.column(place));
        assert_eq!(given.data_type(), found.data_type(), "{}", field.name());
        for row in 0..given.len() {
            // Bit for bit, so that NaN equals itself.
            assert_eq!(
                given.slice(row, 1).to_data(),
                found.slice(row, 1).to_data(),
                "column {} row {row}",
                field.name()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn import_then_export_of_parquet_gives_equal_rows(
        rows in 0_usize..700,
        null_share in prop_oneof![Just(0.0), Just(1.0), 0.0..0.9],
        seed in any::<u64>(),
        layout in prop::sample::select(vec!["packed", "page", "auto"]),
        block_rows in prop::sample::select(vec!["256", "512"]),
        drives in 1_usize..3,
    ) {
        let place = Place::new();
        let given = every_type(rows, null_share, seed);
        write_parquet(&place.path("given.parquet"), &given);
        let mut import = vec!["import", "given.parquet", "d", "--layout", layout];
        import.extend(["--block-rows", block_rows]);
        for drive in ["drive0", "drive1"].iter().take(drives - 1) {
            std::fs::create_dir(place.path(drive)).unwrap();
            import.extend(["--data-dir", drive]);
        }
        place.run(&import).succeeds();
        place.run(&["verify", "d"]).succeeds();
        place.run(&["export", "d", "found.parquet"]).succeeds();
        assert_same_rows(
            &read_parquet(&place.path("given.parquet")),
            &read_parquet(&place.path("found.parquet")),
        );
    }

    #[test]
    fn import_then_export_of_arrow_gives_equal_rows(rows in 1_usize..300, seed in any::<u64>()) {
        let place = Place::new();
        let given = every_type(rows, 0.2, seed);
        let halves = [given.slice(0, rows / 2), given.slice(rows / 2, rows - rows / 2)];
        place.run_with_input(&["import", "-", "d"], &stream(&halves)).succeeds();
        let found = place.run(&["export", "d", "-"]).succeeds();
        assert_same_rows(&given, &read_stream(&found.stdout));
        place.run(&["export", "d", "found.arrow"]).succeeds();
        place.run(&["import", "found.arrow", "again"]).succeeds();
        let again = place.run(&["export", "again", "-"]).succeeds();
        assert_same_rows(&given, &read_stream(&again.stdout));
    }
}

#[test]
fn several_files_follow_one_another_and_columns_come_in_the_order_asked_for() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(10));
    place.write("b.arrow", &stream(&[small(5), small(3)]));
    let import = [
        "import",
        "a.parquet",
        "b.arrow",
        "d",
        "--columns",
        "name,id",
    ];
    place.run(&import).succeeds();
    let taken = place
        .run(&["take", "d", "--rows", "9,10,17", "--format", "jsonl"])
        .succeeds();
    assert_eq!(
        taken.text(),
        "{\"name\":\"name 9\",\"id\":9}\n{\"name\":\"name 0\",\"id\":0}\n{\"name\":null,\"id\":2}\n"
    );
}

#[test]
fn a_limit_cuts_across_files() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(10));
    let import = ["import", "a.parquet", "a.parquet", "d", "--limit", "13"];
    place.run(&import).succeeds();
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 13);
}

#[test]
fn groups_are_as_asked_for() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(10));
    let import = [
        "import",
        "a.parquet",
        "d",
        "--group",
        "vector",
        "--group",
        "id",
    ];
    place.run(&import).succeeds();
    let info = place.run(&["info", "d", "--json"]).json();
    assert_eq!(info["groups"][0]["columns"], serde_json::json!(["vector"]));
    assert_eq!(info["groups"][1]["columns"], serde_json::json!(["id"]));
    assert_eq!(info["reads_per_row"], 3);
}

#[test]
fn zero_rows_make_an_empty_dataset_and_a_note() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(0));
    let ran = place
        .run(&["import", "a.parquet", "d", "--quiet"])
        .succeeds();
    assert_eq!(
        ran.stderr,
        "note: there were no rows, so the dataset is empty\n"
    );
    place.run(&["export", "d", "b.parquet"]).succeeds();
    assert_same_rows(&small(0), &read_parquet(&place.path("b.parquet")));
    place
        .run(&["take", "d", "--rows", "0"])
        .fails(1, &["row 0 does not exist", "0 rows"]);
}
