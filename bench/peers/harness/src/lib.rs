//! The parts that peers share: the rows and their flat layout, the command line, the measured run,
//! the means that keep a cold run cold and a mixed one within its memory, and the table of the
//! records.
//!
//! The workload, the loop, the counters, the proof and the checksum are those of
//! `ringtake-bench`; a peer brings a [`ringtake_bench::Subject`] and nothing else.

#![forbid(unsafe_code)]

mod cold;
mod error;
mod flat;
mod keeper;
mod memory_group;
mod program;
mod run;
mod search;
mod search_table;
mod source;
mod table;
pub mod testing;

pub use crate::cold::evict;
pub use crate::error::{Error, Result};
pub use crate::flat::{FlatRows, RowLayout};
pub use crate::program::{EMPTIED_EVERY, Peers, main};
pub use crate::run::{Calls, Chill, Run};
pub use crate::search::{FoundRows, Search};
pub use crate::source::Source;
