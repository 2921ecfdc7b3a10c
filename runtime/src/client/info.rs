//! The description of an open store.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::{ReadPathChoice, Scheduler};
use crate::shard::ShardInfo;

/// The dataset, read path, shards and warnings of an open store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreInfo {
    /// The dataset's directory.
    pub path: PathBuf,
    /// Row count.
    pub rows: u64,
    /// Bytes of tables (offsets, validity, checksums), which are in memory.
    pub table_bytes: u64,
    /// The read path in use, never `auto`.
    pub read_path: ReadPathChoice,
    /// How reads get to the read path and back.
    pub scheduler: Scheduler,
    /// Whether reads bypass the page cache.
    pub direct: bool,
    /// The shards.
    pub shards: Vec<ShardInfo>,
    /// Warnings from opening, one sentence each.
    pub warnings: Vec<String>,
}
