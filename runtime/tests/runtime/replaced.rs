//! A dataset opened while an import replaces it: one whole version, before or after.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use ringtake_runtime::{ReadPathChoice, Store};
use ringtake_storage::write::Overwrite;

use crate::dataset::{self, Shape};
use crate::opened::{READ_PATHS, config, open};

/// Rows that all say which version they are of.
fn rows_of_version(version: i64, ids: &[u64]) -> RecordBatch {
    let versions: Int64Array = ids.iter().map(|_| Some(version)).collect();
    let texts: StringArray = ids
        .iter()
        .map(|id| (id % 3 != 0).then(|| format!("{version}:{id}")))
        .collect();
    RecordBatch::try_from_iter_with_nullable([
        ("version", Arc::new(versions) as _, true),
        ("text", Arc::new(texts) as _, true),
    ])
    .unwrap()
}

/// Each version has another number of rows.
fn row_count_of(version: i64) -> u64 {
    600 + version as u64 % 7
}

fn import(path: &Path, version: i64) {
    let shape = Shape {
        overwrite: Overwrite::Replace,
        ..Shape::of(row_count_of(version))
    };
    dataset::write_batches(path, &shape, |ids| rows_of_version(version, &ids));
}

/// The version of the rows that `store` brings, all of them one.
fn version_of(store: &Store) -> i64 {
    let ids: Vec<u64> = (0..store.row_count()).collect();
    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
    let version = taken.column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(taken.num_rows() as u64, row_count_of(version));
    assert_eq!(taken, rows_of_version(version, &ids));
    version
}

#[test]
fn whoever_opens_during_imports_sees_one_whole_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    import(&path, 0);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let importer = scope.spawn(|| {
            let mut version = 0;
            while !enough.load(Ordering::Relaxed) {
                version += 1;
                import(&path, version);
            }
            version
        });
        let mut opener = || {
            let mut before = None;
            for round in 0..30 {
                let store =
                    Store::open(&path, config(1, READ_PATHS[round % READ_PATHS.len()])).unwrap();
                let version = version_of(&store);
                if let Some((earlier, earlier_version)) = before.replace((store, version)) {
                    assert!(version >= earlier_version);
                    // Its files may be gone by name; it serves what it opened.
                    assert_eq!(version_of(&earlier), earlier_version);
                }
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut opener));
        enough.store(true, Ordering::Relaxed);
        let versions = importer.join().unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        assert!(versions > 0);
    });
}

#[test]
fn a_store_opened_before_an_import_keeps_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    import(&path, 1);
    let before = open(&path, 2, ReadPathChoice::Auto);
    import(&path, 2);
    let after = open(&path, 2, ReadPathChoice::Auto);
    assert_eq!((version_of(&before), version_of(&after)), (1, 2));
    assert_eq!(
        after.schema().fields().len(),
        after.all_columns().columns().len()
    );
}
