//! Sums of table entries for blocks of packed codes, in AVX-512 with and without VBMI and VNNI.

#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::array;

use super::super::blocks::{BLOCK_CODE_BYTES, BLOCK_ROWS, SUBS_WITHOUT_OVERFLOW, existing, report};
use super::super::tables::CODEBOOK_ENTRIES;

/// Sums of 32 bits in a register.
const LANES: usize = 16;

/// Sub-quantisers whose codes, or tables, fill a register.
const SUBS: usize = 4;

/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `sums.len() / 32` blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(in crate::vector::kernels) unsafe fn scan(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    sums: &mut [u16],
) {
    for (block, sums) in sums.as_chunks_mut::<BLOCK_ROWS>().0.iter_mut().enumerate() {
        // SAFETY: the lengths are the caller's promise; `sums` is 32 of them.
        unsafe {
            let of_block = block_sums(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES));
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), of_block);
        }
    }
}

/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `rows` rows, rounded up to whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(in crate::vector::kernels) unsafe fn scan_below(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    rows: usize,
    below: u16,
    found: &mut Vec<(u32, u16)>,
) {
    let below = _mm512_set1_epi16(below.cast_signed());
    for block in 0..rows.div_ceil(BLOCK_ROWS) {
        // SAFETY: the codes have this block.
        let of_block =
            unsafe { block_sums(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        let mask = _mm512_cmplt_epu16_mask(of_block, below);
        if mask != 0 {
            let mut sums = [0; BLOCK_ROWS];
            // SAFETY: `sums` is 32 of them.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), of_block) };
            report(block, mask & existing(block, rows), &sums, found);
        }
    }
}

/// The sums of one block, in the order of its rows.
///
/// # Safety
///
/// `tables` is `m` tables, and `codes` points at the codes of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn block_sums(m: usize, tables: &[u8], codes: *const u8) -> __m512i {
    let nibble = _mm512_set1_epi8(0xf);
    let mut block = _mm512_setzero_si512();
    for piece in (0..m).step_by(SUBS_WITHOUT_OVERFLOW) {
        // For the rows of the low nibbles and those of the high ones: the sums of 16-bit lanes,
        // in which an odd row's entry counts 256 times, and the sums of the odd rows alone. The
        // first overflow without harm: taking 256 times the second away leaves the even rows' sums
        // modulo 2^16, and they are below that.
        let mut sums = [_mm512_setzero_si512(); 2];
        let mut odd = [_mm512_setzero_si512(); 2];
        let mut add = |table, codes: __m512i| {
            let low = _mm512_and_si512(codes, nibble);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble);
            for (k, codes) in [low, high].into_iter().enumerate() {
                let entries = _mm512_shuffle_epi8(table, codes);
                sums[k] = _mm512_add_epi16(sums[k], entries);
                odd[k] = _mm512_add_epi16(odd[k], _mm512_srli_epi16::<8>(entries));
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
                add(_mm512_loadu_si512(table), _mm512_loadu_si512(codes));
                sub += SUBS;
            }
            if sub < end {
                let mask = (1 << ((end - sub) * CODEBOOK_ENTRIES)) - 1;
                let table = tables.as_ptr().add(sub * CODEBOOK_ENTRIES).cast();
                let codes = codes.add(sub * BLOCK_CODE_BYTES).cast();
                add(
                    _mm512_maskz_loadu_epi8(mask, table),
                    _mm512_maskz_loadu_epi8(mask, codes),
                );
            }
        }
        let [low, high] = array::from_fn(|k| {
            let even = _mm512_sub_epi16(sums[k], _mm512_slli_epi16::<8>(odd[k]));
            let even = add_quarters(even);
            let odd = add_quarters(odd[k]);
            _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd))
        });
        let of_piece = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        block = _mm512_adds_epu16(block, of_piece);
    }
    block
}

/// The four quarters of a register added in 16-bit lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add_quarters(sums: __m512i) -> __m128i {
    let half = _mm256_add_epi16(
        _mm512_castsi512_si256(sums),
        _mm512_extracti64x4_epi64::<1>(sums),
    );
    _mm_add_epi16(
        _mm256_castsi256_si128(half),
        _mm256_extracti128_si256::<1>(half),
    )
}

/// As [`scan`].
///
/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `sums.len() / 32` blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
pub(in crate::vector::kernels) unsafe fn scan_vbmi(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    sums: &mut [u16],
) {
    for (block, sums) in sums.as_chunks_mut::<BLOCK_ROWS>().0.iter_mut().enumerate() {
        // SAFETY: the lengths are the caller's promise.
        let of_block =
            unsafe { block_sums_vbmi(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        store_narrowed(of_block, sums);
    }
}

/// As [`scan_below`].
///
/// # Safety
///
/// `tables` is `m` tables, and `codes` has the codes of `rows` rows, rounded up to whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
pub(in crate::vector::kernels) unsafe fn scan_below_vbmi(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    rows: usize,
    below: u16,
    found: &mut Vec<(u32, u16)>,
) {
    let limit = _mm512_set1_epi32(i32::from(below));
    for block in 0..rows.div_ceil(BLOCK_ROWS) {
        // SAFETY: the codes have this block.
        let of_block =
            unsafe { block_sums_vbmi(m, tables, codes.as_ptr().add(block * m * BLOCK_CODE_BYTES)) };
        let [low, high] = of_block.map(|sums| u32::from(_mm512_cmplt_epu32_mask(sums, limit)));
        let mask = low | high << LANES;
        if mask != 0 {
            let mut sums = [0; BLOCK_ROWS];
            store_narrowed(of_block, &mut sums);
            report(block, mask & existing(block, rows), &sums, found);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn store_narrowed([low, high]: [__m512i; 2], sums: &mut [u16; BLOCK_ROWS]) {
    let (low, high) = (_mm512_cvtusepi32_epi16(low), _mm512_cvtusepi32_epi16(high));
    // SAFETY: `sums` is twice 16 of them.
    unsafe {
        _mm256_storeu_si256(sums.as_mut_ptr().cast(), low);
        _mm256_storeu_si256(sums.as_mut_ptr().add(LANES).cast(), high);
    }
}

/// The sums of one block, in the order of its rows, in 32 bits.
///
/// The codes of four sub-quantisers are brought row by row, so that the four entries of a row lie
/// side by side, one 64-byte look-up serves all four tables, and one instruction adds the entries.
///
/// # Safety
///
/// `tables` is `m` tables, and `codes` points at the codes of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
unsafe fn block_sums_vbmi(m: usize, tables: &[u8], codes: *const u8) -> [__m512i; 2] {
    // Byte 4 * row + sub comes from 16 * sub + row.
    const ROW_BY_ROW: [u8; 64] = {
        let mut from = [0; 64];
        let mut i = 0;
        while i < 64 {
            from[i] = (i % SUBS * BLOCK_CODE_BYTES + i / SUBS) as u8;
            i += 1;
        }
        from
    };
    // SAFETY: the array is 64 bytes.
    let row_by_row = unsafe { _mm512_loadu_si512(ROW_BY_ROW.as_ptr().cast()) };
    let nibble = _mm512_set1_epi8(0xf);
    let table_of_byte = _mm512_set1_epi32(0x3020_1000);
    let ones = _mm512_set1_epi8(1);
    let mut sums = [_mm512_setzero_si512(); 2];
    let mut add = |table, codes| {
        let codes = _mm512_permutexvar_epi8(row_by_row, codes);
        for (k, codes) in [codes, _mm512_srli_epi16::<4>(codes)]
            .into_iter()
            .enumerate()
        {
            // (codes & nibble) | table_of_byte
            let index = _mm512_ternarylogic_epi32::<0xea>(codes, nibble, table_of_byte);
            let entries = _mm512_permutexvar_epi8(index, table);
            sums[k] = _mm512_dpbusd_epi32(sums[k], entries, ones);
        }
    };
    let mut sub = 0;
    // SAFETY: tables and codes are 16 bytes for each sub-quantiser, and only those below `m` are
    // read.
    unsafe {
        while sub + SUBS <= m {
            let table = tables.as_ptr().add(sub * CODEBOOK_ENTRIES).cast();
            let codes = codes.add(sub * BLOCK_CODE_BYTES).cast();
            add(_mm512_loadu_si512(table), _mm512_loadu_si512(codes));
            sub += SUBS;
        }
        if sub < m {
            let mask = (1 << ((m - sub) * CODEBOOK_ENTRIES)) - 1;
            let table = tables.as_ptr().add(sub * CODEBOOK_ENTRIES).cast();
            let codes = codes.add(sub * BLOCK_CODE_BYTES).cast();
            add(
                _mm512_maskz_loadu_epi8(mask, table),
                _mm512_maskz_loadu_epi8(mask, codes),
            );
        }
    }
    sums
}
