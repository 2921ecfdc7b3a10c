//! Rows that are in memory: the shard's cache, or its pinned pages, as a part finds them.

use ringtake_storage::dataset::{Extent, Locator};
use ringtake_storage::plan::Entry;

use super::deliver::{deliver_row, fault};
use super::parts::PartAtWork;
use super::site::Site;
use crate::memory::decode::Checked;
use crate::metrics::Stage;
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::cache::{Found, PREFETCH_ROWS, PageCache, Refused, Use};

/// Rows from the cache in one turn of a part, before the shard looks for more urgent work.
pub(super) const HITS_IN_TURN_MAX: u64 = 1024;

/// An entry in the cache.
#[derive(Clone, Copy)]
enum Hit {
    Row(Found),
    /// The row takes no bytes.
    Empty,
    Miss,
}

/// Rows in memory: a cache whose pages come and go, or pinned pages.
trait RowCache {
    fn find(&self, locator: &Locator<'_>, group: usize, row: u64, extent: Extent) -> Option<Found>;
    fn prefetch(&self, found: Found);
    /// The bytes of a row, and whether they are known to be right.
    fn get(&mut self, found: Found, by: Use) -> (&[u8], bool);
    /// The row's bytes are right.
    fn mark(&mut self, found: Found);
    /// They are wrong.
    fn refuse(&mut self, found: Found) -> Refused;
}

impl RowCache for PageCache {
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

impl RowCache for &PinnedPages {
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

/// Delivers entries from the cache, or from pinned pages, until one is not there, or there have been
/// many. Returns how many.
#[inline]
pub(super) fn deliver_from_memory(
    site: Site<'_>,
    work: &mut PartAtWork,
    locator: &Locator<'_>,
    cache: &mut Option<PageCache>,
) -> u64 {
    let Site { context, meter, .. } = site;
    meter.detail(Stage::Plan);
    let hits = if let Some(cache) = cache {
        deliver_hits(site, work, locator, cache)
    } else if let Some(mut pages) = context.pinned.get() {
        deliver_hits(site, work, locator, &mut pages)
    } else {
        return 0;
    };
    if hits > 0 {
        meter.detail(match work.part.nearest() {
            Some(_) => Stage::Refine,
            None => Stage::Decode,
        });
    }
    hits
}

/// Delivers entries from the cache until one is not there, or there have been many. Returns how
/// many.
fn deliver_hits<C: RowCache>(
    site: Site<'_>,
    work: &mut PartAtWork,
    locator: &Locator<'_>,
    cache: &mut C,
) -> u64 {
    let context = site.context;
    let group = work.column_group(work.group);
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
    let mut ahead = [Hit::Miss; PREFETCH_ROWS];
    // Where the cache has little, nothing is asked for beforehand.
    let first = look(cache, work.part.entries(), work.next);
    let mut looked_at = work.next + 1;
    ahead[work.next % PREFETCH_ROWS] = first;
    loop {
        let hit = ahead[work.next % PREFETCH_ROWS];
        if matches!(hit, Hit::Miss) || hits == HITS_IN_TURN_MAX {
            break;
        }
        while looked_at < work.next + PREFETCH_ROWS {
            let hit = look(cache, work.part.entries(), looked_at);
            if let Hit::Row(found) = hit {
                cache.prefetch(found);
            }
            ahead[looked_at % PREFETCH_ROWS] = hit;
            looked_at += 1;
        }
        if let Hit::Row(found) = hit {
            let (stored, right) = cache.get(found, work.cache_use);
            let checked = if right { Checked::Yes } else { Checked::No };
            let place = work.next;
            let delivered = deliver_row(site, work, work.group, locator, place, stored, checked);
            match delivered {
                Ok(()) if !right => {
                    cache.mark(found);
                    // Its checksum has been timed by itself, so its copy must be.
                    if work.part.outputs().is_some() {
                        site.meter.detail(Stage::Decode);
                    }
                }
                Ok(()) => {}
                Err(_) if cache.refuse(found) == Refused::Evicted => break,
                Err(kind) => {
                    let row = work.part.entries()[place].row;
                    let dir = locator.locate(row).map_or(0, |extent| extent.dir);
                    let file = context.files.index(group, dir);
                    fault(context, work, group, file, row, kind);
                }
            }
            hits += 1;
        }
        work.next += 1;
    }
    context.counters.cache_hits.add(hits);
    context.counters.rows.add(hits);
    hits
}
