//! Where io_uring is forbidden: rows come all the same, loudly, or the error says what to do.

use ringtake_runtime::{Config, Error, Lab, ReadPathChoice, Scheduler, Store};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{assert_child_ended_well, draw, in_child, seeded, told_by_parent};

const ROWS: u64 = 1_500;

/// From here on this thread and those it starts get `errno` from io_uring_setup, as in a
/// container whose profile leaves it out.
fn forbid_io_uring(errno: i32) {
    let filter = SeccompFilter::new(
        [(libc::SYS_io_uring_setup, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn assert_works_on_threads(path: &std::path::Path, config: Config) -> Store {
    let store = Store::open(path, config).unwrap();
    let ids = draw(&mut seeded(22), ROWS, 300);
    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
    assert_eq!(taken, dataset::expected(&ids, &COLUMNS));
    assert!(matches!(
        store.info().read_path,
        ReadPathChoice::ThreadPool { .. }
    ));
    for shard in &store.info().shards {
        assert_eq!((shard.executor, shard.ring), ("plain", None));
    }
    let local = store.run_on(store.shard_of(1), async |local| {
        let projection = local.projection(&["id"]).unwrap();
        local.take(&[1], &projection).await
    });
    let taken = futures_lite::future::block_on(local).unwrap().unwrap();
    assert_eq!(taken, dataset::expected(&[1], &["id"]));
    store
}

#[test]
fn without_io_uring_threads_read_and_the_ring_is_refused_with_a_remedy() {
    const SELF: &str =
        "no_ring::without_io_uring_threads_read_and_the_ring_is_refused_with_a_remedy";
    let Some(errno) = told_by_parent() else {
        for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EOPNOTSUPP] {
            let output = in_child(SELF, &errno.to_string());
            assert_child_ended_well(&output, "rows came without a ring");
        }
        return;
    };
    let errno: i32 = errno.parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    forbid_io_uring(errno);
    let locked = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let remedy = match errno {
        libc::ENOMEM if locked.is_some() => "ulimit -l",
        libc::ENOMEM => "free memory",
        _ => "seccomp profile",
    };
    let two_shards = || Config {
        shards: Some(2),
        ..Config::default()
    };
    let store = assert_works_on_threads(&path, two_shards());
    let warnings = &store.info().warnings;
    let reason = std::io::Error::from_raw_os_error(errno).to_string();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("io_uring is not available")
                && warning.contains(&reason)
                && warning.contains(remedy)),
        "{warnings:?}"
    );
    // Asked for by name, threads are no cause for a warning.
    let asked = Config {
        read_path: ReadPathChoice::ThreadPool { threads: 2 },
        ..two_shards()
    };
    assert!(
        assert_works_on_threads(&path, asked)
            .info()
            .warnings
            .is_empty()
    );
    for read_path in [
        ReadPathChoice::RingPerShard,
        ReadPathChoice::Glommio,
        ReadPathChoice::SharedRings { rings: 2 },
    ] {
        for scheduler in [Scheduler::Batched, Scheduler::PerRead] {
            if (read_path, scheduler) == (ReadPathChoice::Glommio, Scheduler::PerRead) {
                continue;
            }
            let ring = Config {
                read_path,
                lab: Lab {
                    scheduler,
                    ..Lab::default()
                },
                ..two_shards()
            };
            let error = Store::open(&path, ring).unwrap_err();
            assert!(matches!(error, Error::NoRing { .. }), "{error}");
            let message = error.to_string();
            for part in [&reason, remedy, "thread-pool"] {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
    }
    let map = Config {
        read_path: ReadPathChoice::Mmap,
        ..two_shards()
    };
    let store = Store::open(&path, map).unwrap();
    let taken = store
        .take(&[3, 1_400], &store.all_columns())
        .wait()
        .unwrap();
    assert_eq!(taken, dataset::expected(&[3, 1_400], &COLUMNS));
    println!("rows came without a ring");
}
