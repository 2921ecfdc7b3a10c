//! Where rows are: column groups, blocks, units, files. Pure arithmetic, and the choices a
//! writer makes about it.
//!
//! Invariant: a [`Layout`] that came out of [`Layout::validate`] addresses rows without
//! overflow, whatever the row id below `rows`.

use serde::{Deserialize, Serialize};

mod choose;
mod group;
mod hex;
mod table;
mod validate;

pub use choose::{
    GroupOptions, INLINE_CHECKSUM_RECORD_BYTES_MAX, OWN_GROUP_WIDTH_BYTES_MIN, choose_block_rows,
    choose_groups, column_index,
};
pub use group::{ChecksumPlace, FixedGroup, Group, LayoutPolicy, PAGE_BYTES, VariableGroup};
pub use table::{TableEntry, TableKind, table_file_name};
pub use validate::{DIRS_MAX, ROWS_MAX, UNIT_BYTES_MAX};

/// Fewest and most rows per block.
pub const BLOCK_ROWS_RANGE: std::ops::RangeInclusive<u32> = 256..=65_536;

/// The layout of one version of a dataset: the JSON object in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Identity of the dataset.
    #[serde(with = "hex::bytes")]
    pub dataset: [u8; 16],
    /// Identity of this version of the dataset.
    #[serde(with = "hex::number")]
    pub generation: u64,
    /// Number of rows.
    pub rows: u64,
    /// Rows per block, a power of two.
    pub block_rows: u32,
    /// Paths of the data directories; a relative one is relative to the dataset.
    pub dirs: Vec<String>,
    /// Column groups.
    pub groups: Vec<Group>,
    /// Tables that a reader keeps in memory.
    pub tables: Vec<TableEntry>,
}

impl Layout {
    /// Number of blocks of the dataset.
    pub fn blocks(&self) -> u64 {
        self.rows.div_ceil(u64::from(self.block_rows))
    }

    /// Number of rows of block `block`.
    pub fn rows_of_block(&self, block: u64) -> u32 {
        let start = block * u64::from(self.block_rows);
        self.rows
            .saturating_sub(start)
            .min(u64::from(self.block_rows)) as u32
    }

    /// Number of blocks in data directory `dir`.
    pub fn blocks_of_dir(&self, dir: usize) -> u64 {
        let dirs = self.dirs.len() as u64;
        (self.blocks() + dirs - 1 - dir as u64) / dirs
    }

    /// Length that a fixed-width group's file must have in data directory `dir`.
    pub fn fixed_file_bytes(&self, group: &FixedGroup, dir: usize) -> u64 {
        let blocks = self.blocks_of_dir(dir);
        let Some(last) = blocks.checked_sub(1) else {
            return PAGE_BYTES;
        };
        let last_block = last * self.dirs.len() as u64 + dir as u64;
        PAGE_BYTES
            + last * group.block_bytes(self.block_rows)
            + group.last_block_bytes(self.rows_of_block(last_block))
    }
}

#[cfg(test)]
mod tests;
