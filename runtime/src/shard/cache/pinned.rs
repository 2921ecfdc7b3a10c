//! A pinned cache once it is loaded. Nothing in it changes any more, so any thread may read it: a
//! take of few rows copies them itself (`client/take/in_place.rs`).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use ringtake_storage::dataset::{Dataset, Extent, Locator};
use ringtake_storage::layout::PAGE_BYTES;

use super::{Found, PageCache, bit};

/// The pages of one shard, for good: all of them but those that could not be read.
#[derive(Debug)]
pub(crate) struct PinnedPages {
    pages: PageCache,
    /// All are here and every row in them is right: nothing need be looked up for a row.
    sound: bool,
    rows_in_place: InPlace,
}

/// A sum to which many threads add: each adds to a part that it shares with few others.
#[derive(Debug, Default)]
struct InPlace([CachePadded<AtomicU64>; STRIPES]);

const STRIPES: usize = 16;

/// Beside each page: its entry in the table and the state of its frame.
const TABLE_BYTES_PER_PAGE: u64 = 24;

impl InPlace {
    fn add(&self, by: u64) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        // A thread that is ending may have no number any more.
        let thread = THREAD.try_with(|thread| *thread).unwrap_or_default();
        self.0[thread % STRIPES].fetch_add(by, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        let parts = self.0.iter();
        parts.map(|part| part.load(Ordering::Relaxed)).sum()
    }
}

impl PinnedPages {
    /// Memory that all rows of `dataset` take when they are pinned.
    pub(crate) fn bytes_needed(dataset: &Dataset) -> u64 {
        let groups = dataset.layout().groups.iter();
        let files = groups.flat_map(|group| group.file_bytes());
        let pages: u64 = files.map(|bytes| bytes.div_ceil(PAGE_BYTES)).sum();
        pages * (PAGE_BYTES + TABLE_BYTES_PER_PAGE)
    }

    /// The pages of `cache`, which is pinned and has been loaded, and whether it is `sound`.
    pub(crate) fn of(cache: PageCache, sound: bool) -> PinnedPages {
        debug_assert!(cache.pinned, "a cache that changes");
        PinnedPages {
            pages: cache,
            sound,
            rows_in_place: InPlace::default(),
        }
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
        if self.sound {
            let first = self.pages.pages(locator, group, row, extent)?.start;
            return Some(Found::at(first, first as u32, extent));
        }
        self.pages.find(locator, group, row, extent)
    }

    /// Asks for the memory that `get` will look at.
    #[inline]
    pub(crate) fn prefetch(&self, found: Found) {
        if !self.sound {
            self.pages.prefetch_state(found);
        }
        self.pages.prefetch_bytes(found);
    }

    /// The bytes of a row, and whether they are known to be right. Page and frame are one number,
    /// so a row that crosses pages is in one piece.
    #[inline]
    pub(crate) fn get(&self, found: Found) -> (&[u8], bool) {
        let right = self.sound
            || (0..found.pages()).all(|place| {
                let (from, bytes) = found.piece(place);
                let verified = self.pages.policy.verified(found.frame + place as u32);
                verified & bit(from, bytes) != 0
            });
        let (from, bytes) = (found.from as usize, found.bytes as usize);
        (self.pages.frames.bytes(found.frame, from, bytes), right)
    }

    /// Notes that a caller has copied `rows` rows itself.
    pub(crate) fn count_in_place(&self, rows: u64) {
        self.rows_in_place.add(rows);
    }

    /// Rows that callers have copied themselves.
    pub(crate) fn rows_in_place(&self) -> u64 {
        self.rows_in_place.sum()
    }
}
