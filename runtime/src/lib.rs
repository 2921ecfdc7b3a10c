//! Shard-per-core reads of Ringtake datasets.
//!
//! [`Store`] is the handle: it opens a dataset, starts one shard per core, and takes rows by
//! id. Each shard is a thread with a glommio executor, a ring, a buffer arena and a cache of
//! its own; it owns an exclusive slice of the row space, and every read is submitted,
//! completed and decoded on the shard that owns the row. ARCHITECTURE.md follows one row id
//! through this crate.
//!
//! ```no_run
//! # use std::ops::ControlFlow;
//! use ringtake_runtime::{Config, IndexOptions, Metric, RowFilter, Store};
//!
//! # fn main() -> ringtake_runtime::Result<()> {
//! let store = Store::open("embeddings.ringtake", Config::default())?;
//! let columns = store.projection(&["vector", "title"])?;
//! let rows = store.take(&[7, 3, 7], &columns).wait()?; // or `.await?`
//! assert_eq!(rows.num_rows(), 3);
//!
//! let options = IndexOptions {
//!     metric: Metric::Cosine,
//!     ..IndexOptions::default()
//! };
//! store.build_index("vector", &options, &mut |_| ControlFlow::Continue(()))?;
//! // A store has the indexes that lay there when it was opened.
//! let store = Store::open("embeddings.ringtake", Config::default())?;
//! // Columns: _rowid, _distance, title.
//! let nearest = store
//!     .search(&[0.25; 768])
//!     .k(50)
//!     .refine_factor(10)
//!     .projection(&store.projection(&["title"])?)
//!     .filter(&RowFilter::forbid([7, 3]))
//!     .wait()?;
//! assert!(nearest.num_rows() <= 50);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod client;
mod config;
mod device;
mod doorbell;
mod error;
mod host;
mod index;
mod memory;
mod metrics;
mod ownership;
mod shard;
#[cfg(test)]
mod simulation;
#[cfg(feature = "yardstick")]
pub mod yardstick;

pub use admission::{AdmissionStats, ClassStats, LatencyClass, PermitsHeld, WhenFull};
pub use client::index_build::{Axes, BuildProgress, IndexOptions};
pub use client::info::StoreInfo;
pub use client::local::LocalShard;
pub use client::search::{
    DISTANCE_COLUMN, K_DEFAULT, NPROBES_DEFAULT, ROW_ID_COLUMN, SearchRequest,
};
pub use client::store::Store;
pub use client::take::{LocalTakeFuture, TakeFuture, TakeRequest};
pub use config::{
    Alignment, CacheChoice, Checksums, Config, CpuChoice, DepthControl, IoMode, Lab, Limits,
    Observe, ReadPathChoice, ResolvedConfig, Scheduler,
};
pub use device::probe;
pub use error::search::SearchError;
pub use error::{ConfigError, Error, FaultKind, Result, RowFault};
pub use host::cpus::{AllowedCpus, allowed_cpus};
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use host::lock::locks_taken;
pub use index::filter::RowFilter;
pub use index::opened::{IndexInfo, InspectedIndex, inspect_indexes};
pub use memory::outputs::ColumnBuffer;
pub use metrics::stats::ShardStats;
pub use metrics::{
    CallerMetrics, Latencies, Pieces, QueryKind, QueueSample, ShardMetrics, ShardTime, SlowQuery,
    Stall, StoreMetrics, ThreadCounter,
};
pub use ownership::ShardId;
pub use ringtake_storage::projection::{Missing, Projection};
pub use ringtake_storage::vector::{Element, Metric};
pub use shard::ShardInfo;
