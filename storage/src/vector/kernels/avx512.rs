//! The loops in AVX-512: F, BW, VL and DQ throughout, and VBMI and VNNI where a processor has them
//! for the scans.
//!
//! The elements after the last whole register are loaded under a mask, which reads nothing beyond
//! the slice and gives zeros; zeros change no sum.

#![allow(unsafe_code)]

mod scan;

use std::arch::x86_64::*;
use std::array;

use super::element::{F32, Stored};
use super::tables::{CODEBOOK_ENTRIES, for_pieces, step_of};
use super::tiles::for_tiles;
use crate::vector::Element;

/// Floats in a register.
const LANES: usize = 16;

/// Sums that are added to in turn, so that one addition does not wait for the last.
const ACCUMULATORS: usize = 4;

/// Rows and other rows of one tile of [`dots`]: their products are the accumulators, and with a
/// register for each row and one for an other they fit the 32 registers.
const TILE_ROWS: usize = 4;
const TILE_OTHERS: usize = 4;

pub(super) use scan::{scan, scan_below, scan_below_vbmi, scan_vbmi};

pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

/// Whether [`scan_vbmi`] runs too, where the rest does.
pub(super) fn vbmi_supported() -> bool {
    is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512vnni")
}

/// The lowest `n` lanes, `n` < 16.
#[inline]
fn first(n: usize) -> __mmask16 {
    (1 << n) - 1
}

/// Elements `at..at + 16` of a row.
///
/// # Safety
///
/// The row has them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load<E: Stored>(row: *const u8, at: usize) -> __m512 {
    // SAFETY: the caller vouches for 16 elements from `at` on, and the loads take no more and any
    // alignment.
    unsafe {
        let row = row.add(at * E::ELEMENT.bytes());
        match E::ELEMENT {
            Element::F32 => _mm512_loadu_ps(row.cast()),
            Element::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(row.cast())),
            Element::I8 => _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(row.cast()))),
            Element::U8 => _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(row.cast()))),
        }
    }
}

/// Elements `at..at + 16` of a row that are in the mask, and zeros.
///
/// # Safety
///
/// The row has the elements in the mask.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_masked<E: Stored>(row: *const u8, at: usize, mask: __mmask16) -> __m512 {
    // SAFETY: the caller vouches for the elements in the mask, and a masked load touches no others.
    unsafe {
        let row = row.add(at * E::ELEMENT.bytes());
        match E::ELEMENT {
            Element::F32 => _mm512_maskz_loadu_ps(mask, row.cast()),
            Element::F16 => _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row.cast())),
            Element::I8 => {
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, row.cast())))
            }
            Element::U8 => {
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, row.cast())))
            }
        }
    }
}

/// Gives `step` all elements of the query and the row, 16 at a time and zeros behind the last, and
/// the number of the accumulator whose turn it is.
///
/// # Safety
///
/// The row has as many elements as the query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn for_pairs<E: Stored>(
    query: &[f32],
    row: &[u8],
    mut step: impl FnMut(usize, __m512, __m512),
) {
    let n = query.len();
    let (query, row) = (query.as_ptr().cast(), row.as_ptr());
    let mut at = 0;
    // SAFETY: each load is of elements below `n`, which both sides have.
    unsafe {
        while at + ACCUMULATORS * LANES <= n {
            for k in 0..ACCUMULATORS {
                step(
                    k,
                    load::<F32>(query, at + k * LANES),
                    load::<E>(row, at + k * LANES),
                );
            }
            at += ACCUMULATORS * LANES;
        }
        while at + LANES <= n {
            step(0, load::<F32>(query, at), load::<E>(row, at));
            at += LANES;
        }
        if at < n {
            let mask = first(n - at);
            step(
                1,
                load_masked::<F32>(query, at, mask),
                load_masked::<E>(row, at, mask),
            );
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add_up(sums: [__m512; ACCUMULATORS]) -> f32 {
    let [a, b, c, d] = sums;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn l2_squared<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            let difference = _mm512_sub_ps(q, r);
            sums[k] = _mm512_fmadd_ps(difference, difference, sums[k]);
        });
    }
    add_up(sums)
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn dot<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            sums[k] = _mm512_fmadd_ps(q, r, sums[k])
        });
    }
    add_up(sums)
}

/// # Safety
///
/// The row has as many elements as the query.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn dot_and_norm<E: Stored>(query: &[f32], row: &[u8]) -> (f32, f32) {
    let mut sums = [_mm512_setzero_ps(); ACCUMULATORS];
    let mut norms = [_mm512_setzero_ps(); ACCUMULATORS];
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_pairs::<E>(query, row, |k, q, r| {
            sums[k] = _mm512_fmadd_ps(q, r, sums[k]);
            norms[k] = _mm512_fmadd_ps(r, r, norms[k]);
        });
    }
    (add_up(sums), add_up(norms))
}

/// # Safety
///
/// The row has as many elements as `out`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn widen<E: Stored>(row: &[u8], out: &mut [f32]) {
    let n = out.len();
    let (row, out) = (row.as_ptr(), out.as_mut_ptr());
    let mut at = 0;
    // SAFETY: each load and store is of elements below `n`, which both sides have.
    unsafe {
        while at + LANES <= n {
            _mm512_storeu_ps(out.add(at), load::<E>(row, at));
            at += LANES;
        }
        if at < n {
            let mask = first(n - at);
            _mm512_mask_storeu_ps(out.add(at), mask, load_masked::<E>(row, at, mask));
        }
    }
}

/// # Safety
///
/// `dims` is not 0, `rows` and `others` are whole rows, and `out` has a place for each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn dots(dims: usize, rows: &[f32], others: &[f32], out: &mut [f32]) {
    let stride = others.len() / dims;
    for_tiles::<TILE_ROWS, TILE_OTHERS>(dims, rows, others, out, |rows, others, out| {
        // SAFETY: the rows are as many as each function is made for, and the places of their
        // products are `stride` apart.
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
/// `rows` has `R` rows, `others` has `O`, and `out` has a place for each product.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn dots_tile<const R: usize, const O: usize>(
    dims: usize,
    rows: &[f32],
    others: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let mut sums = [[_mm512_setzero_ps(); O]; R];
    let mut step = |row: [__m512; R], other: [__m512; O]| {
        for (sums, row) in sums.iter_mut().zip(row) {
            for (sum, other) in sums.iter_mut().zip(other) {
                *sum = _mm512_fmadd_ps(row, other, *sum);
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
                rows.map(|row| _mm512_loadu_ps(row.add(at))),
                others.map(|other| _mm512_loadu_ps(other.add(at))),
            );
            at += LANES;
        }
        if at < dims {
            let mask = first(dims - at);
            step(
                rows.map(|row| _mm512_maskz_loadu_ps(mask, row.add(at))),
                others.map(|other| _mm512_maskz_loadu_ps(mask, other.add(at))),
            );
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let out = &mut out[i * stride..][..O];
        if let [a, b, c, d] = sums[..] {
            // SAFETY: `out` is four places.
            unsafe { _mm_storeu_ps(out.as_mut_ptr(), add_up_four([a, b, c, d])) };
        } else {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = _mm512_reduce_add_ps(*sum);
            }
        }
    }
}

/// The sums of four registers side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add_up_four([a, b, c, d]: [__m512; 4]) -> __m128 {
    let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
    let high = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
    let all = _mm512_add_ps(low, high);
    let half = _mm256_add_ps(
        _mm512_castps512_ps256(all),
        _mm512_extractf32x8_ps::<1>(all),
    );
    _mm_add_ps(
        _mm256_castps256_ps128(half),
        _mm256_extractf128_ps::<1>(half),
    )
}

/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn l2_squared_to_16(
    sub: &[f32],
    codebook: &[f32],
    out: &mut [f32; CODEBOOK_ENTRIES],
) {
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_entries(sub, codebook, out, |sum, value, entries| {
            let difference = _mm512_sub_ps(value, entries);
            _mm512_fmadd_ps(difference, difference, sum)
        });
    }
}

/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn dot_with_16(sub: &[f32], codebook: &[f32], out: &mut [f32; CODEBOOK_ENTRIES]) {
    // SAFETY: the lengths are the caller's promise.
    unsafe {
        for_entries(sub, codebook, out, |sum, value, entries| {
            _mm512_fmadd_ps(value, entries, sum)
        });
    }
}

/// Adds up what `step` makes of each value of `sub` and its 16 entries, two values in turn.
///
/// # Safety
///
/// The codebook has 16 floats for each of `sub`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn for_entries(
    sub: &[f32],
    codebook: &[f32],
    out: &mut [f32; CODEBOOK_ENTRIES],
    step: impl Fn(__m512, __m512, __m512) -> __m512,
) {
    let (mut sum, mut other_sum) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let entries = codebook.as_ptr();
    let mut d = 0;
    // SAFETY: the codebook has the entries of each dimension that `sub` has; `out` is 16 floats.
    unsafe {
        while d + 2 <= sub.len() {
            let entries = entries.add(d * CODEBOOK_ENTRIES);
            sum = step(sum, _mm512_set1_ps(sub[d]), _mm512_loadu_ps(entries));
            let entries = entries.add(CODEBOOK_ENTRIES);
            other_sum = step(
                other_sum,
                _mm512_set1_ps(sub[d + 1]),
                _mm512_loadu_ps(entries),
            );
            d += 2;
        }
        if d < sub.len() {
            let entries = entries.add(d * CODEBOOK_ENTRIES);
            sum = step(sum, _mm512_set1_ps(sub[d]), _mm512_loadu_ps(entries));
        }
        _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(sum, other_sum));
    }
}

/// # Safety
///
/// The pieces are those of the vector, and there are 16 values for each element and each piece.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
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
/// Tables are of 16 entries, and there are as many bytes as entries.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn round_tables(tables: &[f32], bytes: &mut [u8]) -> (f32, f32) {
    let tables = tables.as_chunks::<CODEBOOK_ENTRIES>().0;
    let (mut bias, mut widest, mut total) = (0.0_f32, 0.0_f32, 0.0_f64);
    for table in tables {
        // SAFETY: a table is 16 floats.
        let entries = unsafe { _mm512_loadu_ps(table.as_ptr()) };
        let (least, most) = (_mm512_reduce_min_ps(entries), _mm512_reduce_max_ps(entries));
        bias += least;
        widest = widest.max(most - least);
        total += f64::from(most - least);
    }
    let step = step_of(tables.len(), widest, total);
    let (inverse, half) = (_mm512_set1_ps(1.0 / step), _mm512_set1_ps(0.5));
    for (table, bytes) in tables
        .iter()
        .zip(bytes.as_chunks_mut::<CODEBOOK_ENTRIES>().0)
    {
        // SAFETY: a table is 16 floats, and its bytes are 16.
        unsafe {
            let entries = _mm512_loadu_ps(table.as_ptr());
            let least = _mm512_set1_ps(_mm512_reduce_min_ps(entries));
            let steps = _mm512_mul_ps(_mm512_sub_ps(entries, least), inverse);
            let steps = _mm512_cvttps_epi32(_mm512_add_ps(steps, half));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(steps));
        }
    }
    (bias, step)
}
