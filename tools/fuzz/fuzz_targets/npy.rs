//! Fuzzes the reader of `.npy` files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringtake_tools::fuzzing::npy(bytes, true);
    ringtake_tools::fuzzing::npy(bytes, false);
});
