//! From row ids to reads: rows in ascending order, neighbours in one aligned read.
//!
//! Reads are planned one at a time, when a slot is free, so that a take of millions of rows needs
//! no list of reads.

use crate::dataset::{BadOffsets, Locator};

/// A wanted row and its position in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Row id.
    pub row: u64,
    /// Position in the output.
    pub position: u32,
}

/// Limits of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Alignment that the device needs for offsets and lengths, in bytes; a power of two.
    pub align_bytes: u32,
    /// Largest read, in bytes. Only a single row that is larger exceeds it.
    pub bytes_max: u32,
    /// Largest gap between two rows that are read together, in bytes.
    pub gap_bytes: u32,
}

/// A read of one or more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRead {
    /// Ordinal of the data directory of the file.
    pub dir: u32,
    /// Offset of the first byte, aligned.
    pub offset: u64,
    /// Length in bytes, aligned; 0 if none of the rows stores anything.
    pub bytes: u32,
    /// Number of entries that the read serves, from the first.
    pub entries: usize,
}

/// Plans the read of the first of `entries` and of those after it that are near enough.
///
/// `entries` must be in ascending order of rows, and not empty.
///
/// # Errors
/// The first row has impossible offsets. A later row with impossible offsets ends the read before
/// it.
pub fn next_read(
    locator: &Locator<'_>,
    entries: &[Entry],
    limits: ReadLimits,
) -> Result<PlannedRead, BadOffsets> {
    let align = u64::from(limits.align_bytes);
    let mut read: Option<(u32, u64, u64)> = None;
    let mut served = 0;
    for entry in entries {
        let extent = match locator.locate(entry.row) {
            Ok(extent) => extent,
            Err(bad) if served == 0 => return Err(bad),
            Err(_) => break,
        };
        if extent.bytes > 0 {
            let start = extent.offset & !(align - 1);
            let end = (extent.offset + u64::from(extent.bytes)).next_multiple_of(align);
            read = Some(match read {
                None => (extent.dir, start, end),
                Some((dir, first, last))
                    if dir == extent.dir
                        && start <= last.saturating_add(u64::from(limits.gap_bytes))
                        && start >= first
                        && (end <= last || end - first <= u64::from(limits.bytes_max)) =>
                {
                    (dir, first, last.max(end))
                }
                Some(_) => break,
            });
        }
        served += 1;
    }
    let (dir, first, last) = read.unwrap_or_default();
    Ok(PlannedRead {
        dir,
        offset: first,
        // A record and a value are each shorter than `u32::MAX` less two pages; see
        // `Layout::validate`.
        bytes: u32::try_from(last - first).map_err(|_| BadOffsets {
            row: entries[0].row,
        })?,
        entries: served,
    })
}
