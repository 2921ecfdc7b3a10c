//! A reader of index files by the letter of `FORMAT.md`, to compare the crate with.

use ringtake_storage::dataset::Dataset;
use serde_json::{Value, json};

use super::bytes::{footer, footer_at, u32_at, u64_at, xxh3};
use super::parts::{DIMS, PARTITIONS, Parts, ROWS};

/// Reads an index by the letter of `FORMAT.md`, without the crate.
pub(crate) fn read_naively(bytes: &[u8], dataset: &Dataset) -> Parts {
    let mut used = vec![false; bytes.len()];
    check_frame(bytes, dataset, &mut used);
    let footer = footer(bytes);
    let mut section = |name: &str| {
        let section = &footer[name];
        let [offset, length, hash] =
            ["offset", "bytes", "xxh3"].map(|key| section[key].as_u64().unwrap());
        if length == 0 {
            assert_eq!((offset, hash), (0, 0));
            return Vec::new();
        }
        assert_eq!(offset % 64, 0);
        let range = offset as usize..(offset + length) as usize;
        assert!(!used[range.clone()].contains(&true), "{name} overlaps");
        used[range.clone()].fill(true);
        assert_eq!(xxh3(&bytes[range.clone()]), hash, "{name}");
        bytes[range].to_vec()
    };
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        bytes
            .chunks(4)
            .map(|four| f32::from_bits(u32_at(four, 0)))
            .collect()
    };
    let u32s =
        |bytes: Vec<u8>| -> Vec<u32> { bytes.chunks(4).map(|four| u32_at(four, 0)).collect() };
    let axes = floats(section("rotation"));
    let centroids = floats(section("centroids"));
    let ends = u32s(section("ends"));
    let codebooks = floats(section("codebooks"));
    let errors = floats(section("errors"));
    let counts = u32s(section("counts"));
    let lists = section("lists");
    assert!(
        used.iter()
            .zip(bytes)
            .all(|(&used, &byte)| used || byte == 0)
    );
    let codes = footer["codes"].as_u64().unwrap() as usize;
    let parts = Parts {
        axes: (!axes.is_empty()).then_some(axes),
        centroids,
        ends,
        codebooks,
        errors: errors.try_into().unwrap(),
        lists: read_lists(&counts, &lists, codes),
        seed: footer["seed"].as_u64().unwrap(),
    };
    check_footer(&footer, &parts);
    parts
}

/// Checks the header, the trailer and the hash of the footer, and marks their bytes as used.
fn check_frame(bytes: &[u8], dataset: &Dataset, used: &mut [bool]) {
    assert_eq!(&bytes[..8], b"RTINDEX1");
    assert_eq!((u32_at(bytes, 8), u32_at(bytes, 12)), (1, 0));
    assert_eq!(bytes[16..32], dataset.layout().dataset);
    assert_eq!(u64_at(bytes, 32), dataset.layout().generation);
    assert_eq!(bytes[40..56], [0; 16]);
    assert_eq!(u64_at(bytes, 56), xxh3(&bytes[..56]));
    used[..64].fill(true);
    let trailer = &bytes[bytes.len() - 32..];
    assert_eq!(u64_at(trailer, 16), bytes.len() as u64);
    assert_eq!(u64_at(trailer, 24), xxh3(&trailer[..24]));
    let from = footer_at(bytes);
    assert_eq!(u64_at(trailer, 8), xxh3(&bytes[from..bytes.len() - 32]));
    used[from..].fill(true);
}

/// The row ids and the codes of each partition.
fn read_lists(counts: &[u32], lists: &[u8], codes: usize) -> Vec<(Vec<u32>, Vec<u8>)> {
    let c = codes.div_ceil(2);
    let mut at = 0;
    let list = |&rows: &u32| {
        let rows = rows as usize;
        let ids: Vec<u32> = lists[at..at + 4 * rows]
            .chunks(4)
            .map(|id| u32_at(id, 0))
            .collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        at += 4 * rows;
        let of_rows = lists[at..at + c * rows].to_vec();
        assert!(codes.is_multiple_of(2) || of_rows.chunks(c).all(|code| code[c - 1] < 16));
        at += c * rows;
        let end = at.next_multiple_of(8);
        assert!(lists[at..end].iter().all(|&byte| byte == 0));
        at = end;
        (ids, of_rows)
    };
    let of_partitions: Vec<_> = counts.iter().map(list).collect();
    assert_eq!(at, lists.len());
    of_partitions
}

/// Checks that the footer says what every index of these tests has, and no more.
fn check_footer(footer: &Value, parts: &Parts) {
    for (key, value) in [
        ("column", json!(1)),
        ("element", json!("f32")),
        ("dims", DIMS.into()),
        ("metric", json!("cosine")),
        ("rows", ROWS.into()),
        ("rows_indexed", parts.rows_indexed().into()),
        ("partitions", PARTITIONS.into()),
        ("codes", (parts.ends.len() + 1).into()),
    ] {
        assert_eq!(footer[key], value, "{key}");
    }
    assert_eq!(
        footer.as_object().unwrap().len(),
        16,
        "no key but those of FORMAT.md"
    );
}
