//! The index of a column: the bytes that the writer puts on disk, read back by the letter of
//! `FORMAT.md` and by the crate.

mod builds;
mod bytes;
mod damage;
mod naive;
mod parts;
mod place;

use std::fs;
use std::path::Path;

use ringtake_storage::Error;
use ringtake_storage::dataset::TableCheck;
use ringtake_storage::vector::index::{Index, IndexedColumn};
use ringtake_storage::write::Overwrite;
use ringtake_storage::write::file_system::{FileSystem, RealFileSystem};

pub(crate) use naive::read_naively;
use parts::all_parts;
pub(crate) use parts::{Parts, vectors};
pub(crate) use place::open_dataset;
use place::{Place, quick, write_rows};

#[test]
fn what_is_written_is_what_is_read() {
    for parts in all_parts() {
        let (place, bytes) = Place::indexed(&parts);
        assert_eq!(read_naively(&bytes, &place.dataset), parts);
        for check in [TableCheck::Verify, TableCheck::Skip] {
            let index = place.open(&bytes, check).unwrap();
            parts.assert_are(&index, &bytes);
            assert_eq!(index.file_bytes(), bytes.len() as u64);
        }
        assert_eq!(place.findings(&bytes), []);
        let names = place.names();
        assert!(
            !names.iter().any(|name| name.ends_with(".new")),
            "{names:?}"
        );
    }
}

#[test]
fn an_index_replaces_the_one_before() {
    let (place, before) = Place::indexed(&Parts::new(0));
    let names = place.names();
    let old = place.open(&before, TableCheck::Verify).unwrap();
    Parts::new(1).write(quick(), &place.dataset).unwrap();
    assert_eq!(place.names(), names);
    let now = fs::read(place.index()).unwrap();
    Parts::new(1).assert_are(&place.open(&now, TableCheck::Verify).unwrap(), &now);
    Parts::new(0).assert_are(&old, &before);
}

#[test]
fn a_dataset_that_is_being_written_gets_no_index_meanwhile() {
    let place = Place::new();
    let lock = RealFileSystem
        .lock(&place.dataset.path().join("LOCK"))
        .unwrap();
    let refused = Parts::new(0).write(quick(), &place.dataset);
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    drop(lock);
    Parts::new(0).write(quick(), &place.dataset).unwrap();
}

#[test]
fn an_index_of_another_column_or_without_one_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    for column in [0, 2] {
        let of = IndexedColumn::of(&place.dataset, column);
        let refused = Index::open(Path::new("x"), &whole, &of, TableCheck::Verify);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("it is of column 1"), "{message}");
    }
}

#[test]
fn rows_that_have_been_replaced_get_no_index() {
    let (place, _) = Place::indexed(&Parts::new(0));
    let path = place.dataset.path();
    write_rows(path, Overwrite::Replace);
    let now = open_dataset(path);
    Parts::new(1).write(quick(), &now).unwrap();
    let (index, names) = (fs::read(place.index()).unwrap(), place.names());
    let refused = Parts::new(0).write(quick(), &place.dataset);
    assert!(
        matches!(refused, Err(Error::Replaced { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(place.index()).unwrap(), index);
    assert_eq!(place.names(), names);
}

#[test]
fn an_index_goes_with_the_version_of_the_dataset_that_it_is_of() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    let path = place.dataset.path().to_owned();
    fs::write(path.join("c0.index.new"), b"not whole").unwrap();
    write_rows(&path, Overwrite::Replace);
    let names = place.names();
    assert!(
        !names.iter().any(|name| name.contains("index")),
        "{names:?}"
    );
    let now = open_dataset(&path);
    let of = IndexedColumn::of(&now, 1);
    let refused = Index::open(Path::new("x"), &whole, &of, TableCheck::Verify);
    assert!(
        matches!(refused, Err(Error::ForeignIndex { .. })),
        "{refused:?}"
    );
}
