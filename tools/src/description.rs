//! What a dataset's manifest says, for commands that read no row.

use std::fs;
use std::io;
use std::path::Path;

use ringtake_storage::layout::{FixedGroup, Group, Layout, PAGE_BYTES};
use ringtake_storage::manifest::{MANIFEST_NAME, Manifest};

use crate::failure::Failure;

/// Reads and checks the manifest of the dataset at `path`.
pub(crate) fn read_manifest(path: &Path) -> Result<Manifest, Failure> {
    let manifest = path.join(MANIFEST_NAME);
    let bytes = fs::read(&manifest).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let reason = match path.symlink_metadata() {
                Err(_) => "it does not exist; check the path",
                Ok(metadata) if metadata.is_dir() => "it has no MANIFEST; check the path",
                Ok(_) => "it is a file; import it into a dataset first",
            };
            Failure::Storage(ringtake_storage::Error::NotADataset {
                path: path.to_owned(),
                reason: reason.to_owned(),
            })
        }
        _ => Failure::io("read", &manifest)(cause),
    })?;
    Ok(Manifest::decode(&manifest, &bytes)?)
}

/// Bytes that the device reads for one row of a group, on average over all rows.
///
/// A read is widened to whole multiples of `align_bytes`. Where a value begins within one is as
/// good as random for values of variable width, of which the mean is known and not each.
pub(crate) fn device_bytes_per_row(layout: &Layout, group: &Group, align_bytes: u32) -> f64 {
    if layout.rows == 0 {
        return 0.0;
    }
    let align = u64::from(align_bytes.max(1));
    match group {
        Group::Fixed(group) => fixed_bytes_per_row(group, layout.rows_of_block(0), align),
        Group::Variable(group) => {
            let stored: u64 = group
                .file_bytes
                .iter()
                .map(|bytes| bytes.saturating_sub(PAGE_BYTES))
                .sum();
            let value_bytes = stored as f64 / layout.rows as f64;
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
