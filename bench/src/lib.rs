//! Measures a store from outside and proves what it measured.
//!
//! The binary is [`main`]. The rest of what is public lets other programs measure another way
//! to take rows by id with the same workload, loop, counters, proof, checksum and record:
//! implement [`Subject`] and [`Answer`], fill in [`Options`], and call [`measure`]. A subject
//! may use any runtime ([`Subject::drive`]) and return rows of any kind.

#![forbid(unsafe_code)]

mod advice;
mod args;
mod ceiling;
mod cli;
mod clocks;
mod compare;
mod compare_command;
mod dataset;
mod device;
mod distribution;
mod driver;
mod environment;
mod error;
mod figures;
mod file_read;
mod interference;
mod interrupt;
mod ladder;
mod making;
mod measure;
mod observations;
mod observed;
mod page;
mod permutation;
mod places;
mod plan;
mod process;
mod profile;
mod proof;
mod quick;
mod record;
mod recorded;
mod report;
mod report_command;
mod rounds;
mod row_checksum;
mod sampler;
mod scaling;
mod scratch;
mod store_subject;
mod subject;
mod system_calls;
mod vector_search;
mod verdict;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::quick::QuickArgs;

pub use crate::distribution::Distribution;
pub use crate::driver::{Bound, Load};
pub use crate::error::Error;
pub use crate::interrupt::listen;
pub use crate::measure::{Options, Rate, measure, mixed_memory_bytes};
pub use crate::proof::Cache;
pub use crate::record::Record;
pub use crate::report::{report, write_json};
pub use crate::row_checksum::{RowBytes, RowsChecksum};
pub use crate::subject::{Alarm, Answer, Facts, Subject};
pub use crate::vector_search::{QuerySource, SearchFigures};

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
        && let Err(error) = profile::window::open(fifos)
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
