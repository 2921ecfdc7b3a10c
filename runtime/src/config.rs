//! The configuration of a store: what the caller asks for, and what it resolves to on a machine.
//!
//! [`Config`] → [`Config::resolve`] → [`ResolvedConfig`], which the store and its shards read. A
//! new option is a field of [`Config`] or of one of its groups, and its default.

mod cache;
mod choices;
mod options;
mod placement;
mod read_path;
mod resolved;
mod validate;

pub use cache::CacheChoice;
pub use choices::{Alignment, Checksums, CpuChoice, DepthControl, IoMode, Scheduler};
pub use options::{Config, Lab, Limits, Observe};
#[cfg(test)]
pub(crate) use read_path::CustomPath;
pub use read_path::ReadPathChoice;
pub(crate) use resolved::Machine;
pub use resolved::ResolvedConfig;
pub(crate) use validate::QUEUE_DEPTH_MAX;
