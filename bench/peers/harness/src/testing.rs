//! For the tests of each program: its peers return the rows that Ringtake returns.

#![allow(clippy::unwrap_used)] // Only tests call it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use ringtake_bench::{Bound, Distribution, Load, Options, Subject};
use ringtake_runtime::{Config, Projection, Store, TakeOptions};
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
    type Answer = RecordBatch;

    async fn take(&self, row_ids: &[u64]) -> Result<RecordBatch, ringtake_bench::Error> {
        let options = TakeOptions::default();
        let take = self.store.take_async(row_ids, &self.projection, options);
        Ok(take.await?)
    }

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
