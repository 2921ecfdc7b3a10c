//! io_uring: whether it may be used, and which of its features there are.

use std::path::Path;

use super::Finding;
use super::machine::read_number;

/// Findings about io_uring.
pub(super) fn findings() -> Vec<Finding> {
    vec![switch()]
}

/// The sysctl that forbids io_uring (Linux 6.6).
fn switch() -> Finding {
    const TOPIC: &str = "io_uring-sysctl";
    const REMEDY: &str = "sudo sysctl kernel.io_uring_disabled=0";
    match read_number(Path::new("/proc/sys/kernel/io_uring_disabled")) {
        None => Finding::ok(TOPIC, "this kernel has no switch that turns io_uring off"),
        Some(0) => Finding::ok(TOPIC, "io_uring_disabled is 0"),
        Some(1) => Finding::warn(
            TOPIC,
            "io_uring_disabled is 1: only privileged processes and one group may use it",
            REMEDY,
        ),
        Some(level) => Finding::fail(
            TOPIC,
            format!("io_uring_disabled is {level}: nobody may use it, reads go through threads"),
            REMEDY,
        ),
    }
}
