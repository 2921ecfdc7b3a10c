//! The command line: options that all commands share, and the exit status.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::command::{
    completions, doctor, export, generate, import, index, info, search, take, verify,
};
use crate::failure::Failure;
use crate::notice;

/// Fetch rows by id from NVMe at the speed of the drive.
#[derive(Debug, Parser)]
#[command(
    name = "ringtake",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Log to standard error; twice for more detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  ringtake import embeddings.parquet embeddings.ringtake
  ringtake take embeddings.ringtake --rows 5,7,100..110
  ringtake generate example.ringtake --rows 1000000 --vector 768
  ringtake doctor example.ringtake

Exit status: 0 success, 1 failure, 2 a wrong command line.";

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Import),
    Info(info::Info),
    Index(index::Index),
    Search(search::Search),
    Take(take::Take),
    Export(export::Export),
    Verify(verify::Verify),
    Generate(generate::Generate),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// Parses the command line, runs the command and reports its failure.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    log_to_standard_error(cli.verbose);
    let outcome = match cli.command {
        Command::Import(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Index(command) => command.run(),
        Command::Search(command) => command.run(),
        Command::Take(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Completions(command) => command.run(&mut Cli::command()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Reported) {
                notice::error(&failure);
            }
            ExitCode::from(failure.exit_status())
        }
    }
}

fn log_to_standard_error(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Standard error may be full or closed: then the log is lost, and the command goes on.
        .log_internal_errors(false)
        .with_max_level(level)
        .with_ansi(notice::colours())
        .with_target(verbose > 0)
        .without_time()
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let after = command.get_after_help().map(ToString::to_string);
            assert!(
                after.is_some_and(|text| text.contains("ringtake ")),
                "{}",
                command.get_name()
            );
        }
    }
}
