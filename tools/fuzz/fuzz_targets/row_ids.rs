//! Fuzzes the reader of row ids.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for rows in [0, 1, 1_000, u64::MAX] {
        ringtake_tools::fuzzing::row_ids(bytes, rows);
    }
});
