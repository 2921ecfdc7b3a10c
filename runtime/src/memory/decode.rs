//! From the bytes of a row to its place in the caller's output.

use ringtake_storage::dataset::Locator;
use ringtake_storage::projection::GroupProjection;

use crate::memory::outputs::Outputs;

/// Everything that decoding a row of one group needs, fixed for a whole read.
#[derive(Clone, Copy)]
pub(crate) struct Decoder<'a> {
    pub(crate) locator: &'a Locator<'a>,
    pub(crate) wanted: &'a GroupProjection,
    pub(crate) outputs: &'a Outputs,
}

/// Whether the row's bytes have been compared with their checksum already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Yes,
    No,
}

impl Decoder<'_> {
    /// Asks for the memory of `place`.
    #[inline]
    pub(crate) fn prefetch(&self, place: usize) {
        for field in &self.wanted.fields {
            self.outputs.prefetch(field.output, place);
        }
    }

    /// Copies each wanted column of a row's stored bytes to `place` in the output.
    ///
    /// # Safety
    /// No other thread writes the same place of these columns, and no thread reads it before the
    /// take is finished.
    #[inline]
    pub(crate) unsafe fn deliver(&self, place: usize, stored: &[u8]) {
        let payload = self.locator.payload(stored);
        for field in &self.wanted.fields {
            let value = match field.width_bytes {
                Some(width) => &payload[field.offset_bytes as usize..][..width as usize],
                None => payload,
            };
            // SAFETY: as the caller vouches.
            unsafe { self.outputs.write(field.output, place, value) };
        }
    }
}
