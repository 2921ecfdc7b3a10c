//! The loops in NEON, which every 64-bit Arm processor has.
//!
//! The elements after the last whole step are copied to the front of zeros; zeros change no sum.

#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};
use std::array;

use super::blocks::{BLOCK_CODE_BYTES, BLOCK_ROWS, SUBS_WITHOUT_OVERFLOW, existing, report};
use super::element::{F32, Stored};
use super::scalar;
use super::tables::{CODEBOOK_ENTRIES, for_pieces};
use super::tiles::for_tiles;
use crate::vector::Element;

/// Floats in a register.
const LANES: usize = 4;

/// Registers of one step, and the sums that they are added to in turn.
const ACCUMULATORS: usize = 4;

/// Elements of one step.
const STEP: usize = ACCUMULATORS * LANES;

/// Rows and other rows of one tile of [`dots`]: their products are the accumulators, and with a
/// register for each row and each other they fit the 32 registers.
const TILE_ROWS: usize = 4;
const TILE_OTHERS: usize = 4;

/// Registers that hold the 16-bit sums of a block.
const BLOCK_REGISTERS: usize = BLOCK_ROWS / 8;

pub(super) fn supported() -> bool {
    is_aarch64_feature_detected!("neon")
}

/// Elements `at..at + 16` of a row.
///
/// # Safety
///
/// The row has them.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<E: Stored>(row: *const u8, at: usize) -> [float32x4_t; ACCUMULATORS] {
    // SAFETY: the caller vouches for 16 elements from `at` on, and the loads take no more. They are
    // of bytes, so that any alignment will do.
    unsafe {
        let row = row.add(at * E::ELEMENT.bytes());
        match E::ELEMENT {
            Element::F32 => {
                array::from_fn(|k| vreinterpretq_f32_u8(vld1q_u8(row.add(k * LANES * 4))))
            }
            Element::F16 => array::from_fn(|k| widen_halves(vld1_u8(row.add(k * LANES * 2)))),
            Element::I8 => {
                let bytes = vreinterpretq_s8_u8(vld1q_u8(row));
                let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
                [
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                    vcvtq_f32_s32(vmovl_high_s16(low)),
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                    vcvtq_f32_s32(vmovl_high_s16(high)),
                ]
            }
            Element::U8 => {
                let bytes = vld1q_u8(row);
                let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
                [
                    vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                    vcvtq_f32_u32(vmovl_high_u16(low)),
                    vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                    vcvtq_f32_u32(vmovl_high_u16(high)),
                ]
            }
        }
    }
}

/// Four halves as floats.
#[inline]
#[target_feature(enable = "neon")]
fn widen_halves(halves: uint8x8_t) -> float32x4_t {
    let floats;
    // SAFETY: the instruction is of the first version of NEON, reads one register and writes
    // another. The intrinsic for it is younger than the oldest compiler that builds this.
    unsafe {
        asm!(
            "fcvtl {floats:v}.4s, {halves:v}.4h",
            floats = lateout(vreg) floats,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    floats
}

/// The elements of a row from `at` on, at most 16, and zeros.
#[inline]
#[target_feature(enable = "neon")]
fn load_rest<E: Stored>(row: &[u8], at: usize) -> [float32x4_t; ACCUMULATORS] {
    let rest = &row[at * E::ELEMENT.bytes()..];
    let mut padded = [0; STEP * size_of::<f32>()];
    padded[..rest.len()].copy_from_slice(rest);
    // SAFETY: `padded` has 16 elements of the largest type.
    unsafe { load::<E>(padded.as_ptr(), 0) }
}

/// The floats from `at` on, at most 16, and zeros.
#[inline]
#[target_feature(enable = "neon")]
fn load_rest_of_floats(floats: &[f32], at: usize) -> [float32x4_t; ACCUMULATORS] {
    let rest = &floats[at..];
    let mut padded = [0.0; STEP];
    padded[..rest.len()].copy_from_slice(rest);
    // SAFETY: `padded` is 16 floats.
    unsafe { load::<F32>(padded.as_ptr().cast(), 0) }
}

/// Gives `step` all elements of the query and the row, 4 at a time and zeros behind the last, and
/// the number of the accumulator whose turn it is.
///
/// # Safety
///
/// The row has as many elements as the query.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn for_pairs<E: Stored>(
    query: &[f32],
    row: &[u8],
    mut step: impl FnMut(usize, float32x4_t, float32x4_t),
) {
    let n = query.len();
    let mut at = 0;
    while at < n {
        let (q, r) = if at + STEP <= n {
            // SAFETY: each load is of elements below `n`, which both sides have.
            unsafe {
                (
                    load::<F32>(query.as_ptr().cast(), at),
                    load::<E>(row.as_ptr(), at),
                )
            }
        } else {
            (load_rest_of_floats(query, at), load_rest::<E>(row, at))
        };
        for k in 0..ACCUMULATORS {
            step(k, q[k], r[k]);
        }
        at += STEP;
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_up(sums: [float32x4_t; ACCUMULATORS]) -> f32 {
    let [a, b, c, d] = sums;
    vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)))
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "neon")]
pub(super) unsafe fn l2_squared<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            let difference = vsubq_f32(q, r);
            sums[k] = vfmaq_f32(sums[k], difference, difference);
        });
    }
    add_up(sums)
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| sums[k] = vfmaq_f32(sums[k], q, r));
    }
    add_up(sums)
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot_and_norm<E: Stored>(query: &[f32], row: &[u8]) -> (f32, f32) {
    let mut sums = [vdupq_n_f32(0.0); ACCUMULATORS];
    let mut norms = [vdupq_n_f32(0.0); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            sums[k] = vfmaq_f32(sums[k], q, r);
            norms[k] = vfmaq_f32(norms[k], r, r);
        });
    }
    (add_up(sums), add_up(norms))
}

/// # Safety
///
/// The row has as many elements as `out`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn widen<E: Stored>(row: &[u8], out: &mut [f32]) {
    let (whole, rest) = out.as_chunks_mut::<STEP>();
    for (i, out) in whole.iter_mut().enumerate() {
        // SAFETY: the row has the elements of this chunk.
        store(unsafe { load::<E>(row.as_ptr(), i * STEP) }, out);
    }
    if !rest.is_empty() {
        let mut padded = [0.0; STEP];
        store(load_rest::<E>(row, whole.len() * STEP), &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(floats: [float32x4_t; ACCUMULATORS], out: &mut [f32; STEP]) {
    for (floats, out) in floats.into_iter().zip(out.as_chunks_mut::<LANES>().0) {
        // SAFETY: `out` is 4 floats.
        unsafe { vst1q_f32(out.as_mut_ptr(), floats) };
    }
}

/// # Safety
///
/// `dims` is not 0, `rows` and `others` are whole rows, and `out` has a place for each pair.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dots(dims: usize, rows: &[f32], others: &[f32], out: &mut [f32]) {
    let stride = others.len() / dims;
    for_tiles::<TILE_ROWS, TILE_OTHERS>(dims, rows, others, out, |rows, others, out| {
        // SAFETY: the rows are as many as each function is made for.
        unsafe {
            match (rows.len() / dims, others.len() / dims) {
                (1, 1) => dots_tile::<1, 1>(dims, rows, others, out, stride),
                (2, 1) => dots_tile::<2, 1>(dims, rows, others, out, stride),
                (3, 1) => dots_tile::<3, 1>(dims, rows, others, out, stride),
                (TILE_ROWS, 1) => dots_tile::<TILE_ROWS, 1>(dims, rows, others, out, stride),
                (1, TILE_OTHERS) => dots_tile::<1, TILE_OTHERS>(dims, rows, others, out, stride),
                (2, TILE_OTHERS) => dots_tile::<2, TILE_OTHERS>(dims, rows, others, out, stride),
                (3, TILE_OTHERS) => dots_tile::<3, TILE_OTHERS>(dims, rows, others, out, stride),
                (TILE_ROWS, TILE_OTHERS) => {
                    dots_tile::<TILE_ROWS, TILE_OTHERS>(dims, rows, others, out, stride)
                }
                (rows, others) => unreachable!("a tile of {rows} x {others}"),
            }
        }
    });
}

/// The products of `R` rows with `O` others, which go to `out`, `stride` places from row to row.
///
/// # Safety
///
/// `rows` has `R` rows, and `others` has `O`.
#[target_feature(enable = "neon")]
unsafe fn dots_tile<const R: usize, const O: usize>(
    dims: usize,
    rows: &[f32],
    others: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let mut sums = [[vdupq_n_f32(0.0); O]; R];
    let mut at = 0;
    // SAFETY: each load is of elements below `dims` of a row that is there.
    unsafe {
        let rows: [*const f32; R] = array::from_fn(|i| rows.as_ptr().add(i * dims));
        let others: [*const f32; O] = array::from_fn(|j| others.as_ptr().add(j * dims));
        while at + LANES <= dims {
            let row = rows.map(|row| vld1q_f32(row.add(at)));
            let other = others.map(|other| vld1q_f32(other.add(at)));
            for i in 0..R {
                for j in 0..O {
                    sums[i][j] = vfmaq_f32(sums[i][j], row[i], other[j]);
                }
            }
            at += LANES;
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let row = &rows[i * dims..][..dims];
        for (j, (sum, out)) in sums.iter().zip(&mut out[i * stride..]).enumerate() {
            let other = &others[j * dims..][..dims];
            let rest = row[at..].iter().zip(&other[at..]).map(|(a, b)| a * b);
            *out = vaddvq_f32(*sum) + rest.sum::<f32>();
        }
    }
}

/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn l2_squared_to_16(
    sub: &[f32],
    codebook: &[f32],
    out: &mut [f32; CODEBOOK_ENTRIES],
) {
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_entries(sub, codebook, out, |sum, value, entries| {
            let difference = vsubq_f32(value, entries);
            vfmaq_f32(sum, difference, difference)
        });
    }
}

/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot_with_16(sub: &[f32], codebook: &[f32], out: &mut [f32; CODEBOOK_ENTRIES]) {
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_entries(sub, codebook, out, |sum, value, entries| {
            vfmaq_f32(sum, value, entries)
        });
    }
}

/// Adds up what `step` makes of each value of `sub` and its 16 entries.
///
/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn for_entries(
    sub: &[f32],
    codebook: &[f32],
    out: &mut [f32; CODEBOOK_ENTRIES],
    step: impl Fn(float32x4_t, float32x4_t, float32x4_t) -> float32x4_t,
) {
    let mut sums = [vdupq_n_f32(0.0); ACCUMULATORS];
    for (d, value) in sub.iter().enumerate() {
        let value = vdupq_n_f32(*value);
        // SAFETY: the codebook has the entries of dimension `d`.
        let entries = unsafe { load::<F32>(codebook.as_ptr().cast(), d * CODEBOOK_ENTRIES) };
        for (sum, entries) in sums.iter_mut().zip(entries) {
            *sum = step(*sum, value, entries);
        }
    }
    store(sums, out);
}

/// # Safety
///
/// The pieces are those of the vector, and there are 16 values for each element and each piece.
#[target_feature(enable = "neon")]
pub(super) unsafe fn l2_squared_tables(
    ends: &[u32],
    vector: &[f32],
    codebooks: &[f32],
    tables: &mut [f32],
) {
    for_pieces(ends, vector, codebooks, tables, |sub, codebook, table| {
        // SAFETY: the codebook has 16 values for each element.
        unsafe { l2_squared_to_16(sub, codebook, table) }
    });
}

/// # Safety
///
/// None but the instructions: the compiler finds them in the plain loop.
#[target_feature(enable = "neon")]
pub(super) unsafe fn round_tables(tables: &[f32], bytes: &mut [u8]) -> (f32, f32) {
    scalar::round_tables(tables, bytes)
}

/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `sums.len() / 32` blocks.
#[target_feature(enable = "neon")]
pub(super) unsafe fn scan(m: usize, tables: &[u8], codes: &[u8], sums: &mut [u16]) {
    for (block, sums) in sums.as_chunks_mut::<BLOCK_ROWS>().0.iter_mut().enumerate() {
        // SAFETY: the lengths are the caller's promise.
        let of_block =
            unsafe { block_sums(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        store_sums(of_block, sums);
    }
}

/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `rows` rows, rounded up to whole blocks.
#[target_feature(enable = "neon")]
pub(super) unsafe fn scan_below(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    rows: usize,
    below: u16,
    found: &mut Vec<(u32, u16)>,
) {
    const BIT_OF_LANE: [u16; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: the array is 8 of them.
    let bit_of_lane = unsafe { vld1q_u16(BIT_OF_LANE.as_ptr()) };
    let below = vdupq_n_u16(below);
    for block in 0..rows.div_ceil(BLOCK_ROWS) {
        // SAFETY: the codes have this block.
        let of_block =
            unsafe { block_sums(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        let [a, b, c, d] = of_block.map(|sums| vcltq_u16(sums, below));
        let any = vorrq_u16(vorrq_u16(a, b), vorrq_u16(c, d));
        if vmaxvq_u16(any) != 0 {
            let mask = [a, b, c, d].map(|lanes| vaddvq_u16(vandq_u16(lanes, bit_of_lane)) as u8);
            let mut sums = [0; BLOCK_ROWS];
            store_sums(of_block, &mut sums);
            report(
                block,
                u32::from_le_bytes(mask) & existing(block, rows),
                &sums,
                found,
            );
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn store_sums(of_block: [uint16x8_t; BLOCK_REGISTERS], sums: &mut [u16; BLOCK_ROWS]) {
    for (of_block, sums) in of_block.into_iter().zip(sums.as_chunks_mut::<8>().0) {
        // SAFETY: `sums` is 8 of them.
        unsafe { vst1q_u16(sums.as_mut_ptr(), of_block) };
    }
}

/// The sums of one block, in the order of its rows.
///
/// # Safety
///
/// `tables` is `m` tables, and `codes` points at the codes of a block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn block_sums(m: usize, tables: &[u8], codes: *const u8) -> [uint16x8_t; BLOCK_REGISTERS] {
    let nibble = vdupq_n_u8(0xf);
    let mut block = [vdupq_n_u16(0); BLOCK_REGISTERS];
    for piece in (0..m).step_by(SUBS_WITHOUT_OVERFLOW) {
        let mut sums = [vdupq_n_u16(0); BLOCK_REGISTERS];
        for sub in piece..m.min(piece + SUBS_WITHOUT_OVERFLOW) {
            // SAFETY: tables and codes are 16 bytes for each sub-quantiser below `m`.
            let (table, codes) = unsafe {
                (
                    vld1q_u8(tables.as_ptr().add(sub * CODEBOOK_ENTRIES)),
                    vld1q_u8(codes.add(sub * BLOCK_CODE_BYTES)),
                )
            };
            let low = vqtbl1q_u8(table, vandq_u8(codes, nibble));
            let high = vqtbl1q_u8(table, vshrq_n_u8::<4>(codes));
            sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
            sums[1] = vaddw_high_u8(sums[1], low);
            sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
            sums[3] = vaddw_high_u8(sums[3], high);
        }
        for (block, sums) in block.iter_mut().zip(sums) {
            *block = vqaddq_u16(*block, sums);
        }
    }
    block
}
