//! The queries of a search workload and the true nearest rows of each.

pub(crate) mod queries;
pub(crate) mod stored_vectors;
pub(crate) mod truth;
