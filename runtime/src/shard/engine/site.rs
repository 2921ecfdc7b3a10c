//! The surroundings of all work on a shard's thread.

use crate::config::Checksums;
use crate::metrics::Meter;
use crate::shard::context::ShardContext;

/// The shard that works, and the meter of its time.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) context: &'a ShardContext,
    pub(super) meter: &'a Meter<'a>,
    /// Whether rows are compared with their checksums; a copy for the hot path.
    pub(super) checksums: Checksums,
}
