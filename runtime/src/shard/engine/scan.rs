//! Searches before their rows are known: scanning codes, a piece in each turn of the shard, and
//! waiting for the other shards.

use std::collections::VecDeque;
use std::time::Instant;

use ringtake_storage::vector::kernels::BLOCK_ROWS;

use crate::admission::LatencyClass;
use crate::part::Part;
use crate::search::Stage;
use crate::search::codes::ShardCodes;
use crate::search::query::{Neighbour, Query, keep_nearest};
use crate::shard::ShardContext;

/// Rows scanned in one turn: a few microseconds' worth.
const SCANNED_IN_TURN: usize = 2048;
/// Candidates kept beyond those wanted before they are looked through, at least.
const SURPLUS_MIN: usize = 512;

/// A search on one shard.
struct Scan {
    part: Part,
    /// What is scanned next.
    probe: usize,
    block: usize,
    /// The nearest so far, and some that were nearer than `nearer_than` when they were found.
    found: Vec<Neighbour>,
    /// The distance of the farthest of as many as are wanted; infinite before there are so many.
    nearer_than: f32,
}

/// See the module.
pub(super) struct Scans {
    codes: Vec<ShardCodes>,
    /// By class, the oldest first.
    scanning: [VecDeque<Scan>; LatencyClass::COUNT],
    /// Those that wait for other shards.
    waiting: Vec<Part>,
    /// Places and sums of one turn.
    sums: Vec<(u32, u16)>,
}

impl Scans {
    pub(super) fn new(codes: Vec<ShardCodes>) -> Scans {
        Scans {
            codes,
            scanning: Default::default(),
            waiting: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Whether there is no search here.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_scanning()
    }

    /// Whether a turn would do something.
    pub(super) fn can_go_on(&mut self) -> bool {
        self.is_scanning() || self.waiting.iter_mut().any(is_cut)
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.scanning.iter().any(|queue| !queue.is_empty())
    }

    pub(super) fn accept(&mut self, part: Part) {
        let class = part.class();
        self.scanning[class.index()].push_back(Scan {
            part,
            probe: 0,
            block: 0,
            found: Vec::new(),
            nearer_than: f32::INFINITY,
        });
    }

    /// A search whose rows are known by now.
    pub(super) fn chosen(&mut self, context: &ShardContext) -> Option<Part> {
        let place = self.waiting.iter_mut().position(is_cut)?;
        let mut part = self.waiting.swap_remove(place);
        let nearest = part.nearest()?;
        let query = nearest.query.clone();
        let entries = nearest.chosen(tail(context, &query))?;
        part.entries = entries;
        Some(part)
    }

    /// Scans a piece for the oldest search. Returns whether there was one.
    pub(super) fn turn(&mut self, context: &ShardContext) -> bool {
        let urgent = LatencyClass::Urgent.index();
        let class = match self.scanning[urgent].is_empty() {
            true => LatencyClass::Bulk.index(),
            false => urgent,
        };
        let Some(mut scan) = self.scanning[class].pop_front() else {
            return false;
        };
        let Some(query) = scan.part.nearest().map(|nearest| nearest.query.clone()) else {
            unreachable!("only searches are accepted");
        };
        if is_pointless(&scan.part, &query) {
            scan.part.finish();
            return true;
        }
        if scan.step(
            &query,
            &self.codes[query.index.place],
            &mut self.sums,
            context,
        ) {
            self.scanning[class].push_front(scan);
            return true;
        }
        let Scan {
            mut part,
            mut found,
            ..
        } = scan;
        context
            .stages
            .time(Stage::Select, || keep_nearest(&mut found, query.candidates));
        if let Some(nearest) = part.nearest() {
            nearest.scanned(found);
        }
        self.waiting.push(part);
        true
    }
}

/// Whether every shard has scanned for this one.
fn is_cut(part: &mut Part) -> bool {
    part.nearest().is_some_and(|nearest| nearest.query.is_cut())
}

/// Whether nobody waits for the search any more, or not for long enough.
fn is_pointless(part: &Part, query: &Query) -> bool {
    if part
        .progress()
        .is_none_or(|progress| progress.is_cancelled() || progress.is_late())
    {
        return true;
    }
    let late = part
        .deadline()
        .is_some_and(|deadline| Instant::now() >= deadline);
    if late && let Some(progress) = part.progress() {
        progress.expire(query.candidates.max(1) as u64);
    }
    late
}

/// The rows of this shard that the index does not know.
fn tail<'a>(context: &'a ShardContext, query: &'a Query) -> impl Iterator<Item = u64> + 'a {
    let rows = query.index.index.layout().rows..context.dataset.rows();
    let valid = context.dataset.columns()[query.index.column.column].valid();
    let is_valid =
        move |row: u64| valid.is_none_or(|bits| bits[(row / 8) as usize] >> (row % 8) & 1 == 1);
    let filter = query.filter.as_ref();
    rows.filter(move |&row| {
        context.ownership.owner(row) == context.shard.0
            && is_valid(row)
            && filter.is_none_or(|filter| filter.passes(row))
    })
}

impl Scan {
    /// Scans up to `SCANNED_IN_TURN` rows. Returns whether there are more.
    fn step(
        &mut self,
        query: &Query,
        codes: &ShardCodes,
        sums: &mut Vec<(u32, u16)>,
        context: &ShardContext,
    ) -> bool {
        let mut left = SCANNED_IN_TURN;
        while let Some(&probe) = query.probes().get(self.probe) {
            if left == 0 {
                return true;
            }
            let list = codes.list(probe.partition);
            let first_row = self.block * BLOCK_ROWS;
            let rows = (list.rows.len() - first_row).min(left.next_multiple_of(BLOCK_ROWS));
            if rows > 0 {
                let blocks = rows.div_ceil(BLOCK_ROWS);
                let bytes =
                    self.block * codes.block_bytes()..(self.block + blocks) * codes.block_bytes();
                let below = probe.scale.below(self.nearer_than);
                sums.clear();
                context.stages.time(Stage::Scan, || {
                    let (codes, table) = (query.index.codes(), query.table(probe));
                    let blocks = &list.blocks[bytes];
                    query
                        .index
                        .kernels
                        .scan_below(codes, table, blocks, rows, below, sums);
                });
                context.stages.time(Stage::Select, || {
                    let ids = &list.rows[first_row..];
                    let near = sums.iter().map(|&(place, sum)| Neighbour {
                        distance: probe.scale.distance(sum),
                        row: ids[place as usize].into(),
                    });
                    match &query.filter {
                        None => self.found.extend(near),
                        Some(filter) => {
                            self.found
                                .extend(near.filter(|near| filter.passes(near.row)));
                        }
                    }
                    self.shrink(query.candidates);
                });
                left = left.saturating_sub(rows);
                self.block += blocks;
            }
            if self.block * BLOCK_ROWS >= list.rows.len() {
                self.probe += 1;
                self.block = 0;
            }
        }
        false
    }

    /// Forgets the farthest where there are many more than `wanted`.
    fn shrink(&mut self, wanted: usize) {
        if self.found.len() < wanted + wanted.max(SURPLUS_MIN) {
            return;
        }
        keep_nearest(&mut self.found, wanted);
        let distances = self.found.iter().map(|near| near.distance);
        self.nearer_than = distances.fold(f32::NEG_INFINITY, f32::max);
    }
}
