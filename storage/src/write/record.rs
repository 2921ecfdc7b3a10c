//! Fixed-width column groups: records laid out straight into the file's buffer, column by
//! column, then their checksums.
//!
//! The code branches on the type of a column once per chunk of rows, and copies the common widths
//! with code compiled for each.

use std::ops::Range;

use arrow::buffer::{BooleanBuffer, NullBuffer};

use super::buffered_file::{BufferOptions, BufferedFile};
use super::column_values::{ColumnValues, Items, Values};
use crate::Result;
use crate::checksum::GroupKey;
use crate::layout::{ChecksumPlace, FixedGroup, PAGE_BYTES};

/// Most rows of a chunk: enough that a branch on the type per chunk costs nothing.
const CHUNK_ROWS_MAX: usize = 1024;
/// Share of a file's buffer that a chunk may take.
const CHUNK_SHARE_OF_BUFFER: usize = 4;

/// The encoder of one fixed-width group.
#[derive(Debug)]
pub(super) struct RecordEncoder {
    group: FixedGroup,
    key: GroupKey,
    block_rows: u32,
    chunk_rows: usize,
    /// Offset of each record of the chunk from the first.
    starts: Vec<usize>,
    /// Checksums of the chunk, for a table.
    sums: Vec<u8>,
}

/// Rows of one block.
#[derive(Debug, Clone)]
pub(super) struct BlockRows {
    /// Row id of the first row.
    pub(super) row_id: u64,
    /// Ordinal of the block in its file.
    pub(super) block_of_file: u64,
    /// Place of the first row in its block.
    pub(super) row_in_block: u32,
    /// Range of the rows in the columns.
    pub(super) rows: Range<usize>,
}

impl RecordEncoder {
    pub(super) fn new(
        group: &FixedGroup,
        key: GroupKey,
        block_rows: u32,
        options: &BufferOptions,
    ) -> RecordEncoder {
        let row_bytes = (group.unit_bytes / group.rows_per_unit).max(1) as usize;
        RecordEncoder {
            group: group.clone(),
            key,
            block_rows,
            chunk_rows: (options.buffer_bytes / CHUNK_SHARE_OF_BUFFER / row_bytes)
                .clamp(1, CHUNK_ROWS_MAX),
            starts: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Encodes `block_rows` of `columns`, those of the schema, into the file.
    pub(super) fn encode(
        &mut self,
        columns: &[ColumnValues],
        block_rows: &BlockRows,
        file: &mut BufferedFile,
        mut sums: Option<&mut BufferedFile>,
    ) -> Result<()> {
        let block_start =
            PAGE_BYTES + block_rows.block_of_file * self.group.block_bytes(self.block_rows);
        let mut done = 0;
        while done < block_rows.rows.len() {
            let count = self.chunk_rows.min(block_rows.rows.len() - done);
            let row_in_block = block_rows.row_in_block + done as u32;
            let first = self.group.offset_in_block(row_in_block);
            self.starts.clear();
            self.starts.extend(
                (row_in_block..row_in_block + count as u32)
                    .map(|row| (self.group.offset_in_block(row) - first) as usize),
            );
            file.pad_to(block_start + first)?;
            let last = self.starts.last().copied().unwrap_or(0);
            let chunk = file.grow(last + self.group.record_bytes as usize);
            let start = block_rows.rows.start + done;
            self.encode_chunk(columns, start..start + count, chunk);
            self.sum_chunk(block_rows.row_id + done as u64, chunk);
            file.flush_if_full()?;
            if let Some(sums) = &mut sums {
                sums.put(&self.sums)?;
            }
            done += count;
        }
        Ok(())
    }

    fn encode_chunk(&self, columns: &[ColumnValues], rows: Range<usize>, chunk: &mut [u8]) {
        let mut at = 0;
        for &column in &self.group.columns {
            let column = &columns[column as usize];
            let width_bytes = match &column.values {
                Values::Plain {
                    bytes,
                    width_bytes,
                    items,
                } => {
                    let width = *width_bytes;
                    let source = &bytes[rows.start * width..rows.end * width];
                    copy_values(source, width, &self.starts, at, chunk);
                    if let Some(items) = items {
                        zero_items(items, rows.clone(), &self.starts, at, chunk);
                    }
                    width
                }
                Values::Bits(bits) => {
                    copy_bits(bits, rows.clone(), &self.starts, at, chunk);
                    1
                }
                // Groups of fixed width hold none; `Layout::validate` would say so.
                Values::Variable { .. } => 0,
            };
            if let Some(nulls) = &column.nulls {
                for row in null_places(nulls, rows.clone()) {
                    let start = self.starts[row] + at;
                    chunk[start..start + width_bytes].fill(0);
                }
            }
            at += width_bytes;
        }
    }

    fn sum_chunk(&mut self, row_id: u64, chunk: &mut [u8]) {
        let payload_bytes = self.group.payload_bytes() as usize;
        self.sums.clear();
        for (row_id, &start) in (row_id..).zip(&self.starts) {
            let end = start + payload_bytes;
            let sum = self
                .key
                .row_checksum(row_id, &chunk[start..end])
                .to_le_bytes();
            match self.group.checksum {
                ChecksumPlace::Inline => chunk[end..end + sum.len()].copy_from_slice(&sum),
                ChecksumPlace::Table => self.sums.extend_from_slice(&sum),
            }
        }
    }
}

/// Copies values of `width` bytes from `source` to `at` bytes after each of `starts`.
fn copy_values(source: &[u8], width: usize, starts: &[usize], at: usize, chunk: &mut [u8]) {
    match width {
        1 => copy_values_of::<1>(source, starts, at, chunk),
        2 => copy_values_of::<2>(source, starts, at, chunk),
        4 => copy_values_of::<4>(source, starts, at, chunk),
        8 => copy_values_of::<8>(source, starts, at, chunk),
        16 => copy_values_of::<16>(source, starts, at, chunk),
        _ => {
            for (value, &start) in source.chunks_exact(width).zip(starts) {
                chunk[start + at..start + at + width].copy_from_slice(value);
            }
        }
    }
}

fn copy_values_of<const WIDTH: usize>(
    source: &[u8],
    starts: &[usize],
    at: usize,
    chunk: &mut [u8],
) {
    let (values, _) = source.as_chunks::<WIDTH>();
    for (value, &start) in values.iter().zip(starts) {
        chunk[start + at..start + at + WIDTH].copy_from_slice(value);
    }
}

fn copy_bits(
    bits: &BooleanBuffer,
    rows: Range<usize>,
    starts: &[usize],
    at: usize,
    chunk: &mut [u8],
) {
    for (row, &start) in rows.zip(starts) {
        chunk[start + at] = u8::from(bits.value(row));
    }
}

fn zero_items(items: &Items, rows: Range<usize>, starts: &[usize], at: usize, chunk: &mut [u8]) {
    let places = rows.start * items.per_value..rows.end * items.per_value;
    for place in null_places(&items.nulls, places) {
        let (row, item) = (place / items.per_value, place % items.per_value);
        let start = starts[row] + at + item * items.item_bytes;
        chunk[start..start + items.item_bytes].fill(0);
    }
}

/// Places of the nulls in `rows`, counted from the start of the range.
fn null_places(nulls: &NullBuffer, rows: Range<usize>) -> impl Iterator<Item = usize> {
    let valid = nulls.inner().slice(rows.start, rows.len());
    let nulls = !&valid;
    // Collected, because the iterator borrows the inverted bits; nulls of one chunk are few.
    nulls.set_indices().collect::<Vec<_>>().into_iter()
}
