//! Promises of the handle beside the rows themselves: futures that any executor may poll, code
//! inside a shard, takes of any length, service where io_uring is forbidden.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use ringtake_runtime::{Config, CpuChoice, Error, ReadPathChoice, ShardId, Store};

use crate::dataset::{self, Shape};
use crate::opened::{assert_child_ended_well, in_child, told_by_parent, without_hanging};

const ROWS: u64 = 3_000;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    dataset::write(&path, &Shape::of(ROWS));
    let config = Config {
        shards: Some(2),
        cpus: CpuChoice::Unpinned,
        ..Config::default()
    };
    let store = Store::open(&path, config).unwrap();
    (dir, store)
}

fn some_ids() -> Vec<u64> {
    (0..600).map(|at| at * 7919 % ROWS).collect()
}

#[test]
fn futures_work_under_glommio_and_under_plain_threads() {
    fn sent<T: Send + 'static>(future: T) -> T {
        future
    }
    let (_dir, store) = store();
    let (ids, columns) = (some_ids(), store.all_columns());
    let expected = dataset::rows(ids.iter().copied());
    let take = || {
        let (store, ids, columns) = (store.clone(), ids.clone(), columns.clone());
        sent(async move { store.take(&ids, &columns).await })
    };
    assert_eq!(pollster::block_on(take()).unwrap(), expected);
    assert_eq!(futures_lite::future::block_on(take()).unwrap(), expected);
    let future = take();
    let executor = glommio::LocalExecutorBuilder::default();
    let handle = executor.spawn(move || future).unwrap();
    assert_eq!(handle.join().unwrap().unwrap(), expected);
}

#[test]
fn dropped_futures_leave_a_store_that_serves_and_ends() {
    without_hanging(|| {
        let (_dir, store) = store();
        let (ids, columns) = (some_ids(), store.all_columns());
        for _ in 0..300 {
            let future = store.take(&ids, &columns).into_future();
            let mut future = pin!(future);
            let _ = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        let taken = store.take(&ids, &columns).wait().unwrap();
        assert_eq!(taken, dataset::rows(ids.iter().copied()));
        store.close();
        assert!(matches!(
            store.take(&ids, &columns).wait(),
            Err(Error::Closed)
        ));
    });
}

#[test]
fn code_in_a_shard_takes_its_rows_there_and_may_panic() {
    let (_dir, store) = store();
    let shard = store.shard_of(300);
    let own: Vec<u64> = (0..ROWS)
        .filter(|&row| store.shard_of(row) == shard)
        .collect();
    let foreign = (0..ROWS).find(|&row| store.shard_of(row) != shard).unwrap();
    let (ids, other) = (own.clone(), ShardId(1 - shard.0));
    let ran = store.run_on(shard, move |local| async move {
        let columns = local.projection(&["id", "name", "vector"]).unwrap();
        let refused = local.take(&[foreign], &columns).await;
        assert!(matches!(refused, Err(Error::NotOwned { .. })));
        let thread = std::thread::current().name().map(str::to_owned);
        (local.take(&ids, &columns).await.unwrap(), thread)
    });
    let (taken, thread) = pollster::block_on(ran).unwrap();
    let expected = dataset::rows(own.iter().copied())
        .project(&[0, 4, 3])
        .unwrap();
    assert_eq!(taken, expected);
    assert_eq!(
        thread.as_deref(),
        Some(store.info().shards[shard.0].thread.as_str())
    );
    assert_eq!(store.stats()[other.0].parts, 0, "no other shard took part");
    let panicked = store.run_on(shard, |_| async { panic!("of its own accord") });
    let panicked: Result<(), Error> = pollster::block_on(panicked);
    assert!(
        panicked
            .unwrap_err()
            .to_string()
            .contains("of its own accord")
    );
    assert_eq!(
        store
            .take(&own, &store.all_columns())
            .wait()
            .unwrap()
            .num_rows(),
        own.len()
    );
    let missing = pollster::block_on(store.run_on(ShardId(9), |_| async {}));
    assert!(matches!(missing, Err(Error::NoSuchShard { .. })));
}

#[test]
fn many_rows_in_one_take_come_in_windows() {
    let (_dir, store) = store();
    let ids: Vec<u64> = (0..300_000).map(|at| at * 31 % ROWS).collect();
    let columns = store.projection(&["short"]).unwrap();
    let taken = store.take(&ids, &columns).wait().unwrap();
    let short: Vec<u16> = ids.iter().map(|&id| id as u16).collect();
    assert_eq!(
        taken.column(0).to_data().buffers()[0].typed_data::<u16>(),
        short
    );
}

#[test]
fn where_io_uring_is_forbidden_rows_come_from_a_pool_and_it_is_said() {
    let Some(errno) = told_by_parent() else {
        for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
            let test = "promises::where_io_uring_is_forbidden_rows_come_from_a_pool_and_it_is_said";
            let output = in_child(test, &errno.to_string());
            assert_child_ended_well(&output, "served by the pool");
        }
        return;
    };
    use seccompiler::{SeccompAction, SeccompFilter};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    dataset::write(&path, &Shape::of(ROWS));
    let filter = SeccompFilter::new(
        [(libc::SYS_io_uring_setup, vec![])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.parse().unwrap()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let refused = Config {
        read_path: ReadPathChoice::RingPerShard,
        ..Config::default()
    };
    let refused = Store::open(&path, refused).unwrap_err();
    assert!(matches!(refused, Error::NoRing { .. }), "{refused}");
    let store = Store::open(&path, Config::default()).unwrap();
    let info = store.info();
    assert!(matches!(info.read_path, ReadPathChoice::ThreadPool { .. }));
    assert!(
        info.warnings.iter().any(|said| said.contains("io_uring")),
        "{:?}",
        info.warnings
    );
    let ids = some_ids();
    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
    assert_eq!(taken, dataset::rows(ids.iter().copied()));
    println!("served by the pool");
}
