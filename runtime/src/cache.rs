//! The shard's own cache: pages of the rows it owns, without a lock, since nobody else reads or
//! writes them.
//!
//! A page is found by arithmetic, not by hashing: the shard's pages are numbered densely (its
//! blocks in order, group after group), and a table of four bytes per page says which frame
//! holds it. Eviction is CLOCK (Corbató, "A paging experiment with the Multics system", 1968):
//! a frame that was used since the hand last passed stays.

use std::ops::Range;

use ringtake_storage::dataset::{BadOffsets, Dataset, Extent, Locator};
use ringtake_storage::layout::PAGE_BYTES;

use crate::route::Ownership;

const PAGE: usize = PAGE_BYTES as usize;
const NO_FRAME: u32 = u32::MAX;
const NO_PAGE: u64 = u64::MAX;

/// Pages of one shard.
#[derive(Debug)]
pub(crate) struct PageCache {
    ownership: Ownership,
    block_shift: u32,
    groups: Vec<GroupPages>,
    /// For each page of the shard its frame, or `NO_FRAME`.
    frame_of: Vec<u32>,
    frames: Vec<u8>,
    /// For each frame its page, or `NO_PAGE`.
    page_of: Vec<u64>,
    used: Vec<bool>,
    hand: usize,
    /// Where a row that crosses pages is put together.
    scratch: Vec<u8>,
}

/// How the pages of one group are numbered.
#[derive(Debug)]
enum GroupPages {
    /// Blocks of one size.
    Even { first: u64, pages_per_block: u64 },
    /// The first page of each block of the shard.
    Uneven { first_of_block: Vec<u64> },
}

impl PageCache {
    /// A cache of at most `bytes` bytes for the pages that `shard` owns; `None` if not even one
    /// page fits.
    pub(crate) fn new(
        dataset: &Dataset,
        locators: &[Locator<'_>],
        ownership: Ownership,
        shard: usize,
        bytes: u64,
    ) -> Result<Option<PageCache>, BadOffsets> {
        let layout = dataset.layout();
        let blocks = ownership.blocks_of(shard, layout.blocks());
        let mut pages = 0;
        let mut groups = Vec::with_capacity(locators.len());
        for (locator, stored) in locators.iter().zip(&layout.groups) {
            if locator.record_bytes().is_some() {
                let (_, pages_per_block) = locator.block_pages(0)?;
                groups.push(GroupPages::Even {
                    first: pages,
                    pages_per_block,
                });
                pages += blocks * pages_per_block;
                continue;
            }
            let mut first_of_block = Vec::with_capacity(blocks as usize);
            let pages_before = pages;
            let pages_in_files = stored.file_bytes().iter().sum::<u64>() / PAGE_BYTES;
            for block in ownership.blocks_in_order(shard, layout.blocks()) {
                first_of_block.push(pages);
                let (start, pages_in_block) = locator.block_pages(block)?;
                pages += pages_in_block;
                // Offsets may not have been checked; memory is sized by them below.
                if start % PAGE_BYTES != 0 || pages - pages_before > pages_in_files {
                    return Err(BadOffsets {
                        row: block * u64::from(layout.block_rows),
                    });
                }
            }
            groups.push(GroupPages::Uneven { first_of_block });
        }
        let frames = (bytes / PAGE_BYTES).min(pages).min(u64::from(NO_FRAME - 1)) as usize;
        if frames == 0 {
            return Ok(None);
        }
        Ok(Some(PageCache {
            ownership,
            block_shift: layout.block_rows.trailing_zeros(),
            groups,
            frame_of: vec![NO_FRAME; pages as usize],
            frames: vec![0; frames * PAGE],
            page_of: vec![NO_PAGE; frames],
            used: vec![false; frames],
            hand: 0,
            scratch: Vec::new(),
        }))
    }

    /// The shard's pages that hold `row`, which is at `extent` of `group`.
    #[inline]
    fn pages(
        &self,
        locator: &Locator<'_>,
        group: usize,
        row: u64,
        extent: Extent,
    ) -> Option<Range<u64>> {
        let block = row >> self.block_shift;
        let (start, pages_in_block) = locator.block_pages(block).ok()?;
        let block_in_shard = self.ownership.block_in_shard(block);
        let first = match &self.groups[group] {
            GroupPages::Even {
                first,
                pages_per_block,
            } => first + block_in_shard * pages_per_block,
            GroupPages::Uneven { first_of_block } => {
                *first_of_block.get(block_in_shard as usize)?
            }
        };
        let from = extent.offset.checked_sub(start)?;
        let last = (from + u64::from(extent.bytes) - 1) / PAGE_BYTES;
        (last < pages_in_block).then_some(first + from / PAGE_BYTES..first + last + 1)
    }

    /// The bytes at `extent`, which holds `row` and is not empty, if all its pages are here.
    #[inline]
    pub(crate) fn get(
        &mut self,
        locator: &Locator<'_>,
        group: usize,
        row: u64,
        extent: Extent,
    ) -> Option<&[u8]> {
        let pages = self.pages(locator, group, row, extent)?;
        let from = (extent.offset % PAGE_BYTES) as usize;
        let bytes = extent.bytes as usize;
        if pages.end - pages.start == 1 {
            let frame = self.frame(pages.start)?;
            return Some(&self.frames[frame * PAGE + from..][..bytes]);
        }
        self.scratch.clear();
        for page in pages {
            let frame = self.frame(page)?;
            self.scratch
                .extend_from_slice(&self.frames[frame * PAGE..][..PAGE]);
        }
        Some(&self.scratch[from..][..bytes])
    }

    #[inline]
    fn frame(&mut self, page: u64) -> Option<usize> {
        let frame = self.frame_of[page as usize];
        if frame == NO_FRAME {
            return None;
        }
        self.used[frame as usize] = true;
        Some(frame as usize)
    }

    /// Keeps the pages of `row`, found in `bytes` that were read from `offset` of the file.
    pub(crate) fn keep(
        &mut self,
        locator: &Locator<'_>,
        group: usize,
        row: u64,
        extent: Extent,
        bytes: &[u8],
        offset: u64,
    ) {
        let Some(pages) = self.pages(locator, group, row, extent) else {
            return;
        };
        let first = extent.offset - extent.offset % PAGE_BYTES;
        for (place, page) in pages.enumerate() {
            let Some(from) = (first + place as u64 * PAGE_BYTES).checked_sub(offset) else {
                continue;
            };
            let Some(source) = bytes.get(from as usize..from as usize + PAGE) else {
                continue;
            };
            if self.frame_of[page as usize] == NO_FRAME {
                let frame = self.evict();
                self.frames[frame * PAGE..][..PAGE].copy_from_slice(source);
                self.page_of[frame] = page;
                self.frame_of[page as usize] = frame as u32;
            }
        }
    }

    /// A free frame, taken from its page if need be.
    fn evict(&mut self) -> usize {
        loop {
            let frame = self.hand;
            self.hand = (self.hand + 1) % self.page_of.len();
            if std::mem::take(&mut self.used[frame]) {
                continue;
            }
            let page = std::mem::replace(&mut self.page_of[frame], NO_PAGE);
            if page != NO_PAGE {
                self.frame_of[page as usize] = NO_FRAME;
            }
            return frame;
        }
    }
}
