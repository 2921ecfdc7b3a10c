//! Ctrl-C and SIGTERM: remembered here, looked at between batches, so that what was begun is
//! removed before the process ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

/// The signal that came, 0 for none. Written by the signal handler, read by the commands.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on a first signal is only remembered. A second one ends the process at once, for
/// when the removal itself hangs.
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

/// The signal that came since `listen`, if any.
pub(crate) fn pending() -> Option<i32> {
    let number = SIGNAL.get()?.load(Ordering::SeqCst);
    i32::try_from(number).ok().filter(|number| *number != 0)
}

/// The exit status by which a shell knows that a signal ended a process.
pub(crate) fn exit_status(number: i32) -> i32 {
    128 + number
}
