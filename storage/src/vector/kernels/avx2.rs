//! The loops in AVX2, FMA and F16C.
//!
//! The elements after the last whole register are loaded under a mask, or, if they are too small
//! for that, copied to the front of zeros; zeros change no sum.

#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::array;

use super::blocks::{BLOCK_CODE_BYTES, BLOCK_ROWS, SUBS_WITHOUT_OVERFLOW, existing, report};
use super::element::Stored;
use super::scalar;
use super::tables::{CODEBOOK_ENTRIES, for_pieces};
use super::tiles::for_tiles;
use crate::vector::Element;

/// Floats in a register.
const LANES: usize = 8;

/// Sums that are added to in turn, so that one addition does not wait for the last.
const ACCUMULATORS: usize = 4;

/// Rows and other rows of one tile of [`dots`]: their products are the accumulators, and with a
/// register for each row and one for an other they fit the 16 registers.
const TILE_ROWS: usize = 3;
const TILE_OTHERS: usize = 4;

/// Sub-quantisers whose codes, or tables, fill a register.
const SUBS: usize = 2;

pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// Elements `at..at + 8` of a row.
///
/// # Safety
///
/// The row has them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<E: Stored>(row: *const u8, at: usize) -> __m256 {
    // SAFETY: the caller vouches for 8 elements from `at` on, and the loads take no more and any
    // alignment.
    unsafe {
        let row = row.add(at * E::ELEMENT.bytes());
        match E::ELEMENT {
            Element::F32 => _mm256_loadu_ps(row.cast()),
            Element::F16 => _mm256_cvtph_ps(_mm_loadu_si128(row.cast())),
            Element::I8 => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(row.cast()))),
            Element::U8 => _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(row.cast()))),
        }
    }
}

/// The elements of a row from `at` on, at most 8, and zeros.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_rest<E: Stored>(row: &[u8], at: usize) -> __m256 {
    let rest = &row[at * E::ELEMENT.bytes()..];
    let mut padded = [0; LANES * size_of::<f32>()];
    padded[..rest.len()].copy_from_slice(rest);
    // SAFETY: `padded` has 8 elements of the largest type.
    unsafe { load::<E>(padded.as_ptr(), 0) }
}

/// The floats from `at` on, at most 8, and zeros.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_rest_of_floats(floats: &[f32], at: usize) -> __m256 {
    let rest = &floats[at..];
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(rest.len() as i32), lanes);
    // SAFETY: a masked load touches only the elements in the mask, and `rest` has them.
    unsafe { _mm256_maskload_ps(rest.as_ptr(), mask) }
}

/// Gives `step` all elements of the query and the row, 8 at a time and zeros behind the last, and
/// the number of the accumulator whose turn it is.
///
/// # Safety
///
/// The row has as many elements as the query.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn for_pairs<E: Stored>(
    query: &[f32],
    row: &[u8],
    mut step: impl FnMut(usize, __m256, __m256),
) {
    let n = query.len();
    let (query_start, row_start) = (query.as_ptr(), row.as_ptr());
    let mut at = 0;
    // SAFETY: each load is of elements below `n`, which both sides have.
    unsafe {
        while at + ACCUMULATORS * LANES <= n {
            for k in 0..ACCUMULATORS {
                let at = at + k * LANES;
                step(
                    k,
                    _mm256_loadu_ps(query_start.add(at)),
                    load::<E>(row_start, at),
                );
            }
            at += ACCUMULATORS * LANES;
        }
        while at + LANES <= n {
            step(
                0,
                _mm256_loadu_ps(query_start.add(at)),
                load::<E>(row_start, at),
            );
            at += LANES;
        }
    }
    if at < n {
        step(1, load_rest_of_floats(query, at), load_rest::<E>(row, at));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_up(sums: [__m256; ACCUMULATORS]) -> f32 {
    let [a, b, c, d] = sums;
    add_lanes(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_lanes(sum: __m256) -> f32 {
    let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)))
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn l2_squared<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            let difference = _mm256_sub_ps(q, r);
            sums[k] = _mm256_fmadd_ps(difference, difference, sums[k]);
        });
    }
    add_up(sums)
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            sums[k] = _mm256_fmadd_ps(q, r, sums[k])
        });
    }
    add_up(sums)
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot_and_norm<E: Stored>(query: &[f32], row: &[u8]) -> (f32, f32) {
    let mut sums = [_mm256_setzero_ps(); ACCUMULATORS];
    let mut norms = [_mm256_setzero_ps(); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            sums[k] = _mm256_fmadd_ps(q, r, sums[k]);
            norms[k] = _mm256_fmadd_ps(r, r, norms[k]);
        });
    }
    (add_up(sums), add_up(norms))
}

/// # Safety
///
/// The row has as many elements as `out`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen<E: Stored>(row: &[u8], out: &mut [f32]) {
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    for (i, out) in whole.iter_mut().enumerate() {
        // SAFETY: the row has the elements of this chunk, and the chunk is 8 floats.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), load::<E>(row.as_ptr(), i * LANES)) };
    }
    if !rest.is_empty() {
        let mut padded = [0.0; LANES];
        // SAFETY: `padded` is 8 floats.
        unsafe {
            _mm256_storeu_ps(
                padded.as_mut_ptr(),
                load_rest::<E>(row, whole.len() * LANES),
            );
        }
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// # Safety
///
/// `dims` is not 0, `rows` and `others` are whole rows, and `out` has a place for each pair.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dots(dims: usize, rows: &[f32], others: &[f32], out: &mut [f32]) {
    let stride = others.len() / dims;
    for_tiles::<TILE_ROWS, TILE_OTHERS>(dims, rows, others, out, |rows, others, out| {
        // SAFETY: the rows are as many as each function is made for, and the places of their
        // products are `stride` apart.
        unsafe {
            match (rows.len() / dims, others.len() / dims) {
                (1, 1) => dots_tile::<1, 1>(dims, rows, others, out, stride),
                (2, 1) => dots_tile::<2, 1>(dims, rows, others, out, stride),
                (TILE_ROWS, 1) => dots_tile::<TILE_ROWS, 1>(dims, rows, others, out, stride),
                (1, TILE_OTHERS) => dots_tile::<1, TILE_OTHERS>(dims, rows, others, out, stride),
                (2, TILE_OTHERS) => dots_tile::<2, TILE_OTHERS>(dims, rows, others, out, stride),
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dots_tile<const R: usize, const O: usize>(
    dims: usize,
    rows: &[f32],
    others: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let mut sums = [[_mm256_setzero_ps(); O]; R];
    let mut step = |row: [__m256; R], other: [__m256; O]| {
        for j in 0..O {
            for i in 0..R {
                sums[i][j] = _mm256_fmadd_ps(row[i], other[j], sums[i][j]);
            }
        }
    };
    let mut at = 0;
    // SAFETY: each load is of elements below `dims` of a row that is there.
    unsafe {
        let rows: [*const f32; R] = array::from_fn(|i| rows.as_ptr().add(i * dims));
        let others: [*const f32; O] = array::from_fn(|j| others.as_ptr().add(j * dims));
        while at + LANES <= dims {
            step(
                rows.map(|row| _mm256_loadu_ps(row.add(at))),
                others.map(|other| _mm256_loadu_ps(other.add(at))),
            );
            at += LANES;
        }
    }
    if at < dims {
        step(
            array::from_fn(|i| load_rest_of_floats(&rows[i * dims..][..dims], at)),
            array::from_fn(|j| load_rest_of_floats(&others[j * dims..][..dims], at)),
        );
    }
    for (i, sums) in sums.iter().enumerate() {
        let out = &mut out[i * stride..][..O];
        if let [a, b, c, d] = sums[..] {
            // SAFETY: `out` is four places.
            unsafe { _mm_storeu_ps(out.as_mut_ptr(), add_up_four([a, b, c, d])) };
        } else {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = add_lanes(*sum);
            }
        }
    }
}

/// The sums of four registers side by side.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_up_four([a, b, c, d]: [__m256; 4]) -> __m128 {
    let all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all))
}

/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn l2_squared_to_16(
    sub: &[f32],
    codebook: &[f32],
    out: &mut [f32; CODEBOOK_ENTRIES],
) {
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_entries(sub, codebook, out, |sum, value, entries| {
            let difference = _mm256_sub_ps(value, entries);
            _mm256_fmadd_ps(difference, difference, sum)
        });
    }
}

/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot_with_16(sub: &[f32], codebook: &[f32], out: &mut [f32; CODEBOOK_ENTRIES]) {
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_entries(sub, codebook, out, |sum, value, entries| {
            _mm256_fmadd_ps(value, entries, sum)
        });
    }
}

/// Adds up what `step` makes of each value of `sub` and its 16 entries.
///
/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn for_entries(
    sub: &[f32],
    codebook: &[f32],
    out: &mut [f32; CODEBOOK_ENTRIES],
    step: impl Fn(__m256, __m256, __m256) -> __m256,
) {
    let (mut low, mut high) = (_mm256_setzero_ps(), _mm256_setzero_ps());
    for (d, value) in sub.iter().enumerate() {
        let value = _mm256_set1_ps(*value);
        // SAFETY: the codebook has the entries of dimension `d`.
        unsafe {
            let entries = codebook.as_ptr().add(d * CODEBOOK_ENTRIES);
            low = step(low, value, _mm256_loadu_ps(entries));
            high = step(high, value, _mm256_loadu_ps(entries.add(LANES)));
        }
    }
    // SAFETY: `out` is twice 8 floats.
    unsafe {
        _mm256_storeu_ps(out.as_mut_ptr(), low);
        _mm256_storeu_ps(out.as_mut_ptr().add(LANES), high);
    }
}

/// # Safety
///
/// The pieces are those of the vector, and there are 16 values for each element and each piece.
#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn round_tables(tables: &[f32], bytes: &mut [u8]) -> (f32, f32) {
    scalar::round_tables(tables, bytes)
}

/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `sums.len() / 32` blocks.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scan(m: usize, tables: &[u8], codes: &[u8], sums: &mut [u16]) {
    for (block, sums) in sums.as_chunks_mut::<BLOCK_ROWS>().0.iter_mut().enumerate() {
        // SAFETY: the lengths are the caller's promise.
        let of_block =
            unsafe { block_sums(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        store(of_block, sums);
    }
}

/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `rows` rows, rounded up to whole blocks.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scan_below(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    rows: usize,
    below: u16,
    found: &mut Vec<(u32, u16)>,
) {
    let below = _mm256_set1_epi16(below.cast_signed());
    for block in 0..rows.div_ceil(BLOCK_ROWS) {
        // SAFETY: the codes have this block.
        let of_block =
            unsafe { block_sums(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        // What is left of the limit is nothing for those that are not below it.
        let [low, high] = of_block
            .map(|sums| _mm256_cmpeq_epi16(_mm256_subs_epu16(below, sums), _mm256_setzero_si256()));
        let not_below = _mm256_packs_epi16(low, high);
        if _mm256_movemask_epi8(not_below) != -1 {
            // Packing went by 128-bit lanes.
            let in_order = _mm256_permute4x64_epi64::<0b11_01_10_00>(not_below);
            let mask = !_mm256_movemask_epi8(in_order).cast_unsigned();
            let mut sums = [0; BLOCK_ROWS];
            store(of_block, &mut sums);
            report(block, mask & existing(block, rows), &sums, found);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store([low, high]: [__m256i; 2], sums: &mut [u16; BLOCK_ROWS]) {
    // SAFETY: `sums` is twice 16 of them.
    unsafe {
        _mm256_storeu_si256(sums.as_mut_ptr().cast(), low);
        _mm256_storeu_si256(sums.as_mut_ptr().add(BLOCK_ROWS / 2).cast(), high);
    }
}

/// The sums of one block, in the order of its rows.
///
/// # Safety
///
/// `tables` is `m` tables, and `codes` points at the codes of a block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block_sums(m: usize, tables: &[u8], codes: *const u8) -> [__m256i; 2] {
    let nibble = _mm256_set1_epi8(0xf);
    let mut block = [_mm256_setzero_si256(); 2];
    for piece in (0..m).step_by(SUBS_WITHOUT_OVERFLOW) {
        // For the rows of the low nibbles and those of the high ones: the sums of 16-bit lanes,
        // in which an odd row's entry counts 256 times, and the sums of the odd rows alone. The
        // first overflow without harm: taking 256 times the second away leaves the even rows' sums
        // modulo 2^16, and they are below that.
        let mut sums = [_mm256_setzero_si256(); 2];
        let mut odd = [_mm256_setzero_si256(); 2];
        let mut add = |table, codes: __m256i| {
            let low = _mm256_and_si256(codes, nibble);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
            for (k, codes) in [low, high].into_iter().enumerate() {
                let entries = _mm256_shuffle_epi8(table, codes);
                sums[k] = _mm256_add_epi16(sums[k], entries);
                odd[k] = _mm256_add_epi16(odd[k], _mm256_srli_epi16::<8>(entries));
            }
        };
        let end = m.min(piece + SUBS_WITHOUT_OVERFLOW);
        let mut sub = piece;
        // SAFETY: tables and codes are 16 bytes for each sub-quantiser, and only those below
        // `end` are read.
        unsafe {
            while sub + SUBS <= end {
                let table = tables.as_ptr().add(sub * CODEBOOK_ENTRIES).cast();
                let codes = codes.add(sub * BLOCK_CODE_BYTES).cast();
                add(_mm256_loadu_si256(table), _mm256_loadu_si256(codes));
                sub += SUBS;
            }
            if sub < end {
                let table = _mm_loadu_si128(tables.as_ptr().add(sub * CODEBOOK_ENTRIES).cast());
                let codes = _mm_loadu_si128(codes.add(sub * BLOCK_CODE_BYTES).cast());
                add(_mm256_zextsi128_si256(table), _mm256_zextsi128_si256(codes));
            }
        }
        for k in 0..2 {
            let even = add_halves(_mm256_sub_epi16(sums[k], _mm256_slli_epi16::<8>(odd[k])));
            let odd = add_halves(odd[k]);
            let of_piece =
                _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
            block[k] = _mm256_adds_epu16(block[k], of_piece);
        }
    }
    block
}

/// The halves of a register added in 16-bit lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_halves(sums: __m256i) -> __m128i {
    _mm_add_epi16(
        _mm256_castsi256_si128(sums),
        _mm256_extracti128_si256::<1>(sums),
    )
}
