//! The progress bar of work that takes long.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error; nothing where that is no terminal.
pub(crate) fn progress_bar(rows: u64, verb: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(rows).with_message(verb);
    if let Ok(style) = ProgressStyle::with_template(
        "{msg} {bar:40} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
    ) {
        bar.set_style(style);
    }
    bar
}
