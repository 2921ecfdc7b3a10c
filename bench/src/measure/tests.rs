//! Measurements of subjects that fail or are slowed down.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use ringtake_runtime::{CacheChoice, Config, ShardId};
use ringtake_storage::write::{WriteOptions, Writer};

use super::*;
use crate::drive::load::{Bound, Load, Pace};
use crate::drive::patience::Patience;
use crate::drive::store_subject::StoreSubject;
use crate::drive::subject::tests::Fake;
use crate::record::measurement::Measurement;
use crate::record::series::Limit;

/// The thread that looks on must not be waited for.
#[test]
fn client_that_panics_ends_the_run() {
    let subject = Fake(|_: &[u64]| async { panic!("no rows today") });
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let options = Options {
            dataset_rows: 10_000,
            rows: 10_000,
            ..Options::default()
        };
        let never = AtomicBool::new(false);
        let bench = Bench::open(&never, || Ok(subject))?;
        let workload = options.workload()?;
        let clients = Threads(&bench.subject);
        let session = bench.session(&clients, &options, &workload);
        session.run(Pace::Closed).map(|_: Measurement| ())
    }));
    assert!(outcome.is_err());
}

fn dataset(dir: &Path) -> std::path::PathBuf {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let path = dir.join("dataset");
    let mut writer = Writer::create(&path, &batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    path
}

/// Code of a caller's keeps a shard's thread from its reads.
#[test]
fn shard_slowed_on_purpose_is_found_with_what_slows_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dataset(dir.path());
    let config = Config {
        shards: Some(2),
        cache: CacheChoice::Bytes(64 << 20),
        ..Config::default()
    };
    let never = AtomicBool::new(false);
    let open = || StoreSubject::open(&path, &[], Patience::default(), config);
    let bench = Bench::open(&never, open).unwrap();
    let options = Options {
        cache: Cache::Warm,
        load: Load {
            bound: Bound::Time(Duration::from_secs(1)),
            ..Options::default().load
        },
        dataset_rows: 20_000,
        rows: 20_000,
        attempts: 1,
        dataset: path.clone(),
        ..Options::default()
    };
    bench.fill(&options).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let slow = bench.subject.store().clone();
    let stop = done.clone();
    let mut record = std::thread::scope(|scope| {
        scope.spawn(|| {
            let slowing = slow.run_on(ShardId(1), |_| async move {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_millis(5) {
                        std::hint::spin_loop();
                    }
                    futures_lite::future::yield_now().await;
                }
            });
            futures_lite::future::block_on(slowing).unwrap();
        });
        let record = bench.measure(&options);
        done.store(true, Ordering::Relaxed);
        record.unwrap()
    });
    // Other programs may read the drive.
    record.invalid_reason = None;
    let verdict = record.verdict.clone().unwrap();
    assert_eq!(verdict.limit, Limit::Shard, "{verdict:?}");
    assert!(
        verdict.words.contains("shard 1 is the limit"),
        "{verdict:?}"
    );
    assert!(verdict.words.contains("in callers"), "{verdict:?}");
}
