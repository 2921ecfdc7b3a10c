//! A dataset whose every row says what it must be, some of them damaged.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, UInt64Type};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{CacheChoice, Config, CpuChoice, IndexOptions, Limits, Store};
use ringtake_storage::write::{WriteOptions, Writer};

pub(super) const ROWS: u64 = 40_000;
const DIMS: usize = 32;
/// Distance in rows from one damaged row to the next: a byte of its blob is flipped.
const DAMAGED_EVERY: u64 = 5_000;

pub(super) fn vector(row: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(row);
    (0..DIMS).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Each row carries what it must be: its id, and bytes that follow from it.
fn rows(ids: &[u64]) -> RecordBatch {
    let id = UInt64Array::from_iter_values(ids.iter().copied());
    let items: Float32Array = ids.iter().flat_map(|&id| vector(id)).map(Some).collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::new(item, DIMS as i32, Arc::new(items), None);
    let blob = BinaryArray::from_iter_values(ids.iter().map(|&id| vec![id as u8; blob_bytes(id)]));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(id)),
        ("vector", Arc::new(vectors)),
        ("blob", Arc::new(blob)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn blob_bytes(id: u64) -> usize {
    [3, 700, 5_000][id as usize % 3]
}

pub(super) fn is_damaged(id: u64) -> bool {
    id % DAMAGED_EVERY == 17
}

pub(super) fn write(path: &Path) {
    let options = WriteOptions {
        block_rows: Some(1024),
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &rows(&[0]).schema(), options).unwrap();
    let all: Vec<u64> = (0..ROWS).collect();
    for ids in all.chunks(2_000) {
        writer.write(&rows(ids)).unwrap();
    }
    writer.finish().unwrap();
    let store = open(path, 8);
    let options = IndexOptions {
        partitions: Some(16),
        iterations: 3,
        ..IndexOptions::default()
    };
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    store.build_index("vector", &options, go_on).unwrap();
    // Only now, since the index reads every row.
    let blobs = group_of(&store, "blob");
    for id in (0..ROWS).filter(|&id| is_damaged(id)) {
        let extent = store.dataset().locator(blobs).locate(id).unwrap();
        let file = store.dataset().file_path(blobs, extent.dir as usize);
        let file = fs::OpenOptions::new().read(true).write(true).open(file);
        let file = file.unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, extent.offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], extent.offset).unwrap();
    }
}

fn group_of(store: &Store, column: &str) -> usize {
    store.projection(&[column]).unwrap().groups()[0].group
}

/// Every value of every column that was taken.
pub(super) fn assert_right(taken: &RecordBatch, ids: &[u64]) {
    assert!(!ids.iter().any(|&id| is_damaged(id)), "damage came back");
    assert_eq!(taken.num_rows(), ids.len());
    for (field, column) in taken.schema().fields().iter().zip(taken.columns()) {
        for (place, &id) in ids.iter().enumerate() {
            match field.name().as_str() {
                "id" => assert_eq!(column.as_primitive::<UInt64Type>().value(place), id),
                "vector" => {
                    let value = column.as_fixed_size_list().value(place);
                    assert_eq!(value.as_primitive::<Float32Type>().values(), &vector(id));
                }
                _ => {
                    let blob = column.as_binary::<i32>().value(place);
                    assert_eq!(blob.len(), blob_bytes(id));
                    assert!(blob.iter().all(|&byte| byte == id as u8), "row {id}");
                }
            }
        }
    }
}

pub(super) fn open(path: &Path, takes_in_flight_max: usize) -> Store {
    let config = Config {
        shards: Some(2),
        cpus: CpuChoice::Unpinned,
        cache: CacheChoice::Bytes(8 << 20),
        limits: Limits {
            takes_in_flight_max,
            ..Limits::default()
        },
        result_memory_bytes: 8 << 20,
        ..Config::default()
    };
    Store::open(path, config).unwrap()
}
