//! An open vector index and one query over it: the codes that each shard keeps, the candidates it
//! hands in, and the cut over all of them.

pub(crate) mod codes;
pub(crate) mod filter;
pub(crate) mod nearest;
pub(crate) mod opened;
pub(crate) mod query;
