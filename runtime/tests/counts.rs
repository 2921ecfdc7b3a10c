//! The costs of a take, counted over all threads: allocations, by the allocator, with no memory
//! beyond the result and a bounded window; locks, by builds with debug assertions; system calls, by
//! the shards. None of them grows with each row.
//!
//! One test, since the counts are the whole process's.

#![allow(clippy::unwrap_used)]

mod counting;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, FixedSizeBinaryArray, RecordBatch, StringArray, UInt16Array};
use arrow::datatypes::UInt16Type;
use ringtake_runtime::{
    CacheChoice, ColumnBuffer, Config, CpuChoice, Lab, ReadPathChoice, Scheduler, ShardStats, Store,
};
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
    open_with(path, read_path, CacheChoice::Bytes(cache_bytes))
}

fn open_with(path: &Path, read_path: ReadPathChoice, cache: CacheChoice) -> Store {
    let config = Config {
        shards: Some(2),
        cpus: CpuChoice::Unpinned,
        read_path,
        cache,
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

/// Two windows in flight, each with the row and the place of every entry, and as much again in
/// reserve.
const BEYOND_RESULT_BYTES_MAX: i64 = 2 * 2 * 65_536 * 16;

fn a_take_of_millions_needs_a_window_beside_its_result(path: &Path) {
    let store = open(path, ReadPathChoice::Auto, 0);
    let projection = store.projection(&["short"]).unwrap();
    let ids = ids(2_000_000);
    store.take(&ids[..100_000], &projection).wait().unwrap();
    let (taken, _, peak) = counted(|| store.take(&ids, &projection).wait().unwrap());
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

/// The allocations and reads of a take of `rows` rows into buffers: the fewest of several, since
/// other threads (the executors' timers, the test's own harness) may allocate meanwhile.
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
        store
            .take(&ids, &projection)
            .wait_into(&mut buffers)
            .unwrap();
    };
    take();
    let reads_of_all = || store.stats().iter().map(|stats| stats.reads).sum::<u64>();
    let reads = reads_of_all();
    take();
    let reads = reads_of_all() - reads;
    ((0..4).map(|_| counted(&mut take).1).min().unwrap(), reads)
}

/// Counts of all takes of a store so far.
#[derive(Debug, Clone, Copy)]
struct Counts {
    locks: u64,
    system_calls: u64,
    messages: u64,
    reads: u64,
}

impl Counts {
    fn of(store: &Store) -> Counts {
        let sum = |count: fn(&ShardStats) -> u64| store.stats().iter().map(count).sum();
        Counts {
            #[cfg(debug_assertions)]
            locks: ringtake_runtime::locks_taken(),
            #[cfg(not(debug_assertions))]
            locks: 0,
            system_calls: sum(|stats| stats.system_calls),
            messages: sum(|stats| stats.parts),
            reads: sum(|stats| stats.reads),
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            locks: self.locks - before.locks,
            system_calls: self.system_calls - before.system_calls,
            messages: self.messages - before.messages,
            reads: self.reads - before.reads,
        }
    }
}

/// Counts of a take of `rows` wide rows, the least of several.
fn of_a_take(store: &Store, rows: usize) -> Counts {
    let projection = store.projection(&["wide"]).unwrap();
    let ids = ids(rows);
    store.take(&ids, &projection).wait().unwrap();
    let counted = (0..4).map(|_| {
        let before = Counts::of(store);
        store.take(&ids, &projection).wait().unwrap();
        Counts::of(store).since(before)
    });
    counted.min_by_key(|counts| counts.system_calls).unwrap()
}

fn locks_and_system_calls_are_of_takes_and_batches_and_not_of_rows(path: &Path) {
    const MANY: u64 = 10_000;
    let cold = open(path, ReadPathChoice::Auto, 0);
    let (few, many) = (of_a_take(&cold, 100), of_a_take(&cold, MANY as usize));
    println!("cold: {few:?} for 100 rows, {many:?} for 10,000");
    assert!(many.reads > MANY / 10, "{many:?}");
    assert_eq!(many.locks, few.locks, "{few:?} {many:?}");
    // A full queue is fetched and sent a sixteenth of its 128 reads at a time; as it fills and
    // empties, fewer.
    if cold.info().read_path == ReadPathChoice::RingPerShard {
        assert!(many.system_calls < many.reads / 8 + 64, "{many:?}");
    }

    let cached = open(path, ReadPathChoice::Auto, 1 << 30);
    let (few, many) = (of_a_take(&cached, 100), of_a_take(&cached, MANY as usize));
    println!("cached: {few:?} for 100 rows, {many:?} for 10,000");
    assert_eq!((many.reads, many.locks), (0, few.locks), "{few:?} {many:?}");
    // To each of two shards a message, for which it wakes and sleeps again; those of the thread's
    // executor come beside.
    assert_eq!(many.messages, 2, "{many:?}");
    assert!(many.system_calls < 100, "{many:?}");

    let pinned = open_with(path, ReadPathChoice::Auto, CacheChoice::Pinned);
    let few = of_a_take(&pinned, 100);
    println!("pinned: {few:?} for 100 rows");
    assert_eq!((few.reads, few.messages), (0, 0), "{few:?}");
    // The result's memory is leased and given back.
    assert_eq!(few.locks, if cfg!(debug_assertions) { 2 } else { 0 });
}

/// A process that opens a store again and again must not grow.
fn a_store_that_is_closed_leaves_nothing(path: &Path) {
    const TURNS: i64 = 40;
    for scheduler in [Scheduler::Batched, Scheduler::PerRead] {
        let turn = || {
            let config = Config {
                shards: Some(2),
                cpus: CpuChoice::Unpinned,
                lab: Lab {
                    scheduler,
                    ..Lab::default()
                },
                ..Config::default()
            };
            let store = Store::open(path, config).unwrap();
            store.take(&ids(100), &store.all_columns()).wait().unwrap();
        };
        // What is kept for the whole process is there after the first.
        turn();
        let since = Since::now();
        (0..TURNS).for_each(|_| turn());
        let left = since.live_bytes();
        println!("{scheduler}: {left} bytes left by {TURNS} stores");
        // A task of each shard that is not freed would be 300 bytes each turn.
        assert!(left < TURNS * 150, "{scheduler}: {left} bytes");
    }
}

#[test]
fn a_take_allocates_locks_and_calls_neither_per_row_nor_beyond_a_window() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    write(&path);
    a_take_of_millions_needs_a_window_beside_its_result(&path);
    locks_and_system_calls_are_of_takes_and_batches_and_not_of_rows(&path);
    a_store_that_is_closed_leaves_nothing(&path);
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
