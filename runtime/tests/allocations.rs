//! What a take allocates, counted over all threads by the allocator: no memory beyond the
//! result and a bounded window, and nothing per row.
//!
//! One test, since the counts are the whole process's.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray, UInt16Array};
use arrow::datatypes::UInt16Type;
use ringtake_runtime::{CacheChoice, ColumnBuffer, Config, CpuChoice, ReadPathChoice, Store};
use ringtake_storage::write::{WriteOptions, Writer};

/// The system's allocator, counting for the whole process.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK_BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    let live = LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        count(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations while `work` runs, and the bytes held at the worst moment beyond those before.
fn counted<T>(work: impl FnOnce() -> T) -> (T, u64, i64) {
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let live = LIVE_BYTES.load(Ordering::Relaxed);
    PEAK_BYTES.store(live, Ordering::Relaxed);
    let value = work();
    let peak = PEAK_BYTES.load(Ordering::Relaxed) - live;
    (
        value,
        ALLOCATIONS.load(Ordering::Relaxed) - allocations,
        peak,
    )
}

const ROWS: u64 = 20_000;

fn write(path: &Path) {
    let id: Int64Array = (0..ROWS as i64).map(Some).collect();
    let short: UInt16Array = (0..ROWS).map(|row| Some(row as u16)).collect();
    let name: StringArray = (0..ROWS).map(|row| Some(format!("row {row}"))).collect();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(id) as _),
        ("short", Arc::new(short) as _),
        ("name", Arc::new(name) as _),
    ])
    .unwrap();
    let options = WriteOptions {
        block_rows: Some(256),
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

fn open(path: &Path, read_path: ReadPathChoice, cache_bytes: u64) -> Store {
    let config = Config {
        shards: Some(2),
        cpus: CpuChoice::Unpinned,
        read_path,
        cache: CacheChoice::Bytes(cache_bytes),
        ..Config::default()
    };
    Store::open(path, config).unwrap()
}

/// Rows in no order, each several times if there are more than the dataset has.
fn ids(count: usize) -> Vec<u64> {
    (0..count as u64).map(|place| place * 7919 % ROWS).collect()
}

/// Two windows in flight, each of 65,536 rows with 16 bytes of row and place, and as much again
/// for what nobody has thought of.
const BEYOND_RESULT_BYTES_MAX: i64 = 2 * 2 * 65_536 * 16;

fn a_take_of_millions_needs_a_window_beside_its_result(path: &Path) {
    let store = open(path, ReadPathChoice::Auto, 0);
    let projection = store.projection(&["short"]).unwrap();
    let ids = ids(2_000_000);
    store.take(&ids[..100_000], &projection).unwrap();
    let (taken, _, peak) = counted(|| store.take(&ids, &projection).unwrap());
    let values = taken.column(0).as_primitive::<UInt16Type>().values();
    assert!(
        values
            .iter()
            .zip(&ids)
            .all(|(&value, &id)| value == id as u16)
    );
    let result_bytes = (ids.len() * size_of::<u16>()) as i64;
    let beyond = peak - result_bytes;
    println!("{beyond} bytes beyond the result's {result_bytes}");
    assert!(beyond < BEYOND_RESULT_BYTES_MAX, "{beyond} bytes");
}

/// What a take into buffers allocates: the fewest of several, since other threads of the
/// process (the test's own harness) may allocate meanwhile.
fn allocations_of_take(store: &Store, rows: usize) -> u64 {
    let projection = store.projection(&["short", "name", "id"]).unwrap();
    let ids = ids(rows);
    let (mut short, mut id) = (vec![0; rows * 2], vec![0; rows * 8]);
    let (mut values, mut offsets) = (Vec::new(), Vec::new());
    let mut take = || {
        let mut buffers = [
            ColumnBuffer::Fixed(&mut short),
            ColumnBuffer::Variable {
                values: &mut values,
                offsets: &mut offsets,
            },
            ColumnBuffer::Fixed(&mut id),
        ];
        store.take_into(&ids, &projection, &mut buffers).unwrap();
    };
    take();
    (0..8).map(|_| counted(&mut take).1).min().unwrap()
}

#[test]
fn a_take_allocates_neither_per_row_nor_beyond_a_window() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    write(&path);
    a_take_of_millions_needs_a_window_beside_its_result(&path);
    for read_path in [
        ReadPathChoice::Auto,
        ReadPathChoice::ThreadPool { threads: 2 },
    ] {
        for cache_bytes in [0, 1 << 20] {
            let store = open(&path, read_path, cache_bytes);
            allocations_of_take(&store, 10_000);
            println!(
                "{:?}",
                [1000, 2000, 4000, 8000, 16000, 32000, 64000]
                    .map(|r| allocations_of_take(&store, r))
            );
            let few = allocations_of_take(&store, 1_000);
            let many = allocations_of_take(&store, 10_000);
            println!("{read_path} {cache_bytes}: {few} for 1,000 rows, {many} for 10,000");
            assert!(
                many <= few + 4,
                "{read_path} {cache_bytes}: {few} and {many}"
            );
            assert!(few < 40, "{read_path} {cache_bytes}: {few}");
        }
    }
}
