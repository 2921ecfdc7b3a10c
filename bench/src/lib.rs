//! Measures a store from outside and proves what it measured.
//!
//! The binary is [`main`]. The rest of what is public lets other programs measure another way
//! to take rows by id with the same workload, loop, counters, proof, checksum and record:
//! implement [`Subject`] and [`Answer`], fill in [`Options`], and call [`measure`]. A subject
//! may use any runtime ([`Subject::drive`]) and return rows of any kind.

#![forbid(unsafe_code)]

mod advice;
mod ceiling;
mod cli;
mod clocks;
mod compare;
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
mod rounds;
mod row_checksum;
mod sampler;
mod scaling;
mod scratch;
mod subject;
mod system_calls;
mod vector_search;
mod verdict;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, OutputArgs, QuickArgs};

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
        // Where standard error is full or closed there is nobody to tell.
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
    // As of diff(1): 1 is what was looked for, 2 is trouble.
    let comparing = matches!(cli.command, Some(Command::Compare(_)));
    let done = match cli.command {
        None => quick::run(&QuickArgs::default(), &interrupted),
        Some(Command::Quick(args)) => quick::run(&args, &interrupted),
        Some(Command::FileRead(args)) => file_read::measure_or_part(&args, &interrupted)
            .and_then(|record| tell(&record, &args.output)),
        Some(Command::VectorSearch(args)) => vector_search::run(&args, &interrupted),
        Some(Command::Ceiling(args)) => {
            ceiling::measure(&args, &interrupted).and_then(|record| tell(&record, &args.output))
        }
        Some(Command::Scaling(args)) => scaling::run(&args, &interrupted),
        Some(Command::Interference(args)) => interference::run(&args, &interrupted),
        Some(Command::Ladder(args)) => ladder::run(&args, &interrupted),
        Some(Command::Plan(args)) => plan::run(&args, &interrupted),
        Some(Command::Profile(args)) => match profile::run(&args, &interrupted) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Some(Command::Report(args)) => page::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            match error {
                Error::Interrupted => ExitCode::from(interrupt::EXIT_STATUS),
                Error::ConditionMet { .. } => ExitCode::FAILURE,
                _ if comparing => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints one record as `output` says.
fn tell(record: &Record, output: &OutputArgs) -> Result<(), Error> {
    let text = report::report(std::slice::from_ref(record));
    report::emit(output.json.as_deref(), &text, record)?;
    if record.partial {
        return Err(Error::Interrupted);
    }
    match &record.invalid_reason {
        Some(reason) if output.require_valid => Err(Error::NotValid {
            reason: reason.clone(),
        }),
        _ => Ok(()),
    }
}
