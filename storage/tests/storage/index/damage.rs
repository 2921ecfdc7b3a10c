//! Damaged index files: each damage is found, and nothing damaged is believed.

use ringtake_storage::dataset::TableCheck;
use serde_json::{Value, json};

use super::bytes::{footer, footer_at, with_footer, with_header, with_section, xxh3};
use super::parts::{PARTITIONS, Parts};
use super::place::Place;

#[test]
fn each_flipped_bit_is_found_and_none_is_believed() {
    for parts in [Parts::new(0), Parts::new(1)] {
        let (place, whole) = Place::indexed(&parts);
        let mut padding = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_ne!(place.findings(&bytes), [], "byte {at}");
            // Between the sections there is nothing to believe.
            match place.open(&bytes, TableCheck::Verify) {
                Ok(index) => {
                    parts.assert_are(&index, &bytes);
                    padding += 1;
                }
                Err(error) => assert!(error.to_string().contains("c1.index"), "{error}"),
            }
            // Whatever is believed without checksums, nothing panics.
            if let Ok(index) = place.open(&bytes, TableCheck::Skip) {
                for partition in 0..index.layout().partitions as usize {
                    let _ = index.list(&bytes, partition);
                }
            }
        }
        assert!((1..64 * 8).contains(&padding), "{padding} bytes of padding");
    }
}

#[test]
fn a_file_cut_short_or_too_long_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let cuts = (0..whole.len()).step_by(64).chain([1, 95, whole.len() - 1]);
    for bytes in cuts {
        place.refuses(&whole[..bytes], &["it does not"]);
        place.open(&whole[..bytes], TableCheck::Skip).unwrap_err();
    }
    for more in [1, 64] {
        let mut longer = whole.clone();
        longer.resize(whole.len() + more, 0);
        place.refuses(&longer, &["it does not end"]);
    }
}

#[test]
fn each_field_of_the_header_is_checked_behind_its_hash() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    let foreign = "another version of this one";
    for (range, needle) in [
        (0..8, "begin as an index does"),
        (12..16, "header"),
        (16..32, foreign),
        (32..40, foreign),
        (40..56, "header"),
    ] {
        for at in range {
            place.refuses(&with_header(&whole, |header| header[at] ^= 1), &[needle]);
        }
    }
    place.refuses(&with_header(&whole, |header| header[8] = 0), &["header"]);
    for version in [2_u32, 9, u32::MAX] {
        let newer = with_header(&whole, |header| {
            header[8..12].copy_from_slice(&version.to_le_bytes());
        });
        place.refuses(&newer, &[&format!("version {version}"), "upgrade"]);
    }
    // The hash alone.
    for at in 56..64 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        place.refuses(&bytes, &["header"]);
    }
}

#[test]
fn each_field_of_the_trailer_is_checked_behind_its_hash() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    for (field, lies) in [
        (
            0,
            vec![0, 1, 1 << 20, (1 << 20) + 1, whole.len() as u64, u64::MAX],
        ),
        (8, vec![0, 1, u64::MAX]),
        (
            16,
            vec![0, whole.len() as u64 - 1, whole.len() as u64 + 1, u64::MAX],
        ),
    ] {
        for lie in lies {
            let mut bytes = whole.clone();
            let trailer = whole.len() - 32;
            bytes[trailer + field..][..8].copy_from_slice(&lie.to_le_bytes());
            let hash = xxh3(&bytes[trailer..trailer + 24]);
            bytes[trailer + 24..].copy_from_slice(&hash.to_le_bytes());
            place.refuses(&bytes, &["c1.index"]);
        }
    }
}

/// The sections: their keys in the footer and what errors call them.
const SECTIONS: [(&str, &str); 7] = [
    ("rotation", "axes"),
    ("centroids", "centroids"),
    ("ends", "ends"),
    ("codebooks", "codebooks"),
    ("errors", "errors"),
    ("counts", "counts"),
    ("lists", "lists"),
];

/// A change of the footer and a word of the refusal.
type Lie = (&'static str, Value, &'static str);

#[test]
fn a_footer_that_contradicts_dataset_or_file_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let sound = footer(&whole);
    assert_eq!(with_footer(&whole, &sound).len(), whole.len());
    place
        .open(&with_footer(&whole, &sound), TableCheck::Verify)
        .unwrap();
    let lies: [Lie; 23] = [
        ("column", json!(0), "it is of column 0"),
        ("column", json!(7), "it is of column 7"),
        ("column", json!(-1), "footer"),
        ("element", json!("f16"), "not those of the column"),
        ("element", json!("f64"), "footer"),
        ("dims", json!(7), "not those of the column"),
        ("dims", json!(0), "not those of the column"),
        (
            "dims",
            json!(u64::from(u32::MAX)),
            "not those of the column",
        ),
        ("metric", json!("hamming"), "footer"),
        ("rows", json!(41), "it counts 41 rows"),
        ("rows", json!(u64::MAX), "it counts"),
        ("rows", json!(38), "it counts 38 rows"),
        ("rows_indexed", json!(38), "39 rows instead of 38"),
        ("rows_indexed", json!(40), "39 rows instead of 40"),
        ("rows_indexed", json!(41), "it counts 40 rows"),
        ("partitions", json!(0), "it has 0 partitions"),
        ("partitions", json!(3), "its centroids take"),
        ("partitions", json!(5), "its centroids take"),
        ("partitions", json!((1 << 20) + 1), "partitions"),
        ("codes", json!(1), "it has 1 codes"),
        ("codes", json!(4), "its ends take"),
        ("codes", json!(10), "it has 10 codes"),
        ("seed", json!("none"), "footer"),
    ];
    for (key, lie, needle) in lies {
        let mut lying = sound.clone();
        lying[key] = lie;
        place.refuses(&with_footer(&whole, &lying), &[needle]);
    }
    for (key, _) in sound.as_object().unwrap() {
        let mut without = sound.clone();
        without.as_object_mut().unwrap().remove(key);
        place.refuses(&with_footer(&whole, &without), &["footer", key]);
    }
    let mut more = sound.clone();
    more["colour"] = json!("red");
    place.refuses(&with_footer(&whole, &more), &["footer", "colour"]);
}

#[test]
fn sections_that_are_elsewhere_or_of_another_length_are_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let sound = footer(&whole);
    for (key, called) in SECTIONS {
        let offset = sound[key]["offset"].as_u64().unwrap();
        let bytes = sound[key]["bytes"].as_u64().unwrap();
        let elsewhere = [
            offset + 4,
            offset + 8,
            whole.len() as u64,
            u64::MAX - 63,
            u64::MAX,
        ];
        for lie in elsewhere {
            let mut lying = sound.clone();
            lying[key]["offset"] = lie.into();
            place.refuses(&with_footer(&whole, &lying), &[called]);
            let _ = place.open(&with_footer(&whole, &lying), TableCheck::Skip);
        }
        for lie in [1, bytes - 4, bytes + 4, bytes + 64, u64::MAX - 3] {
            let mut lying = sound.clone();
            lying[key]["bytes"] = lie.into();
            let lying = with_footer(&whole, &lying);
            let refused = place
                .open(&lying, TableCheck::Verify)
                .unwrap_err()
                .to_string();
            assert!(refused.contains(called), "{refused}");
            assert_ne!(place.findings(&lying), []);
            let _ = place.open(&lying, TableCheck::Skip);
        }
        let mut lying = sound.clone();
        lying[key]["xxh3"] = (sound[key]["xxh3"].as_u64().unwrap() ^ 1).into();
        place.refuses(&with_footer(&whole, &lying), &[called, "checksum"]);
        let of_another = sound["errors"].clone();
        if key != "errors" {
            let mut lying = sound.clone();
            lying[key] = of_another;
            place
                .open(&with_footer(&whole, &lying), TableCheck::Verify)
                .unwrap_err();
        }
    }
}

#[test]
fn a_section_that_begins_at_no_multiple_of_64_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    for (key, _) in SECTIONS {
        let mut footer = footer(&whole);
        let from = footer[key]["offset"].as_u64().unwrap() as usize;
        let bytes = footer[key]["bytes"].as_u64().unwrap() as usize;
        // The same bytes once more, behind all others.
        for (short, sound) in [(0, true), (8, false)] {
            let mut file = whole[..footer_at(&whole)].to_vec();
            file.resize(file.len().next_multiple_of(64) + short, 0);
            footer[key]["offset"] = file.len().into();
            file.extend_from_slice(&whole[from..from + bytes]);
            // What `with_footer` takes for the old footer and trailer.
            let end = file.len();
            file.resize(end + 32, 0);
            let moved = with_footer(&file, &footer);
            if sound {
                drop(place.open(&moved, TableCheck::Verify).unwrap())
            } else {
                place.refuses(&moved, &["where its footer says"])
            }
        }
    }
}

#[test]
fn numbers_that_cannot_be_are_refused_behind_their_checksums() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    for section in ["rotation", "centroids", "codebooks", "errors"] {
        for lie in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let lying = with_section(&whole, section, |bytes| {
                bytes[8..12].copy_from_slice(&lie.to_le_bytes());
            });
            place.refuses(&lying, &["no numbers"]);
        }
    }
    for lie in [0_u32, 4, 9, u32::MAX] {
        let lying = with_section(&whole, "ends", |bytes| {
            bytes[4..8].copy_from_slice(&lie.to_le_bytes());
        });
        place.refuses(&lying, &["pieces are impossible"]);
    }
    let fuller = |lie: u32| {
        with_section(&whole, "counts", |bytes| {
            bytes[..4].copy_from_slice(&lie.to_le_bytes())
        })
    };
    place.refuses(&fuller(u32::MAX), &["rows instead of 39"]);
    // As many rows in other partitions.
    let swapped = with_section(&whole, "counts", |bytes| bytes.rotate_left(4));
    let believed = place.open(&swapped, TableCheck::Verify);
    let lists = believed.and_then(|index| {
        (0..PARTITIONS).try_for_each(|partition| index.list(&swapped, partition).map(|_| ()))
    });
    lists.unwrap_err();
    assert_ne!(place.findings(&swapped), []);
}

/// Findings in an index whose lists `change` has altered.
fn in_lists(change: impl Fn(&mut [u8])) -> Vec<String> {
    // Two pieces and the error: three codes, so that two half bytes are not used.
    let (place, whole) = Place::indexed(&Parts::new(4));
    let lying = with_section(&whole, "lists", change);
    let findings = place.findings(&lying);
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn rows_twice_past_the_end_or_out_of_order_are_found() {
    assert_eq!(in_lists(|_| ()), [""; 0]);
    let put = |place: usize, row: u32| {
        in_lists(move |lists| lists[place * 4..][..4].copy_from_slice(&row.to_le_bytes()))
    };
    // The first list is 0, 3, 6, ..., 39.
    for (place, row) in [(13, 40), (13, u32::MAX), (1, 0), (1, 6), (1, 7)] {
        let findings = put(place, row);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].contains("rows of partition 0 are impossible"),
            "{findings:?}"
        );
    }
    // Row 4 is in the second list.
    let findings = put(1, 4);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].contains("row 4: it is in partition 1 and in one before"),
        "{findings:?}"
    );
    // Row 5, which is null, takes the place of row 3: each is there once.
    assert_eq!(put(1, 5), [""; 0]);
}

#[test]
fn bits_behind_codes_and_lists_are_zero() {
    // 14 rows of 4 + 2 bytes take 84, and 4 more are zeros.
    for at in [84, 87] {
        let findings = in_lists(|lists| lists[at] = 1);
        assert!(
            findings.len() == 1 && findings[0].contains("not zero"),
            "{findings:?}"
        );
    }
    let findings = in_lists(|lists| lists[4 * 14 + 1] |= 0x40);
    assert!(
        findings.len() == 1 && findings[0].contains("not zero"),
        "{findings:?}"
    );
}

#[test]
fn axes_that_are_no_rotation_are_found() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let skew = with_section(&whole, "rotation", |bytes| {
        bytes[..4].copy_from_slice(&0.5_f32.to_le_bytes());
    });
    let findings = place.findings(&skew);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].to_string().contains("right angles"),
        "{findings:?}"
    );
}
