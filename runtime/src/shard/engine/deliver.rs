//! Rows of a completed read on their way to their places: found in its bytes, compared with their
//! checksums, decoded or measured, and noted as faults where they are wrong.

use ringtake_storage::dataset::{Extent, Locator};
use ringtake_storage::plan::Entry;

use super::flights::InPlace;
use super::parts::{PartAtWork, Parts};
use super::sharing::PartRows;
use super::site::Site;
use crate::config::Checksums;
use crate::error::{FaultKind, RowFault};
use crate::memory::decode::{Checked, Decoder};
use crate::metrics::Stage;
use crate::shard::cache::PageCache;
use crate::shard::context::ShardContext;

/// A complete read.
pub(super) struct Arrived<'r, 'a> {
    pub(super) site: Site<'a>,
    pub(super) locators: &'r [Locator<'a>],
    pub(super) bytes: &'r [u8],
    /// Where the bytes begin in their file.
    pub(super) offset: u64,
    pub(super) dir: u32,
    pub(super) failed: &'r Option<FaultKind>,
}

impl Arrived<'_, '_> {
    /// Delivers the rows of one part.
    pub(super) fn deliver(
        &self,
        parts: &mut Parts,
        cache: &mut Option<PageCache>,
        rows: PartRows,
        in_place: InPlace,
    ) {
        let work = parts.get_mut(rows.part);
        let group = work.column_group(rows.group as usize);
        let locator = &self.locators[group];
        let Site { context, meter, .. } = self.site;
        let file = context.files.index(group, self.dir);
        let mut checked_row = None;
        let entries = rows.first_entry as usize..(rows.first_entry + rows.entries) as usize;
        for (nth, place) in entries.enumerate() {
            let row = work.part.entries()[place].row;
            let checked = if checked_row == Some(row) {
                Checked::Yes
            } else {
                Checked::No
            };
            let delivered = self.stored(locator, row).and_then(|stored| {
                let Some((stored, extent)) = stored else {
                    return Ok(());
                };
                let group_place = rows.group as usize;
                if in_place == InPlace::First && nth == 0 {
                    check_row(self.site, locator, row, stored)?;
                } else {
                    deliver_row(
                        self.site,
                        work,
                        group_place,
                        locator,
                        place,
                        stored,
                        checked,
                    )?;
                }
                if let (Some(cache), Checked::No) = (cache.as_mut(), checked) {
                    cache.keep(
                        locator,
                        group,
                        row,
                        extent,
                        self.bytes,
                        self.offset,
                        work.cache_use,
                    );
                }
                Ok(())
            });
            match delivered {
                Ok(()) => checked_row = Some(row),
                Err(kind) => fault(context, work, group, file, row, kind),
            }
            meter.detail(Stage::Decode);
        }
        context.counters.rows.add(u64::from(rows.entries));
    }

    /// The stored bytes of `row`, and where they are; `None` if it stores nothing.
    #[inline]
    fn stored(
        &self,
        locator: &Locator<'_>,
        row: u64,
    ) -> Result<Option<(&[u8], Extent)>, FaultKind> {
        let extent = locator.locate(row).map_err(|_| FaultKind::Offsets)?;
        if extent.bytes == 0 {
            return Ok(None);
        }
        if let Some(kind) = self.failed {
            return Err(kind.clone());
        }
        let from = (extent.offset - self.offset) as usize;
        match self.bytes.get(from..from + extent.bytes as usize) {
            Some(stored) => Ok(Some((stored, extent))),
            None => Err(FaultKind::CutShort),
        }
    }
}

/// Compares a row with its checksum.
#[inline]
fn check_row(
    site: Site<'_>,
    locator: &Locator<'_>,
    row: u64,
    stored: &[u8],
) -> Result<(), FaultKind> {
    if site.checksums == Checksums::Skip {
        return Ok(());
    }
    let right = locator.matches(row, stored);
    site.meter.detail(Stage::Checksum);
    if right {
        Ok(())
    } else {
        Err(FaultKind::Checksum)
    }
}

/// Checks a row and brings it to its place, or measures it for the search that reads it.
#[inline]
pub(super) fn deliver_row(
    site: Site<'_>,
    work: &mut PartAtWork,
    group_place: usize,
    locator: &Locator<'_>,
    place: usize,
    stored: &[u8],
    checked: Checked,
) -> Result<(), FaultKind> {
    let entry = work.part.entries()[place];
    let Some(outputs) = work.part.outputs() else {
        return measure_row(site, work, locator, entry, stored, checked);
    };
    let decoder = Decoder {
        locator,
        wanted: &work.part.projection.groups()[group_place],
        outputs,
    };
    let place = work.part.base() + entry.position as usize;
    if checked == Checked::No {
        if site.checksums == Checksums::Verify {
            // The place is on its way into the processor's cache while the row is checked.
            decoder.prefetch(place);
        }
        check_row(site, locator, entry.row, stored)?;
    }
    // SAFETY: this shard owns the row, the take has one entry per place, and the entry is in a
    // part of this shard; so no other thread writes this place. The caller reads it only after
    // the part is finished.
    unsafe { decoder.deliver(place, stored) };
    Ok(())
}

/// Measures a row for the search that reads it, where it lies.
#[inline]
fn measure_row(
    site: Site<'_>,
    work: &mut PartAtWork,
    locator: &Locator<'_>,
    entry: Entry,
    stored: &[u8],
    checked: Checked,
) -> Result<(), FaultKind> {
    if checked == Checked::No {
        check_row(site, locator, entry.row, stored)?;
    }
    let [group] = work.part.projection.groups() else {
        unreachable!("a search reads one column");
    };
    let field = group.fields[0];
    let width = field.width_bytes.unwrap_or_default() as usize;
    let vector = &locator.payload(stored)[field.offset_bytes as usize..][..width];
    let Some(nearest) = work.part.nearest() else {
        unreachable!("a part has its sink until it is finished");
    };
    nearest.measure(entry.position, vector);
    // Rows in memory come many at once and are timed together: the clock takes a share of the
    // time of a row.
    if checked == Checked::No {
        site.meter.detail(Stage::Refine);
    }
    Ok(())
}

/// Notes the next `entries` entries as faults, but for those that store nothing.
#[cold]
pub(super) fn fault_all(
    context: &ShardContext,
    work: &mut PartAtWork,
    locator: &Locator<'_>,
    file: u32,
    entries: usize,
    kind: &FaultKind,
) {
    let group = work.column_group(work.group);
    for place in work.next..work.next + entries {
        let row = work.part.entries()[place].row;
        if locator.locate(row).is_ok_and(|extent| extent.bytes == 0) {
            continue;
        }
        fault(context, work, group, file, row, kind.clone());
    }
    work.next += entries;
}

/// Notes `row` as a fault.
#[cold]
pub(super) fn fault(
    context: &ShardContext,
    work: &PartAtWork,
    group: usize,
    file: u32,
    row: u64,
    kind: FaultKind,
) {
    context.counters.faults.add(1);
    let page = context
        .dataset
        .locator(group)
        .locate(row)
        .map_or(0, |extent| extent.page());
    work.part.progress().fault(RowFault {
        row,
        path: context.files.files[file as usize].path.clone(),
        page,
        group,
        kind,
    });
}
