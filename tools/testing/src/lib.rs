//! Tests that this machine does not let run, reported by name and counted.
//!
//! The test harness keeps the output of a test that passes to itself, so a test that returns early
//! looks like one that has run. A skipped test writes to standard error past the harness, and the
//! process ends with the count.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tests skipped by this process.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Reports that the test `name` did not run, or a part of it, and why.
pub fn skip(name: &str, reason: impl Display) {
    write(&format!("SKIPPED {name}: {reason}\n"));
    if SKIPPED.fetch_add(1, Ordering::Relaxed) == 0 {
        // SAFETY: the function may run whenever the process ends: it uses nothing that ends earlier.
        unsafe { libc::atexit(report) };
    }
}

extern "C" fn report() {
    let skipped = SKIPPED.load(Ordering::Relaxed);
    write(&format!("skipped in this process: {skipped}\n"));
}

/// Writes past the harness, which captures what the macros print.
fn write(text: &str) {
    // A closed standard error is no reason for a test to fail.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
