//! How much memory the writer holds, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use arrow::datatypes::DataType;
use ringtake_storage::write::{WriteOptions, Writer};

use crate::columns::{Nulls, Seeded, list};
use crate::roundtrip::{batches_of, schema_of};

/// The system's allocator, counting for each thread.
struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let live = LIVE_BYTES.get() + bytes;
    LIVE_BYTES.set(live);
    PEAK_BYTES.set(PEAK_BYTES.get().max(live));
}

// SAFETY: every call is passed on unchanged to the system's allocator; the counters are
// constants without destructors, so touching them allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that `work` held at its worst beyond what was held before.
fn peak_bytes(work: impl FnOnce()) -> isize {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    work();
    PEAK_BYTES.get() - before
}

/// The peak of an import of `batches` batches of `rows` rows.
fn import_peak_bytes(types: &[DataType], rows: usize, batches: usize) -> isize {
    let root = tempfile::tempdir().unwrap();
    let schema = schema_of(types);
    let nulls = vec![Nulls::Some(20); types.len()];
    let batch = batches_of(&schema, &[rows], &nulls, &mut Seeded(1)).remove(0);
    let path = root.path().join("dataset");
    peak_bytes(|| {
        let mut writer = Writer::create(&path, &schema, WriteOptions::default()).unwrap();
        for _ in 0..batches {
            writer.write(&batch).unwrap();
        }
        writer.finish().unwrap();
    })
}

#[test]
fn an_import_of_wide_rows_holds_a_few_buffers() {
    // 3 MB to a batch, so 60 MB altogether, and 200 MB in a block of these rows.
    let types = [
        list(DataType::Float32, 768),
        DataType::Utf8,
        DataType::Int64,
    ];
    let peak = import_peak_bytes(&types, 1000, 20);
    assert!(peak < 12 << 20, "{peak} bytes");
}

#[test]
fn a_batch_of_any_number_of_rows_is_written_in_pieces() {
    let types = [
        DataType::Int64,
        list(DataType::UInt8, 30),
        DataType::Boolean,
    ];
    let small = import_peak_bytes(&types, 50_000, 1);
    let large = import_peak_bytes(&types, 1_000_000, 1);
    assert!(large < small + (8 << 20), "{small} and {large} bytes");
    assert!(large < 12 << 20, "{large} bytes");
}

#[test]
fn a_dataset_of_many_columns_shares_the_buffers() {
    let types = vec![DataType::LargeBinary; 100];
    let peak = import_peak_bytes(&types, 3000, 5);
    assert!(peak < 48 << 20, "{peak} bytes");
}
