//! A dataset of format version 1 and an index of version 1 as they were written once, which every
//! later version must read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{Float32Type, UInt8Type};
use ringtake_storage::dataset::TableCheck;
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::index::{Index, IndexedColumn};
use ringtake_storage::verify::verify_index;
use ringtake_storage::write::file_system::RealFileSystem;
use ringtake_storage::write::{WriteOptions, Writer};

use crate::index::{Parts, open_dataset, read_naively, vectors};
use crate::roundtrip::assert_holds;
use crate::verify::findings_of;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/v1")
        .join(name)
}

/// The datasets and what they hold.
fn datasets() -> [(&'static str, RecordBatch); 2] {
    [("blocks", blocks()), ("sums", sums())]
}

/// Rows wide enough for a table of checksums.
fn sums() -> RecordBatch {
    let wide = FixedSizeListArray::from_iter_primitive::<UInt8Type, _, _>(
        (0..9).map(|row| (row != 4).then(|| (0..600).map(move |item| Some((row + item) as u8)))),
        600,
    );
    let wide: ArrayRef = Arc::new(wide);
    RecordBatch::try_from_iter_with_nullable([("wide", wide, true)]).unwrap()
}

/// 300 rows, so that there are two blocks and the second is short.
fn blocks() -> RecordBatch {
    let rows = 0..300_i64;
    let ids = Int64Array::from_iter(rows.clone().map(|row| (row % 10 != 3).then_some(row * 7)));
    let flags = BooleanArray::from_iter(rows.clone().map(|row| Some(row % 3 == 0)));
    let names = StringArray::from_iter(rows.clone().map(|row| match row % 4 {
        0 => None,
        1 => Some(String::new()),
        _ => Some(format!("row {row} ß")),
    }));
    let pairs = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        rows.clone().map(|row| {
            (row % 5 != 0).then(|| [Some(row as f32 / 2.0), (row % 2 == 0).then_some(1.0)])
        }),
        2,
    );
    let wide = FixedSizeListArray::from_iter_primitive::<UInt8Type, _, _>(
        rows.map(|row| Some((0..40).map(move |item| Some((row + item) as u8)))),
        40,
    );
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("id", Arc::new(ids), true),
        ("flag", Arc::new(flags), false),
        ("name", Arc::new(names), true),
        ("pair", Arc::new(pairs), true),
        ("wide", Arc::new(wide), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[test]
fn datasets_written_by_version_1_are_read() {
    for (name, batch) in datasets() {
        let path = golden(name);
        assert_holds(&path, &batch.schema(), std::slice::from_ref(&batch));
        assert_eq!(findings_of(&path), [], "by the crate's own verifier");
        let bytes = std::fs::read(path.join("MANIFEST")).unwrap();
        let manifest = Manifest::decode(&path, &bytes).unwrap();
        assert_eq!(manifest.schema, batch.schema());
        assert_eq!(manifest.layout.rows, batch.num_rows() as u64);
        assert_eq!(
            manifest.encode().unwrap(),
            bytes,
            "the same manifest is the same bytes"
        );
    }
}

/// The dataset with an index, one directory for each version of the index.
const INDEXED: &str = "../index-v1";
/// Seed of the contents of the index.
const INDEX_SEED: u64 = 1;

#[test]
fn an_index_written_by_version_1_is_read() {
    let path = golden(INDEXED);
    let rows = vectors();
    assert_holds(&path, &rows.schema(), std::slice::from_ref(&rows));
    let (dataset, parts) = (open_dataset(&path), Parts::new(INDEX_SEED));
    let bytes = std::fs::read(path.join("c1.index")).unwrap();
    assert_eq!(read_naively(&bytes, &dataset), parts);
    let of = IndexedColumn::of(&dataset, 1);
    let index = Index::open(&path, &bytes, &of, TableCheck::Verify).unwrap();
    parts.assert_are(&index, &bytes);
    let manifest = std::fs::read(path.join("MANIFEST")).unwrap();
    let manifest = Manifest::decode(&path, &manifest).unwrap();
    let mut findings = Vec::new();
    verify_index(&manifest, 1, &bytes, &mut findings);
    assert_eq!(findings, []);
    // The same parts are the same bytes.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(path.join("MANIFEST"), copy.path().join("MANIFEST")).unwrap();
    let data = dataset.layout().dirs[0].clone();
    std::fs::create_dir(copy.path().join(&data)).unwrap();
    for entry in std::fs::read_dir(path.join(&data)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(
            entry.path(),
            copy.path().join(&data).join(entry.file_name()),
        )
        .unwrap();
    }
    parts
        .write(Arc::new(RealFileSystem), &open_dataset(copy.path()))
        .unwrap();
    assert_eq!(std::fs::read(copy.path().join("c1.index")).unwrap(), bytes);
}

/// Writes the golden index; only for a new version of the index.
#[test]
#[ignore = "replaces the golden index"]
fn write_golden_index() {
    let (path, rows) = (golden(INDEXED), vectors());
    let mut writer = Writer::create(&path, &rows.schema(), WriteOptions::default()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    Parts::new(INDEX_SEED)
        .write(Arc::new(RealFileSystem), &open_dataset(&path))
        .unwrap();
}

/// Writes the golden datasets; only for a new format version.
#[test]
#[ignore = "replaces the golden datasets"]
fn write_golden() {
    for (name, batch) in datasets() {
        let options = WriteOptions {
            block_rows: Some(256),
            ..WriteOptions::default()
        };
        let mut writer = Writer::create(&golden(name), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }
}
