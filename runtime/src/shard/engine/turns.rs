//! Whose turn it is to plan a read: parts in line by class, urgent ones against bulk ones.
//!
//! Urgent reads go first, but bulk reads keep a share of the reads however many urgent ones there
//! are. While urgent reads come, bulk reads get few slots, since an urgent read waits in the device
//! behind all reads that are there.

use std::collections::VecDeque;

use crate::admission::LatencyClass;

/// Bulk reads leave one slot in this many of the queue depth to urgent reads: an urgent read then
/// starts at once, and behind no more reads than it would at full depth.
const URGENT_SLOTS_SHARE: u32 = 8;
/// While urgent reads come, bulk reads have one slot in this many: an urgent read waits in the
/// device behind all reads that are there, and far fewer keep a drive busy. The wait for a share of
/// a full queue, which nothing ends early, is short then too.
const BULK_SLOTS_BESIDE_URGENT_SHARE: u32 = 8;
/// Urgent reads are over when this many bulk reads have been planned since the last of them.
const BULK_READS_SINCE_URGENT: u32 = 4096;
/// Urgent reads planned while bulk reads wait, before one of those has its turn: bulk work keeps
/// its share of the reads however much urgent work there is.
const URGENT_READS_IN_TURN_MAX: u32 = 16;

/// Parts with rows to plan, and which class plans next.
#[derive(Debug)]
pub(super) struct Turns {
    /// By class, the oldest first.
    lines: [VecDeque<u32>; LatencyClass::COUNT],
    /// By class: the next planned read waits for large or oversize ones to complete.
    held_back: [bool; LatencyClass::COUNT],
    /// Reads of bulk parts in flight.
    bulk_in_flight: u32,
    /// Bulk reads planned since the last urgent one, up to `BULK_READS_SINCE_URGENT`.
    bulk_since_urgent: u32,
    /// Urgent reads planned while bulk ones waited, since the last of those.
    urgent_in_turn: u32,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            lines: Default::default(),
            held_back: [false; LatencyClass::COUNT],
            bulk_in_flight: 0,
            bulk_since_urgent: BULK_READS_SINCE_URGENT,
            urgent_in_turn: 0,
        }
    }

    /// Puts a part at the end of the line of its class.
    pub(super) fn join(&mut self, class: LatencyClass, part: u32) {
        self.lines[class.index()].push_back(part);
    }

    /// The oldest part of `class`.
    #[inline]
    pub(super) fn first(&self, class: LatencyClass) -> Option<u32> {
        self.lines[class.index()].front().copied()
    }

    /// Takes the oldest part of `class` out of line.
    #[inline]
    pub(super) fn leave(&mut self, class: LatencyClass) {
        let left = self.lines[class.index()].pop_front();
        debug_assert!(left.is_some(), "a part leaves the line that it is in");
    }

    /// Takes out of line the parts for which `stays` is false.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(u32) -> bool) {
        for line in &mut self.lines {
            line.retain(|&part| stays(part));
        }
    }

    /// Whether no part has rows to plan.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    /// How many parts have rows to plan.
    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// The class whose oldest part may plan a read now, at `in_flight` of at most `depth` reads.
    #[inline]
    pub(super) fn next(&self, in_flight: u32, depth: u32) -> Option<LatencyClass> {
        if in_flight >= depth {
            return None;
        }
        let may_plan = |class: LatencyClass| {
            !self.lines[class.index()].is_empty() && !self.held_back[class.index()]
        };
        let bulk_may =
            may_plan(LatencyClass::Bulk) && self.bulk_in_flight < self.bulk_in_flight_max(depth);
        let bulk_is_due = bulk_may && self.urgent_in_turn >= URGENT_READS_IN_TURN_MAX;
        if may_plan(LatencyClass::Urgent) && !bulk_is_due {
            Some(LatencyClass::Urgent)
        } else {
            bulk_may.then_some(LatencyClass::Bulk)
        }
    }

    /// How many bulk reads may be in flight.
    #[inline]
    fn bulk_in_flight_max(&self, depth: u32) -> u32 {
        let slots = if self.bulk_since_urgent < BULK_READS_SINCE_URGENT {
            depth / BULK_SLOTS_BESIDE_URGENT_SHARE
        } else {
            // A queue too shallow for a share leaves none: one slot less would keep the search for
            // the right depth from ever seeing what a slot more brings.
            depth - depth / URGENT_SLOTS_SHARE
        };
        slots.max(1)
    }

    /// Notes that a read of `class` is planned.
    #[inline]
    pub(super) fn planned(&mut self, class: LatencyClass) {
        match class {
            LatencyClass::Bulk => {
                self.bulk_in_flight += 1;
                self.bulk_since_urgent = (self.bulk_since_urgent + 1).min(BULK_READS_SINCE_URGENT);
                self.urgent_in_turn = 0;
            }
            LatencyClass::Urgent => {
                self.bulk_since_urgent = 0;
                if self.lines[LatencyClass::Bulk.index()].is_empty() {
                    self.urgent_in_turn = 0;
                } else {
                    self.urgent_in_turn += 1;
                }
            }
        }
    }

    /// Notes that a read of `class` is complete.
    #[inline]
    pub(super) fn completed(&mut self, class: LatencyClass) {
        if class == LatencyClass::Bulk {
            assert!(self.bulk_in_flight > 0, "a bulk read completes once");
            self.bulk_in_flight -= 1;
        }
    }

    /// Notes that the next read of `class` has to wait for large or oversize ones to complete.
    pub(super) fn hold_back(&mut self, class: LatencyClass) {
        self.held_back[class.index()] = true;
    }

    /// Notes that a large or oversize read is complete, or that other parts have come first in line.
    pub(super) fn go_on(&mut self) {
        self.held_back = [false; LatencyClass::COUNT];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BULK: LatencyClass = LatencyClass::Bulk;
    const URGENT: LatencyClass = LatencyClass::Urgent;
    const DEPTH: u32 = 64;

    /// Both classes have a part in line.
    fn both() -> Turns {
        let mut turns = Turns::new();
        turns.join(BULK, 0);
        turns.join(URGENT, 1);
        turns
    }

    /// Plans and completes a read, as a drive that answers at once does.
    fn plan_next(turns: &mut Turns) -> Option<LatencyClass> {
        let class = turns.next(0, DEPTH)?;
        turns.planned(class);
        turns.completed(class);
        Some(class)
    }

    #[test]
    fn urgent_parts_go_first_and_bulk_parts_keep_their_share() {
        let mut turns = both();
        let reads = 10 * (URGENT_READS_IN_TURN_MAX + 1);
        let classes: Vec<_> = (0..reads).map(|_| plan_next(&mut turns).unwrap()).collect();
        for turn in classes.chunks(URGENT_READS_IN_TURN_MAX as usize + 1) {
            let (last, before) = turn.split_last().unwrap();
            assert_eq!(*last, BULK);
            assert!(before.iter().all(|&class| class == URGENT));
        }
    }

    #[test]
    fn urgent_reads_that_delay_no_bulk_read_cost_them_no_turn() {
        let mut turns = Turns::new();
        turns.join(URGENT, 1);
        for _ in 0..2 * URGENT_READS_IN_TURN_MAX {
            assert_eq!(plan_next(&mut turns), Some(URGENT));
        }
        turns.join(BULK, 0);
        assert_eq!(plan_next(&mut turns), Some(URGENT));
    }

    #[test]
    fn bulk_reads_leave_slots_and_have_few_beside_urgent_ones() {
        let fill = |turns: &mut Turns, depth: u32| {
            let mut in_flight = 0;
            while turns.next(in_flight, depth) == Some(BULK) {
                turns.planned(BULK);
                in_flight += 1;
            }
            in_flight
        };
        for (depth, alone, beside) in [(64, 56, 8), (8, 7, 1), (7, 7, 1), (1, 1, 1)] {
            let mut turns = Turns::new();
            turns.join(BULK, 0);
            assert_eq!(fill(&mut turns, depth), alone, "depth {depth}");
            let mut turns = Turns::new();
            turns.join(BULK, 0);
            turns.planned(URGENT);
            assert_eq!(fill(&mut turns, depth), beside, "depth {depth}");
        }
    }

    #[test]
    fn bulk_reads_have_their_slots_back_once_urgent_reads_are_over() {
        let mut turns = Turns::new();
        turns.join(BULK, 0);
        turns.planned(URGENT);
        let few = DEPTH / BULK_SLOTS_BESIDE_URGENT_SHARE;
        (0..few).for_each(|_| turns.planned(BULK));
        for _ in few..BULK_READS_SINCE_URGENT {
            assert_eq!(turns.next(few, DEPTH), None);
            turns.completed(BULK);
            assert_eq!(turns.next(few - 1, DEPTH), Some(BULK));
            turns.planned(BULK);
        }
        assert_eq!(turns.next(few, DEPTH), Some(BULK));
    }

    #[test]
    fn a_class_that_is_held_back_leaves_its_turn_to_the_other() {
        let mut turns = both();
        turns.hold_back(URGENT);
        assert_eq!(turns.next(0, DEPTH), Some(BULK));
        turns.hold_back(BULK);
        assert_eq!(turns.next(0, DEPTH), None);
        turns.go_on();
        assert_eq!(turns.next(0, DEPTH), Some(URGENT));
        assert_eq!(turns.next(DEPTH, DEPTH), None);
    }

    #[test]
    fn parts_are_in_line_until_they_leave() {
        let mut turns = both();
        turns.join(BULK, 2);
        assert_eq!(turns.len(), 3);
        assert_eq!(turns.first(BULK), Some(0));
        turns.leave(BULK);
        assert_eq!(turns.first(BULK), Some(2));
        turns.retain(|part| part == 1);
        assert_eq!((turns.first(BULK), turns.first(URGENT)), (None, Some(1)));
        turns.leave(URGENT);
        assert!(turns.is_empty());
    }
}
