//! The seam to the drive and its implementations.
//!
//! `read_path.rs` is the seam: reads go in, completions come out. `parts.rs` makes the read path
//! that the configuration names; `control/` holds the read paths that exist to be compared.

#[cfg(test)]
mod contract;
pub(crate) mod control;
pub(crate) mod files;
pub(crate) mod page_cache_first;
pub(crate) mod parts;
pub mod probe;
pub(crate) mod read_path;
mod returns;
pub(crate) mod ring_per_shard;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod thread_pool;
