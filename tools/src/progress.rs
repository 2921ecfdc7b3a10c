//! Progress of long commands on standard error, shown only on a terminal.

use std::time::Duration;

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState,
    ProgressStyle,
};

use crate::failure::Failure;

/// Most redraws of the bar per second.
const DRAWS_PER_S: u8 = 8;
const BAR: &str = "{bar:30} {percent:>3}%  {rows} rows  {rate} rows/s  {msg}  {left} left";
const BYTES_BAR: &str = "{bar:30} {percent:>3}%  {bytes}  {bytes_per_sec}  {left} left";
const STAGES_BAR: &str = "{bar:30} {percent:>3}%  {msg}  {left} left";
const SPINNER: &str = "{spinner}  {rows} rows  {rate} rows/s  {msg}  {elapsed}";

/// Whether to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// Shown if standard error is a terminal.
    Terminal,
    Hidden,
}

impl Visibility {
    /// From a `--quiet` flag.
    pub(crate) fn quiet(quiet: bool) -> Visibility {
        if quiet {
            Visibility::Hidden
        } else {
            Visibility::Terminal
        }
    }
}

/// A progress bar that counts rows and bytes.
pub(crate) struct Progress {
    bar: ProgressBar,
    bytes: u64,
}

impl Progress {
    /// Starts a bar, or a spinner if the total is unknown.
    pub(crate) fn start(rows: Option<u64>, visibility: Visibility) -> Result<Progress, Failure> {
        let target = match visibility {
            // indicatif hides the bar if standard error is not a terminal.
            Visibility::Terminal => ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S),
            Visibility::Hidden => ProgressDrawTarget::hidden(),
        };
        let template = if rows.is_some() { BAR } else { SPINNER };
        let style = ProgressStyle::with_template(template)
            .map_err(unusable)?
            .with_key(
                "rows",
                |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                    let _ = write!(text, "{}", HumanCount(state.pos()));
                },
            )
            .with_key(
                "rate",
                |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                    let _ = write!(text, "{}", HumanCount(state.per_sec() as u64));
                },
            )
            .with_key(
                "left",
                |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                    let _ = write!(text, "{:#}", HumanDuration(state.eta()));
                },
            );
        let bar = ProgressBar::with_draw_target(rows, target).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        Ok(Progress { bar, bytes: 0 })
    }

    /// Starts a bar that counts bytes.
    pub(crate) fn start_bytes(bytes: u64, visibility: Visibility) -> Result<Progress, Failure> {
        let progress = Progress::start(Some(bytes), visibility)?;
        let style = progress.bar.style().template(BYTES_BAR).map_err(unusable)?;
        progress.bar.set_style(style);
        Ok(progress)
    }

    /// Starts a bar that shows one stage after another.
    pub(crate) fn start_stages(visibility: Visibility) -> Result<Progress, Failure> {
        let progress = Progress::start(Some(0), visibility)?;
        let style = progress
            .bar
            .style()
            .template(STAGES_BAR)
            .map_err(unusable)?;
        progress.bar.set_style(style);
        Ok(progress)
    }

    /// Shows that `done` of `of` steps of a stage are done.
    pub(crate) fn stage(&self, stage: &'static str, done: u64, of: u64) {
        let begins = self.bar.message() != stage;
        if begins {
            self.bar.reset();
        }
        self.bar.set_length(of);
        self.bar.set_position(done);
        if begins {
            self.bar.set_message(stage);
        }
    }

    /// Adds bytes to a bar that counts bytes.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// Adds rows and the bytes that they take.
    pub(crate) fn add(&mut self, rows: usize, bytes: usize) {
        self.bytes += bytes as u64;
        if !self.bar.is_hidden() {
            self.bar.set_message(HumanBytes(self.bytes).to_string());
        }
        self.bar.inc(rows as u64);
    }

    /// Shows the step that follows the last row.
    pub(crate) fn finishing(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Rows counted so far.
    pub(crate) fn rows(&self) -> u64 {
        self.bar.position()
    }
}

fn unusable(cause: indicatif::style::TemplateError) -> Failure {
    Failure::Encode {
        format: "the progress bar",
        reason: cause.to_string(),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Errors and summaries start on a clean line.
        self.bar.finish_and_clear();
    }
}
