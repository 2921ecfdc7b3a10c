//! Memory that a drive or several shards may write: the arena of a shard, the memory of results,
//! the outputs of a take, and the decoding of rows into them.

pub(crate) mod arena;
pub(crate) mod decode;
pub(crate) mod outputs;
pub(crate) mod results;
