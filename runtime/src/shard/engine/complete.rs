//! Completions: reads that go on, rows of failed reads that are read again one by one, and rows that
//! are delivered, each in its place or as a fault.

use ringtake_storage::dataset::BadOffsets;
use ringtake_storage::plan::next_read;

use super::Engine;
use super::deliver::{Arrived, fault};
use super::flights::{Advance, InPlace, NewRead, Released};
use super::sharing::PartRows;
use crate::device::read_path::Completion;
use crate::error::FaultKind;
use crate::metrics::{Phase, Stage};

impl Engine<'_> {
    /// Takes in the completions of a turn.
    #[inline(never)]
    pub(super) fn deliver_completions(&mut self, completions: &mut Vec<Completion>) {
        self.site.meter.enter(Phase::Deliver);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.site.meter.leave(Phase::Deliver);
    }

    /// Takes a completion in: the read goes on, its rows are read again one by one, or they are
    /// delivered, each as a row or as a fault.
    fn complete(&mut self, completion: Completion) {
        let token = completion.token;
        let failed = match self.flights.advance(completion) {
            Advance::Continued => return,
            Advance::Complete(failed) => failed,
        };
        self.site.context.counters.completions.add(1);
        let (planned_at, submitted_at) = self.flights.get(token).times();
        self.site.meter.read_done(planned_at, submitted_at);
        if failed.is_none() || !self.retry(token) {
            self.deliver(token, &failed);
        }
        let Released {
            rows,
            mut waiters,
            made_room,
        } = self.flights.release(token);
        if made_room {
            self.make_room();
        }
        self.turns.completed(self.parts.get(rows.part).part.class());
        self.end_rows(rows);
        for rows in waiters.drain(..) {
            self.end_rows(rows);
        }
        self.flights.reuse(token, waiters);
    }

    /// Has the rows of a read that failed read again one by one. Returns whether that makes sense.
    #[cold]
    fn retry(&mut self, token: u32) -> bool {
        let flight = self.flights.get(token);
        if !flight.is_worth_retries() {
            return false;
        }
        for rows in flight.all_rows() {
            self.parts.get_mut(rows.part).in_flight += rows.entries;
            self.retries.add(rows);
        }
        true
    }

    /// Reads one row of a read that failed, if there is room for it.
    #[cold]
    pub(super) fn read_again(&mut self, row: PartRows) {
        let context = self.site.context;
        let work = self.parts.get(row.part);
        let class = work.part.class();
        let group = work.column_group(row.group as usize);
        let entry = work.part.entries()[row.first_entry as usize];
        let planned = match next_read(&self.locators[group], &[entry], self.limits) {
            Ok(planned) => planned,
            Err(BadOffsets { .. }) => return self.fail(row, 0, FaultKind::Offsets),
        };
        if planned.bytes == 0 {
            // It stores nothing, so the read that failed was not for it.
            context.counters.rows.add(1);
            return self.end_rows(row);
        }
        match self.target(row, planned) {
            Ok(Some(target)) => self.submit(
                class,
                NewRead {
                    rows: row,
                    file: context.files.index(group, planned.dir),
                    planned,
                    target,
                    planned_at: self.site.meter.now(),
                    is_retry: true,
                },
            ),
            Ok(None) => self.retries.hold_back(row),
            Err(kind) => self.fail(row, planned.dir, kind),
        }
    }

    /// Notes a row that was to be read again as a fault.
    #[cold]
    fn fail(&mut self, row: PartRows, dir: u32, kind: FaultKind) {
        let context = self.site.context;
        let work = self.parts.get(row.part);
        let group = work.column_group(row.group as usize);
        let number = work.part.entries()[row.first_entry as usize].row;
        let file = context.files.index(group, dir);
        fault(context, work, group, file, number, kind);
        self.end_rows(row);
    }

    /// Notes that a part waits for `rows` no more.
    #[inline]
    fn end_rows(&mut self, rows: PartRows) {
        let work = self.parts.get_mut(rows.part);
        assert!(work.in_flight > 0, "rows end once");
        work.in_flight -= 1;
        self.parts
            .finish_if_done(rows.part, &mut self.deadlines.margin);
    }

    /// Delivers the rows of a complete read.
    fn deliver(&mut self, token: u32, failed: &Option<FaultKind>) {
        let flight = self.flights.get(token);
        let (bytes, in_place) = self.flights.bytes(token);
        self.site.meter.detail(Stage::Reply);
        let read = Arrived {
            site: self.site,
            locators: &self.locators,
            bytes,
            offset: flight.offset,
            dir: flight.dir,
            failed,
        };
        read.deliver(&mut self.parts, &mut self.cache, flight.rows, in_place);
        for &waiter in &flight.waiters {
            read.deliver(&mut self.parts, &mut self.cache, waiter, InPlace::No);
        }
    }
}
