//! The parameters of a run, as a record has them.

use std::path::PathBuf;

use serde::Serialize;

use crate::drive::load::{Bound, ClientPlace};

/// The parameters of a run, and the store's configuration as resolved.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Configuration {
    pub(crate) dataset: PathBuf,
    pub(crate) dataset_rows: u64,
    pub(crate) rows_used: u64,
    pub(crate) columns: Vec<String>,
    pub(crate) row_bytes: Option<u64>,
    /// Memory that may hold rows, for a subject that does not count its reads.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) seconds: Option<f64>,
    pub(crate) queries: Option<u64>,
    pub(crate) rows_per_query: u64,
    /// How popular rows are.
    pub(crate) distribution: String,
    /// Where the clients run.
    pub(crate) clients: ClientPlace,
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    pub(crate) seed: u64,
    pub(crate) store: serde_json::Value,
    pub(crate) store_info: serde_json::Value,
}

/// The seconds or the queries of a run that ends at `bound`.
pub(crate) fn seconds_or_queries(bound: Bound) -> (Option<f64>, Option<u64>) {
    match bound {
        Bound::Time(time) => (Some(time.as_secs_f64()), None),
        Bound::Queries(queries) => (None, Some(queries)),
    }
}
