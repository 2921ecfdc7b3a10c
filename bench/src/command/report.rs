//! `bench report`: records drawn as one page.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::tell::page;

pub(crate) const EXAMPLES: &str = "\
Examples:
  bench file-read --dataset vectors --json cold.json
  bench file-read --dataset vectors --cache warm --json warm.json
  bench report cold.json warm.json -o report.html";

/// Flags of `bench report`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReportArgs {
    /// Records that `--json` has written
    #[arg(value_name = "RUN.json", required = true)]
    runs: Vec<PathBuf>,
    /// The page to write, one file that needs no other; `-` for standard output
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

/// Reads the records and writes the page.
pub(crate) fn run(args: &ReportArgs) -> Result<(), Error> {
    page::write(&args.runs, &args.output)
}
