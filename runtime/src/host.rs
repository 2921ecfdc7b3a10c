//! The machine as this process sees it: CPUs, available memory, a clock, forks, locks, prefetching.

pub(crate) mod available_memory;
pub(crate) mod clock;
pub(crate) mod cpus;
pub(crate) mod fork;
pub(crate) mod lock;
pub(crate) mod prefetch;
