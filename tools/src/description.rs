//! Estimates from a dataset's manifest and tables, for commands that read no row.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ringtake_storage::dataset::dir_path;
use ringtake_storage::layout::{FixedGroup, Group, Layout, PAGE_BYTES, TableKind, table_file_name};

/// Most blocks that are sampled for the mean size of a value.
const BLOCKS_SAMPLED_MAX: u64 = 1_000;

/// Bytes that the device reads for one row of a group, on average over all rows.
///
/// A read is widened to whole multiples of `align_bytes`. The offset of a variable-width value
/// within one is taken as random, since only the mean size of values is known.
pub(crate) fn device_bytes_per_row(
    path: &Path,
    layout: &Layout,
    ordinal: usize,
    align_bytes: u32,
) -> f64 {
    if layout.rows == 0 {
        return 0.0;
    }
    let align = u64::from(align_bytes.max(1));
    match &layout.groups[ordinal] {
        Group::Fixed(group) => fixed_bytes_per_row(group, layout.rows_of_block(0), align),
        Group::Variable(group) => {
            let value_bytes = value_bytes_mean(path, layout, ordinal).unwrap_or_else(|| {
                // The table cannot be read. The length of the file includes the padding of blocks.
                let files = group.file_bytes.iter();
                let stored: u64 = files.map(|bytes| bytes.saturating_sub(PAGE_BYTES)).sum();
                stored as f64 / layout.rows as f64
            });
            if value_bytes == 0.0 {
                return 0.0;
            }
            value_bytes + (align - 1) as f64
        }
    }
}

fn fixed_bytes_per_row(group: &FixedGroup, block_rows: u32, align: u64) -> f64 {
    let spans = (0..block_rows).map(|row| {
        let start = group.offset_in_block(row);
        let end = start + u64::from(group.record_bytes);
        end.next_multiple_of(align) - start / align * align
    });
    spans.sum::<u64>() as f64 / f64::from(block_rows.max(1))
}

/// Mean stored bytes of a value, from the last entries of a sample of blocks.
fn value_bytes_mean(path: &Path, layout: &Layout, ordinal: usize) -> Option<f64> {
    let ends = dir_path(path, layout, 0).join(table_file_name(TableKind::Ends, ordinal as u32));
    let ends = File::open(ends).ok()?;
    let (mut bytes, mut rows) = (0_u64, 0_u64);
    let step = layout.blocks().div_ceil(BLOCKS_SAMPLED_MAX).max(1);
    for block in (0..layout.blocks()).step_by(usize::try_from(step).ok()?) {
        let block_rows = u64::from(layout.rows_of_block(block));
        let last_row = block * u64::from(layout.block_rows) + block_rows - 1;
        let mut end = [0; size_of::<u32>()];
        ends.read_exact_at(&mut end, last_row * size_of::<u32>() as u64)
            .ok()?;
        bytes += u64::from(u32::from_le_bytes(end));
        rows += block_rows;
    }
    Some(bytes as f64 / rows as f64)
}
