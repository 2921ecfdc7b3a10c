//! Progress of a build, reported to the caller, who may end it.

use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// Progress of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildProgress {
    /// The stage at work, in a word or two.
    pub stage: &'static str,
    /// Steps of the stage that are done.
    pub done: u64,
    /// Steps of the stage in all.
    pub of: u64,
}

/// A caller's function that follows a build and may end it.
pub(super) type Watch<'a> = dyn FnMut(BuildProgress) -> ControlFlow<()> + 'a;

/// Reports progress to `watch`.
///
/// # Errors
/// [`Error::Stopped`] if `watch` ends the build.
pub(super) fn report(watch: &mut Watch<'_>, stage: &'static str, done: u64, of: u64) -> Result<()> {
    match watch(BuildProgress { stage, done, of }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
}
