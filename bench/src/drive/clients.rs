//! One way to run the clients of a load, wherever they are: on threads of their own, inside the
//! shards, or in a bare loop that a store is held against.

use std::sync::atomic::AtomicBool;

use crate::drive::live::Live;
use crate::drive::load::{ClientPlace, Load, Pace};
use crate::drive::run::Run;
use crate::error::Error;
use crate::workload::Workload;

/// The work of one run.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) load: Load,
    pub(crate) pace: Pace,
    pub(crate) workload: &'a Workload,
    /// Set by a signal; the clients then stop.
    pub(crate) interrupted: &'a AtomicBool,
    /// Shows the answers to an observer while the run goes on.
    pub(crate) live: &'a Live,
}

/// The clients of a run.
pub(crate) trait Clients {
    /// Where they are, for the record.
    fn place(&self) -> ClientPlace {
        ClientPlace::Threads
    }

    /// Runs them to the end of `work`. `at_start` is called once, when every client stands ready and
    /// none has asked yet: the moment to read counters.
    ///
    /// # Errors
    /// The error of a query; an interruption before the first answer. A later one ends the run,
    /// which says so.
    fn run(&self, work: Work<'_>, at_start: &mut dyn FnMut()) -> Result<Run, Error>;
}
