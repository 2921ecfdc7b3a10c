//! Sentences on standard error: errors and notes, each on one line.
//!
//! Standard error may be full or closed. Then the sentence is lost, and the command goes on.

use std::io::{IsTerminal, Write};

/// Prints `error: ...` on one line, even if the message has several.
pub(crate) fn error(failure: &dyn std::fmt::Display) {
    let text = failure.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = if colours() {
        writeln!(std::io::stderr(), "\u{1b}[1;31merror:\u{1b}[0m {line}")
    } else {
        writeln!(std::io::stderr(), "error: {line}")
    };
}

/// Prints a sentence that is not an error.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether standard error may have colours (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
