//! The `bench` binary; everything it does is in the library of the same crate.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ringtake_bench::main()
}
