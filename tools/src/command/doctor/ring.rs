//! io_uring: whether it is allowed, and which features it has.

use std::path::Path;

use ringtake_runtime::probe::{RingRung, probe_ring};

use super::check::Check;
use super::machine::read_number;

/// Findings about io_uring.
pub(super) fn checks() -> Vec<Check> {
    vec![switch(), probed()]
}

/// Result of setting up a ring.
fn probed() -> Check {
    const TOPIC: &str = "io_uring";
    const UPGRADE: &str = "upgrade to Linux 6.1 or newer";
    match probe_ring() {
        Ok(RingRung::DeferTaskrun) => Check::ok(
            TOPIC,
            "works, with SINGLE_ISSUER, DEFER_TASKRUN and TASKRUN_FLAG",
        ),
        Ok(RingRung::CoopTaskrun) => Check::warn(
            TOPIC,
            "works, with COOP_TASKRUN but not DEFER_TASKRUN",
            UPGRADE,
        ),
        Ok(RingRung::Plain) => Check::warn(TOPIC, "works, without modern flags", UPGRADE),
        // Reads still work, through threads, at several times the price.
        Err(no_ring) => Check::fail(
            TOPIC,
            format!(
                "does not work ({}); reads go through threads",
                no_ring.reason
            ),
            no_ring.remedy,
        ),
    }
}

/// The sysctl that forbids io_uring (Linux 6.6).
fn switch() -> Check {
    const TOPIC: &str = "io_uring-sysctl";
    const REMEDY: &str = "sudo sysctl kernel.io_uring_disabled=0";
    match read_number(Path::new("/proc/sys/kernel/io_uring_disabled")) {
        None => Check::ok(TOPIC, "this kernel has no switch that turns io_uring off"),
        Some(0) => Check::ok(TOPIC, "io_uring_disabled is 0"),
        Some(1) => Check::warn(
            TOPIC,
            "io_uring_disabled is 1: only privileged processes and one group may use it",
            REMEDY,
        ),
        Some(level) => Check::warn(
            TOPIC,
            format!(
                "io_uring_disabled is {level}: no process may use it, and reads go through threads"
            ),
            REMEDY,
        ),
    }
}
