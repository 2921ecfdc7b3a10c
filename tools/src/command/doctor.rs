//! `ringtake doctor`: what about this machine is fine, what is not, and what to type to mend it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;

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

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// It works, with less speed or fewer measurements.
    Warn,
    /// It does not work.
    Fail,
}

/// One fact about the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// A word to look for in scripts.
    topic: &'static str,
    state: State,
    fact: String,
    /// What to type, where something can be typed.
    remedy: Option<String>,
}

impl Finding {
    fn ok(topic: &'static str, fact: impl Into<String>) -> Finding {
        Finding {
            topic,
            state: State::Ok,
            fact: fact.into(),
            remedy: None,
        }
    }

    fn warn(topic: &'static str, fact: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            topic,
            state: State::Warn,
            fact: fact.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fail(topic: &'static str, fact: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            state: State::Fail,
            ..Finding::warn(topic, fact, remedy)
        }
    }
}

impl Doctor {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut findings = vec![machine::kernel()];
        findings.extend(ring::findings());
        findings.extend(machine::findings());
        if let Some(path) = &self.path {
            findings.extend(drive::findings(path)?);
        }
        let text = match self.json {
            true => serde_json::to_string_pretty(&findings).map_err(|cause| Failure::Encode {
                format: "JSON",
                reason: cause.to_string(),
            })?,
            false => text(&findings),
        };
        let (output, mut writer) = Output::standard();
        let written = writeln!(writer, "{text}").and_then(|()| writer.flush());
        output.close(written)?;
        match findings.iter().any(|finding| finding.state == State::Fail) {
            true => Err(Failure::Reported),
            false => Ok(()),
        }
    }
}

fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.topic.len()).max();
    let width = width.unwrap_or(0);
    let mut lines = Vec::new();
    for finding in findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        lines.push(format!(
            "{state:<4}  {:<width$}  {}",
            finding.topic, finding.fact
        ));
        if let Some(remedy) = &finding.remedy {
            lines.push(format!("{:<4}  {:<width$}    -> {remedy}", "", ""));
        }
    }
    lines.join("\n")
}
