//! The command line: a list of the commands, and which code runs each.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};

use crate::command::args::RoundsArgs;
use crate::command::ceiling;
use crate::command::ceiling::CeilingArgs;
use crate::command::compare;
use crate::command::compare::CompareArgs;
use crate::command::file_read;
use crate::command::file_read::FileReadArgs;
use crate::command::interference;
use crate::command::interference::InterferenceArgs;
use crate::command::ladder;
use crate::command::ladder::LadderArgs;
use crate::command::plan;
use crate::command::plan::PlanArgs;
use crate::command::profile;
use crate::command::profile::ProfileArgs;
use crate::command::quick;
use crate::command::quick::QuickArgs;
use crate::command::report;
use crate::command::report::ReportArgs;
use crate::command::scaling;
use crate::command::vector_search;
use crate::command::vector_search::VectorSearchArgs;
use crate::error::Error;
use crate::interrupt;

const EXAMPLES: &str = "\
Examples:
  bench                                            a quick run that needs nothing
  bench file-read --dataset vectors --seconds 20   what the drive and the store can do
  bench file-read --dataset vectors --cache warm --threads 2
  bench file-read --dataset vectors --rate 70%     latency below capacity
  bench vector-search --dataset vectors            searches, their recall, and where the time goes
  bench ceiling --dataset vectors                  what a bare ring makes of the same reads
  bench plan --dataset vectors --cores 48 --iops 1500000
  bench ceiling --dataset vectors --by mmap        rows copied out of the page cache
  bench file-read --dataset vectors --queries 1000 --json - | jq .rows_per_s
  bench profile -- file-read --dataset vectors     flame graphs of each stage
  bench report run.json -o report.html             pictures, and what limits the run";

/// Measures how fast Ringtake takes rows, and proves where they came from.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The command; a quick run if none is given.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// FIFOs that switch perf on and off, and that it answers in
    #[arg(long, hide = true, global = true, num_args = 2, value_names = ["FIFO", "FIFO"])]
    pub(crate) perf_control: Option<Vec<PathBuf>>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a dataset, take rows from it cold and warm, and remove it.
    #[command(args_override_self = true)]
    Quick(QuickArgs),
    /// Take rows by id from a dataset in a closed or open loop.
    #[command(after_help = EXAMPLES, args_override_self = true)]
    FileRead(FileReadArgs),
    /// Search by vector in a closed or open loop, and compare the results with the true nearest rows.
    #[command(after_help = vector_search::EXAMPLES, args_override_self = true)]
    VectorSearch(VectorSearchArgs),
    /// Make the same reads of the largest column group with nothing above them: the limit for the store.
    #[command(args_override_self = true)]
    Ceiling(CeilingArgs),
    /// Measure one shard and two in turn, and print the gain of the second.
    #[command(args_override_self = true)]
    Scaling(RoundsArgs),
    /// Measure urgent takes alone and beside bulk takes in turn, and print the latency that bulk adds.
    #[command(args_override_self = true)]
    Interference(InterferenceArgs),
    /// Measure each scheduler with each read path in turn.
    #[command(args_override_self = true)]
    Ladder(LadderArgs),
    /// Estimate the rate of another machine with more cores and another drive.
    #[command(args_override_self = true)]
    Plan(PlanArgs),
    /// Run a workload under perf: flame graphs of each stage, and a page with everything.
    #[command(after_help = profile::EXAMPLES)]
    Profile(ProfileArgs),
    /// Draw records as a page with charts, numbers, and the limit of each run.
    #[command(after_help = report::EXAMPLES)]
    Report(ReportArgs),
    /// Compare two sets of records; print whether they differ and say so in the exit status.
    #[command(after_help = compare::EXAMPLES)]
    Compare(CompareArgs),
}

impl Command {
    /// Runs the command; `interrupted` ends it early.
    pub(crate) fn run(&self, interrupted: &AtomicBool) -> Result<ExitCode, Error> {
        match self {
            Command::Quick(args) => quick::run(args, interrupted),
            Command::FileRead(args) => file_read::run(args, interrupted),
            Command::VectorSearch(args) => vector_search::run(args, interrupted),
            Command::Ceiling(args) => ceiling::run(args, interrupted),
            Command::Scaling(args) => scaling::run(args, interrupted),
            Command::Interference(args) => interference::run(args, interrupted),
            Command::Ladder(args) => ladder::run(args, interrupted),
            Command::Plan(args) => plan::run(args, interrupted),
            Command::Profile(args) => {
                return profile::run(args, counters_of(&args.workload)?, interrupted);
            }
            Command::Report(args) => report::run(args),
            Command::Compare(args) => compare::run(args),
        }
        .map(|()| ExitCode::SUCCESS)
    }

    /// The exit status after `error`.
    pub(crate) fn exit_code(&self, error: &Error) -> ExitCode {
        match (self, error) {
            (_, Error::Interrupted) => ExitCode::from(interrupt::EXIT_STATUS),
            (_, Error::ConditionMet { .. }) => ExitCode::FAILURE,
            // As in diff(1): 1 is a difference, 2 is trouble.
            (Command::Compare(_), _) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The flags that have a profiled workload count more; a command line that is wrong ends the
/// program.
fn counters_of(workload: &[OsString]) -> Result<&'static [&'static str], Error> {
    let words = std::iter::once(OsString::from("bench")).chain(workload.iter().cloned());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| error.exit());
    match cli.command {
        Some(Command::FileRead(_) | Command::VectorSearch(_)) => Ok(&["--perf-counters"]),
        Some(Command::Ceiling(_) | Command::Quick(_)) => Ok(&[]),
        _ => Err(Error::NotAWorkload {
            workload: workload[0].to_string_lossy().into_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_and_queries_exclude_each_other() {
        let words = "bench file-read --dataset d --seconds 1 --queries 1";
        assert!(Cli::try_parse_from(words.split(' ')).is_err());
    }
}
