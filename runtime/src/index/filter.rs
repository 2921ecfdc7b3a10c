//! The filter of a search: the rows that it may return.

use std::sync::Arc;

use roaring::RoaringTreemap;

/// Row ids that a search may return, or must not. Cloning shares the set.
#[derive(Debug, Clone, PartialEq)]
pub enum RowFilter {
    /// Only these.
    Allow(Arc<RoaringTreemap>),
    /// All but these.
    Forbid(Arc<RoaringTreemap>),
}

impl RowFilter {
    /// Only these rows.
    pub fn allow(rows: impl IntoIterator<Item = u64>) -> RowFilter {
        RowFilter::Allow(Arc::new(rows.into_iter().collect()))
    }

    /// All rows but these.
    pub fn forbid(rows: impl IntoIterator<Item = u64>) -> RowFilter {
        RowFilter::Forbid(Arc::new(rows.into_iter().collect()))
    }

    /// Whether `row` may be returned.
    pub fn passes(&self, row: u64) -> bool {
        match self {
            RowFilter::Allow(rows) => rows.contains(row),
            RowFilter::Forbid(rows) => !rows.contains(row),
        }
    }
}
