//! From row ids to reads: rows in ascending order, neighbours in one aligned read.
//!
//! A plan is made one read at a time, when there is a slot for it, so that a take of millions
//! of rows needs no list of reads.

use crate::dataset::{BadOffsets, Locator};

/// A row wanted, and its place in the caller's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The row.
    pub row: u64,
    /// Its place.
    pub position: u32,
}

/// What bounds a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// The device's alignment of offsets and lengths, a power of two.
    pub align_bytes: u32,
    /// Bytes of the buffer; only a single row that needs more exceeds it.
    pub bytes_max: u32,
    /// Rows that lie no further apart than this are read together, with what is between them.
    pub gap_bytes: u32,
}

/// A read that brings one or more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRead {
    /// Data directory of the file.
    pub dir: u32,
    /// First byte, aligned.
    pub offset: u64,
    /// Bytes, aligned; 0 if none of the rows stores anything.
    pub bytes: u32,
    /// How many of the entries it serves, from the first.
    pub entries: usize,
}

/// The read for the first of `entries` and for as many after it as touch it or are near.
///
/// `entries` must be in ascending order of rows, and not empty.
///
/// # Errors
/// The first row has impossible offsets; later rows of that kind end the read before them.
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
        // A record and a value are each shorter than 2^32 - 2 * 4096; see `Layout::validate`.
        bytes: u32::try_from(last - first).map_err(|_| BadOffsets {
            row: entries[0].row,
        })?,
        entries: served,
    })
}
