//! Everything that runs on the caller's thread: the store's handle, takes, searches, the building
//! of indexes, and the handle that code inside a shard gets.

pub(crate) mod index_build;
pub(crate) mod info;
pub(crate) mod local;
mod observe;
mod open;
mod run_on;
pub(crate) mod search;
pub(crate) mod store;
pub(crate) mod take;
