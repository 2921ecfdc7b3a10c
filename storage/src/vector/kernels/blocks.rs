//! Blocks of packed 4-bit codes: their layout, and the rows of a block that a scan reports.

/// Rows in a block of packed 4-bit codes.
pub const BLOCK_ROWS: usize = 32;

/// Bytes that the codes of one block take for one sub-quantiser.
pub(super) const BLOCK_CODE_BYTES: usize = BLOCK_ROWS / 2;

/// Sub-quantisers whose sums certainly fit `u16`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) const SUBS_WITHOUT_OVERFLOW: usize = 256;

/// Packs 4-bit codes into the blocks that [`Kernels::scan`](super::Kernels::scan) reads, appending
/// them to `out`.
///
/// Each row is `m.div_ceil(2)` bytes, with the code of sub-quantiser `2i` in the low nibble of byte
/// `i` and that of `2i + 1` in the high one. The places of a last block that no row fills get code
/// 0.
///
/// # Panics
///
/// If a row has another length.
pub fn pack_codes<'a>(m: usize, rows: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut block_start = out.len();
    for (place, row) in rows.into_iter().enumerate() {
        assert_eq!(
            row.len(),
            m.div_ceil(2),
            "a row has the codes of all sub-quantisers"
        );
        let place = place % BLOCK_ROWS;
        if place == 0 {
            block_start = out.len();
            out.resize(block_start + m * BLOCK_CODE_BYTES, 0);
        }
        let block = &mut out[block_start..];
        let shift = place / BLOCK_CODE_BYTES * 4;
        for (sub, bytes) in block.chunks_exact_mut(BLOCK_CODE_BYTES).enumerate() {
            let code = (row[sub / 2] >> (sub % 2 * 4)) & 0xf;
            bytes[place % BLOCK_CODE_BYTES] |= code << shift;
        }
    }
}

/// Appends the rows of one block whose bits are set in `mask`, with their sums.
#[inline]
pub(super) fn report(
    block: usize,
    mut mask: u32,
    sums: &[u16; BLOCK_ROWS],
    found: &mut Vec<(u32, u16)>,
) {
    let first = (block * BLOCK_ROWS) as u32;
    found.reserve(mask.count_ones() as usize);
    while mask != 0 {
        let place = mask.trailing_zeros();
        found.push((first + place, sums[place as usize]));
        mask &= mask - 1;
    }
}

/// The bits of those rows of one block that exist.
#[inline]
pub(super) fn existing(block: usize, rows: usize) -> u32 {
    match rows - block * BLOCK_ROWS {
        0 => 0,
        left @ 1..BLOCK_ROWS => u32::MAX >> (BLOCK_ROWS - left),
        _ => u32::MAX,
    }
}
