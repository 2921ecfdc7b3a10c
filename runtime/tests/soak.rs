//! A store under everything at once for as long as `RINGTAKE_SOAK_SECONDS` says (five by default):
//! takes, searches, futures that are dropped, deadlines, more clients than it can serve, and rows
//! that are damaged. No answer is wrong, and memory, descriptors and latency stay where they were.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, UInt64Type};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{
    CacheChoice, Config, CpuChoice, Error, IndexOptions, LatencyClass, SearchParams, Store,
    TakeOptions, WhenFull,
};
use ringtake_storage::write::{WriteOptions, Writer};

const ROWS: u64 = 40_000;
const DIMS: usize = 32;
const CLIENTS: usize = 6;
/// Of this column group a byte of one row in so many is flipped.
const DAMAGED_EVERY: u64 = 5_000;
/// Runs as long as this are held to their memory and latency; shorter ones see too little.
const JUDGED: Duration = Duration::from_secs(60);

fn seconds() -> u64 {
    std::env::var("RINGTAKE_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

fn vector(row: u64) -> Vec<f32> {
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

fn is_damaged(id: u64) -> bool {
    id % DAMAGED_EVERY == 17
}

fn write(path: &Path) {
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
    let store = open(path);
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

fn open(path: &Path) -> Store {
    let config = Config {
        shards: Some(2),
        cpus: CpuChoice::Unpinned,
        cache: CacheChoice::Bytes(8 << 20),
        takes_in_flight_max: 8,
        result_memory_bytes: 8 << 20,
        ..Config::default()
    };
    Store::open(path, config).unwrap()
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    searches: AtomicU64,
    dropped: AtomicU64,
    faults: AtomicU64,
    late: AtomicU64,
    overloaded: AtomicU64,
    /// Of takes of ten rows that ended in the first and the second half of the time.
    latencies: [Latencies; 2],
}

/// How many takes took so many times ten microseconds; the last stands for all that took longer.
struct Latencies(Vec<AtomicU64>);

const STEP: Duration = Duration::from_micros(10);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies((0..100_000).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Latencies {
    fn note(&self, took: Duration) {
        let place = (took.as_nanos() / STEP.as_nanos()) as usize;
        self.0[place.min(self.0.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn p99(&self) -> Duration {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let beyond = counts.clone().sum::<u64>() / 100;
        let mut left = 0;
        let places = counts.enumerate().rev();
        let mut slowest = places.skip_while(|(_, count)| {
            left += count;
            left <= beyond
        });
        STEP * slowest.next().map_or(0, |(place, _)| place as u32 + 1)
    }
}

fn client(store: &Store, seed: u64, began: Instant, until: Instant, seen: &Seen) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let columns = store.all_columns();
    while Instant::now() < until {
        let kind = random.random_range(0..10);
        if kind == 0 {
            search(store, &mut random, seen);
            continue;
        }
        let count = [10, 10, 10, 200][random.random_range(0..4)];
        let ids: Vec<u64> = (0..count).map(|_| random.random_range(0..ROWS)).collect();
        let in_time = Duration::from_micros(random.random_range(200..20_000));
        let options = TakeOptions {
            deadline: (kind < 4).then(|| Instant::now() + in_time),
            when_full: match kind % 3 {
                0 => WhenFull::Refuse,
                _ => WhenFull::Wait,
            },
            class: match kind {
                5 => LatencyClass::Bulk,
                _ => LatencyClass::Urgent,
            },
            ..TakeOptions::default()
        };
        let asked = Instant::now();
        let mut taken = Box::pin(store.take_async(&ids, &columns, options));
        if kind == 9 {
            let polled = futures_lite::future::poll_once(&mut taken);
            drop(futures_lite::future::block_on(polled));
            seen.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let taken = futures_lite::future::block_on(taken);
        if count == 10 && taken.is_ok() {
            let half = usize::from(asked > began + (until - began) / 2);
            seen.latencies[half].note(asked.elapsed());
        }
        judge(&ids, taken, seen);
    }
}

fn judge(ids: &[u64], taken: Result<RecordBatch, Error>, seen: &Seen) {
    let counter = match taken {
        Ok(taken) => {
            assert!(!ids.iter().any(|&id| is_damaged(id)), "damage came back");
            let told = taken.column(0).as_primitive::<UInt64Type>();
            let vectors = taken.column(1).as_fixed_size_list();
            let items = vectors.values().as_primitive::<Float32Type>().values();
            let blobs = taken.column(2).as_binary::<i32>();
            for (place, &id) in ids.iter().enumerate() {
                assert_eq!(told.value(place), id);
                assert_eq!(items[place * DIMS..][..DIMS], vector(id));
                let blob = blobs.value(place);
                assert_eq!(blob.len(), blob_bytes(id));
                assert!(blob.iter().all(|&byte| byte == id as u8), "row {id}");
            }
            &seen.answers
        }
        Err(Error::Rows { faults, .. }) => {
            assert!(
                faults.iter().all(|fault| is_damaged(fault.row)),
                "{faults:?}"
            );
            &seen.faults
        }
        Err(Error::DeadlineExceeded { .. }) => &seen.late,
        Err(Error::Overloaded { .. }) => &seen.overloaded,
        Err(error) => panic!("{error}"),
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

fn search(store: &Store, random: &mut ChaCha8Rng, seen: &Seen) {
    let near = random.random_range(0..ROWS);
    let params = SearchParams {
        k: 5,
        nprobes: 16,
        refine_factor: Some(20),
        ..SearchParams::default()
    };
    let found = store.search(&vector(near), params).unwrap();
    assert_eq!(found.num_rows(), 5);
    // It is its own neighbour, at no distance.
    assert_eq!(found.column(0).as_primitive::<UInt64Type>().value(0), near);
    assert_eq!(found.column(1).as_primitive::<Float32Type>().value(0), 0.0);
    seen.searches.fetch_add(1, Ordering::Relaxed);
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let words = line.unwrap().split_whitespace().nth(1).unwrap();
    words.parse::<u64>().unwrap() << 10
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn nothing_grows_and_no_answer_is_wrong() {
    let lasts = Duration::from_secs(seconds());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    write(&path);
    let store = open(&path);
    let seen = Seen::default();
    let began = Instant::now();
    let until = began + lasts;
    let warm = began + lasts / 4;
    let (mut first, mut most) = (0, 0);
    let open_files = std::thread::scope(|scope| {
        for seed in 0..CLIENTS as u64 {
            let (store, seen) = (&store, &seen);
            scope.spawn(move || client(store, seed, began, until, seen));
        }
        let mut open_files = None;
        while Instant::now() < until {
            std::thread::sleep(lasts / 100);
            if Instant::now() > warm {
                let now = resident_bytes();
                first = if first == 0 { now } else { first };
                most = most.max(now);
                let files = descriptors();
                assert_eq!(*open_files.get_or_insert(files), files);
            }
        }
        open_files
    });
    while store.permits().windows > 0 {
        std::thread::yield_now();
    }
    let stalls = store.metrics().shards;
    let nanoseconds = stalls.iter().map(|shard| shard.longest_stall.nanoseconds);
    let longest = Duration::from_nanos(nanoseconds.max().unwrap_or(0));
    let [before, after] = [0, 1].map(|half| seen.latencies[half].p99());
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} s: {} takes and {} searches right, {} dropped, {} late, {} overloaded, {} with the \
         damaged rows named, none wrong; memory {first} to {most} bytes, descriptors {}; p99 of ten \
         rows {before:?} and then {after:?}; longest stall {longest:?}",
        lasts.as_secs(),
        count(&seen.answers),
        count(&seen.searches),
        count(&seen.dropped),
        count(&seen.late),
        count(&seen.overloaded),
        count(&seen.faults),
        open_files.unwrap_or(0),
    );
    for counter in [&seen.answers, &seen.searches, &seen.dropped, &seen.faults] {
        assert!(count(counter) > 0);
    }
    if lasts >= JUDGED {
        assert!(
            most as f64 <= first as f64 * 1.02,
            "memory grows: {first} to {most}"
        );
        assert!(after <= before * 2, "p99 grows: {before:?} to {after:?}");
    }
    assert_eq!(store.permits().windows, 0);
}
