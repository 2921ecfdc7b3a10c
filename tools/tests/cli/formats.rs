//! The formats of `take` and `export`.

use arrow::array::Array;

use crate::harness::{Place, Ran, read_parquet, read_stream};
use crate::round_trip::assert_same_rows;
use crate::samples::small;
use crate::taking::twenty_rows;

fn take(place: &Place, format: &str) -> Ran {
    place
        .run(&["take", "d", "--rows", "1,2", "--format", format])
        .succeeds()
}

#[test]
fn every_format_has_the_same_rows() {
    let place = twenty_rows();
    let expected = small(20).slice(1, 2);
    assert_eq!(
        take(&place, "jsonl").text(),
        "{\"id\":1,\"name\":\"name 1\",\"vector\":[1.0,0.5]}\n\
         {\"id\":2,\"name\":null,\"vector\":[2.0,0.5]}\n"
    );
    assert_eq!(
        take(&place, "csv").text(),
        "id,name,vector\n1,name 1,\"[1.0,0.5]\"\n2,,\"[2.0,0.5]\"\n"
    );
    assert_same_rows(&expected, &read_stream(&take(&place, "arrow").stdout));
    let parquet = place.write("taken.parquet", &take(&place, "parquet").stdout);
    assert_same_rows(&expected, &read_parquet(&parquet));
    let table = take(&place, "table");
    for needle in ["id", "vector", "name 1", "null", "[2.0, 0.5]"] {
        assert!(table.text().contains(needle), "{}", table.text());
    }
}

#[test]
fn tables_shorten_vectors() {
    let place = Place::new();
    place
        .run(&["generate", "d", "--rows", "3", "--vector", "768"])
        .succeeds();
    let table = place.run(&["take", "d", "--rows", "0"]).succeeds();
    assert!(table.text().contains(", ... 768]"), "{}", table.text());
    assert!(
        table.text().lines().all(|line| line.chars().count() < 120),
        "{}",
        table.text()
    );
}

#[test]
fn no_rows_still_have_a_schema_in_every_format() {
    let place = twenty_rows();
    let none = |format| {
        place
            .run(&["take", "d", "--rows", "", "--format", format])
            .succeeds()
    };
    assert_eq!(none("csv").text(), "id,name,vector\n");
    assert_eq!(none("jsonl").text(), "");
    assert!(none("table").text().contains("vector"));
    assert_eq!(read_stream(&none("arrow").stdout).num_columns(), 3);
    let parquet = place.write("none.parquet", &none("parquet").stdout);
    assert_eq!(read_parquet(&parquet).num_columns(), 3);
}

#[test]
fn every_type_can_be_printed_in_every_text_format() {
    let place = Place::new();
    let batch = crate::samples::every_type(50, 0.2, 1);
    crate::harness::write_parquet(&place.path("a.parquet"), &batch);
    place.run(&["import", "a.parquet", "d"]).succeeds();
    for format in ["table", "csv", "jsonl"] {
        let ran = place
            .run(&["take", "d", "--rows", "..", "--format", format])
            .succeeds();
        if format == "jsonl" {
            assert_eq!(ran.rows().len(), 50);
        }
    }
}

#[test]
fn an_export_appears_whole_and_replaces_only_with_force() {
    let place = twenty_rows();
    place.write("out.parquet", b"precious");
    place
        .run(&["export", "d", "out.parquet"])
        .fails(1, &["exists already", "--force"]);
    assert_eq!(
        std::fs::read(place.path("out.parquet")).unwrap(),
        b"precious"
    );
    place
        .run(&["export", "d", "out.parquet", "--force"])
        .succeeds();
    assert_same_rows(&small(20), &read_parquet(&place.path("out.parquet")));
    place
        .run(&["export", "d", "out.txt"])
        .fails(2, &["out.txt", ".parquet", "--format"]);
    place
        .run(&["export", "d", "nowhere/out.arrow"])
        .fails(1, &["nowhere", "No such file"]);
    let names: Vec<_> = std::fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn raw_vector_files_become_vectors() {
    let place = Place::new();
    let fvecs: Vec<u8> = [2_i32, 1.5_f32.to_bits() as i32, 2.5_f32.to_bits() as i32]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let u8bin = [2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6];
    let bvecs = [3, 0, 0, 0, 9, 8, 7];
    let npy = [
        b"\x93NUMPY\x01\x00\x3e\x00".as_slice(),
        b"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1), }  \n",
        &[1, 0, 2, 0],
    ]
    .concat();
    for (name, bytes, expected) in [
        ("a.fvecs", fvecs.as_slice(), "{\"vector\":[1.5,2.5]}\n"),
        (
            "a.u8bin",
            &u8bin,
            "{\"vector\":[1,2,3]}\n{\"vector\":[4,5,6]}\n",
        ),
        ("a.bvecs", &bvecs, "{\"vector\":[9,8,7]}\n"),
        ("a.npy", &npy, "{\"vector\":[1]}\n{\"vector\":[2]}\n"),
    ] {
        place.write(name, bytes);
        place.run(&["import", name, "d", "--force"]).succeeds();
        let taken = place
            .run(&["take", "d", "--rows", "..", "--format", "jsonl"])
            .succeeds();
        assert_eq!(taken.text(), expected, "{name}");
    }
    place.write("noname", &u8bin);
    let import = [
        "import",
        "noname",
        "e",
        "--format",
        "u8bin",
        "--column-name",
        "embedding",
    ];
    place.run(&import).succeeds();
    let taken = place
        .run(&["take", "e", "--rows", "1", "--format", "jsonl"])
        .succeeds();
    assert_eq!(taken.text(), "{\"embedding\":[4,5,6]}\n");
    place
        .run_with_input(&["import", "-", "f", "--format", "bvecs"], &bvecs)
        .succeeds();
    let taken = place
        .run(&["take", "f", "--rows", "0", "--format", "arrow"])
        .succeeds();
    assert_eq!(read_stream(&taken.stdout).column(0).len(), 1);
}

#[test]
fn compressed_arrow_is_read() {
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
    let place = Place::new();
    let batch = small(500);
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(compression))
            .unwrap();
        let mut writer =
            FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        let file = writer.into_inner().unwrap();
        place.write("a.arrow", &file);
        place.run(&["import", "a.arrow", "d", "--force"]).succeeds();
        let found = place.run(&["export", "d", "-"]).succeeds();
        assert_same_rows(&batch, &read_stream(&found.stdout));
        // A file is a stream between a magic and an index.
        place
            .run_with_input(&["import", "-", "d", "--force"], &file)
            .succeeds();
        let found = place.run(&["export", "d", "-"]).succeeds();
        assert_same_rows(&batch, &read_stream(&found.stdout));
    }
}

/// A file whose column `embedding` has variable lists of these lengths; none is a null.
fn write_lists(place: &Place, lengths: &[Option<usize>]) {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListArray, RecordBatch};
    use arrow::datatypes::Float32Type;
    let lists = lengths.iter().enumerate().map(|(row, length)| {
        length.map(|length| (0..length).map(move |at| Some((row * 10 + at) as f32)))
    });
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
    let batch = RecordBatch::try_from_iter([("embedding", Arc::new(lists) as ArrayRef)]).unwrap();
    crate::harness::write_parquet(&place.path("a.parquet"), &batch);
}

#[test]
fn lists_of_one_length_become_vectors_where_that_is_asked_for() {
    let place = Place::new();
    write_lists(&place, &[None, Some(2), None, Some(2)]);
    let needles = ["--vector embedding", "`embedding`"];
    place.run(&["import", "a.parquet", "d"]).fails(1, &needles);
    let import = ["import", "a.parquet", "d", "--vector", "embedding"];
    place.run(&import).succeeds();
    let taken = place
        .run(&["take", "d", "--rows", "..", "--format", "jsonl"])
        .succeeds();
    let rows: Vec<String> = taken
        .rows()
        .iter()
        .map(|row| row["embedding"].to_string())
        .collect();
    assert_eq!(rows, ["null", "[10.0,11.0]", "null", "[30.0,31.0]"]);
}

#[test]
fn lists_that_cannot_be_vectors_are_refused() {
    let place = Place::new();
    for (lengths, needle) in [
        (
            vec![Some(2), None, Some(2), Some(3)],
            "row 3 of column `embedding` has 3 items",
        ),
        (vec![Some(0)], "has 0 items"),
        (vec![None], "has no list"),
        (vec![], "has no list"),
    ] {
        write_lists(&place, &lengths);
        let import = ["import", "a.parquet", "d", "--vector", "embedding"];
        place.run(&import).fails(1, &[needle]);
        let import = ["import", "a.parquet", "d", "--vector", "x"];
        place.run(&import).fails(1, &["`x`", "`embedding`"]);
        assert!(!place.path("d").exists());
    }
}
