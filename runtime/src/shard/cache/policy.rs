//! Which pages stay: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction",
//! SOSP 2023) with its ghosts kept in the table that finds pages.
//!
//! New pages enter a small queue, a tenth of the cache. A page that two more takes asked for
//! while it was there moves to the main queue, every other one leaves, and is remembered for as
//! long as about a cache full of pages has left after it; if it comes back in that time it
//! enters the main queue at once. So pages that are read once, however many, pass through the
//! small queue and touch nothing else. Uses are counted by take, not by row: a page of a
//! hundred rows is not popular because one take wanted them all.
//!
//! CLOCK, which keeps whatever was used since the hand passed, lets a scan sweep the cache: its
//! hand must pass every page to make room. CLOCK-Pro resists scans as well, but keeps three
//! hands over one list with test pages in it; here a hit writes two bits beside the page's other
//! state and all else happens on a miss. The test
//! `a_scan_takes_little_from_popular_pages_where_clock_loses_them` compares the hits.

use std::collections::VecDeque;

/// In the table: the other 31 bits are a frame. Without it they are a stamp, or 0.
const RESIDENT: u32 = 1 << 31;
/// The small queue has one in this many of all frames.
const SMALL_SHARE: usize = 10;
/// Takes that must have used a page again for it to move to the main queue.
const PROMOTED_AT: u8 = 2;
const USES_MAX: u8 = 3;

/// The most pages that a shard can number.
pub(super) const PAGES_MAX: u64 = RESIDENT as u64 - 1;

/// Which take asks, and whether its asking says that a page is popular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A take, as the shard numbers them.
    By(u32),
    /// A take of several windows, which may come back to a page by itself.
    Bulk,
}

/// The state of a frame; four share a cache line.
#[derive(Debug, Clone, Copy)]
struct FrameState {
    /// Pieces of rows known to be right, as `cache.rs` numbers them.
    verified: u64,
    page: u32,
    /// The low bits of the take that used it last.
    take: u16,
    uses: u8,
}

/// Pages, by number, in frames, by number.
#[derive(Debug)]
pub(super) struct S3Fifo {
    /// For each page its frame, or when it was put out of the small queue, or 0.
    table: Vec<u32>,
    states: Vec<FrameState>,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    /// Frames that have been emptied before their turn.
    free: Vec<u32>,
    frames_max: usize,
    /// Counts pages put out of the small queue; below `RESIDENT`, never 0.
    stamp: u32,
}

impl S3Fifo {
    /// Nothing of `pages` pages yet, later at most `frames_max` of them.
    pub(super) fn new(pages: usize, frames_max: usize) -> S3Fifo {
        assert!(pages as u64 <= PAGES_MAX && frames_max <= pages);
        S3Fifo {
            table: vec![0; pages],
            states: Vec::with_capacity(frames_max),
            small: VecDeque::with_capacity(frames_max),
            main: VecDeque::with_capacity(frames_max),
            free: Vec::new(),
            frames_max,
            stamp: 1,
        }
    }

    /// A frame of its own for each of `pages` pages, all still empty.
    pub(super) fn pinned(pages: usize) -> S3Fifo {
        let mut policy = S3Fifo {
            table: vec![0; pages],
            states: Vec::with_capacity(pages),
            small: VecDeque::new(),
            main: VecDeque::new(),
            free: Vec::new(),
            frames_max: pages,
            stamp: 1,
        };
        policy.states.extend((0..pages).map(|page| FrameState {
            verified: 0,
            page: page as u32,
            take: 0,
            uses: USES_MAX,
        }));
        policy
    }

    /// The frame of a pinned page, which is filled now.
    pub(super) fn settle(&mut self, page: u64) -> u32 {
        self.table[page as usize] = page as u32 | RESIDENT;
        page as u32
    }

    /// The frame of `page`. Says nothing of its use.
    #[inline]
    pub(super) fn frame(&self, page: u64) -> Option<u32> {
        let entry = self.table[page as usize];
        (entry & RESIDENT != 0).then_some(entry & !RESIDENT)
    }

    /// Notes that `frame` was used.
    #[inline]
    pub(super) fn touch(&mut self, frame: u32, by: Use) {
        let Use::By(take) = by else {
            return;
        };
        let state = &mut self.states[frame as usize];
        if state.uses < USES_MAX && state.take != take as u16 {
            state.uses += 1;
            state.take = take as u16;
        }
    }

    #[inline]
    pub(super) fn verified(&self, frame: u32) -> u64 {
        self.states[frame as usize].verified
    }

    #[inline]
    pub(super) fn add_verified(&mut self, frame: u32, pieces: u64) {
        self.states[frame as usize].verified |= pieces;
    }

    /// Where the state of `frame` is, for a prefetch.
    #[inline]
    pub(super) fn state(&self, frame: u32) -> *const u8 {
        std::ptr::from_ref(&self.states[frame as usize]).cast()
    }

    /// A frame for `page`, which has none; its bytes are the caller's to write.
    pub(super) fn admit(&mut self, page: u64, by: Use) -> u32 {
        let left_at = self.table[page as usize];
        debug_assert_eq!(left_at & RESIDENT, 0);
        let ago = self.stamp.wrapping_sub(left_at) & !RESIDENT;
        let returns = left_at != 0 && by != Use::Bulk && ago as usize <= self.frames_max;
        let state = FrameState {
            verified: 0,
            page: page as u32,
            take: match by {
                Use::By(take) => take as u16,
                Use::Bulk => 0,
            },
            uses: 0,
        };
        let frame = if let Some(frame) = self.free.pop() {
            self.states[frame as usize] = state;
            frame
        } else if self.states.len() < self.frames_max {
            self.states.push(state);
            (self.states.len() - 1) as u32
        } else {
            let frame = self.make_room();
            self.states[frame as usize] = state;
            frame
        };
        if returns {
            self.main.push_back(frame);
        } else {
            self.small.push_back(frame);
        }
        self.table[page as usize] = frame | RESIDENT;
        frame
    }

    /// Forgets `page`, whose bytes are not what they should be. Rare: it looks through a queue.
    pub(super) fn drop_page(&mut self, page: u64) {
        let Some(frame) = self.frame(page) else {
            return;
        };
        for queue in [&mut self.small, &mut self.main] {
            queue.retain(|&queued| queued != frame);
        }
        self.table[page as usize] = 0;
        self.free.push(frame);
    }

    fn make_room(&mut self) -> u32 {
        loop {
            let from_small =
                self.small.len() * SMALL_SHARE >= self.frames_max || self.main.is_empty();
            let room = if from_small {
                self.leave_small()
            } else {
                self.leave_main()
            };
            if let Some(frame) = room {
                return frame;
            }
        }
    }

    /// The small queue's oldest page leaves the cache, or moves on.
    fn leave_small(&mut self) -> Option<u32> {
        let frame = self.small.pop_front()?;
        let state = &mut self.states[frame as usize];
        if state.uses >= PROMOTED_AT {
            state.uses = 0;
            self.main.push_back(frame);
            return None;
        }
        self.stamp = (self.stamp + 1) & !RESIDENT;
        self.stamp = self.stamp.max(1);
        self.table[state.page as usize] = self.stamp;
        Some(frame)
    }

    /// The main queue's oldest page leaves the cache, or goes round once more.
    fn leave_main(&mut self) -> Option<u32> {
        let frame = self.main.pop_front()?;
        let state = &mut self.states[frame as usize];
        if state.uses > 0 {
            state.uses -= 1;
            self.main.push_back(frame);
            return None;
        }
        self.table[state.page as usize] = 0;
        Some(frame)
    }
}

#[cfg(test)]
mod tests;
