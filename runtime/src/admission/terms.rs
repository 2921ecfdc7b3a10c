//! The terms on which a caller asks: latency class, deadline, and whether it waits for a permit.

use std::time::Instant;

use serde::Serialize;

use crate::host::clock;

/// The class of a take or search, which decides whose reads go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyClass {
    /// A caller waits for the rows: they are read before all bulk work. The default.
    #[default]
    Urgent,
    /// Rows per second count, and not the latency of one take: bulk work leaves part of each queue
    /// to urgent takes, and keeps a small share when they fill the rest.
    Bulk,
}

impl LatencyClass {
    pub(crate) const COUNT: usize = 2;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The choice of a take or search for which the store has no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// It waits its turn, until its deadline if it has one.
    #[default]
    Wait,
    /// It fails at once with [`Error::Overloaded`](crate::Error::Overloaded). A take that has
    /// been let in is not refused later: its further windows wait.
    Refuse,
}

/// How work stands beside others: its class, its deadline, and whether it waits for its permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Terms {
    pub(crate) class: LatencyClass,
    pub(crate) deadline: Option<Instant>,
    pub(crate) when_full: WhenFull,
}

impl Terms {
    /// Whether the deadline has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| clock::now() >= deadline)
    }
}
