//! Read paths that exist to be compared with the ring per shard: glommio's files, rings shared by
//! all shards, a task per read, and a memory map.

pub(crate) mod dma_file;
#[cfg(feature = "yardstick")]
pub(crate) mod mapped;
pub(crate) mod per_read;
pub(crate) mod shared_rings;
mod stage;
