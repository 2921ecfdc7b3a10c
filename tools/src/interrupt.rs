//! Ctrl-C and SIGTERM. A signal is recorded here and checked between batches, so that a command
//! removes its unfinished files before the process ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Number of the signal received, 0 for none. Written by the signal handler, read by the commands.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Installs the signal handlers. A first signal is only recorded; a second one ends the process at
/// once, in case the removal of files hangs.
pub(crate) fn listen() {
    let signal = SIGNAL.get_or_init(|| Arc::new(AtomicUsize::new(0)));
    for number in [SIGINT, SIGTERM] {
        let seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Order matters: the shutdown looks at `seen` before the second handler sets it.
        // A signal that cannot be caught keeps its default, which ends the process.
        let _ = signal_hook::flag::register_conditional_shutdown(
            number,
            exit_status(number),
            Arc::clone(&seen),
        );
        let _ = signal_hook::flag::register(number, seen);
        let _ = signal_hook::flag::register_usize(number, Arc::clone(signal), number as usize);
    }
}

/// The signal received since `listen`, if any.
pub(crate) fn pending() -> Option<i32> {
    let number = SIGNAL.get()?.load(Ordering::SeqCst);
    i32::try_from(number).ok().filter(|number| *number != 0)
}

/// Exit status that tells a shell which signal ended the process.
pub(crate) fn exit_status(number: i32) -> i32 {
    128 + number
}
