//! The codes of the rows that one shard owns, in its own memory, as its scan reads them.

use ringtake_storage::Result;
use ringtake_storage::vector::index::Index;
use ringtake_storage::vector::kernels::{BLOCK_ROWS, pack_codes};

use crate::ownership::Ownership;

/// The codes of one shard's rows, by partition.
#[derive(Debug)]
pub(crate) struct ShardCodes {
    lists: Vec<Place>,
    rows: Vec<u32>,
    codes: Vec<u8>,
    block_bytes: usize,
}

/// The position of a partition's rows and codes.
#[derive(Debug, Clone, Copy)]
struct Place {
    first_row: usize,
    rows: usize,
    first_block: usize,
}

/// The rows of one partition that the shard owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardList<'a> {
    pub(crate) rows: &'a [u32],
    /// In blocks of [`BLOCK_ROWS`] rows; the last is padded.
    pub(crate) blocks: &'a [u8],
}

impl ShardCodes {
    /// Picks the rows of `shard` from the index, whose file is `file`.
    ///
    /// # Errors
    /// A damaged list.
    pub(crate) fn of(
        index: &Index,
        file: &[u8],
        ownership: Ownership,
        shard: usize,
    ) -> Result<ShardCodes> {
        let (of_row, code_bytes) = (index.quantiser().codes(), index.layout().code_bytes());
        let block_bytes = of_row * BLOCK_ROWS / 2;
        let partitions = index.layout().partitions as usize;
        let mut codes = ShardCodes {
            lists: Vec::with_capacity(partitions),
            rows: Vec::new(),
            codes: Vec::new(),
            block_bytes,
        };
        // Counted first: vectors that grow would hold up to twice the memory.
        let (mut rows, mut blocks) = (0, 0);
        for partition in 0..partitions {
            let list = index.list(file, partition)?;
            let owned = list.rows.iter();
            let owned = owned
                .filter(|&&row| ownership.owner(row.into()) == shard)
                .count();
            codes.lists.push(Place {
                first_row: rows,
                rows: owned,
                first_block: blocks,
            });
            rows += owned;
            blocks += owned.div_ceil(BLOCK_ROWS);
        }
        codes.rows.reserve_exact(rows);
        codes.codes.reserve_exact(blocks * block_bytes);
        for partition in 0..partitions {
            let list = index.list(file, partition)?;
            let owned = |place: &usize| ownership.owner(list.rows[*place].into()) == shard;
            let places: Vec<usize> = (0..list.rows.len()).filter(owned).collect();
            codes
                .rows
                .extend(places.iter().map(|&place| list.rows[place]));
            let at = |&place: &usize| &list.codes[place * code_bytes..][..code_bytes];
            pack_codes(of_row, places.iter().map(at), &mut codes.codes);
        }
        Ok(codes)
    }

    pub(crate) fn list(&self, partition: usize) -> ShardList<'_> {
        let place = self.lists[partition];
        let blocks = place.rows.div_ceil(BLOCK_ROWS);
        ShardList {
            rows: &self.rows[place.first_row..][..place.rows],
            blocks: &self.codes[place.first_block * self.block_bytes..]
                [..blocks * self.block_bytes],
        }
    }

    pub(crate) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Bytes of memory that the codes of `index` take where one shard owns all rows.
    pub(crate) fn bytes_of_all(index: &Index) -> u64 {
        let block_bytes = index.quantiser().codes() * BLOCK_ROWS / 2;
        let partitions = 0..index.layout().partitions as usize;
        let of_list = |partition| {
            let rows = index.list_rows(partition) as usize;
            let codes = rows.div_ceil(BLOCK_ROWS) * block_bytes;
            (size_of::<Place>() + rows * size_of::<u32>() + codes) as u64
        };
        partitions.map(of_list).sum()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        let rows = self.rows.capacity() * size_of::<u32>();
        let lists = self.lists.capacity() * size_of::<Place>();
        (rows + lists + self.codes.capacity()) as u64
    }
}
