//! Damaged bytes are detected and reported by place, and spoil no row beside them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringtake_runtime::{
    CacheChoice, Checksums, Config, Error, FaultKind, Lab, ReadPathChoice, RowFault, Store,
};
use ringtake_storage::Error as StorageError;
use ringtake_storage::dataset::Extent;
use ringtake_storage::layout::LayoutPolicy;

use crate::dataset::{self, Shape};
use crate::opened::{READ_PATHS, config, open};

/// Fewer than the faults that an error lists.
const ROWS: u64 = 1_000;
const PAGE: u64 = 4096;
/// A column of each column group: narrow rows with their checksum inline, vectors with a table
/// of checksums, and the values of two columns of variable width.
const COLUMN_OF_GROUP: [&str; 4] = ["short", "vector", "name", "blob"];

/// A dataset on disk that a test damages.
struct Victim {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Victim {
    fn new(policy: LayoutPolicy) -> Victim {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dataset");
        let shape = Shape {
            policy,
            ..Shape::of(ROWS)
        };
        dataset::write(&path, &shape);
        Victim { _dir: dir, path }
    }

    /// The file in the dataset named `name`.
    fn file(&self, name: &str) -> PathBuf {
        let mut generations = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let generation = generations.find(|path| path.is_dir()).unwrap();
        generation.join(name)
    }

    fn skipping(&self, read_path: ReadPathChoice) -> Store {
        let config = Config {
            lab: Lab {
                checksums: Checksums::Skip,
                ..Lab::default()
            },
            ..config(2, read_path)
        };
        Store::open(&self.path, config).unwrap()
    }
}

fn writable(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

fn read(path: &Path, offset: u64, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    writable(path).read_exact_at(&mut read, offset).unwrap();
    read
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    writable(path).write_all_at(bytes, offset).unwrap();
}

fn flip(path: &Path, offset: u64, bit: u32) {
    let byte = read(path, offset, 1)[0];
    overwrite(path, offset, &[byte ^ (1 << bit)]);
}

fn swap(path: &Path, first: u64, second: u64, bytes: usize) {
    let (one, other) = (read(path, first, bytes), read(path, second, bytes));
    assert_ne!(one, other);
    overwrite(path, first, &other);
    overwrite(path, second, &one);
}

fn extent(store: &Store, group: usize, row: u64) -> Extent {
    store.dataset().locator(group).locate(row).unwrap()
}

fn take(store: &Store, ids: &[u64], column: &str) -> Result<arrow::array::RecordBatch, Error> {
    store.take(ids, &store.projection(&[column])?).wait()
}

/// Fails unless `ids` come back whole from `column`.
fn assert_whole(store: &Store, ids: &[u64], column: &str) {
    let taken = take(store, ids, column).unwrap();
    assert_eq!(taken, dataset::expected(ids, &[column]), "{column}");
}

/// Fails unless the rows `damaged`, and no others, are at fault in `column`; returns the faults.
fn assert_at_fault(store: &Store, damaged: &[u64], column: &str) -> Vec<RowFault> {
    let all: Vec<u64> = (0..ROWS).rev().collect();
    match take(store, &all, column) {
        Err(Error::Rows { faults, rows }) => {
            assert_eq!(rows, damaged.len() as u64);
            let at_fault: Vec<u64> = faults.iter().map(|fault| fault.row).collect();
            assert_eq!(at_fault, damaged, "{column}");
            let others: Vec<u64> = (0..ROWS).filter(|row| !damaged.contains(row)).collect();
            assert_whole(store, &others, column);
            faults
        }
        other => panic!("{damaged:?} of {column}: {other:?}"),
    }
}

#[test]
fn one_flipped_bit_is_named_by_row_file_page_and_group_and_spoils_nothing_else() {
    let victim = Victim::new(LayoutPolicy::Packed);
    let row = 789;
    for read_path in READ_PATHS {
        for cache_bytes in [0, 1 << 30] {
            for (group, column) in COLUMN_OF_GROUP.into_iter().enumerate() {
                let with = Config {
                    cache: CacheChoice::Bytes(cache_bytes),
                    ..config(2, read_path)
                };
                let store = Store::open(&victim.path, with).unwrap();
                let file = store.dataset().file_path(group, 0);
                let at = extent(&store, group, row);
                flip(&file, at.offset + 1, 5);
                let expected = RowFault {
                    row,
                    path: file.clone(),
                    page: at.offset / PAGE,
                    group,
                    kind: FaultKind::Checksum,
                };
                assert_eq!(assert_at_fault(&store, &[row], column), [expected]);
                // Once more: from the cache, if there is one, the damage is seen all the same.
                assert_at_fault(&store, &[row], column);
                for other in COLUMN_OF_GROUP.iter().filter(|other| **other != column) {
                    assert_whole(&store, &[row, row - 1], other);
                }
                let message = take(&store, &[row], column).unwrap_err().to_string();
                for part in [
                    format!("row {row}"),
                    file.display().to_string(),
                    format!("page {}", at.offset / PAGE),
                    format!("column group {group}"),
                ] {
                    assert!(message.contains(&part), "{part} in {message}");
                }
                flip(&file, at.offset + 1, 5);
            }
        }
    }
}

#[test]
fn every_bit_of_a_stored_row_is_covered() {
    let victim = Victim::new(LayoutPolicy::Auto);
    let store = open(&victim.path, 1, ReadPathChoice::Auto);
    // A row with a short name and a short blob, neither empty.
    let row = 42;
    for (group, column) in COLUMN_OF_GROUP.into_iter().enumerate() {
        let file = store.dataset().file_path(group, 0);
        let at = extent(&store, group, row);
        let step = (at.bytes / 16).max(1) as usize;
        // The last byte, which is the checksum's where it is inline, among them.
        for byte in (0..at.bytes).rev().step_by(step) {
            flip(&file, at.offset + u64::from(byte), byte % 8);
            let outcome = take(&store, &[row], column);
            let Err(Error::Rows { faults, rows: 1 }) = outcome else {
                panic!("byte {byte} of {column}: {outcome:?}");
            };
            assert_eq!(faults[0].kind, FaultKind::Checksum);
            flip(&file, at.offset + u64::from(byte), byte % 8);
        }
        assert_whole(&store, &[row], column);
    }
}

#[test]
fn without_verifying_the_damaged_bytes_come_back() {
    let victim = Victim::new(LayoutPolicy::Auto);
    let row = 79;
    for read_path in READ_PATHS {
        let store = victim.skipping(read_path);
        for (group, column) in COLUMN_OF_GROUP.into_iter().enumerate() {
            let file = store.dataset().file_path(group, 0);
            // The narrow record begins with `id`; its second column is `short`.
            let offset = extent(&store, group, row).offset + if group == 0 { 8 } else { 0 };
            flip(&file, offset, 0);
            let taken = take(&store, &[row, row + 1], column).unwrap();
            let right = dataset::expected(&[row, row + 1], &[column]);
            assert_ne!(taken.slice(0, 1), right.slice(0, 1), "{column}");
            assert_eq!(taken.slice(1, 1), right.slice(1, 1), "{column}");
            flip(&file, offset, 0);
        }
    }
}

#[test]
fn rows_in_each_others_places_fail_their_checksums() {
    let victim = Victim::new(LayoutPolicy::Packed);
    let one = 300;
    for read_path in READ_PATHS {
        for (group, column) in COLUMN_OF_GROUP.into_iter().enumerate() {
            let store = open(&victim.path, 2, read_path);
            // Values of variable width: another row that stores as many bytes.
            let bytes = extent(&store, group, one).bytes;
            let other = (one + 1..ROWS)
                .rev()
                .find(|&row| extent(&store, group, row).bytes == bytes)
                .unwrap();
            let file = store.dataset().file_path(group, 0);
            let places = [one, other].map(|row| extent(&store, group, row).offset);
            swap(&file, places[0], places[1], bytes as usize);
            for fault in assert_at_fault(&store, &[one, other], column) {
                assert_eq!(fault.kind, FaultKind::Checksum);
            }
            let taken = take(&victim.skipping(read_path), &[one], column);
            // Each other's values: nothing but the checksum tells.
            let expected = dataset::expected(&[other], &[column]);
            assert_eq!(taken.unwrap(), expected, "{column}");
            swap(&file, places[0], places[1], bytes as usize);
            assert_whole(&store, &[one, other], column);
        }
    }
}

/// The rows whose bytes touch `page` of the file of `group`.
fn rows_on(store: &Store, group: usize, page: u64) -> Vec<u64> {
    let touches = |row: &u64| {
        let at = extent(store, group, *row);
        at.bytes > 0
            && at.offset / PAGE <= page
            && (at.offset + u64::from(at.bytes) - 1) / PAGE >= page
    };
    (0..ROWS).filter(touches).collect()
}

#[test]
fn pages_in_each_others_places_and_pages_of_zeros_fail_their_checksums() {
    let victim = Victim::new(LayoutPolicy::Page);
    for read_path in READ_PATHS {
        for (group, column) in COLUMN_OF_GROUP.into_iter().enumerate() {
            let store = open(&victim.path, 2, read_path);
            let file = store.dataset().file_path(group, 0);
            let pages = [10, 905].map(|row| extent(&store, group, row).page());
            assert_ne!(pages[0], pages[1]);
            let mut damaged = rows_on(&store, group, pages[0]);
            let whole = read(&file, pages[0] * PAGE, PAGE as usize);
            overwrite(&file, pages[0] * PAGE, &[0; PAGE as usize]);
            for fault in assert_at_fault(&store, &damaged, column) {
                assert_eq!(fault.kind, FaultKind::Checksum);
            }
            overwrite(&file, pages[0] * PAGE, &whole);
            swap(&file, pages[0] * PAGE, pages[1] * PAGE, PAGE as usize);
            damaged.extend(rows_on(&store, group, pages[1]));
            assert_at_fault(&store, &damaged, column);
            swap(&file, pages[0] * PAGE, pages[1] * PAGE, PAGE as usize);
            assert_whole(&store, &damaged, column);
        }
    }
}

/// Cuts `file` to `bytes` and fails unless the rows past that, and no others, say so.
fn assert_cut_short(store: &Store, group: usize, file: &Path, bytes: u64) {
    writable(file).set_len(bytes).unwrap();
    let past = |row: &u64| {
        let at = extent(store, group, *row);
        at.bytes > 0 && at.offset + u64::from(at.bytes) > bytes
    };
    let damaged: Vec<u64> = (0..ROWS).filter(past).collect();
    assert!(!damaged.is_empty() && damaged.len() < ROWS as usize);
    for fault in assert_at_fault(store, &damaged, COLUMN_OF_GROUP[group]) {
        assert_eq!(fault.kind, FaultKind::CutShort, "cut to {bytes} bytes");
        assert_eq!(fault.path, file);
    }
}

#[test]
fn a_file_cut_short_still_serves_the_rows_it_has() {
    for (group, read_path) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
        let victim = Victim::new(LayoutPolicy::Auto);
        let opened_before = open(&victim.path, 2, READ_PATHS[read_path]);
        let file = opened_before.dataset().file_path(group, 0);
        let at = |row: u64| extent(&opened_before, group, row).offset;
        // In the middle of a sector, at a sector, at a page.
        for bytes in [
            at(940) / 512 * 512 + 7,
            at(600) / 512 * 512,
            at(300) / PAGE * PAGE,
        ] {
            assert_cut_short(&opened_before, group, &file, bytes);
            let opened_after = open(&victim.path, 2, READ_PATHS[1 - read_path]);
            assert_cut_short(&opened_after, group, &file, bytes);
            let warnings = &opened_after.info().warnings;
            let name = file.display().to_string();
            assert!(
                warnings.iter().any(|warning| warning.contains(&name)
                    && warning.contains(&format!("{bytes} bytes instead of"))),
                "{warnings:?}"
            );
        }
    }
}

#[test]
fn files_in_each_others_places_are_not_believed() {
    let (victim, stranger) = (
        Victim::new(LayoutPolicy::Auto),
        Victim::new(LayoutPolicy::Auto),
    );
    let moved = |from: PathBuf, to: PathBuf| fs::copy(from, to).unwrap();
    moved(stranger.file("g1.rows"), victim.file("g1.rows"));
    moved(stranger.file("g3.values"), victim.file("g2.values"));
    for read_path in READ_PATHS {
        for checksums in [Checksums::Verify, Checksums::Skip] {
            let with = Config {
                lab: Lab {
                    checksums,
                    ..Lab::default()
                },
                ..config(2, read_path)
            };
            let store = Store::open(&victim.path, with).unwrap();
            let warnings = &store.info().warnings;
            for (file, column) in [("g1.rows", "vector"), ("g2.values", "name")] {
                assert!(
                    warnings.iter().any(|warning| warning.contains(file)),
                    "{warnings:?}"
                );
                let Err(Error::Rows { faults, rows: 2 }) = take(&store, &[4, 9], column) else {
                    panic!("{column} was believed");
                };
                let FaultKind::WrongFile(reason) = &faults[0].kind else {
                    panic!("{:?}", faults[0].kind);
                };
                assert!(reason.contains("another dataset"), "{reason}");
            }
            assert_whole(&store, &[4, 9], "id");
            assert_whole(&store, &[4, 9], "blob");
        }
    }
}

/// A file with a hole may have any length, since the hole takes no room on the drive.
#[test]
fn a_table_that_says_it_is_longer_than_memory_is_not_read() {
    const LONGER_THAN_MEMORY: u64 = 1 << 43;
    let victim = Victim::new(LayoutPolicy::Auto);
    for table in ["c0.valid", "g1.sums", "g3.ends"] {
        let file = victim.file(table);
        let whole = fs::read(&file).unwrap();
        writable(&file).set_len(LONGER_THAN_MEMORY).unwrap();
        let error = Store::open(&victim.path, Config::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Storage(StorageError::Damaged { path, .. }) if *path == file),
            "{error}"
        );
        writable(&file).set_len(whole.len() as u64).unwrap();
    }
}

#[test]
fn a_damaged_table_keeps_the_dataset_from_being_opened_and_is_named() {
    let victim = Victim::new(LayoutPolicy::Auto);
    for table in ["c0.valid", "g1.sums", "g2.starts", "g2.ends", "g3.ends"] {
        let file = victim.file(table);
        let whole = fs::read(&file).unwrap();
        flip(&file, whole.len() as u64 / 2, 3);
        let error = Store::open(&victim.path, Config::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Storage(StorageError::Damaged { path, .. }) if *path == file),
            "{error}"
        );
        writable(&file).set_len(whole.len() as u64 - 1).unwrap();
        let error = Store::open(&victim.path, Config::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(table), "{error}");
        fs::write(&file, whole).unwrap();
    }
    assert_whole(
        &open(&victim.path, 1, ReadPathChoice::Auto),
        &[0, 1],
        "name",
    );
}

#[test]
fn offsets_that_nobody_checked_spoil_answers_but_never_a_shard() {
    let victim = Victim::new(LayoutPolicy::Auto);
    let all: Vec<u64> = (0..ROWS).collect();
    for table in ["g2.starts", "g2.ends"] {
        let file = victim.file(table);
        let whole = fs::read(&file).unwrap();
        let width = if table == "g2.starts" { 8 } else { 4 };
        for (place, value) in [(0, u64::MAX), (1, 1 << 60), (2, 3), (1, 0), (3, 1 << 31)] {
            overwrite(&file, place * width, &value.to_le_bytes()[..width as usize]);
            for cache_bytes in [0, 1 << 20] {
                let with = Config {
                    lab: Lab {
                        checksums: Checksums::Skip,
                        ..Lab::default()
                    },
                    cache: CacheChoice::Bytes(cache_bytes),
                    ..config(2, ReadPathChoice::ThreadPool { threads: 2 })
                };
                // Refused, or opened with rows at fault or wrong; never the end of a thread.
                let Ok(store) = Store::open(&victim.path, with) else {
                    continue;
                };
                let _ = take(&store, &all, "name");
                assert_whole(&store, &[1, ROWS - 1], "vector");
            }
            fs::write(&file, &whole).unwrap();
        }
    }
}

/// Opens what must be refused, and returns what is said about it.
fn refused(path: &Path) -> (Error, String) {
    let error = Store::open(path, Config::default()).unwrap_err();
    let message = error.to_string();
    (error, message)
}

#[test]
fn a_manifest_of_a_newer_version_or_with_damage_is_refused() {
    let victim = Victim::new(LayoutPolicy::Auto);
    let manifest = victim.path.join("MANIFEST");
    overwrite(&manifest, 8, &2_u32.to_le_bytes());
    let (error, message) = refused(&victim.path);
    assert!(
        matches!(
            error,
            Error::Storage(StorageError::NewerVersion { found: 2, .. })
        ) && message.contains("upgrade"),
        "{message}"
    );
    overwrite(&manifest, 8, &1_u32.to_le_bytes());
    flip(&manifest, 200, 2);
    let (error, message) = refused(&victim.path);
    assert!(
        matches!(error, Error::Storage(StorageError::Damaged { .. }))
            && message.contains("MANIFEST"),
        "{message}"
    );
}

#[test]
fn what_is_not_there_is_named() {
    let victim = Victim::new(LayoutPolicy::Auto);
    for missing in ["g1.rows", "g3.values", "g1.sums"] {
        let file = victim.file(missing);
        let aside = file.with_extension("aside");
        fs::rename(&file, &aside).unwrap();
        let (_, message) = refused(&victim.path);
        assert!(message.contains(&file.display().to_string()), "{message}");
        fs::rename(&aside, &file).unwrap();
    }
    assert_whole(&open(&victim.path, 1, ReadPathChoice::Auto), &[5], "id");
    fs::remove_file(victim.path.join("MANIFEST")).unwrap();
    let empty = victim.path.with_file_name("empty");
    fs::create_dir(&empty).unwrap();
    let file = victim.path.with_file_name("file");
    fs::write(&file, "rows").unwrap();
    let nothing = victim.path.with_file_name("nothing");
    for (path, reason) in [
        (&victim.path, "no MANIFEST"),
        (&empty, "no MANIFEST"),
        (&file, "it is a file"),
        (&nothing, "nothing at this path"),
    ] {
        let (error, message) = refused(path);
        assert!(
            matches!(error, Error::Storage(StorageError::NotADataset { .. }))
                && message.contains(reason)
                && message.contains(&path.display().to_string()),
            "{message}"
        );
    }
}

/// A map of a file that is cut short ends the process at the next access; a copy in memory does
/// not.
#[test]
fn files_cut_short_under_an_open_store_cost_the_rows_that_are_gone_and_nothing_else() {
    let victim = Victim::new(LayoutPolicy::Auto);
    let ids: Vec<u64> = (0..ROWS).collect();
    let indexer = open(&victim.path, 1, ReadPathChoice::Auto);
    let options = ringtake_runtime::IndexOptions {
        partitions: Some(4),
        iterations: 2,
        ..Default::default()
    };
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    indexer.build_index("vector", &options, go_on).unwrap();
    drop(indexer);
    for read_path in READ_PATHS {
        if read_path == ReadPathChoice::Mmap {
            // The yardstick that README warns of.
            continue;
        }
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("dataset");
        copy_all(&victim.path, &path);
        let store = open(&path, 2, read_path);
        assert_eq!(store.indexes().len(), 1, "{:?}", store.info().warnings);
        let dims = store.indexes()[0].dims;
        let search = || store.search(&vec![1.0; dims]).wait().unwrap();
        let found = search();
        let mut rows_files = Vec::new();
        for file in files_below(&path) {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("rows" | "values") => rows_files.push(file),
                _ => writable(&file).set_len(0).unwrap(),
            }
        }
        for column in COLUMN_OF_GROUP {
            assert_whole(&store, &ids, column);
        }
        assert_eq!(search(), found, "{read_path}");
        for file in rows_files {
            writable(&file).set_len(PAGE).unwrap();
        }
        for column in COLUMN_OF_GROUP {
            // Rows that store nothing have nothing to lose.
            let Err(Error::Rows { faults, rows }) = take(&store, &ids, column) else {
                panic!("{read_path} {column}: rows that are gone came back");
            };
            assert!(rows > ROWS / 2, "{read_path} {column}: {rows}");
            let gone = |fault: &RowFault| fault.kind == FaultKind::CutShort;
            assert!(
                faults.iter().all(gone),
                "{read_path} {column}: {:?}",
                faults[0]
            );
        }
    }
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files_below(&path),
        false => vec![path],
    };
    entries.flat_map(below).collect()
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files_below(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}
