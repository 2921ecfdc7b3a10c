//! S3-FIFO compared with CLOCK under scans, and its table and frames with a map.

use std::collections::HashMap;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// One access of a trace; says whether it was a hit.
trait Cache {
    fn access(&mut self, page: u64, by: Use) -> bool;
}

impl Cache for S3Fifo {
    fn access(&mut self, page: u64, by: Use) -> bool {
        match self.frame(page) {
            Some(frame) => {
                self.touch(frame, by);
                true
            }
            None => {
                self.admit(page, by);
                false
            }
        }
    }
}

/// The alternative: a used bit per frame and a hand that goes round.
struct Clock {
    frame_of: HashMap<u64, usize>,
    frames: Vec<(u64, bool)>,
    hand: usize,
    frames_max: usize,
}

impl Clock {
    fn new(frames_max: usize) -> Clock {
        Clock {
            frame_of: HashMap::new(),
            frames: Vec::new(),
            hand: 0,
            frames_max,
        }
    }
}

impl Cache for Clock {
    fn access(&mut self, page: u64, _: Use) -> bool {
        if let Some(&frame) = self.frame_of.get(&page) {
            self.frames[frame].1 = true;
            return true;
        }
        let frame = if self.frames.len() < self.frames_max {
            self.frames.push((page, false));
            self.frames.len() - 1
        } else {
            while std::mem::take(&mut self.frames[self.hand].1) {
                self.hand = (self.hand + 1) % self.frames_max;
            }
            let frame = self.hand;
            self.hand = (self.hand + 1) % self.frames_max;
            self.frame_of.remove(&self.frames[frame].0);
            self.frames[frame] = (page, false);
            frame
        };
        self.frame_of.insert(page, frame);
        false
    }
}

const PAGES: usize = 40_000;
const FRAMES: usize = PAGES / 10;
const TAKE_ROWS: usize = 500;

/// Draws pages by Zipf's law with exponent 0.99; which pages are popular is mixed up.
struct Zipf {
    sums: Vec<f64>,
    page_of_rank: Vec<u64>,
}

impl Zipf {
    fn new(rng: &mut ChaCha8Rng) -> Zipf {
        use rand::seq::SliceRandom;
        let mut sum = 0.0;
        let sums = (1..=PAGES)
            .map(|rank| {
                sum += (rank as f64).powf(-0.99);
                sum
            })
            .collect();
        let mut page_of_rank: Vec<u64> = (0..PAGES as u64).collect();
        page_of_rank.shuffle(rng);
        Zipf { sums, page_of_rank }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> u64 {
        let at = rng.random_range(0.0..self.sums[PAGES - 1]);
        self.page_of_rank[self.sums.partition_point(|&sum| sum <= at).min(PAGES - 1)]
    }
}

/// The share of hits among the Zipf draws of 400 takes after 100 to warm up. With `scan`, one
/// take in three reads the next pages in order instead.
fn hit_share(cache: &mut impl Cache, scan: bool) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let zipf = Zipf::new(&mut rng);
    let (mut hits, mut draws, mut scanned) = (0, 0, 0);
    for take in 0..500_u32 {
        if scan && take % 3 == 0 {
            for _ in 0..2 * TAKE_ROWS {
                cache.access(scanned % PAGES as u64, Use::By(take));
                scanned += 1;
            }
            continue;
        }
        let mut pages: Vec<u64> = (0..TAKE_ROWS).map(|_| zipf.draw(&mut rng)).collect();
        pages.sort_unstable();
        for page in pages {
            let hit = cache.access(page, Use::By(take));
            if take >= 100 {
                draws += 1;
                hits += u32::from(hit);
            }
        }
    }
    f64::from(hits) / f64::from(draws)
}

#[test]
fn a_scan_takes_little_from_popular_pages_where_clock_loses_them() {
    let s3_fifo = |scan| hit_share(&mut S3Fifo::new(PAGES, FRAMES), scan);
    let clock = |scan| hit_share(&mut Clock::new(FRAMES), scan);
    let (plain, scanned) = (s3_fifo(false), s3_fifo(true));
    let (clock_plain, clock_scanned) = (clock(false), clock(true));
    println!("S3-FIFO {plain:.3}, beside a scan {scanned:.3}");
    println!("CLOCK {clock_plain:.3}, beside a scan {clock_scanned:.3}");
    assert!(plain > clock_plain, "{plain} {clock_plain}");
    assert!(scanned > clock_scanned + 0.05, "{scanned} {clock_scanned}");
    assert!(scanned > plain - 0.03, "{scanned} {plain}");
}

#[test]
fn one_take_of_everything_leaves_the_popular_pages() {
    let mut cache = S3Fifo::new(PAGES, FRAMES);
    let popular = 0..(FRAMES as u64 / 2);
    for take in 0..4 {
        for page in popular.clone() {
            cache.access(page, Use::By(take));
        }
    }
    // Enough others that the popular pages have to leave the small queue for the main one.
    for page in 0..FRAMES as u64 {
        cache.access(PAGES as u64 / 2 + page, Use::By(4));
    }
    // Rows in any order: a window of the take comes back to the pages of the ones before.
    for window in 0..5 {
        let by = if window == 0 { Use::By(5) } else { Use::Bulk };
        for page in 0..PAGES as u64 {
            cache.access(page, by);
        }
    }
    assert!(popular.clone().all(|page| cache.frame(page).is_some()));
}

#[derive(Debug, Clone)]
enum Step {
    Access(u64, Use),
    Drop(u64),
    Mark(u64, u8),
}

fn step(pages: u64) -> impl Strategy<Value = Step> {
    let by = prop_oneof![3 => (0_u32..4).prop_map(Use::By), 1 => Just(Use::Bulk)];
    prop_oneof![
        8 => (0..pages, by).prop_map(|(page, by)| Step::Access(page, by)),
        1 => (0..pages).prop_map(Step::Drop),
        2 => (0..pages, 0_u8..64).prop_map(|(page, piece)| Step::Mark(page, piece)),
    ]
}

proptest! {
    /// The model is a map from each page to what a caller would have written to its frame.
    #[test]
    fn frames_hold_the_pages_that_the_table_says_and_never_too_many(
        frames_max in 1_usize..12,
        steps in proptest::collection::vec(step(40), 1..600),
    ) {
        let mut cache = S3Fifo::new(40, frames_max);
        let mut in_frame: Vec<Option<u64>> = vec![None; frames_max];
        let mut marks: HashMap<u64, u64> = HashMap::new();
        for step in steps {
            match step {
                Step::Access(page, by) => match cache.frame(page) {
                    Some(frame) => cache.touch(frame, by),
                    None => {
                        let frame = cache.admit(page, by) as usize;
                        prop_assert!(frame < frames_max);
                        if let Some(gone) = in_frame[frame].replace(page) {
                            marks.remove(&gone);
                            prop_assert!(gone != page);
                        }
                    }
                },
                Step::Drop(page) => {
                    if let Some(frame) = cache.frame(page) {
                        in_frame[frame as usize] = None;
                        marks.remove(&page);
                    }
                    cache.drop_page(page);
                }
                Step::Mark(page, piece) => {
                    if let Some(frame) = cache.frame(page) {
                        cache.add_verified(frame, 1 << piece);
                        *marks.entry(page).or_default() |= 1 << piece;
                    }
                }
            }
            let here = (0..40).filter(|&page| cache.frame(page).is_some()).count();
            prop_assert_eq!(here, in_frame.iter().flatten().count());
            for (frame, page) in in_frame.iter().enumerate() {
                if let Some(page) = page {
                    prop_assert_eq!(cache.frame(*page), Some(frame as u32));
                    let expected = marks.get(page).copied().unwrap_or_default();
                    prop_assert_eq!(cache.verified(frame as u32), expected);
                }
            }
        }
    }
}
