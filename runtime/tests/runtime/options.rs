//! Options of a take, and the requests that it rejects.

use std::path::Path;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field};
use ringtake_runtime::{Error, Missing, ReadPathChoice, Store};
use ringtake_storage::Error as StorageError;
use ringtake_storage::write::Overwrite;

use crate::dataset::{self, COLUMNS, Shape};
use crate::every_type;
use crate::opened::{READ_PATHS, draw, open, seeded};

#[test]
fn an_empty_take_has_the_schema_and_no_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    every_type::write(&path);
    let empty = every_type::rows(&[]);
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        for missing in [Missing::Error, Missing::Null] {
            let all = store.all_columns();
            let taken = store.take(&[], &all).missing(missing).wait();
            assert_eq!(taken.unwrap(), empty);
        }
        for (column, field) in empty.schema().fields().iter().enumerate() {
            let projection = store.projection(&[field.name()]).unwrap();
            let taken = store.take(&[], &projection).wait().unwrap();
            assert_eq!(taken, empty.project(&[column]).unwrap());
        }
        assert!(store.stats().iter().all(|stats| stats.parts == 0));
    }
}

#[test]
fn a_dataset_without_rows_opens_and_has_no_row_to_take() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(0));
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let all = store.all_columns();
        assert_eq!(store.take(&[], &all).wait().unwrap().num_rows(), 0);
        assert!(matches!(
            store.take(&[0], &all).wait(),
            Err(Error::NoSuchRow { id: 0, rows: 0 })
        ));
        let nulls = store
            .take(&[0, 7], &all)
            .missing(Missing::Null)
            .wait()
            .unwrap();
        assert!(
            nulls
                .columns()
                .iter()
                .all(|column| column.null_count() == 2)
        );
    }
}

#[test]
fn an_id_past_the_end_is_named_with_the_row_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(700));
    let store = open(&path, 2, ReadPathChoice::Auto);
    for past in [700, 1 << 40, u64::MAX] {
        let error = store
            .take(&[5, past, 6], &store.all_columns())
            .wait()
            .unwrap_err();
        assert!(matches!(error, Error::NoSuchRow { id, rows: 700 } if id == past));
        let message = error.to_string();
        for part in [past.to_string(), "700 rows".to_owned()] {
            assert!(message.contains(&part), "{part} in {message}");
        }
    }
    // Nothing was read for a take that cannot succeed.
    assert!(store.stats().iter().all(|stats| stats.parts == 0));
}

#[test]
fn an_id_past_the_end_is_a_null_row_in_its_place_where_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    every_type::write(&path);
    let mut rng = seeded(13);
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let all = store.all_columns();
        let some = draw(&mut rng, every_type::ROWS * 2, 300);
        let none = vec![every_type::ROWS, u64::MAX, every_type::ROWS];
        let last = vec![0, every_type::ROWS - 1, u64::MAX];
        for ids in [some, none, last] {
            let expected = every_type::rows(&ids);
            assert_eq!(
                store
                    .take(&ids, &all)
                    .missing(Missing::Null)
                    .wait()
                    .unwrap(),
                expected
            );
            for (column, field) in expected.schema().fields().iter().enumerate() {
                let projection = store.projection(&[field.name()]).unwrap();
                let taken = store
                    .take(&ids, &projection)
                    .missing(Missing::Null)
                    .wait()
                    .unwrap();
                assert_eq!(taken, expected.project(&[column]).unwrap(), "{field}");
            }
        }
    }
}

#[test]
fn columns_without_nulls_become_nullable_where_missing_rows_are_nulls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(300));
    let store = open(&path, 2, ReadPathChoice::Auto);
    let projection = store.projection(&["short", "vector"]).unwrap();
    let taken = store
        .take(&[1, 300, 2], &projection)
        .missing(Missing::Null)
        .wait()
        .unwrap();
    assert!(
        taken
            .schema()
            .fields()
            .iter()
            .all(|field| field.is_nullable())
    );
    for column in taken.columns() {
        let null: Vec<bool> = (0..3).map(|place| column.is_null(place)).collect();
        assert_eq!(null, [false, true, false]);
    }
    let there = dataset::expected(&[1, 2], &["short", "vector"]);
    for (taken, there) in taken.columns().iter().zip(there.columns()) {
        assert_eq!(&taken.slice(0, 1), &there.slice(0, 1));
        assert_eq!(&taken.slice(2, 1), &there.slice(1, 1));
    }
}

#[test]
fn duplicates_come_back_each_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(700));
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let mut ids = vec![5; 500];
        ids.extend([6, 5, 699, 699, 6]);
        let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
        assert_eq!(taken, dataset::expected(&ids, &COLUMNS));
    }
}

fn write_version(path: &Path) {
    let shape = Shape {
        overwrite: Overwrite::Replace,
        ..Shape::of(300)
    };
    dataset::write(path, &shape);
}

#[test]
fn a_projection_of_another_dataset_or_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("dataset"), dir.path().join("other"));
    write_version(&path);
    write_version(&other);
    let before = open(&path, 1, ReadPathChoice::Auto);
    write_version(&path);
    let store = open(&path, 1, ReadPathChoice::Auto);
    let other = open(&other, 1, ReadPathChoice::Auto);
    for foreign in [before.all_columns(), other.all_columns()] {
        let error = store.take(&[1], &foreign).wait().unwrap_err();
        assert!(matches!(error, Error::ForeignProjection), "{error}");
        let error = store.take(&[], &foreign).wait().unwrap_err();
        assert!(matches!(error, Error::ForeignProjection), "{error}");
        let error = store.take(&[1], &foreign).wait_into(&mut []).unwrap_err();
        assert!(matches!(error, Error::ForeignProjection), "{error}");
    }
    // Another store of the same version will do.
    let again = open(&path, 2, ReadPathChoice::Auto);
    let taken = again.take(&[1], &store.all_columns()).wait().unwrap();
    assert_eq!(taken, dataset::expected(&[1], &COLUMNS));
}

fn refused(store: &Store, names: &[&str]) -> StorageError {
    match store.projection(names) {
        Err(Error::Storage(error)) => error,
        other => panic!("{names:?}: {other:?}"),
    }
}

#[test]
fn a_projection_of_unknown_repeated_or_no_columns_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(10));
    let store = open(&path, 1, ReadPathChoice::Auto);
    let message = refused(&store, &["id", "vektor"]).to_string();
    assert!(message.contains("vektor"), "{message}");
    for column in COLUMNS {
        assert!(message.contains(column), "{column} in {message}");
    }
    assert!(matches!(
        refused(&store, &["id", "name", "id"]),
        StorageError::DuplicateColumn { column } if column == "id"
    ));
    assert!(matches!(refused(&store, &[]), StorageError::NoColumns));
    let schema = store.schema();
    assert_eq!(schema.field(0), &Field::new("id", DataType::Int64, true));
    assert_eq!(schema.fields().len(), COLUMNS.len());
}
