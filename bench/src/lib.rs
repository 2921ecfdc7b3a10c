//! Measures a store from outside and proves what it measured.
//!
//! The binary is [`main`]. The rest of what is public lets other programs measure another way
//! to take rows by id with the same workload, loop, counters, proof, checksum and record:
//! implement [`Subject`], [`Observed`] and [`Answer`], fill in [`Options`], and call [`measure`]. A subject
//! may use any runtime ([`Subject::drive`]) and return rows of any kind.

#![forbid(unsafe_code)]

mod cli;
mod command;
mod count;
mod drive;
mod error;
mod interrupt;
mod measure;
mod numbers;
mod progress;
mod record;
mod tell;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::command::quick::QuickArgs;
use crate::count::perf_window;

pub use crate::drive::load::{Bound, Load, Rate};
pub use crate::drive::subject::{Alarm, Answer, Observed, Query, Subject, SubjectLimits};
pub use crate::error::Error;
pub use crate::interrupt::listen;
pub use crate::measure::measure;
pub use crate::measure::options::{Options, mixed_memory_bytes};
pub use crate::record::Record;
pub use crate::record::proof::Cache;
pub use crate::record::search::SearchFigures;
pub use crate::tell::output::write_json;
pub use crate::tell::table::report;
pub use crate::workload::distribution::Distribution;
pub use crate::workload::row_checksum::{RowBytes, RowsChecksum};
pub use crate::workload::search::queries::QuerySource;

/// Runs the `bench` program on the command line of this process; the first signal ends it
/// in order.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Where standard error is full or closed the log is lost.
        .log_internal_errors(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    let interrupted = interrupt::listen();
    if let Some(fifos) = &cli.perf_control
        && let Err(error) = perf_window::open(fifos)
    {
        eprintln!("bench: {error}");
        return ExitCode::FAILURE;
    }
    let command = cli
        .command
        .unwrap_or_else(|| Command::Quick(QuickArgs::default()));
    command.run(&interrupted).unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        command.exit_code(&error)
    })
}
