//! From the bytes of a row to its place in the caller's output.

use ringtake_storage::dataset::Locator;
use ringtake_storage::plan::Entry;
use ringtake_storage::projection::GroupProjection;

use crate::config::Checksums;
use crate::error::FaultKind;
use crate::outputs::Outputs;

/// What decoding a row of one group needs, fixed for a whole read.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    pub(super) locator: &'a Locator<'a>,
    pub(super) wanted: &'a GroupProjection,
    pub(super) outputs: &'a Outputs,
    pub(super) base: usize,
    pub(super) checksums: Checksums,
}

/// Whether the row's bytes have been compared with their checksum already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Yes,
    No,
}

impl Decoder<'_> {
    /// Checks the stored bytes of a row and copies each wanted column to its place.
    #[inline]
    pub(super) fn deliver(
        &self,
        entry: Entry,
        stored: &[u8],
        checked: Checked,
    ) -> Result<(), FaultKind> {
        let place = self.base + entry.position as usize;
        let check = self.checksums == Checksums::Verify && checked == Checked::No;
        if check {
            // The place is on its way into the processor's cache while the row is checked.
            for field in &self.wanted.fields {
                self.outputs.prefetch(field.output, place);
            }
        }
        if check && !self.locator.matches(entry.row, stored) {
            return Err(FaultKind::Checksum);
        }
        let payload = self.locator.payload(stored);
        for field in &self.wanted.fields {
            let value = match field.width_bytes {
                Some(width) => &payload[field.offset_bytes as usize..][..width as usize],
                None => payload,
            };
            // SAFETY: this shard owns the row, the take has one entry per place, and the entry
            // is in a part of this shard; so no other thread writes this place. The caller reads
            // it only after the part is finished.
            unsafe { self.outputs.write(field.output, place, value) };
        }
        Ok(())
    }
}
