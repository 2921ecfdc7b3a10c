//! The options of a search and their defaults.

use ringtake_storage::projection::Projection;
use ringtake_storage::vector::Metric;

use crate::admission::Terms;
use crate::index::filter::RowFilter;

/// Rows that a search returns unless [`SearchRequest::k`](crate::SearchRequest::k) says otherwise.
pub const K_DEFAULT: usize = 10;
/// Partitions that a search looks at unless [`SearchRequest::nprobes`](crate::SearchRequest::nprobes) says otherwise.
pub const NPROBES_DEFAULT: usize = 20;

/// The options of a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Params<'a> {
    /// `None` where only one column has an index.
    pub(super) column: Option<&'a str>,
    pub(super) k: usize,
    pub(super) nprobes: usize,
    /// `None` to rank by the codes alone.
    pub(super) refine_factor: Option<u32>,
    /// `None` for that of the index.
    pub(super) metric: Option<Metric>,
    pub(super) projection: Option<&'a Projection>,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) terms: Terms,
}

impl Default for Params<'_> {
    fn default() -> Self {
        Params {
            column: None,
            k: K_DEFAULT,
            nprobes: NPROBES_DEFAULT,
            refine_factor: None,
            metric: None,
            projection: None,
            filter: None,
            terms: Terms::default(),
        }
    }
}
