//! The `ringtake` command: it imports files into datasets, generates them, and inspects, indexes,
//! searches, takes, exports, verifies and diagnoses them.
//!
//! `ringtake-runtime` reads rows from drives, and `ringtake-storage` has the format.

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

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    cli::run()
}
