//! Input that the writer accepts and refuses, and files that it removes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use ringtake_storage::Error;
use ringtake_storage::write::{Overwrite, WriteOptions, Writer};

use crate::columns::{Nulls, Seeded, list};
use crate::naive;
use crate::roundtrip::{assert_holds, batches_of, schema_of, write};

fn replace() -> WriteOptions {
    WriteOptions {
        overwrite: Overwrite::Replace,
        ..WriteOptions::default()
    }
}

fn schema() -> Arc<Schema> {
    schema_of(&[DataType::Int32])
}

fn batch(rows: i32) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int32Array::from_iter(0..rows))]).unwrap()
}

#[test]
fn an_existing_dataset_is_replaced_only_when_asked() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    write(&path, &schema(), &[batch(10)], WriteOptions::default());
    let refused = Writer::create(&path, &schema(), WriteOptions::default()).unwrap_err();
    assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
    assert_holds(&path, &schema(), &[batch(10)]);
    let before = naive::read(&path).layout;
    write(&path, &schema(), &[batch(20)], replace());
    assert_holds(&path, &schema(), &[batch(20)]);
    let after = naive::read(&path).layout;
    assert_ne!(before["dataset"], after["dataset"]);
    assert_ne!(before["generation"], after["generation"]);
    let names = fs::read_dir(&path).unwrap().count();
    assert_eq!(names, 3, "MANIFEST, LOCK and one generation");
}

#[test]
fn a_directory_of_something_else_is_never_written() {
    let root = tempfile::tempdir().unwrap();
    for (name, file) in [
        ("letters", "letter.txt"),
        ("foreign", "MANIFEST"),
        ("alike", "data-0123456789abcdef"),
        ("prepared", "MANIFEST.new"),
    ] {
        let path = root.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join(file), "RINGTONE").unwrap();
        for options in [WriteOptions::default(), replace()] {
            let refused = Writer::create(&path, &schema(), options).unwrap_err();
            assert!(matches!(refused, Error::NotEmpty { .. }), "{refused}");
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing is added");
        assert_eq!(fs::read(path.join(file)).unwrap(), b"RINGTONE");
    }
}

#[test]
fn an_empty_directory_and_a_fresh_file_system_are_written() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("lost+found")).unwrap();
    write(root.path(), &schema(), &[batch(5)], WriteOptions::default());
    assert_holds(root.path(), &schema(), &[batch(5)]);
}

#[test]
fn a_dropped_writer_leaves_the_place_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    let mut writer = Writer::create(&path, &schema(), WriteOptions::default()).unwrap();
    writer.write(&batch(1000)).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    fs::create_dir(&path).unwrap();
    drop(Writer::create(&path, &schema(), WriteOptions::default()).unwrap());
    assert_eq!(
        fs::read_dir(&path).unwrap().count(),
        0,
        "the directory was there before"
    );
    write(&path, &schema(), &[batch(10)], WriteOptions::default());
    let mut writer = Writer::create(&path, &schema(), replace()).unwrap();
    writer.write(&batch(1000)).unwrap();
    drop(writer);
    assert_holds(&path, &schema(), &[batch(10)]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
}

#[test]
fn two_writers_do_not_meet() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    let first = Writer::create(&path, &schema(), WriteOptions::default()).unwrap();
    let second = Writer::create(&path, &schema(), replace()).unwrap_err();
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    first.finish().unwrap();
    Writer::create(&path, &schema(), replace()).unwrap();
}

#[test]
fn leftovers_of_another_dataset_in_a_shared_drive_stay() {
    let root = tempfile::tempdir().unwrap();
    let drive = root.path().join("drive");
    let other = drive.join("ringtake-00000000000000aa");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("g0.rows"), "somebody's").unwrap();
    let path = root.path().join("dataset");
    let options = WriteOptions {
        data_dirs: vec![drive],
        ..WriteOptions::default()
    };
    write(&path, &schema(), &[batch(10)], options.clone());
    let options = WriteOptions {
        overwrite: Overwrite::Replace,
        ..options
    };
    write(&path, &schema(), &[batch(20)], options);
    assert_holds(&path, &schema(), &[batch(20)]);
    assert_eq!(fs::read(other.join("g0.rows")).unwrap(), b"somebody's");
}

#[test]
fn a_replaced_dataset_leaves_nothing_on_drives_it_no_longer_uses() {
    let root = tempfile::tempdir().unwrap();
    let drive = root.path().join("drive");
    fs::create_dir(&drive).unwrap();
    let path = root.path().join("dataset");
    let options = WriteOptions {
        data_dirs: vec![path.clone(), drive.clone()],
        block_rows: Some(256),
        ..WriteOptions::default()
    };
    write(&path, &schema(), &[batch(1000)], options);
    assert_holds(&path, &schema(), &[batch(1000)]);
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 1);
    write(&path, &schema(), &[batch(20)], replace());
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);
}

/// A dataset with a directory elsewhere.
fn on_a_drive(root: &Path) -> (PathBuf, PathBuf) {
    let drive = root.join("drive");
    fs::create_dir(&drive).unwrap();
    let path = root.join("dataset");
    let options = WriteOptions {
        data_dirs: vec![drive.clone()],
        ..WriteOptions::default()
    };
    write(&path, &schema(), &[batch(10)], options);
    (path, drive)
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn what_replaces_a_copy_leaves_the_drives_of_the_original_alone() {
    let root = tempfile::tempdir().unwrap();
    let (path, _) = on_a_drive(root.path());
    let copy = root.path().join("copy");
    copy_dir(&path, &copy);
    write(&copy, &schema(), &[batch(20)], replace());
    assert_holds(&copy, &schema(), &[batch(20)]);
    assert_holds(&path, &schema(), &[batch(10)]);
}

#[test]
fn a_dataset_that_was_moved_takes_its_drives_along() {
    let root = tempfile::tempdir().unwrap();
    let (path, drive) = on_a_drive(root.path());
    let moved = root.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    write(&moved, &schema(), &[batch(20)], replace());
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);
}

#[test]
fn a_link_in_a_dataset_leads_no_writer_to_the_files_of_another() {
    let root = tempfile::tempdir().unwrap();
    let [victim, hostile] = ["victim", "hostile"].map(|name| root.path().join(name));
    for path in [&victim, &hostile] {
        write(path, &schema(), &[batch(10)], WriteOptions::default());
    }
    let data = fs::read_dir(&victim).unwrap().map(|entry| entry.unwrap());
    let data = data.filter(|entry| entry.file_name().to_string_lossy().starts_with("data-"));
    let data = data.last().unwrap().path();
    std::os::unix::fs::symlink(&data, hostile.join("data-00000000deadbeef")).unwrap();
    write(&hostile, &schema(), &[batch(20)], replace());
    assert_holds(&hostile, &schema(), &[batch(20)]);
    assert_holds(&victim, &schema(), &[batch(10)]);
}

#[test]
fn a_lock_that_is_no_file_is_refused_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    write(&path, &schema(), &[batch(10)], WriteOptions::default());
    let lock = path.join("LOCK");
    let pipe = |lock: &Path| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, lock, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let nowhere = |lock: &Path| std::os::unix::fs::symlink("nowhere", lock).unwrap();
    let others: [&dyn Fn(&Path); 2] = [&pipe, &nowhere];
    for other in others {
        fs::remove_file(&lock).unwrap();
        other(&lock);
        let refused = Writer::create(&path, &schema(), replace()).unwrap_err();
        assert!(
            refused.to_string().contains("not a regular file"),
            "{refused}"
        );
    }
}

#[test]
fn a_dataset_with_a_damaged_manifest_can_be_replaced_and_a_newer_one_cannot() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    write(&path, &schema(), &[batch(10)], WriteOptions::default());
    let manifest = path.join("MANIFEST");
    let sound = fs::read(&manifest).unwrap();
    let mut newer = sound.clone();
    newer[8] = 2;
    fs::write(&manifest, &newer).unwrap();
    let refused = Writer::create(&path, &schema(), replace()).unwrap_err();
    assert!(matches!(refused, Error::NewerVersion { .. }), "{refused}");
    fs::write(&manifest, &sound[..100]).unwrap();
    let refused = Writer::create(&path, &schema(), WriteOptions::default()).unwrap_err();
    assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
    write(&path, &schema(), &[batch(20)], replace());
    assert_holds(&path, &schema(), &[batch(20)]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
}

#[test]
fn a_batch_of_another_schema_is_refused_and_the_writer_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    let strict = Schema::new(vec![Field::new("c0", DataType::Int32, false)]);
    let mut writer = Writer::create(&path, &strict, WriteOptions::default()).unwrap();
    let column = |name, array: Arc<dyn Array>| RecordBatch::try_from_iter([(name, array)]).unwrap();
    for (wrong, says) in [
        (
            column("other", Arc::new(Int32Array::from(vec![1]))),
            "`other` instead of `c0`",
        ),
        (
            column("c0", Arc::new(StringArray::from(vec!["a"]))),
            "type Utf8 instead of Int32",
        ),
        (
            column("c0", Arc::new(Int32Array::from(vec![None]))),
            "has nulls",
        ),
    ] {
        let refused = writer.write(&wrong).unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
    writer.write(&batch(3)).unwrap();
    writer.finish().unwrap();
    assert_holds(&path, &strict, &[batch(3)]);
}

#[test]
fn options_that_cannot_be_are_refused_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    let drive = root.path().join("drive");
    for options in [
        WriteOptions {
            block_rows: Some(300),
            ..WriteOptions::default()
        },
        WriteOptions {
            block_rows: Some(128),
            ..WriteOptions::default()
        },
        WriteOptions {
            data_dirs: vec![drive.clone(), drive.clone()],
            ..WriteOptions::default()
        },
    ] {
        let refused = Writer::create(&path, &schema(), options).unwrap_err();
        assert!(matches!(refused, Error::Option { .. }), "{refused}");
        assert!(!path.exists());
    }
    let absent = WriteOptions {
        data_dirs: vec![drive],
        ..WriteOptions::default()
    };
    let refused = Writer::create(&path, &schema(), absent).unwrap_err();
    assert!(refused.to_string().contains("drive"), "{refused}");
    assert!(!path.exists());
}

#[test]
fn more_columns_than_open_files_are_written() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    let types = vec![DataType::Utf8; 300];
    let schema = schema_of(&types);
    let nulls = vec![Nulls::Some(3); types.len()];
    let batches = batches_of(&schema, &[30, 20], &nulls, &mut Seeded(5));
    write(&path, &schema, &batches, WriteOptions::default());
    assert_holds(&path, &schema, &batches);
}

#[test]
fn records_wider_than_a_buffer_are_written() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dataset");
    let schema = schema_of(&[list(DataType::UInt8, 3 << 20), DataType::Int8]);
    let nulls = [Nulls::None, Nulls::Some(2)];
    let batches = batches_of(&schema, &[3], &nulls, &mut Seeded(5));
    write(&path, &schema, &batches, WriteOptions::default());
    assert_holds(&path, &schema, &batches);
}
