//! The owner of a row: a shard, by arithmetic on the row id.
//!
//! Ownership is striped in blocks of the format, and blocks begin at pages, so a page of a data
//! file belongs to exactly one shard. So a shard caches pages without a lock.

use std::fmt;

/// A shard, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub usize);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Maps rows to shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ownership {
    block_shift: u32,
    shards: u64,
}

impl Ownership {
    /// `shards` shards over blocks of `block_rows` rows, a power of two.
    pub(crate) fn new(block_rows: u32, shards: usize) -> Ownership {
        Ownership {
            block_shift: block_rows.trailing_zeros(),
            shards: shards as u64,
        }
    }

    /// The shard that owns `row`.
    #[inline]
    pub(crate) fn owner(self, row: u64) -> usize {
        if self.shards == 1 {
            return 0;
        }
        ((row >> self.block_shift) % self.shards) as usize
    }

    /// How many of `blocks` blocks belong to `shard`.
    pub(crate) fn blocks_of(self, shard: usize, blocks: u64) -> u64 {
        (blocks + self.shards - 1 - shard as u64) / self.shards
    }

    /// The blocks of `shard`, ascending.
    pub(crate) fn blocks_in_order(self, shard: usize, blocks: u64) -> impl Iterator<Item = u64> {
        (shard as u64..blocks).step_by(self.shards as usize)
    }

    /// The place of `block`, which must be its owner's, among the owner's blocks.
    #[inline]
    pub(crate) fn block_in_shard(self, block: u64) -> u64 {
        block / self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_one_owner_and_a_dense_place_there() {
        for shards in [1, 2, 3, 8] {
            let ownership = Ownership::new(256, shards);
            let blocks = 100;
            let mut next = vec![0; shards];
            for block in 0..blocks {
                let owner = ownership.owner(block * 256);
                assert_eq!(owner, ownership.owner(block * 256 + 255));
                assert_eq!(ownership.block_in_shard(block), next[owner]);
                next[owner] += 1;
            }
            for (shard, owned) in next.into_iter().enumerate() {
                assert_eq!(
                    owned as usize,
                    ownership.blocks_in_order(shard, blocks).count()
                );
                assert_eq!(owned, ownership.blocks_of(shard, blocks));
            }
        }
    }
}
