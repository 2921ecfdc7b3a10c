//! The shard's own cache: pages of the rows it owns, without a lock, since no other thread reads or
//! writes them. A hit asks nothing of the read path.
//!
//! A page is found by arithmetic, not by hashing: the shard's pages are numbered densely (its
//! blocks in order, group after group), and a table of four bytes per page says which frame
//! holds it. `cache/policy.rs` decides which pages stay, `cache/frames.rs` has the memory,
//! `cache/load.rs` fills a pinned cache.
//!
//! Memory is trusted: what was found right when it came in is not hashed again at each hit,
//! which would cost more than the copy. A frame has a bit for each 64 bytes in which a checked
//! piece of a row begins. A piece is a row's bytes in one page; two pieces of 64 bytes or more
//! cannot begin in the same 64, and shorter ones are always checked. A row beside a checked one
//! has a bit of its own, so it is checked at its own first hit. If that fails the page leaves the
//! cache and the row is read from the drive, which is where a fault is believed.

mod frames;
pub(crate) mod load;
pub(crate) mod pinned;
mod policy;

use std::io;
use std::ops::Range;

use ringtake_storage::dataset::{BadOffsets, Dataset, Extent, Locator};
use ringtake_storage::layout::PAGE_BYTES;

use crate::config::CacheChoice;
use crate::error::shortage::{Asked, shortage};
use crate::host::prefetch;
use crate::ownership::Ownership;
use frames::{Frames, PAGE};
use policy::S3Fifo;
pub(crate) use policy::Use;

/// Bytes that one bit of a frame's checked pieces stands for.
const PIECE_BYTES_MIN: usize = PAGE / u64::BITS as usize;
/// Cache lines of a row asked for beforehand. The processor's own prefetcher sees the rest
/// coming once a copy is under way.
const PREFETCH_LINES: usize = 16;
/// How many rows beforehand the memory of one in the cache is asked for. Fewer leave the copy
/// waiting, more push each other out before their turn.
pub(crate) const PREFETCH_ROWS: usize = 4;

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error(transparent)]
    Offsets(#[from] BadOffsets),
    #[error("no memory for the cache: {}; or give it fewer bytes", shortage(.0, Asked::Memory))]
    Memory(#[from] io::Error),
}

/// Pages of one shard.
#[derive(Debug)]
pub(crate) struct PageCache {
    ownership: Ownership,
    block_shift: u32,
    groups: Vec<GroupPages>,
    policy: S3Fifo,
    frames: Frames,
    /// All pages have their frames for good: page and frame are one number.
    pinned: bool,
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

/// Where a row is in the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The first of its pages, as the shard numbers them.
    page: u64,
    /// The frame of that page.
    frame: u32,
    from: u32,
    bytes: u32,
}

impl Found {
    /// A row that begins in `page`, which is in `frame`.
    fn at(page: u64, frame: u32, extent: Extent) -> Found {
        Found {
            page,
            frame,
            from: (extent.offset % PAGE_BYTES) as u32,
            bytes: extent.bytes,
        }
    }

    fn pages(&self) -> u64 {
        (u64::from(self.from) + u64::from(self.bytes)).div_ceil(PAGE_BYTES)
    }

    /// The part of the row in its page `place`: first byte there, bytes.
    fn piece(&self, place: u64) -> (usize, usize) {
        let from = if place == 0 { self.from as usize } else { 0 };
        let end = (self.from as usize + self.bytes as usize) - place as usize * PAGE;
        (from, end.min(PAGE) - from)
    }
}

/// The bit of a piece, or none if it is too short to have one.
#[inline]
fn bit(from: usize, bytes: usize) -> u64 {
    if bytes >= PIECE_BYTES_MIN {
        1 << (from / PIECE_BYTES_MIN)
    } else {
        0
    }
}

/// The fate of a page whose row was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is gone; the drive has the last word.
    Evicted,
    /// It is pinned: the row was wrong when it was read.
    Stays,
}

impl PageCache {
    /// A cache for the pages that `shard` owns, as `choice` says of this shard alone; `None` if
    /// not even one page fits.
    pub(crate) fn new(
        dataset: &Dataset,
        locators: &[Locator<'_>],
        ownership: Ownership,
        shard: usize,
        choice: CacheChoice,
    ) -> Result<Option<PageCache>, CacheError> {
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
                    let row = block * u64::from(layout.block_rows);
                    return Err(BadOffsets { row }.into());
                }
            }
            groups.push(GroupPages::Uneven { first_of_block });
        }
        let (frames, pinned) = match choice {
            CacheChoice::Off => (0, false),
            CacheChoice::Bytes(bytes) => ((bytes / PAGE_BYTES).min(pages), false),
            CacheChoice::Pinned => (pages, true),
        };
        if frames == 0 {
            return Ok(None);
        }
        if pages > policy::PAGES_MAX {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory).into());
        }
        Ok(Some(PageCache {
            ownership,
            block_shift: layout.block_rows.trailing_zeros(),
            groups,
            policy: if pinned {
                S3Fifo::pinned(pages as usize)
            } else {
                S3Fifo::new(pages as usize, frames as usize)
            },
            frames: Frames::new(frames as usize)?,
            pinned,
            scratch: Vec::new(),
        }))
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// The first of the shard's pages in `block` of `group`.
    #[inline]
    fn first_page(&self, group: usize, block: u64) -> Option<u64> {
        let block_in_shard = self.ownership.block_in_shard(block);
        match &self.groups[group] {
            GroupPages::Even {
                first,
                pages_per_block,
            } => Some(first + block_in_shard * pages_per_block),
            GroupPages::Uneven { first_of_block } => {
                first_of_block.get(block_in_shard as usize).copied()
            }
        }
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
        let first = self.first_page(group, block)?;
        let from = extent.offset.checked_sub(start)?;
        let last = (from + u64::from(extent.bytes) - 1) / PAGE_BYTES;
        (last < pages_in_block).then_some(first + from / PAGE_BYTES..first + last + 1)
    }

    /// Where the row at `extent`, which is not empty, is, if all its pages are here.
    #[inline]
    pub(crate) fn find(
        &self,
        locator: &Locator<'_>,
        group: usize,
        row: u64,
        extent: Extent,
    ) -> Option<Found> {
        let pages = self.pages(locator, group, row, extent)?;
        let frame = self.policy.frame(pages.start)?;
        for page in pages.start + 1..pages.end {
            self.policy.frame(page)?;
        }
        Some(Found::at(pages.start, frame, extent))
    }

    /// Asks for the memory that `get` will look at.
    #[inline]
    pub(crate) fn prefetch(&self, found: Found) {
        self.prefetch_state(found);
        self.prefetch_bytes(found);
    }

    #[inline]
    fn prefetch_state(&self, found: Found) {
        prefetch::line(self.policy.state(found.frame));
    }

    #[inline]
    fn prefetch_bytes(&self, found: Found) {
        let (from, bytes) = found.piece(0);
        prefetch::bytes(self.frames.bytes(found.frame, from, bytes), PREFETCH_LINES);
    }

    /// The bytes of a row, and whether they are known to be right.
    #[inline]
    pub(crate) fn get(&mut self, found: Found, by: Use) -> (&[u8], bool) {
        if found.from as usize + found.bytes as usize > PAGE {
            return self.put_together(found, by);
        }
        let (from, bytes) = (found.from as usize, found.bytes as usize);
        self.policy.touch(found.frame, by);
        let right = self.policy.verified(found.frame) & bit(from, bytes) != 0;
        (self.frames.bytes(found.frame, from, bytes), right)
    }

    /// A row that crosses pages.
    fn put_together(&mut self, found: Found, by: Use) -> (&[u8], bool) {
        self.scratch.clear();
        let mut right = true;
        for place in 0..found.pages() {
            let Some(frame) = self.policy.frame(found.page + place) else {
                unreachable!("pages leave only when others come in, and `find` has seen them");
            };
            self.policy.touch(frame, by);
            let (from, bytes) = found.piece(place);
            right &= self.policy.verified(frame) & bit(from, bytes) != 0;
            self.scratch
                .extend_from_slice(self.frames.bytes(frame, from, bytes));
        }
        (&self.scratch, right)
    }

    /// Notes that the row's bytes here are right.
    pub(crate) fn mark(&mut self, found: Found) {
        for place in 0..found.pages() {
            let Some(frame) = self.policy.frame(found.page + place) else {
                unreachable!("pages leave only when others come in, and `find` has seen them");
            };
            let (from, bytes) = found.piece(place);
            self.policy.add_verified(frame, bit(from, bytes));
        }
    }

    /// The row's bytes here are wrong.
    #[cold]
    pub(crate) fn refuse(&mut self, found: Found) -> Refused {
        for place in 0..found.pages() {
            self.policy.drop_page(found.page + place);
        }
        Refused::Evicted
    }

    /// Keeps the pages of `row`, whose right bytes are in `bytes`, which were read from `offset`
    /// of the file. A page that is here already gets the row's bytes, since it may have had wrong
    /// ones.
    #[expect(clippy::too_many_arguments)]
    pub(crate) fn keep(
        &mut self,
        locator: &Locator<'_>,
        group: usize,
        row: u64,
        extent: Extent,
        bytes: &[u8],
        offset: u64,
        by: Use,
    ) {
        let Some(pages) = self.pages(locator, group, row, extent) else {
            return;
        };
        let found = Found::at(pages.start, 0, extent);
        let first = extent.offset - extent.offset % PAGE_BYTES;
        for place in 0..found.pages() {
            let Some(at) = (first + place * PAGE_BYTES).checked_sub(offset) else {
                continue;
            };
            let Some(source) = bytes.get(at as usize..at as usize + PAGE) else {
                continue;
            };
            let (from, length) = found.piece(place);
            let page = found.page + place;
            let frame = match self.policy.frame(page) {
                Some(frame) => {
                    if self.policy.verified(frame) & bit(from, length) == 0 {
                        self.frames
                            .bytes_mut(frame, from, length)
                            .copy_from_slice(&source[from..][..length]);
                    }
                    frame
                }
                None => {
                    let frame = self.policy.admit(page, by);
                    self.frames
                        .bytes_mut(frame, 0, PAGE)
                        .copy_from_slice(source);
                    frame
                }
            };
            self.policy.add_verified(frame, bit(from, length));
        }
    }
}
