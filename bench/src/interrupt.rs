//! Ctrl-C and SIGTERM: remembered here and checked between queries, so that a
//! run removes its files before the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::Error;

/// The exit status by which a shell knows that Ctrl-C ended a process.
pub(crate) const EXIT_STATUS: u8 = 130;

/// From now on a first signal sets the flag and a second one ends the process at
/// once, for when the removal itself hangs.
pub fn listen() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second handler must find the flag as it was
        // before this signal. A signal that cannot be caught keeps its default
        // and ends the process.
        let _ = signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(EXIT_STATUS),
            Arc::clone(&interrupted),
        );
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
    }
    interrupted
}

/// Fails if a signal has come.
pub(crate) fn stop_if(interrupted: &AtomicBool) -> Result<(), Error> {
    if interrupted.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(())
}
