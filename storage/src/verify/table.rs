//! Verification of the tables that readers keep in memory.

use arrow::datatypes::DataType;

use super::{Damage, Finding, u32_at, u64_at};
use crate::checksum::{CHECKSUM_BYTES, xxh3};
use crate::layout::{Group, PAGE_BYTES, TableEntry, TableKind};
use crate::manifest::Manifest;

/// Checks one table: its length, its hash, and the padding past its last bit.
pub fn verify_table(
    manifest: &Manifest,
    entry: &TableEntry,
    table: &[u8],
    findings: &mut Vec<Finding>,
) {
    let mut find = |at: u64, what| {
        findings.push(Finding {
            file: entry.file_name(),
            dir: Some(0),
            page: at / PAGE_BYTES,
            group: match entry.kind {
                TableKind::Sums | TableKind::Starts | TableKind::Ends => Some(entry.of),
                TableKind::Valid | TableKind::Items => None,
            },
            row: None,
            what,
        });
    };
    let bytes = table.len() as u64;
    if bytes != entry.bytes {
        find(
            bytes.min(entry.bytes),
            Damage::Length {
                bytes,
                bytes_expected: entry.bytes,
            },
        );
        return;
    }
    if xxh3(table) != entry.xxh3 {
        find(0, Damage::TableHash);
    }
    let rows = manifest.layout.rows;
    let bits = match entry.kind {
        TableKind::Valid => rows,
        TableKind::Items => rows * items_per_row(manifest, entry.of),
        TableKind::Sums | TableKind::Starts | TableKind::Ends => return,
    };
    if let Some(&last) = table.last()
        && bits % 8 != 0
        && last >> (bits % 8) != 0
    {
        find(bytes - 1, Damage::Padding);
    }
}

fn items_per_row(manifest: &Manifest, column: u32) -> u64 {
    match manifest.schema.field(column as usize).data_type() {
        DataType::FixedSizeList(_, items) => *items as u64,
        _ => 0,
    }
}

/// Checks the tables of a variable-width group against each other and the lengths of its data
/// files: blocks begin at pages, one after the other, and values lie within their block.
pub fn verify_places(
    manifest: &Manifest,
    group: usize,
    starts: &[u8],
    ends: &[u8],
    findings: &mut Vec<Finding>,
) {
    let layout = &manifest.layout;
    let Some(Group::Variable(variable)) = layout.groups.get(group) else {
        return;
    };
    let dirs = layout.dirs.len() as u64;
    // Where the next block of each directory can begin at the earliest.
    let mut earliest = vec![PAGE_BYTES; layout.dirs.len()];
    for block in 0..layout.blocks() {
        let dir = (block % dirs) as usize;
        let first_row = block * u64::from(layout.block_rows);
        let end_row = first_row + u64::from(layout.rows_of_block(block));
        let mut find = |kind: &str, at: u64, row, what: String| {
            findings.push(Finding {
                file: format!("g{group}.{kind}"),
                dir: Some(0),
                page: at / PAGE_BYTES,
                group: Some(group as u32),
                row,
                what: Damage::Place(what),
            });
        };
        let Some(start) = u64_at(starts, block) else {
            return; // The length has been reported.
        };
        if start % PAGE_BYTES != 0 || start < earliest[dir] {
            let what = format!("block {block} cannot begin at offset {start}");
            find("starts", block * 8, None, what);
        }
        let mut last = 0;
        for row in first_row..end_row {
            let Some(end) = u32_at(ends, row) else {
                return;
            };
            if stored_value_bytes(last, end).is_none() {
                let what = format!("a value cannot reach from {last} to {end}");
                find("ends", row * 4, Some(row), what);
            }
            last = end;
        }
        let file_bytes = variable.file_bytes[dir];
        match start.checked_add(u64::from(last)) {
            Some(end) if end <= file_bytes => earliest[dir] = end.next_multiple_of(PAGE_BYTES),
            _ => {
                let what = format!("block {block} reaches past the end of its file");
                find("starts", block * 8, None, what);
            }
        }
    }
}

/// Bytes of the value between two ends without its checksum, or `None` if there is no such value.
pub(super) fn stored_value_bytes(last: u32, end: u32) -> Option<u32> {
    match end.checked_sub(last)? {
        0 => Some(0),
        stored if stored > CHECKSUM_BYTES => Some(stored - CHECKSUM_BYTES),
        _ => None,
    }
}
