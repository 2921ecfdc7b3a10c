//! Reads through the kernel's page cache: the same rows, and none of them by the ring if memory
//! has them.

use ringtake_runtime::{Config, IoMode, ShardStats, Store};
use ringtake_testing::skip;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{
    READ_PATHS, assert_child_ended_well, config, draw, in_child, seeded, told_by_parent,
};

const ROWS: u64 = 2_000;

fn total(store: &Store) -> ShardStats {
    let stats = store.stats().into_iter();
    stats.fold(ShardStats::default(), |sum, stats| sum + stats)
}

fn take_all_twice(store: &Store) -> ShardStats {
    let ids: Vec<u64> = (0..ROWS).rev().collect();
    let expected = dataset::expected(&ids, &COLUMNS);
    assert_eq!(
        store.take(&ids, &store.all_columns()).wait().unwrap(),
        expected
    );
    let first = total(store);
    assert_eq!(
        store.take(&ids, &store.all_columns()).wait().unwrap(),
        expected
    );
    let ids = draw(&mut seeded(33), ROWS, 500);
    assert_eq!(
        store.take(&ids, &store.all_columns()).wait().unwrap(),
        dataset::expected(&ids, &COLUMNS)
    );
    total(store) - first
}

#[test]
fn rows_in_the_page_cache_come_without_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    for read_path in READ_PATHS {
        let config = Config {
            io: IoMode::Buffered,
            ..config(2, read_path)
        };
        let store = Store::open(&path, config).unwrap();
        assert!(!store.info().direct);
        assert_eq!(store.info().warnings, Vec::<String>::new());
        let second = take_all_twice(&store);
        assert!(second.reads > 0);
        assert_eq!(second.page_cache_hits, second.reads, "{read_path}");
    }
}

#[test]
fn direct_reads_do_not_look_into_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    let store = Store::open(&path, config(2, READ_PATHS[0])).unwrap();
    if !store.info().direct {
        let name = "direct_reads_do_not_look_into_the_page_cache";
        return skip(name, "the file system has no direct reads");
    }
    assert_eq!(take_all_twice(&store).page_cache_hits, 0);
}

#[test]
fn files_in_memory_are_read_as_such_and_the_store_says_so() {
    let dir = match tempfile::tempdir_in("/dev/shm") {
        Ok(dir) => dir,
        Err(error) => {
            let name = "files_in_memory_are_read_as_such_and_the_store_says_so";
            return skip(name, format!("/dev/shm: {error}"));
        }
    };
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    let store = Store::open(&path, config(2, READ_PATHS[0])).unwrap();
    assert!(!store.info().direct);
    let warnings = store.info().warnings.join("\n");
    assert!(warnings.contains("in memory"), "{warnings}");
    let second = take_all_twice(&store);
    assert_eq!(second.page_cache_hits, second.reads);
}

/// From here on opening with O_DIRECT fails, as on a file system that has no direct reads.
fn refuse_direct() {
    let with_direct_in = |argument| {
        let direct = libc::O_DIRECT as u64;
        let (size, masked) = (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(direct));
        let flags = SeccompCondition::new(argument, size, masked, direct).unwrap();
        vec![SeccompRule::new(vec![flags]).unwrap()]
    };
    let filter = SeccompFilter::new(
        [
            (libc::SYS_openat, with_direct_in(2)),
            #[cfg(target_arch = "x86_64")]
            (libc::SYS_open, with_direct_in(1)),
        ]
        .into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EINVAL as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
fn where_direct_reads_are_refused_rows_come_buffered_and_the_store_says_so() {
    const SELF: &str =
        "buffered::where_direct_reads_are_refused_rows_come_buffered_and_the_store_says_so";
    if told_by_parent().is_none() {
        let output = in_child(SELF, "refuse");
        assert_child_ended_well(&output, "rows came buffered");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    refuse_direct();
    let store = Store::open(&path, config(2, READ_PATHS[0])).unwrap();
    assert!(!store.info().direct);
    let warnings = store.info().warnings.join("\n");
    assert!(warnings.contains("refuses O_DIRECT"), "{warnings}");
    let second = take_all_twice(&store);
    assert_eq!(second.page_cache_hits, second.reads);
    println!("rows came buffered");
}
