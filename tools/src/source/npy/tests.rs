//! Whole `.npy` files, sound and broken.

use std::io::Cursor;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float32Type;
use proptest::prelude::*;

use super::*;

fn file(version: u8, descr: &str, fortran: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.bytes());
    bytes.extend(values);
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Npy, SourceError> {
    let length = bytes.len() as u64;
    let input = Input::from_reader(
        "a.npy".to_owned(),
        Box::new(Cursor::new(bytes)),
        Some(length),
    );
    Npy::open(input, None)
}

fn read(bytes: Vec<u8>) -> Result<RecordBatch, SourceError> {
    let mut npy = open(bytes)?;
    let schema = npy.schema();
    let mut batches = Vec::new();
    while let Some(batch) = npy.next_batch()? {
        batches.push(batch);
    }
    Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
}

#[test]
fn every_header_version_is_read() {
    let values: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    for version in [1, 2, 3] {
        let batch = read(file(version, "'<f4'", "False", "(3, 2)", &values)).unwrap();
        let vectors = batch.column(0).as_fixed_size_list();
        assert_eq!(vectors.len(), 3);
        assert_eq!(
            vectors.value(1).as_primitive::<Float32Type>().values(),
            &[3.0, 4.0]
        );
        assert_eq!(batch.schema().field(0).name(), "vector");
    }
}

#[test]
fn one_axis_is_a_plain_column_in_either_order() {
    for order in ["True", "False"] {
        let batch = read(file(1, "'|b1'", order, "(3,)", &[1, 0, 1])).unwrap();
        assert_eq!(batch.schema().field(0).name(), "value");
        let values: Vec<_> = batch.column(0).as_boolean().iter().flatten().collect();
        assert_eq!(values, [true, false, true]);
    }
}

#[test]
fn an_array_without_rows_has_no_batch() {
    assert_eq!(
        read(file(1, "'<i8'", "False", "(0, 4)", &[]))
            .unwrap()
            .num_rows(),
        0
    );
}

#[test]
fn what_cannot_be_imported_is_refused_with_the_reason() {
    for (bytes, needle) in [
        (vec![], "is empty"),
        (b"\x93NUMPY".to_vec(), "cut short"),
        (b"\x93NUMPX\x01\x00aaaa".to_vec(), "magic"),
        (file(9, "'<f4'", "False", "(1,)", &[0; 4]), "version is 9.0"),
        (file(1, "'<f4'", "True", "(1, 1)", &[0; 4]), "Fortran order"),
        (file(1, "'|O'", "False", "(1,)", &[0; 8]), "Python objects"),
        (file(1, "'>f4'", "False", "(1,)", &[0; 4]), "big-endian"),
        (
            file(1, "'<c8'", "False", "(1,)", &[0; 8]),
            "\"<c8\" is not a number",
        ),
        (
            file(1, "'<U4'", "False", "(1,)", &[0; 16]),
            "is not a number",
        ),
        (
            file(1, "[('a', '<f4')]", "False", "(1,)", &[0; 4]),
            "structured",
        ),
        (file(1, "'<f4'", "False", "(1, 1, 1)", &[0; 4]), "3 axes"),
        (file(1, "'<f4'", "False", "()", &[0; 4]), "0 axes"),
        (file(1, "'<f4'", "False", "(1, 0)", &[]), "0 dimensions"),
        (file(1, "'|b1'", "False", "(1, 1)", &[1]), "booleans"),
        (file(1, "'<f4'", "False", "(2,)", &[0; 7]), "7 bytes follow"),
        (file(1, "'<f4'", "False", "(2,)", &[0; 9]), "9 bytes follow"),
        (
            file(
                1,
                "'<f8'",
                "False",
                "(18446744073709551615, 1048576)",
                &[0; 8],
            ),
            "8 bytes follow",
        ),
    ] {
        let error = read(bytes).unwrap_err().to_string();
        assert!(
            error.contains("a.npy") && error.contains(needle),
            "{needle}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read([b"\x93NUMPY\x01\x00".as_slice(), &bytes].concat());
    }
}
