//! A shard: one thread, one executor, one ring, and the rows it alone reads.
//!
//! `thread` starts it, `start` makes what it needs, `shard_loop` runs it, and `engine` is one round
//! of that loop: what the shard does with rows. Other threads reach it through `inbox` with a
//! `part` of a take or a search; code of callers that runs here uses `local`.

pub(crate) mod cache;
pub(crate) mod context;
pub(crate) mod engine;
mod executor;
pub(crate) mod inbox;
pub(crate) mod local;
pub(crate) mod own_thread;
pub(crate) mod part;
mod shard_loop;
pub(crate) mod start;
pub(crate) mod thread;

pub use start::ShardInfo;
