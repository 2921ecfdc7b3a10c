//! How long the queries of an open loop may take.

use std::time::{Duration, Instant};

use ringtake_runtime::WhenFull;

/// How long a query of an open loop may take, and what happens to one that finds the store full.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Patience {
    /// From the planned arrival.
    pub(crate) deadline: Option<Duration>,
    pub(crate) when_full: WhenFull,
}

impl Patience {
    /// The deadline of a query that arrives at `due`.
    pub(crate) fn deadline_of(&self, due: Instant) -> Option<Instant> {
        self.deadline.and_then(|limit| due.checked_add(limit))
    }
}
