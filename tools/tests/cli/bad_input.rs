//! Files, names and places that cannot work: one sentence, the right status, nothing left.

use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::datatypes::{Field, Int32Type};

use crate::harness::{Place, Ran, stream, write_parquet};
use crate::samples::small;
use crate::taking::twenty_rows;

#[track_caller]
fn import_fails(place: &Place, sources: &[&str], needles: &[&str]) {
    let arguments = [&["import"], sources, &["d"]].concat();
    place.run(&arguments).fails(1, needles);
    assert!(
        !place.path("d").exists(),
        "{arguments:?} left something behind"
    );
}

fn parquet_bytes(place: &Place, rows: usize) -> Vec<u8> {
    write_parquet(&place.path("good.parquet"), &small(rows));
    std::fs::read(place.path("good.parquet")).unwrap()
}

#[test]
fn missing_and_empty_files_are_named() {
    let place = Place::new();
    for extension in ["parquet", "arrow", "npy", "fvecs", "bvecs", "ivecs", "fbin"] {
        let missing = format!("missing.{extension}");
        import_fails(&place, &[&missing], &[&missing, "No such file"]);
        let empty = format!("empty.{extension}");
        place.write(&empty, b"");
        import_fails(&place, &[&empty], &[&empty, "is empty"]);
    }
    std::fs::create_dir(place.path("dir.parquet")).unwrap();
    import_fails(&place, &["dir.parquet"], &["dir.parquet", "directory"]);
    place.write("table.txt", b"1,2");
    import_fails(&place, &["table.txt"], &["table.txt", "--format"]);
    place
        .run_with_input(&["import", "-", "d"], b"")
        .fails(1, &["standard input is empty"]);
}

#[test]
fn files_cut_short_are_noticed() {
    let place = Place::new();
    let parquet = parquet_bytes(&place, 1000);
    let arrow = stream(&[small(1000), small(1000)]);
    let mut fvecs = vec![2, 0, 0, 0];
    fvecs.extend([0; 7]);
    for (name, whole) in [("a.parquet", &parquet), ("a.arrow", &arrow)] {
        for share in [4, 2] {
            place.write(name, &whole[..whole.len() * (share - 1) / share]);
            import_fails(&place, &[name], &[name]);
        }
    }
    place.write("a.fvecs", &fvecs);
    import_fails(&place, &["a.fvecs"], &["a.fvecs is cut short", "vector 0"]);
    place.write("a.fbin", &[2, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4]);
    import_fails(
        &place,
        &["a.fbin"],
        &["which is 16 bytes, but the file has 12"],
    );
    let half = &arrow[..arrow.len() * 3 / 4];
    place
        .run_with_input(&["import", "-", "d"], half)
        .fails(1, &["standard input", "cut short"]);
    assert!(!place.path("d").exists());
}

#[test]
fn an_arrow_file_cut_short_is_noticed() {
    let place = twenty_rows();
    place.run(&["export", "d", "a.arrow"]).succeeds();
    let whole = std::fs::read(place.path("a.arrow")).unwrap();
    std::fs::remove_dir_all(place.path("d")).unwrap();
    for cut in [7, 9, whole.len() / 2, whole.len() - 1] {
        place.write("cut.arrow", &whole[..cut]);
        import_fails(&place, &["cut.arrow"], &["cut.arrow"]);
    }
}

#[test]
fn a_parquet_file_that_lies_never_crashes_and_leaves_nothing() {
    let place = Place::new();
    let whole = parquet_bytes(&place, 300);
    let mut refused = 0;
    // Every few bytes, so that pages, headers and the footer are all hit.
    for at in (4..whole.len() - 4).step_by(whole.len() / 60) {
        let mut lying = whole.clone();
        lying[at] ^= 0xff;
        place.write("lying.parquet", &lying);
        let ran = place.run(&["import", "lying.parquet", "d", "--quiet"]);
        match ran.status {
            Some(0) => std::fs::remove_dir_all(place.path("d")).unwrap(),
            _ => {
                refused += 1;
                ran.fails(1, &["lying.parquet"]);
                assert!(!place.path("d").exists(), "byte {at}");
            }
        }
    }
    assert!(refused > 10, "only {refused} lies were noticed");
}

#[test]
fn numpy_files_that_cannot_be_imported_say_why() {
    let place = Place::new();
    let npy = |header: &str, bytes: &[u8]| {
        let length = (header.len() as u16).to_le_bytes();
        [
            b"\x93NUMPY\x01\x00".as_slice(),
            &length,
            header.as_bytes(),
            bytes,
        ]
        .concat()
    };
    for (header, needle) in [
        (
            "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }",
            "Fortran order",
        ),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "Python objects",
        ),
        (
            "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
            "big-endian",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            "8 bytes follow",
        ),
        ("{'descr': '<f4'", "header"),
    ] {
        place.write("a.npy", &npy(header, &[0; 8]));
        import_fails(&place, &["a.npy"], &["a.npy", needle]);
    }
}

#[test]
fn a_dimension_that_changes_midway_names_the_vector() {
    let place = Place::new();
    let mut fvecs = Vec::new();
    for dimension in [2_i32, 2, 2, 3] {
        fvecs.extend(dimension.to_le_bytes());
        fvecs.extend(vec![0; dimension as usize * 4]);
    }
    place.write("a.fvecs", &fvecs);
    import_fails(
        &place,
        &["a.fvecs"],
        &["vector 3 of a.fvecs has 3 dimensions", "have 2"],
    );
}

#[test]
fn columns_that_do_not_exist_are_refused_with_those_that_do() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(3));
    place.write("a.arrow", &stream(&[small(3)]));
    for file in ["a.parquet", "a.arrow"] {
        let import = ["import", file, "d", "--columns", "id,nme"];
        place
            .run(&import)
            .fails(1, &["`nme`", file, "`id`", "`name`", "`vector`"]);
        let import = ["import", file, "d", "--columns", "id,id"];
        place.run(&import).fails(1, &["`id` twice"]);
        let import = ["import", file, "d", "--group", "id,nme"];
        place.run(&import).fails(1, &["nme"]);
        assert!(!place.path("d").exists());
    }
}

#[test]
fn columns_that_no_dataset_can_hold_are_named_with_the_way_out() {
    let place = Place::new();
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1)]),
        Some(vec![Some(2), Some(3)]),
    ]);
    let field = Arc::new(Field::new("x", ids.data_type().clone(), false));
    let structs = StructArray::from(vec![(field, Arc::clone(&ids))]);
    for (name, column) in [
        ("tags", Arc::new(lists) as ArrayRef),
        ("point", Arc::new(structs) as ArrayRef),
    ] {
        let batch = [
            ("id", Arc::clone(&ids)),
            (name, column),
            ("more", Arc::clone(&ids)),
        ];
        write_parquet(
            &place.path("a.parquet"),
            &RecordBatch::try_from_iter(batch).unwrap(),
        );
        let column = format!("column `{name}` has type ");
        import_fails(&place, &["a.parquet"], &[&column, "--columns id,more"]);
        let import = [
            "import",
            "a.parquet",
            "d",
            "--columns",
            "id,more",
            "--force",
        ];
        place.run(&import).succeeds();
        std::fs::remove_dir_all(place.path("d")).unwrap();
    }
}

#[test]
fn zero_columns_are_an_error() {
    let place = Place::new();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(3));
    let schema = Arc::new(arrow::datatypes::Schema::empty());
    let empty = RecordBatch::try_new_with_options(schema, vec![], &options).unwrap();
    place.write("a.arrow", &stream(&[empty]));
    import_fails(&place, &["a.arrow"], &["a.arrow has no column"]);
}

#[test]
fn files_that_do_not_fit_together_name_file_and_column() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(3));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let other = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    write_parquet(&place.path("b.parquet"), &other);
    let both = ["a.parquet", "b.parquet"];
    import_fails(
        &place,
        &both,
        &["b.parquet", "`id`", "Int64", "Int32", "a.parquet"],
    );
    let import = ["import", "b.parquet", "a.parquet", "d", "--columns", "name"];
    place.run(&import).fails(1, &["`name`", "b.parquet"]);
    write_parquet(
        &place.path("c.parquet"),
        &small(3).project(&[0, 2]).unwrap(),
    );
    import_fails(
        &place,
        &["a.parquet", "c.parquet"],
        &["`name`", "a.parquet", "c.parquet"],
    );
    import_fails(&place, &["-", "-"], &["standard input"]);
}

#[test]
fn parquet_from_standard_input_is_refused_with_the_reason() {
    let place = Place::new();
    let bytes = parquet_bytes(&place, 3);
    let import = ["import", "-", "d", "--format", "parquet"];
    place
        .run_with_input(&import, &bytes)
        .fails(1, &["standard input", "save it to a file"]);
}

#[test]
fn an_existing_dataset_is_replaced_only_with_force_and_other_directories_never() {
    let place = twenty_rows();
    write_parquet(&place.path("b.parquet"), &small(7));
    place
        .run(&["import", "b.parquet", "d"])
        .fails(1, &["already holds a dataset", "--force"]);
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 20);
    place
        .run(&["import", "b.parquet", "d", "--force"])
        .succeeds();
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 7);
    std::fs::create_dir(place.path("home")).unwrap();
    place.write("home/letter", b"dear");
    for force in [vec![], vec!["--force"]] {
        let import = [vec!["import", "b.parquet", "home"], force].concat();
        place
            .run(&import)
            .fails(1, &["home", "is not a Ringtake dataset"]);
    }
    assert_eq!(std::fs::read(place.path("home/letter")).unwrap(), b"dear");
}

#[test]
fn a_failed_replacement_keeps_the_dataset_before() {
    let place = twenty_rows();
    let arrow = stream(&[small(5000), small(5000)]);
    let half = &arrow[..arrow.len() * 3 / 4];
    place
        .run_with_input(&["import", "-", "d", "--force"], half)
        .fails(1, &["cut short"]);
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 20);
    place.run(&["verify", "d"]).succeeds();
}

#[test]
fn a_stream_that_ends_without_its_mark_is_taken_with_a_warning() {
    const MARK_BYTES: usize = 8;
    let place = Place::new();
    let arrow = stream(&[small(10), small(10)]);
    let import = |name: &str, bytes: &[u8]| {
        let ran = place.run_with_input(&["import", "-", name, "--quiet"], bytes);
        ran.succeeds().stderr
    };
    assert_eq!(import("whole", &arrow), "");
    let warning = import("half", &arrow[..arrow.len() - MARK_BYTES]);
    assert!(warning.contains("rows are missing"), "{warning}");
}

#[test]
fn a_dataset_whose_manifest_is_gone_can_be_imported_again() {
    let place = crate::indexing::indexed(600, &["--partitions", "2"]);
    std::fs::remove_file(place.path("d/MANIFEST")).unwrap();
    place
        .run(&["import", "a.parquet", "d", "--quiet"])
        .succeeds();
    place.run(&["verify", "d"]).succeeds();
    assert!(!place.path("d/c1.index").exists());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let place = Place::new();
    write_parquet(&place.path("a.parquet"), &small(3));
    // Not even root may make directories here.
    place
        .run(&["import", "a.parquet", "/sys/d"])
        .fails(1, &["/sys/d", "cannot "]);
    let import = ["import", "a.parquet", "d", "--data-dir", "nowhere"];
    place.run(&import).fails(1, &["nowhere"]);
    assert!(!place.path("d").exists());
}

#[test]
fn a_drive_that_is_full_is_reported_and_nothing_is_left() {
    let place = twenty_rows();
    // A limit on file sizes fails writes midway as a full drive does.
    let limited = |dataset: &str| {
        let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_ringtake")]);
        command.args([
            "generate", dataset, "--rows", "20000", "--vector", "64", "--force",
        ]);
        Ran::of(command.current_dir(place.path("")).output().unwrap())
    };
    limited("e").fails(1, &["cannot write", "File too large"]);
    assert!(!place.path("e").exists());
    limited("d").fails(1, &["cannot write", "File too large"]);
    assert_eq!(place.run(&["info", "d", "--json"]).json()["rows"], 20);
    place.run(&["verify", "d"]).succeeds();
}

#[test]
fn what_is_not_a_dataset_is_called_so_by_every_command() {
    let place = Place::new();
    place.write("file", b"x");
    std::fs::create_dir(place.path("empty")).unwrap();
    for (path, needle) in [
        ("nowhere", "nothing at this path"),
        ("file", "is a file"),
        ("empty", "has no MANIFEST"),
    ] {
        let needles = [path, "is not a Ringtake dataset", needle];
        place.run(&["info", path]).fails(1, &needles);
        place.run(&["verify", path]).fails(1, &needles);
        place.run(&["take", path, "--rows", "1"]).fails(1, &needles);
        place.run(&["export", path, "a.parquet"]).fails(1, &needles);
    }
}
