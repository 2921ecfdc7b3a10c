//! The writer stopped, failed or cut off from power at each operation it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use ringtake_storage::Result;
use ringtake_storage::write::faulty::{Fault, FaultyFileSystem, Lost};
use ringtake_storage::write::{Overwrite, WriteOptions, WriteSummary, Writer};

use crate::columns::{Nulls, Seeded, list};
use crate::roundtrip::{assert_holds, batches_of, schema_of};

/// A directory with a place for a dataset and two drives.
struct Place {
    root: tempfile::TempDir,
    schema: SchemaRef,
    old: Vec<RecordBatch>,
    new: Vec<RecordBatch>,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        for drive in ["drive0", "drive1"] {
            fs::create_dir(root.path().join(drive)).unwrap();
        }
        // A `sums` table, `starts` and `ends`, `valid` and `items`: every kind of file.
        let schema = schema_of(&[DataType::Int32, DataType::Utf8, list(DataType::UInt8, 510)]);
        let nulls = [Nulls::None, Nulls::Some(9), Nulls::Some(9)];
        Place {
            root,
            old: batches_of(&schema, &[100], &nulls, &mut Seeded(1)),
            new: batches_of(&schema, &[200, 80], &nulls, &mut Seeded(2)),
            schema,
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("dataset")
    }

    fn options(&self, overwrite: Overwrite) -> WriteOptions {
        WriteOptions {
            block_rows: Some(256),
            data_dirs: ["drive0", "drive1"]
                .map(|drive| self.root.path().join(drive))
                .to_vec(),
            overwrite,
            ..WriteOptions::default()
        }
    }

    fn import(
        &self,
        file_system: &FaultyFileSystem,
        batches: &[RecordBatch],
        overwrite: Overwrite,
    ) -> Result<WriteSummary> {
        let file_system = Arc::new(file_system.clone());
        let options = self.options(overwrite);
        let mut writer = Writer::create_in(file_system, &self.path(), &self.schema, options)?;
        for batch in batches {
            writer.write(batch)?;
        }
        writer.finish()
    }

    fn write_old(&self) {
        self.import(&FaultyFileSystem::sound(), &self.old, Overwrite::Refuse)
            .unwrap();
    }

    fn has_manifest(&self) -> bool {
        self.path().join("MANIFEST").exists()
    }

    /// Whether the new rows are there; if not, the old ones are, or there is no dataset.
    fn assert_old_or_new(&self, replaces: bool) -> bool {
        if !self.has_manifest() {
            assert!(!replaces, "the old dataset is gone");
            return false;
        }
        let rows = crate::naive::read(&self.path()).rows;
        let new = !replaces || rows != 100;
        assert_holds(
            &self.path(),
            &self.schema,
            if new { &self.new } else { &self.old },
        );
        new
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(self.root.path(), &mut found);
        found.retain(|path| path.file_name().is_some_and(|name| name != "LOCK"));
        found.sort();
        found
    }

    /// Says that nothing is on disk but one complete dataset.
    fn assert_no_leftovers(&self) {
        let generation = crate::naive::read(&self.path()).layout["generation"]
            .as_str()
            .unwrap()
            .to_owned();
        for path in self.files() {
            let relative = path
                .strip_prefix(self.root.path())
                .unwrap()
                .to_str()
                .unwrap();
            let belongs = relative == "dataset/MANIFEST" || relative.contains(&generation);
            assert!(belongs, "{relative} is left over");
        }
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
            // An empty directory is a leftover too.
            if path.file_name().unwrap().to_str().unwrap().contains('-') {
                found.push(path);
            }
        } else {
            found.push(path);
        }
    }
}

fn operations(replaces: bool) -> u64 {
    let place = Place::new();
    let mut overwrite = Overwrite::Refuse;
    if replaces {
        place.write_old();
        overwrite = Overwrite::Replace;
    }
    let file_system = FaultyFileSystem::sound();
    place.import(&file_system, &place.new, overwrite).unwrap();
    let operations = file_system.operations();
    assert!(
        operations > 30,
        "{operations} operations are too few to be all of them"
    );
    operations
}

/// Stops an import at each operation, lets `after` do its damage, and looks. Gives how often the
/// new dataset was not there and how often it was.
fn stopped_at_each_operation(
    replaces: bool,
    fault: Fault,
    after: impl Fn(&FaultyFileSystem, &Place),
) -> [u32; 2] {
    let mut outcomes = [0, 0];
    for operation in 0..operations(replaces) {
        let place = Place::new();
        let mut overwrite = Overwrite::Refuse;
        if replaces {
            place.write_old();
            overwrite = Overwrite::Replace;
        }
        let file_system = FaultyFileSystem::failing_at(operation, fault);
        let result = place.import(&file_system, &place.new, overwrite);
        after(&file_system, &place);
        let new = place.assert_old_or_new(replaces);
        assert!(
            new || result.is_err(),
            "operation {operation}: success was reported"
        );
        outcomes[usize::from(new)] += 1;
        // The next import finds a way and cleans up.
        place
            .import(&FaultyFileSystem::sound(), &place.new, Overwrite::Replace)
            .unwrap_or_else(|error| panic!("after operation {operation}: {error}"));
        assert_holds(&place.path(), &place.schema, &place.new);
        place.assert_no_leftovers();
    }
    let [old, new] = outcomes;
    println!("crashes survived: {} ({fault:?})", old + new);
    outcomes
}

#[test]
fn a_first_import_killed_at_any_operation_leaves_nothing_or_everything() {
    let [without, with] = stopped_at_each_operation(false, Fault::Crash, |_, _| ());
    assert!(without > 20 && with > 0, "{without} {with}");
}

#[test]
fn a_replacement_killed_at_any_operation_leaves_the_old_or_the_new() {
    let [without, with] = stopped_at_each_operation(true, Fault::Crash, |_, _| ());
    assert!(without > 20 && with > 0, "{without} {with}");
}

#[test]
fn a_power_loss_at_any_operation_loses_no_dataset() {
    let everywhere = [(Lost::Bytes, ""), (Lost::BytesAndNames, "")];
    let on_one_drive = ["dataset", "drive0"].map(|drive| (Lost::BytesAndNames, drive));
    for (lost, drive) in everywhere.into_iter().chain(on_one_drive) {
        for replaces in [false, true] {
            stopped_at_each_operation(replaces, Fault::Crash, |file_system, place| {
                let within = place.root.path().join(drive);
                file_system.lose_unsynced(lost, &within).unwrap();
            });
        }
    }
}

#[test]
fn a_power_loss_after_success_loses_nothing() {
    for lost in [Lost::Bytes, Lost::BytesAndNames] {
        let place = Place::new();
        let file_system = FaultyFileSystem::sound();
        place
            .import(&file_system, &place.new, Overwrite::Refuse)
            .unwrap();
        file_system.lose_unsynced(lost, place.root.path()).unwrap();
        assert!(place.assert_old_or_new(false));
    }
}

#[test]
fn an_error_at_any_operation_is_reported_and_leaves_nothing_behind() {
    for fault in [Fault::InputOutput, Fault::DiskFull] {
        for replaces in [false, true] {
            for operation in 0..operations(replaces) {
                let place = Place::new();
                let mut overwrite = Overwrite::Refuse;
                if replaces {
                    place.write_old();
                    overwrite = Overwrite::Replace;
                }
                let before = place.files();
                let file_system = FaultyFileSystem::failing_at(operation, fault);
                let result = place.import(&file_system, &place.new, overwrite);
                if place.assert_old_or_new(replaces) {
                    // Only what comes after the rename can have failed.
                    continue;
                }
                let message = result.unwrap_err().to_string();
                let reason = match fault {
                    Fault::DiskFull => "free some space",
                    _ => "Input/output error",
                };
                assert!(message.contains(reason), "operation {operation}: {message}");
                assert_eq!(place.files(), before, "operation {operation}: {message}");
                assert_eq!(place.path().exists(), replaces, "operation {operation}");
            }
        }
    }
}

#[test]
fn a_writer_whose_write_failed_accepts_nothing_more() {
    let place = Place::new();
    let all = operations(false);
    for operation in 0..all {
        let file_system = Arc::new(FaultyFileSystem::failing_at(operation, Fault::InputOutput));
        let options = place.options(Overwrite::Refuse);
        let Ok(mut writer) = Writer::create_in(file_system, &place.path(), &place.schema, options)
        else {
            continue;
        };
        if writer.write(&place.new[0]).is_err() {
            // The fault is over, but the bytes it took are not there.
            writer.write(&place.new[0]).unwrap_err();
            writer.finish().unwrap_err();
            assert!(!place.path().exists());
            return;
        }
    }
    panic!("no operation of {all} failed a write");
}
