//! The loop on a bare ring, which is kept full of the reads of a plan. The bytes that come are
//! touched and not decoded.

use std::cell::RefCell;
use std::time::Instant;

use ringtake_runtime::ShardStats;
use ringtake_runtime::yardstick::{DirectFiles, ReadAt, RingShape, read_on_ring};

use crate::drive::clients::{Clients, Work};
use crate::drive::planned::{Share, run_pinned};
use crate::drive::run::{Client, Run};
use crate::drive::yardstick::Yardstick;
use crate::error::Error;
use crate::workload::read_plan::ReadPlan;

/// Threads with a ring each.
pub(crate) struct RingLoop<'a> {
    pub(crate) yardstick: &'a Yardstick,
    pub(crate) files: &'a DirectFiles,
}

impl Clients for RingLoop<'_> {
    fn run(&self, work: Work<'_>, at_start: &mut dyn FnMut()) -> Result<Run, Error> {
        run_pinned(work, at_start, |client, share| {
            self.one_thread(client, share)
        })
    }
}

impl RingLoop<'_> {
    fn one_thread(&self, client: &mut Client, share: &Share<'_>) -> Result<(), Error> {
        let Yardstick {
            plan, queue_depth, ..
        } = self.yardstick;
        let shape = RingShape {
            queue_depth: *queue_depth,
            bytes_max: plan.bytes_max,
        };
        let in_flight = RefCell::new(InFlight::new(client, share, *queue_depth));
        let counts = read_on_ring(
            self.files,
            shape,
            || share.start(),
            || in_flight.borrow_mut().next(plan),
            |at, bytes| in_flight.borrow_mut().came(at, bytes),
        )
        .map_err(Error::subject)?;
        drop(in_flight);
        self.yardstick.count(ShardStats {
            rows: client.rows,
            reads: counts.reads,
            completions: counts.reads,
            read_bytes: counts.read_bytes,
            system_calls: counts.system_calls,
            ..ShardStats::default()
        });
        Ok(())
    }
}

/// The queries with reads in flight: at most one for each read, and the one begun.
struct InFlight<'a> {
    client: &'a mut Client,
    share: &'a Share<'a>,
    /// Reads of the query begun that were not made.
    rest: &'a [ReadAt],
    /// The place of that query.
    place: u32,
    /// Reads that each query waits for, and when it was asked.
    places: Vec<(u32, Instant)>,
    free: Vec<u32>,
}

impl<'a> InFlight<'a> {
    fn new(client: &'a mut Client, share: &'a Share<'a>, queue_depth: u32) -> InFlight<'a> {
        InFlight {
            client,
            share,
            rest: &[],
            place: 0,
            places: vec![(0, Instant::now()); queue_depth as usize + 1],
            free: (0..=queue_depth).collect(),
        }
    }

    fn next(&mut self, plan: &'a ReadPlan) -> Option<ReadAt> {
        while self.rest.is_empty() {
            let (query, asked) = self.share.next_query()?;
            self.rest = plan.query(query);
            if self.rest.is_empty() {
                self.answered(asked, asked);
                continue;
            }
            // There is one more than reads, so one is free whenever a read can be made.
            self.place = self.free.pop()?;
            self.places[self.place as usize] = (self.rest.len() as u32, asked);
        }
        let (read, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(ReadAt {
            tag: self.place,
            ..*read
        })
    }

    fn came(&mut self, at: ReadAt, bytes: &[u8]) {
        self.client
            .touch(bytes.first().copied().unwrap_or_default());
        let (left, asked) = &mut self.places[at.tag as usize];
        *left -= 1;
        if *left == 0 {
            let asked = *asked;
            self.free.push(at.tag);
            self.answered(asked, Instant::now());
        }
    }

    fn answered(&mut self, asked: Instant, now: Instant) {
        let rows = self.share.rows_per_query();
        self.client.answered(asked, now, rows);
    }
}
