//! Places where something is missing, small or moving, each visited by a process of its own, since
//! most of them cannot be left again.

use std::path::Path;

use ringtake_runtime::Store;

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{assert_child_ended_well, draw, in_child_with, seeded, told_by_parent};

/// Rows of the dataset that each place has.
pub(crate) const ROWS: u64 = 1_500;
/// The last word of a process that went well.
pub(crate) const DONE: &str = "it went well";
/// A user without privileges: the one that the kernel shows in place of unknown ones.
pub(crate) const STRANGER: u32 = 65_534;

/// A place that this machine does not let a test go to.
pub(crate) struct NotHere(pub(crate) String);

pub(crate) type Place = Result<(), NotHere>;

/// How the child begins the line that says what was not tested.
const NOT_HERE: &str = "not tested here: ";

/// Has the parent report a place, or a part of a test, that this machine does not have.
pub(crate) fn not_here(why: &str) {
    // The harness has begun a line.
    println!("\n{NOT_HERE}{why}");
}

/// Runs `there` in a process of its own, with a dataset. Where the machine has no such place the
/// child says so, and that is all that is tested.
pub(crate) fn in_a_place(test: &str, there: impl FnOnce(&Path) -> Place) {
    in_a_place_with(test, &[], there);
}

/// `in_a_place` with variables of the environment for the process.
pub(crate) fn in_a_place_with(
    test: &str,
    environment: &[(&str, &str)],
    there: impl FnOnce(&Path) -> Place,
) {
    if told_by_parent().is_none() {
        let mut output = in_child_with(test, "go", environment);
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in words.lines() {
            if let Some(reason) = line.strip_prefix(NOT_HERE) {
                ringtake_testing::skip(test, reason);
            }
        }
        // A shard may panic there, and what it was asked for fails; nothing else does.
        let of_shard = |line: &str| line.contains("panicked") && line.contains("'rt-shard-");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let others: Vec<&str> = said.lines().filter(|line| !of_shard(line)).collect();
        output.stderr = others.join("\n").into_bytes();
        assert_child_ended_well(&output, DONE);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    if let Err(NotHere(why)) = there(&path) {
        not_here(&why);
    }
    println!("{DONE}");
}

pub(crate) fn assert_serves(store: &Store) {
    let ids = draw(&mut seeded(7), ROWS, 300);
    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
    assert_eq!(taken, dataset::expected(&ids, &COLUMNS));
}

pub(crate) fn permitted(result: i32, what: &str) -> Place {
    match result {
        0 => Ok(()),
        _ => Err(NotHere(format!(
            "{what}: {}",
            std::io::Error::last_os_error()
        ))),
    }
}

pub(crate) fn limit(resource: libc::__rlimit_resource_t, to: u64) -> Place {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: to,
    };
    // SAFETY: the limit is a valid one, and lives through the call.
    permitted(unsafe { libc::setrlimit(resource, &limit) }, "setrlimit")
}

/// Gives up being root for `user`, after the dataset has been opened to all.
pub(crate) fn become_user(path: &Path, user: u32) -> Place {
    use std::os::unix::fs::PermissionsExt as _;
    let open_to_all = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open_to_all(path.parent().unwrap());
    open_to_all(path);
    // SAFETY: no memory is involved.
    let became = unsafe { libc::setgid(user) + libc::setuid(user) };
    permitted(became, "setuid")
}
