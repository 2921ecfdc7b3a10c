//! Cuts a take into windows that admission can let in, and says what each needs.

use std::ops::Range;

use ringtake_storage::dataset::Locator;
use ringtake_storage::plan::Entry;

use super::route::Request;
use crate::admission::Need;

/// Rows in one window of a take, at most.
const WINDOW_ROWS: usize = 1 << 16;

/// The windows of a take, each with its need: as many rows as fit the limits, one at least.
pub(super) struct Windows<'a> {
    request: Request<'a>,
    limits: Need,
    /// Bytes that every row needs: its entry and the values of known width, as read and as
    /// delivered.
    row_bytes: u64,
    reads_per_row: u64,
    variable: bool,
    next: usize,
}

impl<'a> Windows<'a> {
    pub(super) fn new(request: Request<'a>, limits: Need) -> Windows<'a> {
        let Request {
            dataset,
            projection,
            align_bytes,
            ..
        } = request;
        let mut row_bytes = size_of::<Entry>() as u64;
        let mut variable = false;
        for group in projection.groups() {
            match dataset.locator(group.group).record_bytes() {
                Some(bytes) => row_bytes += read_bytes_max(bytes, align_bytes),
                None => variable = true,
            }
            for field in &group.fields {
                // An offset for a value of variable width.
                let delivered = field.width_bytes.map_or(size_of::<i64>() as u64, u64::from);
                row_bytes += delivered;
            }
        }
        Windows {
            request,
            limits,
            row_bytes,
            reads_per_row: projection.groups().len() as u64,
            variable,
            next: 0,
        }
    }

    /// Bytes that a row needs beyond `row_bytes`.
    fn variable_bytes(&self, row: u64) -> u64 {
        let Request {
            dataset,
            projection,
            align_bytes,
            ..
        } = self.request;
        if row >= dataset.rows() {
            return 0;
        }
        projection
            .groups()
            .iter()
            .map(|group| dataset.locator(group.group))
            .filter(|locator| locator.record_bytes().is_none())
            .map(|locator: Locator<'_>| {
                // A row with impossible offsets is not read.
                let bytes = locator.locate(row).map_or(0, |extent| extent.bytes);
                u64::from(bytes) + read_bytes_max(bytes, align_bytes)
            })
            .sum()
    }
}

impl Iterator for Windows<'_> {
    type Item = (Range<usize>, Need);

    fn next(&mut self) -> Option<(Range<usize>, Need)> {
        let start = self.next;
        let rest = &self.request.ids[start..];
        if rest.is_empty() {
            return None;
        }
        let by_reads = self.limits.reads / self.reads_per_row.max(1);
        let by_bytes = self.limits.bytes / self.row_bytes;
        let rows_max = by_reads.min(by_bytes).clamp(1, WINDOW_ROWS as u64) as usize;
        let mut rows = rest.len().min(rows_max);
        let mut bytes = rows as u64 * self.row_bytes;
        if self.variable {
            bytes = 0;
            for (place, &row) in rest[..rows].iter().enumerate() {
                let more = self.row_bytes + self.variable_bytes(row);
                if place > 0 && bytes + more > self.limits.bytes {
                    rows = place;
                    break;
                }
                bytes += more;
            }
        }
        self.next = start + rows;
        let need = Need {
            windows: 1,
            reads: rows as u64 * self.reads_per_row,
            bytes,
        };
        Some((start..self.next, need))
    }
}

/// The most that is read for `bytes` bytes wherever they begin.
pub(crate) fn read_bytes_max(bytes: u32, align_bytes: u32) -> u64 {
    match bytes {
        0 => 0,
        _ => {
            (u64::from(bytes) - 1).next_multiple_of(u64::from(align_bytes)) + u64::from(align_bytes)
        }
    }
}
