//! Futures of a store need no runtime, so they work under tokio too.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use ringtake_runtime::{Config, Store};
use ringtake_storage::write::{WriteOptions, Writer};

fn rows(ids: &[u64]) -> RecordBatch {
    let values: Int64Array = ids.iter().map(|&id| Some(id as i64 * 3)).collect();
    RecordBatch::try_from_iter([("value", Arc::new(values) as _)]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_are_awaited_on_tokio_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    let all: Vec<u64> = (0..10_000).collect();
    let mut writer = Writer::create(&path, &rows(&all).schema(), WriteOptions::default()).unwrap();
    writer.write(&rows(&all)).unwrap();
    writer.finish().unwrap();
    let store = Store::open(&path, Config::default()).unwrap();
    let tasks: Vec<_> = (0..50_u64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let ids: Vec<u64> = (0..500).map(|at| (at * 7919 + task) % 10_000).collect();
                let taken = store.take(&ids, &store.all_columns()).await;
                assert_eq!(taken.unwrap(), rows(&ids));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
