//! Shard-per-core reads of Ringtake datasets.
//!
//! [`Store`] is the handle: it opens a dataset, starts one shard per core, and takes rows by
//! id. Each shard is a thread with a glommio executor, a ring, a buffer arena and a cache of
//! its own; it owns an exclusive slice of the row space, and every read is submitted,
//! completed and decoded on the shard that owns the row. ARCHITECTURE.md follows one row id
//! through this crate.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod arena;
mod cache;
mod config;
mod cpus;
mod decode;
mod doorbell;
mod error;
mod files;
mod inbox;
mod local;
mod lock;
mod memory;
mod metrics;
mod outputs;
mod part;
mod prefetch;
pub mod probe;
mod read_path;
mod results;
mod route;
mod search;
mod shard;
mod stats;
mod store;
mod take;
pub mod yardstick;

pub use admission::{AdmissionStats, ClassStats, LatencyClass, PermitsHeld, WhenFull};
pub use config::{
    Alignment, CacheChoice, Checksums, Config, CpuChoice, DepthControl, IoMode, ReadPathChoice,
    ResolvedConfig, Scheduler,
};
pub use cpus::{AllowedCpus, allowed_cpus};
pub use error::{ConfigError, Error, FaultKind, RowFault};
pub use local::LocalShard;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use lock::locks_taken;
pub use metrics::{
    CallerMetrics, Latencies, Pieces, QueryKind, QueueSample, ShardMetrics, ShardTime, SlowQuery,
    Stall, StoreMetrics, ThreadCounter,
};
pub use outputs::ColumnBuffer;
pub use ringtake_storage::projection::{Missing, Projection};
pub use route::ShardId;
pub use search::{
    Axes, BuildProgress, DISTANCE_COLUMN, IndexInfo, IndexOptions, InspectedIndex, ROW_ID_COLUMN,
    RowFilter, SearchError, SearchParams, inspect_indexes,
};
pub use shard::ShardInfo;
pub use stats::ShardStats;
pub use store::{Store, StoreInfo};
pub use take::TakeOptions;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
