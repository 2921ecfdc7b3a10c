//! Fuzzes the reader of `.fvecs` files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringtake_tools::fuzzing::fvecs(bytes, true);
    ringtake_tools::fuzzing::fvecs(bytes, false);
});
