//! Distances, inner products and table look-ups, one version per instruction set.
//!
//! This file chooses the instruction set and checks lengths; the loops are in `scalar.rs`,
//! `avx2.rs`, `avx512.rs` and `neon.rs`. Each function of the last three has its twin in the first,
//! and `tests.rs` compares them: integers bit by bit, sums of floats within rounding, since the
//! order of the additions differs.
//!
//! The loops rely on two invariants of this file: the processor has the instructions, since only
//! [`Kernels::all_supported`] makes a [`Kernels`] for them; and the lengths of slices match, since
//! each method asserts them first.

#![allow(unsafe_code)]

use std::sync::LazyLock;

use crate::vector::Element;

use blocks::BLOCK_CODE_BYTES;
pub use blocks::{BLOCK_ROWS, pack_codes};
use element::{F16, F32, I8, U8};
pub use tables::CODEBOOK_ENTRIES;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod element;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod tables;
#[cfg(test)]
mod tests;
mod tiles;

/// The loops for one set of instructions.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    set: Set,
}

/// An instruction set. A value exists only on a processor that has the instructions.
#[derive(Debug, Clone, Copy)]
enum Set {
    Scalar,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 F, BW, VL and DQ, and for the scans VBMI and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vbmi,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// Calls one function of the chosen set, for all elements.
macro_rules! call {
    ($kernels:expr, $function:ident ( $($argument:expr),* )) => {
        match $kernels.set {
            Set::Scalar => scalar::$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the set exists only where `all_supported` found its instructions, and the
            // method that calls has asserted the lengths.
            Set::Avx2 => unsafe { avx2::$function($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx512 | Set::Avx512Vbmi => unsafe { avx512::$function($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Set::Neon => unsafe { neon::$function($($argument),*) },
        }
    };
}

/// Calls one function of the chosen set, as it is compiled for the element.
macro_rules! call_for {
    ($element:expr, $kernels:expr, $function:ident ( $($argument:expr),* )) => {
        match $element {
            Element::F32 => call_for!(@ F32, $kernels, $function ( $($argument),* )),
            Element::F16 => call_for!(@ F16, $kernels, $function ( $($argument),* )),
            Element::I8 => call_for!(@ I8, $kernels, $function ( $($argument),* )),
            Element::U8 => call_for!(@ U8, $kernels, $function ( $($argument),* )),
        }
    };
    (@ $stored:ident, $kernels:expr, $function:ident ( $($argument:expr),* )) => {
        match $kernels.set {
            Set::Scalar => scalar::$function::<$stored>($($argument),*),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `call`.
            Set::Avx2 => unsafe { avx2::$function::<$stored>($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `call`.
            Set::Avx512 | Set::Avx512Vbmi => unsafe {
                avx512::$function::<$stored>($($argument),*)
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as in `call`.
            Set::Neon => unsafe { neon::$function::<$stored>($($argument),*) },
        }
    };
}

impl Kernels {
    /// The fastest kernels that this processor can run, determined once per process.
    pub fn best() -> Kernels {
        static BEST: LazyLock<Kernels> = LazyLock::new(|| {
            let supported = Kernels::all_supported();
            supported[supported.len() - 1]
        });
        *BEST
    }

    /// All kernels that this processor can run, the scalar ones first and the fastest last.
    pub fn all_supported() -> Vec<Kernels> {
        let mut sets = vec![Set::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            if avx2::supported() {
                sets.push(Set::Avx2);
            }
            if avx512::supported() {
                sets.push(Set::Avx512);
                if avx512::vbmi_supported() {
                    sets.push(Set::Avx512Vbmi);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        if neon::supported() {
            sets.push(Set::Neon);
        }
        sets.into_iter().map(|set| Kernels { set }).collect()
    }

    /// Name of the instruction set: `scalar`, `avx2`, `avx512` or `neon`.
    ///
    /// Both versions of AVX-512, with and without VBMI, have one name; their `Debug` differs.
    pub fn name(&self) -> &'static str {
        match self.set {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Vbmi => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
        }
    }

    /// Sum of squared differences.
    ///
    /// `row` is the little-endian bytes of `query.len()` elements, at any alignment.
    ///
    /// # Panics
    ///
    /// If `row` is not that long.
    pub fn l2_squared(&self, element: Element, query: &[f32], row: &[u8]) -> f32 {
        check_row(element, query.len(), row);
        call_for!(element, self, l2_squared(query, row))
    }

    /// Inner product; `row` as in [`Kernels::l2_squared`].
    ///
    /// # Panics
    ///
    /// If `row` is not `query.len()` elements long.
    pub fn dot(&self, element: Element, query: &[f32], row: &[u8]) -> f32 {
        check_row(element, query.len(), row);
        call_for!(element, self, dot(query, row))
    }

    /// Inner product and the row's squared norm, in one pass, for cosines; `row` as in
    /// [`Kernels::l2_squared`].
    ///
    /// # Panics
    ///
    /// If `row` is not `query.len()` elements long.
    pub fn dot_and_norm(&self, element: Element, query: &[f32], row: &[u8]) -> (f32, f32) {
        check_row(element, query.len(), row);
        call_for!(element, self, dot_and_norm(query, row))
    }

    /// Widens a row to `out.len()` floats; `row` as in [`Kernels::l2_squared`].
    ///
    /// # Panics
    ///
    /// If `row` is not `out.len()` elements long.
    pub fn widen(&self, element: Element, row: &[u8], out: &mut [f32]) {
        check_row(element, out.len(), row);
        call_for!(element, self, widen(row, out))
    }

    /// Inner products of every row of `rows` with every row of `others`.
    ///
    /// Both are row-major with rows of `dims` floats; with `o` the number of `others`, the product
    /// of row `i` and other `j` goes to `out[i * o + j]`. With no dimensions all products are 0.
    ///
    /// # Panics
    ///
    /// If `rows` or `others` is not made of whole rows, or `out` is not as long as the product of
    /// their numbers.
    pub fn dots(&self, dims: usize, rows: &[f32], others: &[f32], out: &mut [f32]) {
        if dims == 0 {
            assert!(
                rows.is_empty() && others.is_empty(),
                "rows without dimensions are empty"
            );
            out.fill(0.0);
            return;
        }
        assert_eq!(rows.len() % dims, 0, "the rows are whole");
        assert_eq!(others.len() % dims, 0, "the other rows are whole");
        assert_eq!(
            Some(out.len()),
            (rows.len() / dims).checked_mul(others.len() / dims),
            "there is a place for each pair of rows"
        );
        call!(self, dots(dims, rows, others, out));
    }

    /// Squared distances from one sub-vector to the 16 entries of a 4-bit codebook.
    ///
    /// The codebook is stored transposed: dimension `d` of entry `c` is `codebook[d * 16 + c]`, for
    /// each `d < sub.len()`.
    ///
    /// # Panics
    ///
    /// If `codebook` is not `sub.len() * 16` long.
    pub fn l2_squared_to_16(
        &self,
        sub: &[f32],
        codebook: &[f32],
        out: &mut [f32; CODEBOOK_ENTRIES],
    ) {
        check_codebook(sub, codebook);
        call!(self, l2_squared_to_16(sub, codebook, out));
    }

    /// Inner products of one sub-vector with the 16 entries of a 4-bit codebook, stored as for
    /// [`Kernels::l2_squared_to_16`].
    ///
    /// # Panics
    ///
    /// If `codebook` is not `sub.len() * 16` long.
    pub fn dot_with_16(&self, sub: &[f32], codebook: &[f32], out: &mut [f32; CODEBOOK_ENTRIES]) {
        check_codebook(sub, codebook);
        call!(self, dot_with_16(sub, codebook, out));
    }

    /// [`Kernels::l2_squared_to_16`] for all pieces of a vector: piece `p` is the elements from
    /// `ends[p - 1]` (or 0) up to `ends[p]`, its codebook begins at 16 times its first element, and
    /// its distances go to `tables[p * 16..]`.
    ///
    /// # Panics
    ///
    /// If `ends` does not ascend to `vector.len()`, or `codebooks` and `tables` are not 16 times as
    /// long as `vector` and `ends`.
    pub fn l2_squared_tables(
        &self,
        ends: &[u32],
        vector: &[f32],
        codebooks: &[f32],
        tables: &mut [f32],
    ) {
        assert!(
            ends.is_sorted() && ends.last().is_none_or(|&end| end as usize == vector.len()),
            "the pieces are those of the vector"
        );
        assert_eq!(codebooks.len(), vector.len() * CODEBOOK_ENTRIES);
        assert_eq!(tables.len(), ends.len() * CODEBOOK_ENTRIES);
        call!(self, l2_squared_tables(ends, vector, codebooks, tables));
    }

    /// Rounds tables of 16 floats to bytes, `x` to the number of steps that it lies above the least
    /// of its table. The step is the same for all, the least for which entries fit a byte and sums
    /// over all tables 16 bits. Returns the sum of the least entries, and the step.
    ///
    /// # Panics
    ///
    /// If `tables` is no whole number of tables, or `bytes` is not as long.
    pub fn round_tables(&self, tables: &[f32], bytes: &mut [u8]) -> (f32, f32) {
        assert!(
            tables.len().is_multiple_of(CODEBOOK_ENTRIES),
            "the tables are whole"
        );
        assert_eq!(tables.len(), bytes.len());
        call!(self, round_tables(tables, bytes))
    }

    /// Sums of table entries for blocks of [`BLOCK_ROWS`] rows.
    ///
    /// This is the fast scan of product quantisation (André, Kermarrec, Le Scouarnec, "Cache
    /// locality is not enough: high-performance nearest neighbor search with product quantization
    /// fast scan", VLDB 2015): the tables of 16 one-byte entries fit registers, and one shuffle
    /// looks up many codes.
    ///
    /// `tables` is `m` x 16 bytes, one table per sub-quantiser. `codes` is blocks x `m` x 16 bytes,
    /// as [`pack_codes`] makes them: for each block and sub-quantiser 16 bytes, of which byte `j`
    /// has the code of row `j` in its low nibble and that of row `j + 16` in its high one. `sums`
    /// gets [`BLOCK_ROWS`] sums per block in the order of the rows. A sum that would exceed
    /// `u16::MAX`, which takes more than 257 sub-quantisers, is `u16::MAX`.
    ///
    /// # Panics
    ///
    /// If the lengths do not match.
    pub fn scan(&self, m: usize, tables: &[u8], codes: &[u8], sums: &mut [u16]) {
        check_tables(m, tables);
        assert_eq!(
            sums.len() % BLOCK_ROWS,
            0,
            "there is a sum for each row of whole blocks"
        );
        assert_eq!(
            Some(codes.len()),
            (m * BLOCK_CODE_BYTES).checked_mul(sums.len() / BLOCK_ROWS),
            "there is a sum for each row of the codes"
        );
        match self.set {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `call`.
            Set::Avx512Vbmi => unsafe { avx512::scan_vbmi(m, tables, codes, sums) },
            _ => call!(self, scan(m, tables, codes, sums)),
        }
    }

    /// As [`Kernels::scan`], but appends to `found` the place and the sum of each row whose sum is
    /// below `below`.
    ///
    /// Places are counted from 0 over all blocks and come in ascending order. Only the first
    /// `rows` exist; what lies behind them is padding and is not reported.
    ///
    /// # Panics
    ///
    /// If the lengths do not match, the codes are of fewer than `rows` rows, or there are more rows
    /// than a `u32` counts.
    pub fn scan_below(
        &self,
        m: usize,
        tables: &[u8],
        codes: &[u8],
        rows: usize,
        below: u16,
        found: &mut Vec<(u32, u16)>,
    ) {
        check_tables(m, tables);
        assert!(u32::try_from(rows).is_ok(), "places fit u32");
        let block_bytes = m * BLOCK_CODE_BYTES;
        assert!(
            codes.len().is_multiple_of(block_bytes),
            "the blocks are whole"
        );
        let used = block_bytes.checked_mul(rows.div_ceil(BLOCK_ROWS));
        let codes = used
            .and_then(|used| codes.get(..used))
            .expect("there are codes for each row");
        match self.set {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `call`.
            Set::Avx512Vbmi => unsafe {
                avx512::scan_below_vbmi(m, tables, codes, rows, below, found);
            },
            _ => call!(self, scan_below(m, tables, codes, rows, below, found)),
        }
    }
}

fn check_row(element: Element, elements: usize, row: &[u8]) {
    assert_eq!(
        Some(row.len()),
        elements.checked_mul(element.bytes()),
        "the row has as many elements as the floats beside it"
    );
}

fn check_tables(m: usize, tables: &[u8]) {
    assert_eq!(
        Some(tables.len()),
        m.checked_mul(CODEBOOK_ENTRIES),
        "there is a table for each sub-quantiser"
    );
}

fn check_codebook(sub: &[f32], codebook: &[f32]) {
    assert_eq!(
        Some(codebook.len()),
        sub.len().checked_mul(CODEBOOK_ENTRIES),
        "the codebook has 16 entries of each dimension"
    );
}
