//! Tiles of pairs of rows, for products of many rows with many others.

/// Other rows that [`for_tiles`] pairs with all rows before it goes on, in bytes: they stay in the
/// second cache meanwhile.
const PANEL_BYTES: usize = 512 << 10;

/// Cuts the pairs of rows and other rows into tiles of at most `R` rows and of `O` others or one.
///
/// `tile` gets its rows, its others, and the places of the products from that of its first pair on;
/// those of its next row are as many places further on as there are `others`.
pub(super) fn for_tiles<const R: usize, const O: usize>(
    dims: usize,
    rows: &[f32],
    others: &[f32],
    out: &mut [f32],
    mut tile: impl FnMut(&[f32], &[f32], &mut [f32]),
) {
    let others_len = others.len() / dims;
    let panel_others = (PANEL_BYTES / size_of::<f32>() / dims / O).max(1) * O;
    for panel_start in (0..others_len).step_by(panel_others) {
        let panel_end = others_len.min(panel_start + panel_others);
        let tiles = rows.chunks(R * dims).zip(out.chunks_mut(R * others_len));
        for (rows, out) in tiles {
            let mut other = panel_start;
            while other < panel_end {
                let taken = if other + O <= panel_end { O } else { 1 };
                tile(
                    rows,
                    &others[other * dims..][..taken * dims],
                    &mut out[other..],
                );
                other += taken;
            }
        }
    }
}
