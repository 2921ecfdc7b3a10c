//! Counts the system calls of this process through a kernel tracepoint.
//!
//! The counter follows threads that are started after it was opened, so it is
//! opened before the store. Where the kernel does not let a process count
//! itself there is no number, and a sentence that says how to get one.

use std::fs;

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};

/// Where the kernel's tracing directory may be mounted.
const TRACING: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The tracepoint that every system call passes.
const ENTER: &str = "events/raw_syscalls/sys_enter/id";

/// A running count of system calls.
pub(crate) struct SystemCalls {
    counter: Counter,
}

impl SystemCalls {
    /// Starts to count, or says why it cannot be done here.
    pub(crate) fn open() -> Result<SystemCalls, String> {
        let id = TRACING
            .iter()
            .find_map(|root| fs::read_to_string(format!("{root}/{ENTER}")).ok())
            .and_then(|text| text.trim().parse::<u64>().ok())
            .ok_or_else(|| {
                "system calls are not counted: the kernel's tracepoints cannot be read; \
                 as root, `mount -t tracefs tracefs /sys/kernel/tracing` shows them"
                    .to_owned()
            })?;
        let mut counter = Builder::new(Tracepoint::with_id(id))
            .observe_self()
            .any_cpu()
            .include_kernel()
            .inherit(true)
            .build()
            .map_err(|error| {
                format!(
                    "system calls are not counted: perf events are refused ({error}); \
                     run as root or with the capability CAP_PERFMON"
                )
            })?;
        counter
            .enable()
            .map_err(|error| format!("system calls are not counted: {error}"))?;
        Ok(SystemCalls { counter })
    }

    /// System calls of the process since the count began.
    pub(crate) fn count(&mut self) -> Result<u64, String> {
        self.counter
            .read()
            .map_err(|error| format!("system calls are not counted: {error}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn calls_of_threads_started_later_are_counted_or_the_reason_is_told() {
        let mut calls = match SystemCalls::open() {
            Ok(calls) => calls,
            Err(reason) => {
                assert!(
                    reason.starts_with("system calls are not counted"),
                    "{reason}"
                );
                let name = "calls_of_threads_started_later_are_counted_or_the_reason_is_told";
                return ringtake_testing::skip(name, reason);
            }
        };
        let before = calls.count().unwrap();
        std::thread::spawn(|| {
            for _ in 0..1000 {
                fs::metadata("/").unwrap();
            }
        })
        .join()
        .unwrap();
        assert!(calls.count().unwrap() - before >= 1000);
    }
}
