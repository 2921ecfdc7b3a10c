//! The project in the rules' terms: limits, places, directions, words, and exceptions.

use crate::source::Violation;

/// A function fits on a screen.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// A file is read in one sitting.
pub(crate) const FILE_LINES_MAX: usize = 600;

/// A number below this may be in a comment and in a constant by coincidence.
pub(crate) const NUMBERS_SHARED_MIN: u64 = 17;

/// A crate with its rooms (the files and folders directly below its source), each above those
/// that it may need. No rooms: the crate is one room.
pub(crate) struct Crate {
    pub(crate) source: &'static str,
    pub(crate) rooms: &'static [&'static str],
}

pub(crate) const CRATES: [Crate; 5] = [
    Crate {
        source: "storage/src",
        rooms: &[],
    },
    Crate {
        source: "runtime/src",
        rooms: &[
            "yardstick",
            "client",
            "shard",
            "index",
            "device",
            "memory",
            "metrics",
            "admission",
            "config",
            "host",
            "doorbell",
            "error",
            "ownership",
        ],
    },
    Crate {
        source: "bench/src",
        rooms: &[
            "cli",
            "command",
            "tell",
            "measure",
            "record",
            "drive",
            "workload",
            "count",
            "interrupt",
            "progress",
            "numbers",
            "error",
        ],
    },
    Crate {
        source: "tools/src",
        rooms: &[
            "fuzzing",
            "cli",
            "command",
            "ingest",
            "sink",
            "output",
            "progress",
            "failure",
            "source",
            "row_ids",
            "interrupt",
            "notice",
            "grid",
            "description",
            "device",
        ],
    },
    Crate {
        source: "tools/vectors/src",
        rooms: &[],
    },
];

/// Where `unsafe` may stand, and for what.
pub(crate) const UNSAFE_PLACES: [(&str, &str); 23] = [
    (
        "storage/src/vector/kernels.rs",
        "asks for instruction sets and calls them",
    ),
    ("storage/src/vector/kernels/", "instruction sets"),
    (
        "storage/tests/storage/memory.rs",
        "an allocator that counts",
    ),
    (
        "runtime/src/memory/",
        "memory that a drive or several shards write",
    ),
    (
        "runtime/src/device/",
        "buffers lent to the kernel, maps of files",
    ),
    ("runtime/src/shard/cache/", "pages that the drive fills"),
    ("runtime/src/host/fork.rs", "a handler of the C library"),
    ("runtime/src/host/prefetch.rs", "prefetch instructions"),
    (
        "runtime/src/simulation/",
        "a drive that writes into lent buffers",
    ),
    ("runtime/src/yardstick.rs", "a bare ring, a map"),
    ("runtime/tests/counting/mod.rs", "an allocator that counts"),
    (
        "runtime/tests/finish_model.rs",
        "memory that threads of a model share",
    ),
    ("runtime/tests/runtime/limits.rs", "limits of the process"),
    (
        "runtime/tests/runtime/places.rs",
        "child processes with less than they need",
    ),
    ("tools/testing/src/lib.rs", "a handler of the C library"),
    (
        "runtime/tests/runtime/hard_places.rs",
        "child processes with less than they need",
    ),
    (
        "bench/peers/src/",
        "maps of files, and an environment of LMDB",
    ),
    (
        "runtime/src/shard/start.rs",
        "a read path borrows what outlives it",
    ),
    (
        "runtime/src/shard/engine/flights.rs",
        "reads into lent slots",
    ),
    ("runtime/src/shard/engine/flights/", "reads into lent slots"),
    (
        "runtime/src/shard/engine/deliver.rs",
        "bytes that a read has filled",
    ),
    (
        "runtime/src/shard/part.rs",
        "the contract of a part: its places are its own",
    ),
    (
        "runtime/src/client/take/",
        "outputs in borrowed buffers, parts with places of their own",
    ),
];

/// Crate roots that forbid `unsafe`.
pub(crate) const WITHOUT_UNSAFE: [&str; 5] = [
    "bench/src/lib.rs",
    "bench/src/main.rs",
    "bench/peers/harness/src/lib.rs",
    "tools/src/lib.rs",
    "tools/vectors/src/lib.rs",
];

/// First words of a summary that say nothing by themselves, and what to write.
pub(crate) const BANNED_BEGINNINGS: [(&str, &str); 4] = [
    ("Of", "begin with the noun"),
    ("Those", "begin with the noun"),
    ("What", "say what it is or does"),
    ("See the module", "say what the type is"),
];

/// Words of this project alone, and the word of the field.
pub(crate) const BANNED_WORDS: [(&str, &str); 7] = [
    ("told", "reported, returned, rejected"),
    ("whoever", "the caller, the user, the writer"),
    ("somebody", "the caller, another process"),
    ("nobody", "no caller, no thread"),
    ("so many", "the number or its limit"),
    ("what is there", "the noun"),
    ("see the module", "say what the type is"),
];

/// A violation that stays, for a reason.
#[derive(Debug)]
pub(crate) struct Exception {
    rule: &'static str,
    /// The file, or a folder with a slash at its end.
    path: &'static str,
    _reason: &'static str,
}

impl Exception {
    pub(crate) fn covers(&self, violation: &Violation) -> bool {
        let inside = violation.path.strip_prefix(self.path);
        self.rule == violation.rule
            && inside.is_some_and(|rest| rest.is_empty() || self.path.ends_with('/'))
    }
}

pub(crate) const EXCEPTIONS: [Exception; 3] = [
    Exception {
        rule: "word",
        path: "tools/tests/tidy/",
        _reason: "names the words and shows that they are found",
    },
    Exception {
        rule: "word",
        path: "bench/src/tell/comparison/difference.rs",
        _reason: "the name of a value in JSON that scripts may read",
    },
    Exception {
        rule: "reference",
        path: "tools/tests/files/README.md",
        _reason: "names files of other projects",
    },
];

/// Parts of the project whose violations are counted together.
pub(crate) const AREAS: [&str; 5] = ["storage", "runtime", "bench", "tools", "root"];

/// Violations that were there before the rules, by part and rule: to be mended, never to grow.
pub(crate) const STILL_TO_MEND: [(&str, &str, usize); 2] =
    [("runtime", "function", 3), ("runtime", "file", 2)];
