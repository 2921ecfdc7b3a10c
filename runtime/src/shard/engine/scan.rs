//! Searches before their rows are known: scanning codes, a piece in each turn of the shard, and
//! waiting for the other shards.

use std::collections::VecDeque;
use std::time::Instant;

use ringtake_storage::vector::kernels::BLOCK_ROWS;
use ringtake_storage::vector::nearest::Neighbour;

use super::site::Site;
use crate::admission::LatencyClass;
use crate::host::clock;
use crate::index::codes::ShardCodes;
use crate::index::nearest::Nearest;
use crate::index::query::Query;
use crate::metrics::Stage;
use crate::shard::context::ShardContext;
use crate::shard::part::Part;

/// Rows scanned in one turn: a few microseconds' worth.
const SCANNED_IN_TURN: usize = 2048;
/// Candidates kept beyond those wanted before they are looked through, at least.
const SURPLUS_MIN: usize = 512;

/// A search on one shard.
struct Scan {
    part: Part,
    /// The place in the list of probes, and the block there, to scan next.
    probe: usize,
    block: usize,
    /// The nearest so far, and some that were nearer than `nearer_than` when they were found.
    found: Vec<Key>,
    /// The distance of the farthest of the wanted number; infinite before that number is found.
    nearer_than: f32,
}

/// Searches of a shard whose rows are not known yet.
pub(super) struct Scans {
    codes: Vec<ShardCodes>,
    /// By class, the oldest first.
    scanning: [VecDeque<Scan>; LatencyClass::COUNT],
    /// Searches that wait for other shards.
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

    /// Ends those whose deadline has passed, wherever in line they are. Returns the next deadline.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut is_late = |part: &Part| match part.deadline() {
            Some(deadline) if deadline <= now => true,
            Some(deadline) => {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
                false
            }
            None => false,
        };
        let mut late: Vec<Part> = Vec::new();
        for queue in &mut self.scanning {
            let scans = std::mem::take(queue).into_iter();
            let (gone, kept): (Vec<Scan>, Vec<Scan>) = scans.partition(|scan| is_late(&scan.part));
            *queue = kept.into();
            late.extend(gone.into_iter().map(|scan| scan.part));
        }
        late.extend(self.waiting.extract_if(.., |part| is_late(part)));
        for mut part in late {
            let wanted = search(&mut part).query.candidates;
            part.progress().expire(wanted.max(1) as u64);
            part.finish();
        }
        next
    }

    /// Ends all of them unfinished.
    pub(super) fn clear(&mut self) {
        self.scanning.iter_mut().for_each(VecDeque::clear);
        self.waiting.clear();
    }

    /// A search whose rows are known by now.
    pub(super) fn chosen(&mut self, context: &ShardContext) -> Option<Part> {
        let place = self.waiting.iter_mut().position(is_cut)?;
        let mut part = self.waiting.swap_remove(place);
        let query = search(&mut part).query.clone();
        let is_chosen = part.choose(tail(context, &query));
        assert!(
            is_chosen,
            "every shard has scanned for a search that is cut"
        );
        Some(part)
    }

    /// Scans a piece for the oldest search. Returns whether there was one.
    #[inline(never)]
    pub(super) fn scan_turn(&mut self, site: Site<'_>) -> bool {
        let urgent = LatencyClass::Urgent.index();
        let class = if self.scanning[urgent].is_empty() {
            LatencyClass::Bulk.index()
        } else {
            urgent
        };
        let Some(mut scan) = self.scanning[class].pop_front() else {
            return false;
        };
        let query = search(&mut scan.part).query.clone();
        if is_pointless(&scan.part, &query) {
            scan.part.finish();
            return true;
        }
        if scan.step(&query, &self.codes[query.index.place], &mut self.sums, site) {
            self.scanning[class].push_front(scan);
            return true;
        }
        let Scan {
            mut part,
            mut found,
            ..
        } = scan;
        keep_least(&mut found, query.candidates);
        let candidates = found.into_iter().map(Key::neighbour).collect();
        search(&mut part).scanned(candidates);
        self.waiting.push(part);
        true
    }
}

/// The candidates of a search.
fn search(part: &mut Part) -> &mut Nearest {
    let Some(nearest) = part.nearest() else {
        unreachable!("only searches are accepted");
    };
    nearest
}

/// Whether every shard has scanned for the search.
fn is_cut(part: &mut Part) -> bool {
    search(part).query.is_cut()
}

/// Whether no caller waits for the search any more, or not for long enough.
fn is_pointless(part: &Part, query: &Query) -> bool {
    let progress = part.progress();
    if progress.is_cancelled() || progress.is_late() {
        return true;
    }
    let late = part
        .deadline()
        .is_some_and(|deadline| clock::now() >= deadline);
    if late {
        progress.expire(query.candidates.max(1) as u64);
    }
    late
}

/// The rows of this shard that the index does not know.
fn tail<'a>(context: &'a ShardContext, query: &'a Query) -> impl Iterator<Item = u64> + 'a {
    let rows = query.index.index.layout().rows..context.dataset.rows();
    let vectors = &query.index.column;
    let column = &context.dataset.columns()[vectors.column];
    let filter = query.filter.as_ref();
    rows.filter(move |&row| {
        context.ownership.owner(row) == context.shard.0
            && filter.is_none_or(|filter| filter.passes(row))
            && vectors.has_vector(column, row)
    })
}

impl Scan {
    /// Scans up to `SCANNED_IN_TURN` rows. Returns whether there are more.
    fn step(
        &mut self,
        query: &Query,
        codes: &ShardCodes,
        sums: &mut Vec<(u32, u16)>,
        site: Site<'_>,
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
                site.meter.detail(Stage::Select);
                let (codes, table) = (query.index.codes(), query.table(probe));
                let (kernels, block) = (&query.index.kernels, &list.blocks[bytes]);
                kernels.scan_below(codes, table, block, rows, below, sums);
                site.meter.detail(Stage::Scan);
                let ids = &list.rows[first_row..];
                let passes = |row: u32| {
                    let filter = query.filter.as_ref();
                    filter.is_none_or(|filter| filter.passes(row.into()))
                };
                let near = sums.iter().map(|&(place, sum)| (ids[place as usize], sum));
                let near = near.filter(|&(row, _)| passes(row));
                let key = |(row, sum)| Key::new(probe.scale.distance(sum), row);
                self.found.extend(near.map(key));
                self.shrink(query.candidates);
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
        keep_least(&mut self.found, wanted);
        let farthest = self.found.iter().max();
        self.nearer_than = farthest.map_or(f32::NEG_INFINITY, |key| key.neighbour().distance);
    }
}

/// A distance and a row in one number, in the order of [`Neighbour::order`]: choosing among
/// thousands of them compares one number each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

const SIGN: u32 = 1 << 31;

impl Key {
    #[inline]
    fn new(distance: f32, row: u32) -> Key {
        let bits = distance.to_bits();
        // The bits of positive numbers ascend with them, those of negative ones descend.
        let ascending = if bits & SIGN == 0 { bits | SIGN } else { !bits };
        Key(u64::from(ascending) << 32 | u64::from(row))
    }

    fn neighbour(self) -> Neighbour {
        let ascending = (self.0 >> 32) as u32;
        let bits = if ascending & SIGN == 0 {
            !ascending
        } else {
            ascending & !SIGN
        };
        Neighbour {
            distance: f32::from_bits(bits),
            row: u64::from(self.0 as u32),
        }
    }
}

/// Keeps the least `count`, in no order.
fn keep_least(keys: &mut Vec<Key>, count: usize) {
    if keys.len() > count {
        if count > 0 {
            keys.select_nth_unstable(count - 1);
        }
        keys.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_neighbours_and_give_them_back() {
        let distances = [
            f32::NEG_INFINITY,
            -2.5,
            -f32::MIN_POSITIVE,
            -0.0,
            0.0,
            f32::MIN_POSITIVE,
            1.0,
            1.000_000_1,
            f32::MAX,
            f32::INFINITY,
        ];
        let rows = [0, 1, u32::MAX];
        let all = distances
            .iter()
            .flat_map(|&distance| rows.map(|row| (distance, row)));
        let keys: Vec<Key> = all
            .clone()
            .map(|(distance, row)| Key::new(distance, row))
            .collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        for (key, (distance, row)) in keys.into_iter().zip(all) {
            let neighbour = key.neighbour();
            assert_eq!(neighbour.distance.to_bits(), distance.to_bits());
            assert_eq!(neighbour.row, u64::from(row));
        }
    }

    #[test]
    fn the_least_are_kept() {
        let mut keys: Vec<Key> = (0..100)
            .map(|row| Key::new((row * 37 % 100) as f32, row))
            .collect();
        keep_least(&mut keys, 10);
        keys.sort_unstable();
        let distances: Vec<f32> = keys.iter().map(|key| key.neighbour().distance).collect();
        assert_eq!(distances, (0..10).map(|x| x as f32).collect::<Vec<_>>());
        keep_least(&mut keys, 0);
        assert!(keys.is_empty());
    }
}
