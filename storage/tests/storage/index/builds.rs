//! Writers of an index that stop at each operation: the old index or the new one stays.

use std::fs;
use std::sync::Arc;

use ringtake_storage::Result;
use ringtake_storage::dataset::TableCheck;
use ringtake_storage::vector::index::IndexLayout;
use ringtake_storage::write::faulty::{Fault, FaultyFileSystem, Lost};

use super::parts::Parts;
use super::place::{Place, quick};

fn operations(replaces: bool) -> u64 {
    let place = Place::new();
    if replaces {
        Parts::new(0).write(quick(), &place.dataset).unwrap();
    }
    let file_system = FaultyFileSystem::sound();
    let parts = Parts::new(1);
    parts
        .write(Arc::new(file_system.clone()), &place.dataset)
        .unwrap();
    let operations = file_system.operations();
    assert!(
        operations > 15,
        "{operations} operations are too few to be all of them"
    );
    operations
}

/// Stops the writing of an index at each operation, calls `after`, and checks the index. Returns
/// how often the new index was not there and how often it was.
fn stopped_at_each_operation(
    replaces: bool,
    fault: Fault,
    after: impl Fn(u64, &Result<IndexLayout>, &FaultyFileSystem, &Place),
) -> [u32; 2] {
    let (old, new) = (Parts::new(0), Parts::new(1));
    let mut outcomes = [0, 0];
    for operation in 0..operations(replaces) {
        let place = Place::new();
        if replaces {
            old.write(quick(), &place.dataset).unwrap();
        }
        let file_system = FaultyFileSystem::failing_at(operation, fault);
        let result = new.write(Arc::new(file_system.clone()), &place.dataset);
        after(operation, &result, &file_system, &place);
        let is_new = match fs::read(place.index()) {
            Err(_) => {
                assert!(!replaces, "operation {operation}: the old index is gone");
                false
            }
            Ok(bytes) => {
                assert_eq!(place.findings(&bytes), [], "operation {operation}");
                let index = place.open(&bytes, TableCheck::Verify).unwrap();
                let is_new = index.layout().seed == new.seed;
                let parts = if is_new { &new } else { &old };
                parts.assert_are(&index, &bytes);
                is_new
            }
        };
        assert!(
            is_new || result.is_err(),
            "operation {operation}: success was reported"
        );
        outcomes[usize::from(is_new)] += 1;
        // The next build finds a way and cleans up.
        new.write(quick(), &place.dataset)
            .unwrap_or_else(|error| panic!("after operation {operation}: {error}"));
        let names = place.names();
        assert!(
            !names.iter().any(|name| name.ends_with(".new")),
            "{names:?}"
        );
    }
    outcomes
}

#[test]
fn a_build_killed_at_any_operation_leaves_the_old_index_or_the_new() {
    for replaces in [false, true] {
        let [without, with] = stopped_at_each_operation(replaces, Fault::Crash, |_, _, _, _| ());
        assert!(without > 10 && with > 0, "{without} {with}");
    }
}

#[test]
fn a_power_loss_during_a_build_loses_no_index() {
    for lost in [Lost::Bytes, Lost::BytesAndNames] {
        for replaces in [false, true] {
            stopped_at_each_operation(replaces, Fault::Crash, |_, _, file_system, place| {
                file_system
                    .lose_unsynced(lost, place.dataset.path())
                    .unwrap();
            });
        }
    }
}

#[test]
fn a_power_loss_after_a_build_loses_nothing() {
    for lost in [Lost::Bytes, Lost::BytesAndNames] {
        let (place, _) = Place::indexed(&Parts::new(0));
        let file_system = FaultyFileSystem::sound();
        let parts = Parts::new(1);
        parts
            .write(Arc::new(file_system.clone()), &place.dataset)
            .unwrap();
        file_system
            .lose_unsynced(lost, place.dataset.path())
            .unwrap();
        let bytes = fs::read(place.index()).unwrap();
        parts.assert_are(&place.open(&bytes, TableCheck::Verify).unwrap(), &bytes);
    }
}

#[test]
fn an_error_at_any_operation_of_a_build_is_reported_and_leaves_nothing_behind() {
    for fault in [Fault::InputOutput, Fault::DiskFull] {
        for replaces in [false, true] {
            stopped_at_each_operation(replaces, fault, |operation, result, _, place| {
                let names = place.names();
                let new = names.iter().any(|name| name.ends_with(".new"));
                assert!(!new, "operation {operation}: {names:?}");
                if let Err(error) = result {
                    let reason = match fault {
                        Fault::DiskFull => "free some space",
                        _ => "Input/output error",
                    };
                    assert!(
                        error.to_string().contains(reason),
                        "operation {operation}: {error}"
                    );
                }
            });
        }
    }
}
