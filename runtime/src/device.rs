//! The seam to the drive and its implementations.
//!
//! `read_path.rs` is the seam: reads go in, completions come out. `path_spec.rs` makes the
//! read path that the configuration names; `control/` holds the read paths that exist to be compared.

mod completion_channel;
#[cfg(test)]
pub(crate) mod contract;
pub(crate) mod control;
pub(crate) mod files;
pub(crate) mod page_cache_first;
pub(crate) mod path_spec;
pub mod probe;
pub(crate) mod read_path;
pub(crate) mod ring;
pub(crate) mod ring_per_shard;
pub(crate) mod thread_pool;
