//! `ringtake doctor`: checks of this machine, and the commands that mend what they find.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use self::check::{Check, State};
use crate::failure::Failure;
use crate::output::Output;

mod check;
mod drive;
mod machine;
mod ring;

/// Check the machine: kernel, io_uring, limits, counters, CPUs, and the drive under a path
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// A dataset, or a directory or file on the drive in question
    path: Option<PathBuf>,

    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringtake doctor
  ringtake doctor embeddings.ringtake
  ringtake doctor /nvme0 --json | jq '.[] | select(.state != \"ok\")'

Exit status: 1 if something fails, 0 if everything is ok or only slower than it could be.";

impl Doctor {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut checks = vec![machine::kernel()];
        checks.extend(ring::checks());
        checks.extend(machine::checks());
        if let Some(path) = &self.path {
            checks.extend(drive::checks(path)?);
        }
        let text = if self.json {
            serde_json::to_string_pretty(&checks).map_err(|cause| Failure::Encode {
                format: "JSON",
                reason: cause.to_string(),
            })?
        } else {
            text(&checks)
        };
        let (output, mut writer) = Output::standard();
        let written = writeln!(writer, "{text}").and_then(|()| writer.flush());
        output.close(written)?;
        if checks.iter().any(|check| check.state == State::Fail) {
            Err(Failure::Reported)
        } else {
            Ok(())
        }
    }
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.topic.len()).max();
    let width = width.unwrap_or(0);
    let mut lines = Vec::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        lines.push(format!(
            "{state:<4}  {:<width$}  {}",
            check.topic, check.fact
        ));
        if let Some(remedy) = &check.remedy {
            lines.push(format!("{:<4}  {:<width$}    -> {remedy}", "", ""));
        }
    }
    lines.join("\n")
}
