//! A search: a vector in, the rows nearest to it out. Runs on the caller's thread.
//!
//! A request (`search/request.rs`) is what a caller builds. The caller ranks the centroids, makes
//! the tables of distances and sends one message to each shard (`search/searcher.rs`). There
//! `shard/engine/scan.rs` scans the codes of the rows that the shard owns, and the rows found are
//! read as those of a take are, but measured where they were read (`index/nearest.rs`). The shards
//! meet in `index/query.rs`; each hands in its nearest rows, which the caller merges.

mod answer;
mod batch;
mod check;
mod params;
mod request;
mod run;
pub(crate) mod searcher;

pub use answer::{DISTANCE_COLUMN, ROW_ID_COLUMN};
pub use params::{K_DEFAULT, NPROBES_DEFAULT};
pub use request::SearchRequest;
