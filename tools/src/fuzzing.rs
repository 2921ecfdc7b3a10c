//! Entry points for fuzzers of the readers of foreign files: bytes in, rows or an error out.

use std::io::Cursor;

use crate::row_ids::{PastTheEnd, RowIds};
use crate::source::fuzzed::{FuzzedFormat, fuzz};

/// Reads `bytes` as a NumPy array, with its length known or not.
pub fn npy(bytes: &[u8], length_known: bool) {
    fuzz(FuzzedFormat::Npy, bytes, length_known);
}

/// Reads `bytes` as vectors of f32 with their dimension in front.
pub fn fvecs(bytes: &[u8], length_known: bool) {
    fuzz(FuzzedFormat::Fvecs, bytes, length_known);
}

/// Reads `bytes` as vectors of f32 after a count and a dimension.
pub fn fbin(bytes: &[u8], length_known: bool) {
    fuzz(FuzzedFormat::Fbin, bytes, length_known);
}

/// Reads `bytes` as a file of row ids of a dataset of `rows` rows.
pub fn row_ids(bytes: &[u8], rows: u64) {
    if let Ok(ids) = RowIds::of_lines(Cursor::new(bytes), rows, PastTheEnd::Refused) {
        assert!(ids.iter().take(1_000).all(|id| id < rows));
    }
}
