//! What a take allocates, counted over all threads by the allocator: no memory beyond the
//! result and a bounded window, and nothing per row.
//!
//! One test, since the counts are the whole process's.

#![allow(clippy::unwrap_used)]

mod counting;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, FixedSizeBinaryArray, RecordBatch, StringArray, UInt16Array};
use arrow::datatypes::UInt16Type;
use ringtake_runtime::{CacheChoice, ColumnBuffer, Config, CpuChoice, ReadPathChoice, Store};
use ringtake_storage::write::{WriteOptions, Writer};

use counting::Since;

/// Allocations while `work` runs, and the bytes held at the worst moment beyond those before.
fn counted<T>(work: impl FnOnce() -> T) -> (T, u64, i64) {
    let since = Since::now();
    let value = work();
    (value, since.allocations(), since.peak_bytes())
}

const ROWS: u64 = 20_000;
/// Wide enough for a read of its own to each row, or to a few.
const WIDE_BYTES: usize = 1024;

fn write(path: &Path) {
    let short: UInt16Array = (0..ROWS).map(|row| Some(row as u16)).collect();
    let name: StringArray = (0..ROWS).map(|row| Some(format!("row {row}"))).collect();
    let wide = FixedSizeBinaryArray::try_from_iter((0..ROWS).map(|_| [7; WIDE_BYTES])).unwrap();
    let batch = RecordBatch::try_from_iter([
        ("short", Arc::new(short) as _),
        ("name", Arc::new(name) as _),
        ("wide", Arc::new(wide) as _),
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
        // Many reads, so that an allocation to each would show.
        merge_gap_bytes: 0,
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

/// What a take of `rows` rows into buffers allocates, and how many reads it makes. The fewest of
/// several: other threads (the executors' timers, the test's own harness) may allocate meanwhile.
fn allocations_and_reads(store: &Store, rows: usize) -> (u64, u64) {
    let projection = store.projection(&["short", "name", "wide"]).unwrap();
    let ids = ids(rows);
    let mut short = vec![0; rows * 2];
    let mut wide = vec![0; rows * WIDE_BYTES];
    let (mut values, mut offsets) = (Vec::new(), Vec::new());
    let mut take = || {
        let mut buffers = [
            ColumnBuffer::Fixed(&mut short),
            ColumnBuffer::Variable {
                values: &mut values,
                offsets: &mut offsets,
            },
            ColumnBuffer::Fixed(&mut wide),
        ];
        store.take_into(&ids, &projection, &mut buffers).unwrap();
    };
    take();
    let reads_of_all = || store.stats().iter().map(|stats| stats.reads).sum::<u64>();
    let reads = reads_of_all();
    take();
    let reads = reads_of_all() - reads;
    ((0..4).map(|_| counted(&mut take).1).min().unwrap(), reads)
}

#[test]
fn a_take_allocates_neither_per_row_nor_beyond_a_window() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    write(&path);
    a_take_of_millions_needs_a_window_beside_its_result(&path);
    for (read_path, cache_bytes) in [
        (ReadPathChoice::Auto, 0),
        (ReadPathChoice::Auto, 1 << 20),
        (ReadPathChoice::ThreadPool { threads: 2 }, 0),
    ] {
        let store = open(&path, read_path, cache_bytes);
        let (few, _) = allocations_and_reads(&store, 1_000);
        let (many, reads) = allocations_and_reads(&store, 10_000);
        let (one, _) = allocations_and_reads(&store, 1);
        println!("{read_path} {cache_bytes}: {one} for 1 row, {few} for 1,000, {many} for 10,000");
        // One to each row or read would be thousands; the executors' timers bring a few to
        // each millisecond.
        assert!(reads > 1_000, "{reads}");
        assert!(
            many < few + reads / 4,
            "{read_path}: {few}, {many}, {reads}"
        );
        assert!(few < 250, "{read_path} {cache_bytes}: {few}");
    }
}
