//! The loops in plain Rust: the reference for the others, and the fallback without their
//! instructions.
//!
//! Sums of floats go to `LANES` accumulators in turn, which the compiler turns into the vector
//! instructions that every processor of a kind has.

use half::f16;

use super::blocks::{BLOCK_CODE_BYTES, BLOCK_ROWS, existing, report};
use super::element::Stored;
use super::tables::{CODEBOOK_ENTRIES, for_pieces, step_of};
use crate::vector::Element;

const LANES: usize = 8;

#[inline]
fn at<E: Stored>(row: &[u8], i: usize) -> f32 {
    match E::ELEMENT {
        Element::F32 => {
            f32::from_le_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]])
        }
        Element::F16 => f16::from_le_bytes([row[2 * i], row[2 * i + 1]]).to_f32(),
        Element::I8 => f32::from(row[i].cast_signed()),
        Element::U8 => f32::from(row[i]),
    }
}

/// Adds up `term` of each element of the query and the row.
#[inline]
fn sum<E: Stored>(query: &[f32], row: &[u8], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let whole = query.len() / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let row = &row[start * E::ELEMENT.bytes()..][..LANES * E::ELEMENT.bytes()];
        for (lane, (sum, q)) in sums.iter_mut().zip(&query[start..]).enumerate() {
            *sum += term(*q, at::<E>(row, lane));
        }
    }
    for i in whole..query.len() {
        sums[i - whole] += term(query[i], at::<E>(row, i));
    }
    sums.iter().sum()
}

pub(super) fn l2_squared<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    sum::<E>(query, row, |q, r| (q - r) * (q - r))
}

pub(super) fn dot<E: Stored>(query: &[f32], row: &[u8]) -> f32 {
    sum::<E>(query, row, |q, r| q * r)
}

pub(super) fn dot_and_norm<E: Stored>(query: &[f32], row: &[u8]) -> (f32, f32) {
    (dot::<E>(query, row), sum::<E>(query, row, |_, r| r * r))
}

pub(super) fn widen<E: Stored>(row: &[u8], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = at::<E>(row, i);
    }
}

pub(super) fn dots(dims: usize, rows: &[f32], others: &[f32], out: &mut [f32]) {
    let others = others.chunks_exact(dims);
    if others.len() == 0 {
        return;
    }
    for (row, out) in rows
        .chunks_exact(dims)
        .zip(out.chunks_exact_mut(others.len()))
    {
        for (other, out) in others.clone().zip(out) {
            let mut sums = [0.0_f32; LANES];
            let (row, row_rest) = row.as_chunks::<LANES>();
            let (other, other_rest) = other.as_chunks::<LANES>();
            for (row, other) in row.iter().zip(other) {
                for lane in 0..LANES {
                    sums[lane] += row[lane] * other[lane];
                }
            }
            for (lane, (row, other)) in row_rest.iter().zip(other_rest).enumerate() {
                sums[lane] += row * other;
            }
            *out = sums.iter().sum();
        }
    }
}

pub(super) fn l2_squared_to_16(sub: &[f32], codebook: &[f32], out: &mut [f32; CODEBOOK_ENTRIES]) {
    *out = [0.0; CODEBOOK_ENTRIES];
    for (value, entries) in sub.iter().zip(codebook.as_chunks::<CODEBOOK_ENTRIES>().0) {
        for (out, entry) in out.iter_mut().zip(entries) {
            *out += (value - entry) * (value - entry);
        }
    }
}

pub(super) fn dot_with_16(sub: &[f32], codebook: &[f32], out: &mut [f32; CODEBOOK_ENTRIES]) {
    *out = [0.0; CODEBOOK_ENTRIES];
    for (value, entries) in sub.iter().zip(codebook.as_chunks::<CODEBOOK_ENTRIES>().0) {
        for (out, entry) in out.iter_mut().zip(entries) {
            *out += value * entry;
        }
    }
}

pub(super) fn l2_squared_tables(
    ends: &[u32],
    vector: &[f32],
    codebooks: &[f32],
    tables: &mut [f32],
) {
    for_pieces(ends, vector, codebooks, tables, l2_squared_to_16);
}

pub(super) fn round_tables(tables: &[f32], bytes: &mut [u8]) -> (f32, f32) {
    let tables = tables.as_chunks::<CODEBOOK_ENTRIES>().0;
    let least_of =
        |table: &[f32; CODEBOOK_ENTRIES]| table.iter().copied().fold(f32::INFINITY, f32::min);
    let most_of =
        |table: &[f32; CODEBOOK_ENTRIES]| table.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut bias, mut widest, mut total) = (0.0_f32, 0.0_f32, 0.0_f64);
    for table in tables {
        let (least, most) = (least_of(table), most_of(table));
        bias += least;
        widest = widest.max(most - least);
        total += f64::from(most - least);
    }
    let step = step_of(tables.len(), widest, total);
    let inverse = 1.0 / step;
    for (table, bytes) in tables
        .iter()
        .zip(bytes.as_chunks_mut::<CODEBOOK_ENTRIES>().0)
    {
        let least = least_of(table);
        for (x, byte) in table.iter().zip(bytes) {
            *byte = ((x - least) * inverse + 0.5) as u8;
        }
    }
    (bias, step)
}

pub(super) fn scan(m: usize, tables: &[u8], codes: &[u8], sums: &mut [u16]) {
    for (block, sums) in sums.as_chunks_mut::<BLOCK_ROWS>().0.iter_mut().enumerate() {
        scan_block(tables, &codes[block * m * BLOCK_CODE_BYTES..], sums);
    }
}

pub(super) fn scan_below(
    m: usize,
    tables: &[u8],
    codes: &[u8],
    rows: usize,
    below: u16,
    found: &mut Vec<(u32, u16)>,
) {
    let mut sums = [0; BLOCK_ROWS];
    for block in 0..rows.div_ceil(BLOCK_ROWS) {
        scan_block(tables, &codes[block * m * BLOCK_CODE_BYTES..], &mut sums);
        let mut mask = 0;
        for (place, sum) in sums.iter().enumerate() {
            mask |= u32::from(*sum < below) << place;
        }
        report(block, mask & existing(block, rows), &sums, found);
    }
}

/// The sums of one block, whose codes are the first ones.
fn scan_block(tables: &[u8], codes: &[u8], sums: &mut [u16; BLOCK_ROWS]) {
    *sums = [0; BLOCK_ROWS];
    let tables = tables.as_chunks::<CODEBOOK_ENTRIES>().0;
    for (table, codes) in tables.iter().zip(codes.as_chunks::<BLOCK_CODE_BYTES>().0) {
        let (low, high) = sums.split_at_mut(BLOCK_CODE_BYTES);
        for ((low, high), code) in low.iter_mut().zip(high).zip(codes) {
            *low = low.saturating_add(u16::from(table[usize::from(code & 0xf)]));
            *high = high.saturating_add(u16::from(table[usize::from(code >> 4)]));
        }
    }
}
