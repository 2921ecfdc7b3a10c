//! Fuzzes the reader of `.fbin` files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringtake_tools::fuzzing::fbin(bytes, true);
    ringtake_tools::fuzzing::fbin(bytes, false);
});
