//! Parts at work: from the moment their rows are known until their last row is in its place.
//!
//! A part is named by its place in a slab. The name is valid until the part is done, which it is
//! not while a read of it is in flight or it has rows to plan: a name that leads nowhere is a bug.

use std::ptr::NonNull;

use ringtake_storage::plan::PlannedRead;

use super::forecast::{Forecast, Margin, Waits};
use super::sharing::PartRows;
use crate::host::clock;
use crate::metrics::stats::ShardCounters;
use crate::shard::cache::Use;
use crate::shard::part::Part;

/// A part at work.
pub(super) struct PartAtWork {
    pub(super) part: Part,
    /// Which of the projection's groups is being planned; their number once all are.
    pub(super) group: usize,
    /// The first entry of that group not planned yet.
    pub(super) next: usize,
    /// Reads in flight, and rows to be read again, that it waits for.
    pub(super) in_flight: u32,
    /// How the cache counts its use of pages.
    pub(super) cache_use: Use,
    /// Whether its caller waits for it no more.
    pub(super) overdue: bool,
    /// Set where it has a deadline and no read of it has been planned yet.
    waits: Option<Waits>,
    /// Set where it was begun after a wait.
    pub(super) forecast: Option<Forecast>,
}

impl PartAtWork {
    /// A part whose rows are known. They are read in ascending order, which brings neighbours
    /// together. `number` tells the cache one part from another.
    fn new(mut part: Part, number: u32, counters: &ShardCounters) -> PartAtWork {
        part.sort();
        // Some rows of a take have been read already when its later windows begin.
        let is_first_window = part.base() == 0;
        let waits = part
            .deadline()
            .filter(|_| is_first_window)
            .map(|_| Waits::begin(counters));
        PartAtWork {
            cache_use: if is_first_window {
                Use::By(number)
            } else {
                Use::Bulk
            },
            part,
            group: 0,
            next: 0,
            in_flight: 0,
            overdue: false,
            waits,
            forecast: None,
        }
    }

    fn groups(&self) -> usize {
        self.part.projection.groups().len()
    }

    /// The column group of the dataset that is the projection's `place`th.
    #[inline]
    pub(super) fn column_group(&self, place: usize) -> usize {
        self.part.projection.groups()[place].group
    }

    /// Whether all its reads have been planned.
    #[inline]
    pub(super) fn is_planned(&self) -> bool {
        self.group == self.groups()
    }

    /// Whether all its rows are in their places, or given up.
    #[inline]
    fn is_done(&self) -> bool {
        self.in_flight == 0 && self.is_planned()
    }

    /// Notes that the next `entries` entries are on their way in a read. Returns whether that was
    /// the last of its reads.
    #[inline]
    pub(super) fn plan(&mut self, entries: usize) -> bool {
        self.next += entries;
        self.in_flight += 1;
        let is_last = self.group + 1 == self.groups() && self.next == self.part.entries().len();
        if is_last {
            self.group += 1;
        }
        is_last
    }

    /// Begins the next group.
    pub(super) fn next_group(&mut self) {
        assert!(!self.is_planned(), "a group is left to plan");
        self.group += 1;
        self.next = 0;
    }

    /// Plans no more of its reads. Returns how many rows that leaves unread in some group.
    fn give_up(&mut self) -> u64 {
        let groups = self.groups();
        let rows = match groups - self.group {
            0 => 0,
            1 => self.part.entries().len() - self.next,
            _ => self.part.entries().len(),
        };
        self.group = groups;
        // How long it would have taken is not known.
        self.forecast = None;
        rows as u64
    }

    /// Plans no more of its reads, since they would come too late.
    pub(super) fn give_up_late(&mut self, counters: &ShardCounters) {
        let rows = self.give_up();
        counters.rows_expired.add(rows);
        self.part.progress().expire(rows);
    }

    /// Plans no more of its reads where its caller has dropped the take or cannot have it in time.
    pub(super) fn give_up_if_unwanted(&mut self, counters: &ShardCounters) {
        if self.is_cancelled() {
            let rows = self.give_up();
            counters.rows_cancelled.add(rows);
        } else if self.part.progress().is_late() || self.is_hopeless_in_memory(counters) {
            // It comes too late, or another part of the same take does.
            self.give_up_late(counters);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.part.progress().is_cancelled()
    }

    /// Whether no caller waits for it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.overdue || self.is_cancelled()
    }

    /// Whether its first read, which is about to be planned, would be in vain, since the part would
    /// come too late.
    #[inline]
    pub(super) fn is_hopeless(
        &mut self,
        reads_before: u32,
        counters: &ShardCounters,
        margin: Margin,
    ) -> bool {
        let (Some(waits), Some(deadline)) = (self.waits.take(), self.part.deadline()) else {
            return false;
        };
        let now = clock::now();
        let Some(takes) = waits
            .seen(now, counters)
            .takes(self.rows_left(), reads_before)
        else {
            return false;
        };
        self.forecast = Some(Forecast::of(now, takes));
        margin.forbids(takes, deadline.saturating_duration_since(now))
    }

    /// Whether it would come too late even if it were in the cache. It can be known before the
    /// cache is asked only where all rows served meanwhile came from there: the rate is the
    /// memory's then.
    fn is_hopeless_in_memory(&self, counters: &ShardCounters) -> bool {
        let (Some(waits), Some(deadline)) = (self.waits, self.part.deadline()) else {
            return false;
        };
        let now = clock::now();
        let seen = waits.seen(now, counters);
        let left = deadline.saturating_duration_since(now);
        seen.is_all_from_memory()
            && seen
                .takes(self.rows_left(), 0)
                .is_some_and(|takes| Margin::default().forbids(takes, left))
    }

    /// Rows not planned yet, in all groups.
    fn rows_left(&self) -> u64 {
        let groups_left = self.groups() - self.group;
        (self.part.entries().len() * groups_left - self.next) as u64
    }

    /// The place of the first row in the result, if the drive may write it there itself: the read
    /// brings that row and nothing else, the row is one value, and the place is aligned as
    /// offsets are. (Some devices need no such alignment of memory. But zram, which says that it
    /// needs 512 bytes and reads whole pages, writes beyond a buffer that is not.)
    pub(super) fn place_in_output(
        &self,
        rows: PartRows,
        planned: PlannedRead,
        align_bytes: u32,
    ) -> Option<NonNull<u8>> {
        let [field] = self.part.projection.groups()[rows.group as usize].fields[..] else {
            return None;
        };
        let entry = self.part.entries()[rows.first_entry as usize];
        let place = self.part.base() + entry.position as usize;
        let start = self
            .part
            .outputs()?
            .lent(field.output, place, planned.bytes as usize)?;
        // A read brings whole records, and this one is as long as the value.
        assert_eq!(field.offset_bytes, 0, "nothing precedes the value");
        let aligned = start.addr().get() & (align_bytes as usize - 1) == 0;
        aligned.then_some(start)
    }
}

/// The slab of parts at work.
#[derive(Default)]
pub(super) struct Parts {
    slots: Vec<Option<PartAtWork>>,
    free: Vec<u32>,
    /// Parts begun so far, for the cache to tell one from another.
    begun: u32,
}

impl Parts {
    /// Takes on a part whose rows are known. Returns its name.
    pub(super) fn begin(&mut self, part: Part, counters: &ShardCounters) -> u32 {
        self.begun = self.begun.wrapping_add(1);
        let part = Some(PartAtWork::new(part, self.begun, counters));
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = part;
                id
            }
            None => {
                self.slots.push(part);
                (self.slots.len() - 1) as u32
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &PartAtWork {
        let Some(part) = &self.slots[id as usize] else {
            unreachable!("a part lives until its last read is complete");
        };
        part
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut PartAtWork {
        let Some(part) = &mut self.slots[id as usize] else {
            unreachable!("a part lives until its last read is complete");
        };
        part
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PartAtWork> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut PartAtWork> {
        self.slots.iter_mut().flatten()
    }

    /// Ends a part if all its rows are in their places, or given up; `margin` learns how long it
    /// took.
    pub(super) fn finish_if_done(&mut self, id: u32, margin: &mut Margin) {
        if !self.get(id).is_done() {
            return;
        }
        let Some(done) = self.slots[id as usize].take() else {
            unreachable!("it has just been looked at");
        };
        self.free.push(id);
        if let (Some(forecast), Some(deadline)) = (done.forecast, done.part.deadline()) {
            margin.learn(forecast, clock::now(), deadline);
        }
        done.part.finish();
    }

    /// Drops all parts unfinished, which fails their takes. No name is valid after it.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
    }
}
