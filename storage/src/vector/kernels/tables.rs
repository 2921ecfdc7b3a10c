//! Look-up tables of product quantisation: their size, their step, and the piece of a vector that
//! each is made from.

/// Entries of a 4-bit codebook, and of the look-up table made from it.
pub const CODEBOOK_ENTRIES: usize = 16;

/// The step of tables of which the widest spans `widest` and all together `total`.
pub(super) fn step_of(tables: usize, widest: f32, total: f64) -> f32 {
    // Each entry may be rounded up by half a step, for which room is left below `u16::MAX`.
    let sums_max = f64::from(u16::MAX) - tables as f64;
    let step = (widest / f32::from(u8::MAX)).max((total / sums_max) as f32);
    if step.is_normal() && (1.0 / step).is_normal() {
        step
    } else {
        1.0
    }
}

/// Calls `one` with the elements and the codebook of each piece and the table it goes to.
#[inline(always)]
pub(super) fn for_pieces(
    ends: &[u32],
    vector: &[f32],
    codebooks: &[f32],
    tables: &mut [f32],
    mut one: impl FnMut(&[f32], &[f32], &mut [f32; CODEBOOK_ENTRIES]),
) {
    let mut from = 0;
    let tables = tables.as_chunks_mut::<CODEBOOK_ENTRIES>().0;
    for (&end, table) in ends.iter().zip(tables) {
        let range = from..end as usize;
        from = range.end;
        let codebook = range.start * CODEBOOK_ENTRIES..range.end * CODEBOOK_ENTRIES;
        one(&vector[range], &codebooks[codebook], table);
    }
}
