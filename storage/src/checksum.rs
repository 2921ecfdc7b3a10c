//! Checksums of rows, tables and headers: XXH3 (64 bits, seed 0), and for rows the position
//! mixed in so that a misdirected read does not pass as the right one.
//!
//! XXH3: Yann Collet, xxHash specification. The multiplier is the 64-bit golden ratio
//! (Knuth, TAOCP 6.4), which spreads consecutive row ids over all bits.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Bytes of a row's checksum.
pub const CHECKSUM_BYTES: u32 = 4;

/// XXH3 of `bytes`: 64 bits, seed 0.
pub fn xxh3(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// XXH3 of bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct StreamingXxh3(XxHash3_64);

impl std::fmt::Debug for StreamingXxh3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamingXxh3")
    }
}

impl StreamingXxh3 {
    /// Adds `bytes` to the hash.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of all bytes added so far.
    pub fn value(&self) -> u64 {
        self.0.finish()
    }
}

/// Key that is mixed into row checksums: it differs for each column group of each dataset version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupKey(u64);

impl GroupKey {
    /// The key of column group `group` of this version of the dataset.
    pub fn new(dataset: &[u8; 16], generation: u64, group: u32) -> GroupKey {
        let mut bytes = [0; 28];
        bytes[..16].copy_from_slice(dataset);
        bytes[16..24].copy_from_slice(&generation.to_le_bytes());
        bytes[24..].copy_from_slice(&group.to_le_bytes());
        GroupKey(xxh3(&bytes))
    }

    /// Checksum of row `row` of this group, whose stored values are `bytes`.
    #[inline]
    pub fn row_checksum(self, row: u64, bytes: &[u8]) -> u32 {
        let position = self.0 ^ row.wrapping_add(1).wrapping_mul(GOLDEN);
        let mixed = xxh3(bytes).wrapping_add(position);
        (mixed ^ (mixed >> 32)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh3_of_the_specification() {
        // Test vector of the reference implementation: the empty input with seed 0.
        assert_eq!(xxh3(b""), 0x2D06_8005_38D3_94C2);
        let mut streamed = StreamingXxh3::default();
        for piece in [&b"ring"[..], b"", b"take"] {
            streamed.update(piece);
        }
        assert_eq!(streamed.value(), xxh3(b"ringtake"));
    }

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let bytes = [7; 100];
        let key = GroupKey::new(&[1; 16], 2, 3);
        let here = key.row_checksum(10, &bytes);
        assert_eq!(here, key.row_checksum(10, &bytes));
        for row in (0..10_000).filter(|&row| row != 10) {
            assert_ne!(here, key.row_checksum(row, &bytes), "row {row}");
        }
        for other in [
            GroupKey::new(&[2; 16], 2, 3),
            GroupKey::new(&[1; 16], 3, 3),
            GroupKey::new(&[1; 16], 2, 4),
        ] {
            assert_ne!(here, other.row_checksum(10, &bytes));
        }
    }

    #[test]
    fn each_flipped_bit_changes_the_checksum() {
        let key = GroupKey::new(&[1; 16], 2, 3);
        for length in [1, 8, 100, 300] {
            let mut bytes = vec![0x5A; length];
            let right = key.row_checksum(5, &bytes);
            for bit in 0..length * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(right, key.row_checksum(5, &bytes));
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
