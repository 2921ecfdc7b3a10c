//! Each byte of a manifest changed, and each length it could be cut to.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::layout::{FixedGroup, Group, GroupOptions, LayoutPolicy, PAGE_BYTES, choose_groups};

fn sample() -> Manifest {
    let field =
        Field::new("a", DataType::Int64, true).with_metadata([("unit".to_owned(), "m".to_owned())]);
    let schema = Schema::new(vec![field]).with_metadata([("origin".to_owned(), "here".to_owned())]);
    let mut groups = choose_groups(&schema, &GroupOptions::default()).unwrap();
    groups[0].file_bytes_mut().push(PAGE_BYTES);
    let layout = Layout {
        dataset: [7; 16],
        generation: 8,
        rows: 0,
        block_rows: 1024,
        dirs: vec!["data-0000000000000008".to_owned()],
        groups,
        tables: Vec::new(),
    };
    Manifest {
        layout,
        schema: Arc::new(schema),
    }
}

fn decode(bytes: &[u8]) -> Result<Manifest> {
    Manifest::decode(Path::new("dataset/MANIFEST"), bytes)
}

/// Corrects the hashes, as an attacker would.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = xxh3(&bytes[HEADER_BYTES..]);
    put_u64(&mut bytes, 32, body);
    let header = xxh3(&bytes[..56]);
    put_u64(&mut bytes, 56, header);
    bytes
}

#[test]
fn what_is_encoded_is_decoded_with_all_metadata() {
    let manifest = sample();
    assert_eq!(decode(&manifest.encode().unwrap()).unwrap(), manifest);
}

#[test]
fn each_flipped_bit_is_an_error() {
    let sound = sample().encode().unwrap();
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = decode(&bytes).unwrap_err();
        let version = (8..12).contains(&(bit / 8)) && get_u32(&bytes, 8) > FORMAT_VERSION;
        match error {
            Error::Damaged { .. } => assert!(!version),
            Error::NewerVersion { .. } => assert!(version),
            other => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn each_length_but_the_right_one_is_an_error() {
    let sound = sample().encode().unwrap();
    for length in 0..sound.len() {
        let error = decode(&sound[..length]).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
    }
    let longer = [&sound[..], &[0]].concat();
    assert!(matches!(decode(&longer), Err(Error::Damaged { .. })));
}

#[test]
fn each_header_byte_changed_under_a_right_hash_is_an_error() {
    let sound = sample().encode().unwrap();
    // The body's hash is made right too, so its own bytes cannot be changed.
    for at in (0..HEADER_BYTES).filter(|at| !(32..40).contains(at) && *at < 56) {
        for value in [0, 1, 2, 0x7F, 0x80, 0xFF] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            if bytes != sound {
                decode(&sealed(bytes)).unwrap_err();
            }
        }
    }
}

#[test]
fn each_body_byte_changed_under_a_right_hash_is_no_panic() {
    let sound = sample().encode().unwrap();
    for at in HEADER_BYTES..sound.len() {
        for flip in [1, 0x10, 0x80, 0xFF] {
            let mut bytes = sound.clone();
            bytes[at] ^= flip;
            let _ = decode(&sealed(bytes));
        }
    }
}

#[test]
fn a_newer_version_is_named_with_what_to_do() {
    let mut bytes = sample().encode().unwrap();
    put_u32(&mut bytes, 8, 2);
    // Even if nothing else is as version 1 has it.
    bytes.truncate(20);
    let message = decode(&bytes).unwrap_err().to_string();
    assert_eq!(
        message,
        "dataset/MANIFEST has format version 2, and this program reads up to 1; \
         upgrade it to read this dataset"
    );
}

#[test]
fn a_layout_that_contradicts_its_schema_is_refused() {
    let mut manifest = sample();
    let Group::Fixed(group) = &mut manifest.layout.groups[0] else {
        panic!("an Int64 is fixed");
    };
    *group = FixedGroup {
        policy: LayoutPolicy::Packed,
        record_bytes: 11,
        unit_bytes: 11,
        rows_per_unit: 1,
        ..group.clone()
    };
    let error = decode(&manifest.encode().unwrap()).unwrap_err().to_string();
    assert!(error.contains("contradicts itself: the record"), "{error}");
}

#[test]
fn each_change_of_a_data_file_header_is_found() {
    let header = DataFileHeader {
        group: 3,
        dir: 1,
        dataset: [9; 16],
        generation: 77,
    };
    let sound = header.encode();
    assert_eq!(header.check(&sound), Ok(()));
    for at in 0..sound.len() {
        let mut page = sound.clone();
        page[at] ^= 1;
        let what = header.check(&page).unwrap_err();
        let expected = if at < 64 {
            "is damaged"
        } else {
            "not followed by zeros"
        };
        assert!(what.contains(expected), "{at}: {what}");
    }
    for length in [0, 1, 63, 64, 4095] {
        header.check(&sound[..length]).unwrap_err();
    }
    for (other, says) in [
        (DataFileHeader { group: 2, ..header }, "column group 2"),
        (DataFileHeader { dir: 0, ..header }, "data directory 0"),
        (
            DataFileHeader {
                dataset: [8; 16],
                ..header
            },
            "another dataset",
        ),
        (
            DataFileHeader {
                generation: 78,
                ..header
            },
            "another version",
        ),
    ] {
        let what = header.check(&other.encode()).unwrap_err();
        assert!(what.contains(says), "{what}");
    }
}
