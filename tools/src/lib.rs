//! The `ringtake` command: imports files into datasets, and inspects, indexes, searches,
//! takes, exports, verifies, generates and diagnoses. Everything that waits for a drive is `ringtake-runtime`'s; what the
//! bytes mean is `ringtake-storage`'s.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cli;
mod command;
mod description;
mod device;
mod failure;
mod grid;
mod ingest;
mod interrupt;
mod notice;
mod output;
mod progress;
mod row_ids;
mod sink;
mod source;

#[cfg(fuzzing)]
pub mod fuzzing;

/// Runs the command on the command line of this process.
pub fn main() -> std::process::ExitCode {
    cli::run()
}
