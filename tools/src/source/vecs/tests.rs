//! Whole vecs files, sound and broken.

use std::io::Cursor;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float32Type;
use proptest::prelude::*;

use super::*;

fn file(vectors: &[Vec<f32>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for vector in vectors {
        bytes.extend((vector.len() as i32).to_le_bytes());
        bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

fn read(bytes: Vec<u8>) -> Result<Vec<Vec<f32>>, SourceError> {
    let length = bytes.len() as u64;
    let input = Input::from_reader(
        "a.fvecs".to_owned(),
        Box::new(Cursor::new(bytes)),
        Some(length),
    );
    let mut vecs = Vecs::open(input, Element::Float32, "vector")?;
    let mut vectors = Vec::new();
    while let Some(batch) = vecs.next_batch()? {
        let lists = batch.column(0).as_fixed_size_list();
        for row in 0..lists.len() {
            vectors.push(
                lists
                    .value(row)
                    .as_primitive::<Float32Type>()
                    .values()
                    .to_vec(),
            );
        }
    }
    if let Some(rows) = vecs.rows() {
        assert_eq!(rows, vectors.len() as u64);
    }
    Ok(vectors)
}

#[test]
fn broken_files_are_refused_with_the_place() {
    let two = file(&[vec![1.0, 2.0], vec![3.0, 4.0]]);
    let changed = file(&[vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0]]);
    for (bytes, needle) in [
        (vec![], "is empty"),
        (two[..3].to_vec(), "the dimension of vector 0"),
        (
            two[..11].to_vec(),
            "cut short: 8 more bytes were expected at byte 4 for vector 0, 7",
        ),
        (two[..14].to_vec(), "the dimension of vector 1"),
        (two[..20].to_vec(), "for vector 1"),
        (
            changed,
            "vector 2 of a.fvecs has 1 dimensions where the ones before have 2",
        ),
        (vec![0; 8], "says 0 dimensions"),
        (vec![0xff; 8], "says -1 dimensions"),
        (
            i32::MAX.to_le_bytes().to_vec(),
            "says 2147483647 dimensions",
        ),
    ] {
        let error = read(bytes).unwrap_err().to_string();
        assert!(
            error.contains("a.fvecs") && error.contains(needle),
            "{needle}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn any_vectors_come_back(
        vectors in (1_usize..9).prop_flat_map(|dimension| {
            prop::collection::vec(prop::collection::vec(-1e9_f32..1e9, dimension), 1..40)
        })
    ) {
        prop_assert_eq!(read(file(&vectors)).unwrap(), vectors);
    }

    #[test]
    fn every_cut_within_a_vector_is_noticed(cut in 1_usize..60) {
        let whole = file(&vec![vec![1.0, 2.0]; 5]);
        let outcome = read(whole[..cut].to_vec());
        prop_assert_eq!(outcome.is_ok(), cut % 12 == 0);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read([[2, 0, 0, 0].as_slice(), &bytes].concat());
    }
}
