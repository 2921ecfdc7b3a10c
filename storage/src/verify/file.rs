//! Verification of a data file as its bytes come by.
//!
//! The file is cut into segments by the layout and the tables: header, rows, the zeros between.
//! A segment that lies within one piece is checked where it is; only one that straddles two is
//! copied, so memory is bounded by the largest value.

use super::table::stored_value_bytes;
use super::{Damage, Finding, u32_at, u64_at};
use crate::checksum::{CHECKSUM_BYTES, GroupKey};
use crate::layout::{ChecksumPlace, FixedGroup, Group, Layout, PAGE_BYTES};
use crate::manifest::{DataFileHeader, Manifest};

/// The tables of a column group as their bytes on disk; empty if the group has no such table.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupTables<'a> {
    /// `g<n>.sums`
    pub sums: &'a [u8],
    /// `g<n>.starts`
    pub starts: &'a [u8],
    /// `g<n>.ends`
    pub ends: &'a [u8],
}

/// Verifies one data file, fed in pieces.
#[derive(Debug)]
pub struct FileVerifier<'a> {
    layout: &'a Layout,
    group: usize,
    dir: usize,
    key: GroupKey,
    tables: GroupTables<'a>,
    file_bytes: u64,
    /// Bytes fed so far.
    offset: u64,
    segment: Segment,
    segment_end: u64,
    /// Beginning of a segment that began in an earlier piece.
    pending: Vec<u8>,
    /// Whether some byte of the segment could not be read.
    unreadable: bool,
    /// The next row to be located; its block's place in the file.
    next_row: u64,
    block_of_file: u64,
}

/// Contents of the bytes at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Header,
    /// A row's record or value.
    Row(u64),
    Zeros,
    /// Bytes that a damaged table does not locate.
    Unknown,
    /// Past the end of the file.
    Surplus,
}

impl<'a> FileVerifier<'a> {
    /// A verifier for the file of column group `group` in data directory `dir`, both of which the
    /// manifest must have.
    pub fn new(
        manifest: &'a Manifest,
        group: usize,
        dir: usize,
        tables: GroupTables<'a>,
    ) -> FileVerifier<'a> {
        let layout = &manifest.layout;
        FileVerifier {
            layout,
            group,
            dir,
            key: GroupKey::new(&layout.dataset, layout.generation, group as u32),
            tables,
            file_bytes: layout.groups[group].file_bytes()[dir],
            offset: 0,
            segment: Segment::Header,
            segment_end: PAGE_BYTES,
            pending: Vec::new(),
            unreadable: false,
            next_row: dir as u64 * u64::from(layout.block_rows),
            block_of_file: 0,
        }
    }

    /// Checks the next bytes of the file and appends to `findings`.
    pub fn feed(&mut self, mut bytes: &[u8], findings: &mut Vec<Finding>) {
        while !bytes.is_empty() {
            let left = self.segment_end - self.offset;
            let take = left.min(bytes.len() as u64) as usize;
            let (piece, rest) = bytes.split_at(take);
            self.offset += take as u64;
            bytes = rest;
            let complete = self.offset == self.segment_end;
            match self.segment {
                Segment::Zeros => self.check_zeros(piece, findings),
                Segment::Header | Segment::Row(_) if complete && self.pending.is_empty() => {
                    self.check_whole(piece, findings);
                }
                Segment::Header | Segment::Row(_) => {
                    self.pending.extend_from_slice(piece);
                    if complete {
                        let whole = std::mem::take(&mut self.pending);
                        self.check_whole(&whole, findings);
                        self.pending = whole;
                        self.pending.clear();
                    }
                }
                Segment::Unknown | Segment::Surplus => {}
            }
            if complete {
                self.next_segment();
            }
        }
    }

    /// Reports the next `bytes` bytes as unreadable.
    pub fn feed_unreadable(&mut self, mut bytes: u64, findings: &mut Vec<Finding>) {
        const PIECE: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        while bytes > 0 {
            if !self.unreadable {
                self.unreadable = true;
                let row = match self.segment {
                    Segment::Row(row) => Some(row),
                    _ => None,
                };
                findings.push(self.finding(self.offset, row, Damage::Unreadable));
            }
            let left = self.segment_end - self.offset;
            let take = left.min(bytes).min(PAGE_BYTES);
            self.feed(&PIECE[..take as usize], findings);
            bytes -= take;
        }
    }

    /// Checks that the file ends where it should.
    pub fn finish(self, findings: &mut Vec<Finding>) {
        if self.offset != self.file_bytes {
            let what = Damage::Length {
                bytes: self.offset,
                bytes_expected: self.file_bytes,
            };
            findings.push(self.finding(self.offset.min(self.file_bytes), None, what));
        }
    }

    fn finding(&self, at: u64, row: Option<u64>, what: Damage) -> Finding {
        Finding {
            file: self.layout.groups[self.group].file_name(self.group),
            dir: Some(self.dir),
            page: at / PAGE_BYTES,
            group: Some(self.group as u32),
            row,
            what,
        }
    }

    fn check_zeros(&mut self, piece: &[u8], findings: &mut Vec<Finding>) {
        // One finding for each stretch of zeros is enough.
        if self.unreadable {
            return;
        }
        if let Some(place) = piece.iter().position(|&byte| byte != 0) {
            let at = self.offset - (piece.len() - place) as u64;
            findings.push(self.finding(at, None, Damage::Padding));
            self.unreadable = true;
        }
    }

    fn check_whole(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) {
        if self.unreadable {
            return;
        }
        let at = self.offset - bytes.len() as u64;
        match self.segment {
            Segment::Header => {
                let header = DataFileHeader::expected(self.layout, self.group, self.dir);
                if let Err(what) = header.check(bytes) {
                    findings.push(self.finding(at, None, Damage::Header(what)));
                }
            }
            Segment::Row(row) if !self.row_matches(row, bytes) => {
                findings.push(self.finding(at, Some(row), Damage::Checksum));
            }
            _ => {}
        }
    }

    fn row_matches(&self, row: u64, bytes: &[u8]) -> bool {
        if let Group::Fixed(FixedGroup {
            checksum: ChecksumPlace::Table,
            ..
        }) = &self.layout.groups[self.group]
        {
            // A table too short is reported with the table.
            return u32_at(self.tables.sums, row)
                .is_none_or(|sum| sum == self.key.row_checksum(row, bytes));
        }
        let (bytes, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES as usize);
        sum == self.key.row_checksum(row, bytes).to_le_bytes()
    }

    /// Determines the segment at `offset`.
    fn next_segment(&mut self) {
        self.unreadable = false;
        if self.offset >= self.file_bytes {
            self.segment = Segment::Surplus;
            self.segment_end = u64::MAX;
            return;
        }
        let (segment, end) = match &self.layout.groups[self.group] {
            Group::Fixed(fixed) => self.next_of_fixed(fixed),
            Group::Variable(_) => self.next_of_variable(),
        };
        self.segment = segment;
        self.segment_end = end.clamp(self.offset + 1, self.file_bytes);
    }

    fn next_of_fixed(&mut self, group: &FixedGroup) -> (Segment, u64) {
        if self.next_row >= self.layout.rows {
            return (Segment::Zeros, self.file_bytes);
        }
        let block_start =
            PAGE_BYTES + self.block_of_file * group.block_bytes(self.layout.block_rows);
        let start = block_start + group.offset_in_block(self.row_in_block());
        if start > self.offset {
            return (Segment::Zeros, start);
        }
        let row = self.next_row;
        self.pass_row();
        (Segment::Row(row), start + u64::from(group.record_bytes))
    }

    fn next_of_variable(&mut self) -> (Segment, u64) {
        while self.next_row < self.layout.rows {
            let row_in_block = self.row_in_block();
            let block = self.next_row / u64::from(self.layout.block_rows);
            let start = u64_at(self.tables.starts, block);
            let last = match row_in_block {
                0 => Some(0),
                _ => u32_at(self.tables.ends, self.next_row - 1),
            };
            let end = u32_at(self.tables.ends, self.next_row);
            let (Some(start), Some(last), Some(end)) = (start, last, end) else {
                return (Segment::Unknown, self.file_bytes);
            };
            let Some(value_start) = start
                .checked_add(u64::from(last))
                .filter(|&at| at >= self.offset && at < self.file_bytes || end == last)
            else {
                // The tables contradict themselves, which `verify_places` reports.
                self.pass_row();
                continue;
            };
            if end == last {
                self.pass_row();
                continue;
            }
            if value_start > self.offset {
                // Zeros up to the first value of a block; within one there is no gap, unless
                // the tables contradict themselves.
                let gap = match last {
                    0 => Segment::Zeros,
                    _ => Segment::Unknown,
                };
                return (gap, value_start);
            }
            let row = self.next_row;
            self.pass_row();
            match stored_value_bytes(last, end) {
                Some(_) if value_start + u64::from(end - last) <= self.file_bytes => {
                    return (Segment::Row(row), value_start + u64::from(end - last));
                }
                _ => {}
            }
        }
        (Segment::Zeros, self.file_bytes)
    }

    fn row_in_block(&self) -> u32 {
        (self.next_row % u64::from(self.layout.block_rows)) as u32
    }

    /// Goes on to the next row of this file.
    fn pass_row(&mut self) {
        let block_rows = u64::from(self.layout.block_rows);
        self.next_row += 1;
        if self.next_row.is_multiple_of(block_rows) {
            self.next_row += (self.layout.dirs.len() as u64 - 1) * block_rows;
            self.block_of_file += 1;
        }
    }
}
