//! Rows that are in memory: the shard's cache, or its pinned pages, as a part finds them.

use ringtake_storage::dataset::{Extent, Locator};
use ringtake_storage::plan::Entry;

use super::{Active, Site, deliver_row, fault};
use crate::memory::decode::Checked;
use crate::metrics::Stage;
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::cache::{Found, PageCache, Refused, Use};

/// Rows from the cache in one turn of a part, before the shard looks for what is more urgent.
pub(super) const HITS_IN_TURN_MAX: u64 = 1024;
/// How many rows beforehand the memory of one in the cache is asked for. Fewer leave the copy
/// waiting, more push each other out before their turn.
const AHEAD: usize = 4;

/// What the cache has of an entry.
#[derive(Clone, Copy)]
enum Hit {
    Row(Found),
    /// The row takes no bytes.
    Empty,
    Miss,
}

/// A cache as hits see it.
pub(super) trait Hits {
    fn find(&self, locator: &Locator<'_>, group: usize, row: u64, extent: Extent) -> Option<Found>;
    fn prefetch(&self, found: Found);
    /// The bytes of a row, and whether they are known to be right.
    fn get(&mut self, found: Found, by: Use) -> (&[u8], bool);
    /// The row's bytes are right.
    fn mark(&mut self, found: Found);
    /// They are wrong.
    fn refuse(&mut self, found: Found) -> Refused;
}

impl Hits for PageCache {
    #[inline]
    fn find(&self, locator: &Locator<'_>, group: usize, row: u64, extent: Extent) -> Option<Found> {
        PageCache::find(self, locator, group, row, extent)
    }

    #[inline]
    fn prefetch(&self, found: Found) {
        PageCache::prefetch(self, found);
    }

    #[inline]
    fn get(&mut self, found: Found, by: Use) -> (&[u8], bool) {
        PageCache::get(self, found, by)
    }

    fn mark(&mut self, found: Found) {
        PageCache::mark(self, found);
    }

    fn refuse(&mut self, found: Found) -> Refused {
        PageCache::refuse(self, found)
    }
}

impl Hits for &PinnedPages {
    #[inline]
    fn find(&self, locator: &Locator<'_>, group: usize, row: u64, extent: Extent) -> Option<Found> {
        PinnedPages::find(self, locator, group, row, extent)
    }

    #[inline]
    fn prefetch(&self, found: Found) {
        PinnedPages::prefetch(self, found);
    }

    #[inline]
    fn get(&mut self, found: Found, _: Use) -> (&[u8], bool) {
        PinnedPages::get(self, found)
    }

    /// Rows that were right when they were loaded have been marked then.
    fn mark(&mut self, _: Found) {}

    fn refuse(&mut self, _: Found) -> Refused {
        Refused::Stays
    }
}

/// Delivers entries from the cache until one is not there, or there have been many. Returns how
/// many.
pub(super) fn deliver_hits<C: Hits>(
    site: Site<'_>,
    active: &mut Active,
    locator: &Locator<'_>,
    cache: &mut C,
) -> u64 {
    let context = site.context;
    let group = active.part.projection.groups()[active.group].group;
    let look = |cache: &C, entries: &[Entry], place: usize| {
        let Some(entry) = entries.get(place) else {
            return Hit::Miss;
        };
        match locator.locate(entry.row) {
            Ok(extent) if extent.bytes == 0 => Hit::Empty,
            Ok(extent) => cache
                .find(locator, group, entry.row, extent)
                .map_or(Hit::Miss, Hit::Row),
            Err(_) => Hit::Miss,
        }
    };
    let mut hits = 0;
    let mut ahead = [Hit::Miss; AHEAD];
    // Where the cache has little, nothing is asked for beforehand.
    let first = look(cache, active.part.entries(), active.next);
    let mut looked_at = active.next + 1;
    ahead[active.next % AHEAD] = first;
    loop {
        let hit = ahead[active.next % AHEAD];
        if matches!(hit, Hit::Miss) || hits == HITS_IN_TURN_MAX {
            break;
        }
        while looked_at < active.next + AHEAD {
            let hit = look(cache, active.part.entries(), looked_at);
            if let Hit::Row(found) = hit {
                cache.prefetch(found);
            }
            ahead[looked_at % AHEAD] = hit;
            looked_at += 1;
        }
        if let Hit::Row(found) = hit {
            let (stored, right) = cache.get(found, active.asks);
            let checked = if right { Checked::Yes } else { Checked::No };
            let place = active.next;
            let delivered =
                deliver_row(site, active, active.group, locator, place, stored, checked);
            match delivered {
                Ok(()) if !right => {
                    cache.mark(found);
                    // Its checksum has been told apart, so its copy must be.
                    if active.part.outputs().is_some() {
                        site.meter.detail(Stage::Decode);
                    }
                }
                Ok(()) => {}
                Err(_) if cache.refuse(found) == Refused::Evicted => break,
                Err(kind) => {
                    let row = active.part.entries()[place].row;
                    let dir = locator.locate(row).map_or(0, |extent| extent.dir);
                    let file = context.files.index(group, dir);
                    fault(context, active, group, file, row, kind);
                }
            }
            hits += 1;
        }
        active.next += 1;
    }
    context.counters.cache_hits.add(hits);
    context.counters.rows.add(hits);
    hits
}
