//! `ringtake completions`: scripts that let a shell complete the command line.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::Output;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  ringtake completions bash > ~/.local/share/bash-completion/completions/ringtake
  ringtake completions zsh > ~/.zfunc/_ringtake
  ringtake completions fish > ~/.config/fish/completions/ringtake.fish";

impl Completions {
    /// Prints the script for `command`, the whole command line.
    pub(crate) fn run(self, command: &mut clap::Command) -> Result<(), Failure> {
        // Made in memory: the generator panics where a write fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "ringtake", &mut script);
        let (output, mut writer) = Output::standard();
        let written = writer.write_all(&script).and_then(|()| writer.flush());
        output.close(written)
    }
}
