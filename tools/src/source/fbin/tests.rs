//! Whole fbin files, sound and broken.

use std::io::Cursor;

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt8Type;
use proptest::prelude::*;

use super::*;

fn file(rows: u32, dimension: u32, values: &[u8]) -> Vec<u8> {
    [&rows.to_le_bytes(), &dimension.to_le_bytes(), values].concat()
}

fn read(bytes: Vec<u8>, length: Option<u64>) -> Result<Vec<Vec<u8>>, SourceError> {
    let input = Input::from_reader("a.u8bin".to_owned(), Box::new(Cursor::new(bytes)), length);
    let mut fbin = Fbin::open(input, Element::UInt8, "vector")?;
    let mut vectors = Vec::new();
    while let Some(batch) = fbin.next_batch()? {
        let lists = batch.column(0).as_fixed_size_list();
        for row in 0..lists.len() {
            vectors.push(
                lists
                    .value(row)
                    .as_primitive::<UInt8Type>()
                    .values()
                    .to_vec(),
            );
        }
    }
    Ok(vectors)
}

#[test]
fn files_whose_length_contradicts_the_header_are_refused() {
    for (bytes, needle) in [
        (vec![], "is empty"),
        (vec![1, 0, 0], "cut short"),
        (file(1, 0, &[]), "0 dimensions"),
        (file(1, u32::MAX, &[]), "4294967295 dimensions"),
        (
            file(2, 3, &[0; 5]),
            "which is 14 bytes, but the file has 13",
        ),
        (
            file(2, 3, &[0; 7]),
            "which is 14 bytes, but the file has 15",
        ),
        (file(u32::MAX, 1 << 20, &[0; 7]), "but the file has 15"),
    ] {
        let length = bytes.len() as u64;
        let error = read(bytes, Some(length)).unwrap_err().to_string();
        assert!(
            error.contains("a.u8bin") && error.contains(needle),
            "{needle}: {error}"
        );
    }
}

#[test]
fn a_pipe_that_contradicts_the_header_is_refused_at_its_end() {
    let error = read(file(2, 3, &[0; 5]), None).unwrap_err().to_string();
    assert!(error.contains("cut short"), "{error}");
    let error = read(file(2, 3, &[0; 7]), None).unwrap_err().to_string();
    assert!(error.contains("bytes after its 2 vectors"), "{error}");
}

proptest! {
    #[test]
    fn any_vectors_come_back(
        vectors in (1_usize..9).prop_flat_map(|dimension| {
            prop::collection::vec(prop::collection::vec(any::<u8>(), dimension), 1..40)
        })
    ) {
        let bytes = file(vectors.len() as u32, vectors[0].len() as u32, &vectors.concat());
        let length = bytes.len() as u64;
        prop_assert_eq!(read(bytes, Some(length)).unwrap(), vectors);
    }
}
