//! A take: ids in, rows out. Runs on the caller's thread; the shards do the reading.
//!
//! A request (`take/request.rs`) is what a caller builds. Its future (`take/batch.rs`) either
//! copies pinned rows itself (`take/in_place.rs`) or sends a flight to the shards
//! (`take/flight.rs`), cut into windows (`take/windows.rs`) that admission lets in one by one.
//! `take/in_shard.rs` is the same for code inside a shard.

mod batch;
mod flight;
mod in_place;
mod in_shard;
mod request;
pub(crate) mod route;
mod windows;

pub(crate) use batch::Batch;
pub use in_shard::LocalTakeFuture;
pub use request::{TakeFuture, TakeRequest};
pub(crate) use windows::read_bytes_max;
