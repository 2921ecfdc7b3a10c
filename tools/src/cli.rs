//! The command line: what every command has in common, and how a command ends.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::command::{
    completions, doctor, export, generate, import, index, info, search, take, verify,
};
use crate::failure::Failure;

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

    /// Log what happens to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  ringtake import embeddings.parquet embeddings.ringtake
  ringtake take embeddings.ringtake --rows 5,7,100..110
  ringtake generate example.ringtake --rows 1000000 --vector 768
  ringtake doctor example.ringtake

Exit status: 0 success, 1 failure, 2 a command line that makes no sense.";

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

/// Parses the command line, does what it says and reports how it ended.
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
        Command::Completions(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Reported) {
                report(&failure);
            }
            ExitCode::from(failure.exit_status())
        }
    }
}

/// Prints `error: ...`, in one line whatever the message was made of.
pub(crate) fn report(failure: &dyn std::fmt::Display) {
    let text = failure.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Where standard error is closed there is nobody to tell.
    let _ = match colours() {
        true => writeln!(std::io::stderr(), "\u{1b}[1;31merror:\u{1b}[0m {line}"),
        false => writeln!(std::io::stderr(), "error: {line}"),
    };
}

/// Prints a sentence that is not an error.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether standard error may have colours (<https://no-color.org>).
fn colours() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn log_to_standard_error(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Where standard error is full or closed there is nobody to tell.
        .log_internal_errors(false)
        .with_max_level(level)
        .with_ansi(colours())
        .with_target(verbose > 0)
        .without_time()
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
