//! For the tests of each program: its peers return the rows that Ringtake returns.

#![allow(clippy::unwrap_used)] // Only tests call it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use ringtake_bench::{Bound, Distribution, Load, Observed, Options, Subject};
use ringtake_runtime::{Config, Projection, Store};
use ringtake_storage::write::{WriteOptions, Writer};

const ROWS: u64 = 3_000;
const DIMENSION: u64 = 96;

fn write_dataset(path: &Path) {
    let values = (0..ROWS * DIMENSION).map(|at| (at % 1_009) as f32 - 0.5);
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let vectors = FixedSizeListArray::new(
        item,
        DIMENSION as i32,
        Arc::new(Float32Array::from_iter_values(values)),
        None,
    );
    let numbers = Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 3));
    let batch = RecordBatch::try_from_iter([
        ("vector", Arc::new(vectors) as ArrayRef),
        ("number", Arc::new(numbers)),
    ])
    .unwrap();
    let mut writer = Writer::create(path, &batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

struct Ringtake {
    store: Store,
    projection: Projection,
}

impl Subject for Ringtake {
    type Query = [u64];
    type Answer = RecordBatch;

    async fn take(&self, row_ids: &[u64]) -> Result<RecordBatch, ringtake_bench::Error> {
        Ok(self.store.take(row_ids, &self.projection).await?)
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Ringtake {
    fn read_path(&self) -> String {
        "ringtake".to_owned()
    }

    fn files(&self) -> Result<Vec<std::path::PathBuf>, ringtake_bench::Error> {
        Ok(Vec::new())
    }
}

fn checksum_of_ringtake(dataset: &Path, distribution: Distribution) -> serde_json::Value {
    let store = Store::open(dataset, Config::default()).unwrap();
    let options = Options {
        dataset_rows: ROWS,
        rows: ROWS,
        rows_per_query: 50,
        distribution,
        load: Load {
            bound: Bound::Queries(4),
            ..Options::default().load
        },
        ..Options::default()
    };
    let interrupted = std::sync::atomic::AtomicBool::new(false);
    let record = ringtake_bench::measure(&options, &interrupted, || {
        Ok(Ringtake {
            projection: store.all_columns(),
            store,
        })
    });
    serde_json::to_value(record.unwrap()).unwrap()["rows_checksum"].clone()
}

fn call(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

const NO_LIMIT: &str = "max";

/// The files of a memory control group, in `dir`: what is started there is held to nothing.
fn group_that_limits_nothing(dir: &Path) -> String {
    let group = dir.join("group");
    std::fs::create_dir(&group).unwrap();
    for (name, text) in [
        ("memory.max", NO_LIMIT),
        ("memory.current", "4096"),
        ("memory.stat", "file 0"),
    ] {
        std::fs::write(group.join(name), text).unwrap();
    }
    group.to_str().unwrap().to_owned()
}

/// Runs every peer of `program`, cold, warm and mixed, over a small dataset in `dir`, which should be
/// on a drive: not every file system takes direct reads.
///
/// # Panics
/// A peer that fails or returns other rows.
pub fn every_peer_returns_the_rows_of_ringtake(program: impl AsRef<Path>, dir: &str) {
    let program = program.as_ref();
    let dir = tempfile::tempdir_in(dir).unwrap();
    let (dataset, storages) = (dir.path().join("dataset"), dir.path().join("storages"));
    write_dataset(&dataset);
    let uniform = checksum_of_ringtake(&dataset, Distribution::Uniform);
    let popular = checksum_of_ringtake(&dataset, Distribution::Zipf(0.99));
    let group = group_that_limits_nothing(dir.path());
    let (dataset, storages) = (dataset.to_str().unwrap(), storages.to_str().unwrap());
    let place = ["--dataset", dataset, "--storages", storages];
    call(program, &[&["prepare"], &place[..]].concat());
    for peer in call(program, &["list"]).lines() {
        let limited = must_be_limited(program, &[&["run", peer], &place[..], &MIXED].concat());
        std::fs::write(Path::new(&group).join("memory.max"), NO_LIMIT).unwrap();
        let mixed = [&MIXED[..], &["--memory-group", &group]].concat();
        for (cache, more, expected) in [
            ("cold", &[][..], &uniform),
            ("warm", &[], &uniform),
            ("mixed", &mixed[..], &popular),
        ] {
            let flags = [
                "--cache",
                cache,
                "--seconds",
                "0.05",
                "--rows-per-query",
                "50",
            ];
            let record = call(
                program,
                &[&["run", peer], &place[..], &flags[..], more].concat(),
            );
            let record: serde_json::Value = serde_json::from_str(&record).unwrap();
            assert_eq!(record["rows_checksum"], *expected, "{peer} {cache}");
            assert_eq!(record["read_path"], peer);
            assert!(record["rows"].as_u64().unwrap() > 0, "{peer} {cache}");
        }
        let limit = std::fs::read_to_string(Path::new(&group).join("memory.max")).unwrap();
        let expected = if limited { "1052672" } else { NO_LIMIT };
        assert_eq!(limit, expected, "{peer}");
    }
}

/// Rows, queries and neighbours of the search.
const SEARCHED: usize = 2_000;
const QUERIES: usize = 8;
const K: usize = 5;

/// Numbers that look random, from 0 to 1.
fn scattered(count: usize, seed: u64) -> Vec<f32> {
    let mixed = (0..count as u64).map(|at| {
        // The finaliser of splitmix64.
        let x = (at + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 40) as f32 / (1 << 24) as f32
    });
    mixed.collect()
}

fn write_npy(path: &Path, descr: &str, columns: usize, bytes: &[u8]) {
    let rows = bytes.len() / columns / if descr == "<f4" { 4 } else { 8 };
    let mut file = Vec::new();
    ringtake_vectors::npy::write_header(&mut file, descr, rows as u64, columns as u64).unwrap();
    file.extend_from_slice(bytes);
    std::fs::write(path, file).unwrap();
}

/// Searches with every peer of `program` in every partition of its index and measures every row,
/// so that it must find the true neighbours, in `dir`.
///
/// # Panics
/// A peer that fails or does not find them.
pub fn every_peer_finds_the_nearest_rows(program: impl AsRef<Path>, dir: &str) {
    let program = program.as_ref();
    let dir = tempfile::tempdir_in(dir).unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let dims = DIMENSION as usize;
    let rows = scattered(SEARCHED * dims, 1);
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::from(rows.clone()));
    let vectors = FixedSizeListArray::new(item, dims as i32, values, None);
    let batch = RecordBatch::try_from_iter([("vector", Arc::new(vectors) as ArrayRef)]).unwrap();
    let path = dir.path().join("dataset");
    let mut writer = Writer::create(&path, &batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();

    let queries = scattered(QUERIES * dims, 2);
    let mut nearest = Vec::new();
    for query in queries.chunks_exact(dims) {
        let squared = |row: &[f32]| -> f32 {
            let pairs = row.iter().zip(query);
            pairs.map(|(x, y)| (x - y) * (x - y)).sum()
        };
        let mut all: Vec<(f32, i64)> = rows.chunks_exact(dims).map(squared).zip(0..).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        nearest.extend(all[..K].iter().flat_map(|(_, row)| row.to_le_bytes()));
    }
    let bytes: Vec<u8> = queries.iter().flat_map(|x| x.to_le_bytes()).collect();
    write_npy(&dir.path().join("queries.npy"), "<f4", dims, &bytes);
    write_npy(&dir.path().join("nearest.npy"), "<i8", K, &nearest);

    let (dataset, storages) = (file("dataset"), file("storages"));
    let place = ["--dataset", &dataset, "--storages", &storages];
    call(program, &[&["prepare"], &place[..]].concat());
    let (queries, nearest) = (file("queries.npy"), file("nearest.npy"));
    let (k, refine) = (K.to_string(), (SEARCHED / K).to_string());
    for peer in call(program, &["list"]).lines() {
        for (nprobes, recall) in [("4", 1.0..=1.0), ("1", 0.05..=0.95)] {
            let flags = [
                "--queries",
                &queries,
                "--nearest",
                &nearest,
                "--partitions",
                "4",
                "--sub-vectors",
                "8",
                "--k",
                &k,
                "--nprobes",
                nprobes,
                "--refine-factor",
                &refine,
                "--seconds",
                "0.05",
                "--cache",
                "warm",
            ];
            let search = [&["search", peer], &place[..], &flags].concat();
            let record: serde_json::Value = serde_json::from_str(&call(program, &search)).unwrap();
            let found = record["recall_at_k"].as_f64().unwrap();
            assert!(recall.contains(&found), "{peer} {nprobes}: {found}");
            assert_eq!(record["read_path"], peer);
            assert!(record["queries"].as_u64().unwrap() > 0, "{peer}");
        }
    }
}

/// A mixed run as it needs no group; 1 MiB and the 4,096 bytes of `memory.current` are 1052672.
const MIXED: [&str; 6] = [
    "--cache",
    "mixed",
    "--distribution",
    "zipf:0.99",
    "--memory",
    "1MiB",
];

/// Whether a peer refuses to run without a control group.
fn must_be_limited(program: &Path, run: &[&str]) -> bool {
    let run = [run, &["--seconds", "0.05", "--rows-per-query", "50"]].concat();
    let output = Command::new(program).args(run).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || said.contains("--memory-group"),
        "{said}"
    );
    !output.status.success()
}
