//! Counters of the machine and of this process, read around a run.

pub(crate) mod clocks;
pub(crate) mod device;
pub(crate) mod environment;
pub(crate) mod perf_window;
pub(crate) mod process;
pub(crate) mod system_calls;
