//! A take of pinned rows: the caller's own thread copies them, and no shard hears of it. That
//! spares two hand-overs between threads, which cost a take of one row many times its copy.
//!
//! Whatever is not plain (a damaged row, a page that could not be loaded) is left to the shards,
//! which know how to report it.

use crate::config::Checksums;
use crate::memory::decode::Decoder;
use crate::memory::outputs::Outputs;
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::cache::{Found, PREFETCH_ROWS};

use super::route::{Request, Route};

/// More rows, or more bytes, are spread over the shards, which copy them side by side.
const ROWS_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;

/// Where the row of one place is.
#[derive(Clone, Copy)]
enum Source<'a> {
    Pinned(&'a PinnedPages, Found),
    /// It stores nothing, or there is no such row.
    Nothing,
    Elsewhere,
}

/// Whether it may be tried.
pub(crate) fn may_fill<'a>(request: &Request<'_>, route: &impl Route<'a>) -> bool {
    let widths = request.projection.columns().iter().map(|&column| {
        let width = request.dataset.columns()[column].shape.width_bytes();
        width.unwrap_or_default() as usize
    });
    request.ids.len() <= ROWS_MAX
        && widths.sum::<usize>() * request.ids.len() <= BYTES_MAX
        && route.pinned(route.shards().start).is_some()
        && !request.terms.is_late()
}

/// Copies every row to its place in `outputs`. Returns whether it could; if not, some places may
/// have been written.
pub(crate) fn fill<'a>(
    request: &Request<'_>,
    route: &impl Route<'a>,
    outputs: &mut Outputs,
) -> bool {
    let outputs = &*outputs;
    if outputs.value_bytes() > BYTES_MAX {
        return false;
    }
    let (ids, rows) = (request.ids, request.dataset.rows());
    let groups = request.projection.groups();
    for wanted in groups {
        let locator = request.dataset.locator(wanted.group);
        let decoder = Decoder {
            locator: &locator,
            wanted,
            outputs,
        };
        let look = |place: usize| {
            let Some(&row) = ids.get(place).filter(|row| **row < rows) else {
                return Source::Nothing;
            };
            match locator.locate(row) {
                Ok(extent) if extent.bytes == 0 => Source::Nothing,
                Ok(extent) => route
                    .pinned(request.ownership.owner(row))
                    .and_then(|pages| {
                        let found = pages.find(&locator, wanted.group, row, extent)?;
                        pages.prefetch(found);
                        Some(Source::Pinned(pages, found))
                    })
                    .unwrap_or(Source::Elsewhere),
                Err(_) => Source::Elsewhere,
            }
        };
        let mut ahead = [Source::Nothing; PREFETCH_ROWS];
        for (place, source) in ahead.iter_mut().enumerate() {
            *source = look(place);
        }
        for (place, &row) in ids.iter().enumerate() {
            let source = std::mem::replace(
                &mut ahead[place % PREFETCH_ROWS],
                look(place + PREFETCH_ROWS),
            );
            let (pages, found) = match source {
                Source::Pinned(pages, found) => (pages, found),
                Source::Nothing => continue,
                Source::Elsewhere => return false,
            };
            let (stored, right) = pages.get(found);
            let check = !right && request.checksums == Checksums::Verify;
            if check && !locator.matches(row, stored) {
                return false;
            }
            // SAFETY: the outputs are borrowed mutably, so no other thread writes this place.
            unsafe { decoder.deliver(place, stored) };
        }
    }
    let mut there = ids.iter().filter(|row| **row < rows);
    if let Some(&first) = there.next()
        && let Some(pages) = route.pinned(request.ownership.owner(first))
    {
        pages.count_in_place(((1 + there.count()) * groups.len()) as u64);
    }
    true
}
