//! Product quantisation (Jégou, Douze, Schmid, Product quantization for nearest neighbor search,
//! IEEE TPAMI 33, 2011) with sixteen entries per codebook, so that a code is four bits and tables
//! of distances fit registers (André, Kermarrec, Le Scouarnec, Cache locality is not enough,
//! VLDB 2015).
//!
//! A code stands for the difference of a vector to the centroid of its partition, along the axes of
//! `rotation.rs` if they are better than the given ones. The last code of a row stands for the
//! squared distance between the row and its coded vector, the error of its other codes. The squared
//! distance from a query to the row is about that to the coded vector plus this error; the
//! difference is as often positive as negative. The error takes half a byte and no extra work,
//! since its table has the distances themselves.

use std::ops::Range;

use super::kernels::Kernels;
use super::rotation::Rotation;

/// Entries of a codebook.
pub const ENTRIES: usize = 16;

const TRAINING_ITERATIONS: usize = 12;

/// Codebooks that turn vectors into codes, and tables of distances for codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiser {
    dims: usize,
    rotation: Option<Rotation>,
    /// End of each piece, as the first element past it.
    ends: Vec<u32>,
    /// For each dimension, that element of all entries of its piece.
    codebooks: Vec<f32>,
    /// The distances that the last code stands for.
    errors: [f32; ENTRIES],
}

/// Ends of `pieces` pieces whose widths differ by one at most.
pub fn even_ends(dims: usize, pieces: usize) -> Vec<u32> {
    (1..=pieces)
        .map(|piece| (dims * piece / pieces) as u32)
        .collect()
}

impl Quantiser {
    /// A quantiser made of its parts; the methods of the same names describe them.
    ///
    /// # Panics
    /// If the pieces are not non-empty and ascending up to `dims`, or there are not sixteen values
    /// for each element.
    pub fn new(
        dims: usize,
        rotation: Option<Rotation>,
        ends: Vec<u32>,
        codebooks: Vec<f32>,
        errors: [f32; ENTRIES],
    ) -> Quantiser {
        assert!(are_ends(&ends, dims) && codebooks.len() == dims * ENTRIES);
        Quantiser {
            dims,
            rotation,
            ends,
            codebooks,
            errors,
        }
    }

    /// Elements of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Axes along which differences are coded; `None` for the axes of the column.
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// End of each piece, as the first element past it.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Number of codes of a vector: one for each piece and one for the error.
    pub fn codes(&self) -> usize {
        self.ends.len() + 1
    }

    /// Bytes of a vector's codes, two to a byte.
    pub fn code_bytes(&self) -> usize {
        self.codes().div_ceil(2)
    }

    /// For each dimension, that element of the [`ENTRIES`] entries of its piece.
    pub fn codebooks(&self) -> &[f32] {
        &self.codebooks
    }

    /// The distances that the last code stands for.
    pub fn errors(&self) -> &[f32; ENTRIES] {
        &self.errors
    }

    /// Returns `vectors` (row-major) along the axes of the quantiser.
    pub fn rotate(&self, kernels: Kernels, vectors: &[f32]) -> Vec<f32> {
        match &self.rotation {
            None => vectors.to_vec(),
            Some(rotation) => {
                let mut rotated = vec![0.0; vectors.len()];
                rotation.apply(kernels, vectors, &mut rotated);
                rotated
            }
        }
    }

    fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let mut from = 0;
        self.ends.iter().map(move |&end| {
            let range = from..end as usize;
            from = range.end;
            range
        })
    }

    fn codebook(&self, range: &Range<usize>) -> &[f32] {
        &self.codebooks[range.start * ENTRIES..range.end * ENTRIES]
    }

    /// Codes a difference along the quantiser's axes: code 2i in the low half of byte i, code
    /// 2i + 1 in its high half.
    pub fn encode(&self, kernels: Kernels, difference: &[f32], code: &mut [u8]) {
        code.fill(0);
        let mut put = |place: usize, entry: u8| code[place / 2] |= entry << (place % 2 * 4);
        let error = self.code_pieces(kernels, difference, &mut put);
        let mut apart = [0.0; ENTRIES];
        for (apart, level) in apart.iter_mut().zip(&self.errors) {
            *apart = (error - level).abs();
        }
        put(self.ends.len(), least(&apart));
    }

    /// Calls `put` with the code of each piece. Returns the squared distance to the coded vector.
    fn code_pieces(
        &self,
        kernels: Kernels,
        difference: &[f32],
        mut put: impl FnMut(usize, u8),
    ) -> f32 {
        let mut error = 0.0;
        let mut distances = [0.0; ENTRIES];
        for (piece, range) in self.pieces().enumerate() {
            let codebook = self.codebook(&range);
            kernels.l2_squared_to_16(&difference[range], codebook, &mut distances);
            let entry = least(&distances);
            error += distances[usize::from(entry)];
            put(piece, entry);
        }
        error
    }

    /// Squared distance between a difference and its coded vector.
    pub fn error(&self, kernels: Kernels, difference: &[f32]) -> f32 {
        self.code_pieces(kernels, difference, |_, _| {})
    }

    /// The difference that the codes of the pieces stand for.
    pub fn decode(&self, code: &[u8], difference: &mut [f32]) {
        for (piece, range) in self.pieces().enumerate() {
            let entry = usize::from(code[piece / 2] >> (piece % 2 * 4) & 15);
            for dim in range {
                difference[dim] = self.codebooks[dim * ENTRIES + entry];
            }
        }
    }

    /// Fills `tables` with squared distances for scans: [`ENTRIES`] per code, from the vector with
    /// this difference to its centroid to each entry.
    pub fn l2_tables(&self, kernels: Kernels, difference: &[f32], tables: &mut [f32]) {
        let (of_pieces, of_error) = tables.split_at_mut(self.ends.len() * ENTRIES);
        kernels.l2_squared_tables(&self.ends, difference, &self.codebooks, of_pieces);
        of_error.copy_from_slice(&self.errors);
    }

    /// Fills `tables` with negated inner products of `vector` with each entry, [`ENTRIES`] per
    /// code. The table of the error is zero: an error has no part in inner products.
    pub fn dot_tables(&self, kernels: Kernels, vector: &[f32], tables: &mut [f32]) {
        let tables = tables.as_chunks_mut::<ENTRIES>().0;
        for (range, table) in self.pieces().zip(&mut *tables) {
            let codebook = self.codebook(&range);
            kernels.dot_with_16(&vector[range], codebook, table);
            for product in table {
                *product = -*product;
            }
        }
        tables[self.ends.len()] = [0.0; ENTRIES];
    }
}

/// Whether `ends` are ends of non-empty pieces that together have `dims` elements.
pub fn are_ends(ends: &[u32], dims: usize) -> bool {
    ends.first().is_some_and(|&first| first > 0)
        && ends.last().is_some_and(|&last| last as usize == dims)
        && ends.is_sorted_by(|a, b| a < b)
}

fn least(distances: &[f32; ENTRIES]) -> u8 {
    let mut least = 0;
    for entry in 1..ENTRIES {
        if distances[entry] < distances[least] {
            least = entry;
        }
    }
    least as u8
}

/// Trains the codebook of the elements `range` on `vectors` (row-major, `dims` elements each):
/// for each dimension, that element of the [`ENTRIES`] entries.
pub fn train(kernels: Kernels, dims: usize, range: Range<usize>, vectors: &[f32]) -> Vec<f32> {
    let width = range.len();
    let rows = vectors.len() / dims;
    let piece = |row: usize| &vectors[row * dims..][range.clone()];
    let mut codebook = vec![0.0; width * ENTRIES];
    if rows == 0 {
        return codebook;
    }
    let largest = |dim: usize| {
        let magnitudes = (0..rows).map(|row| piece(row)[dim].abs());
        magnitudes.fold(0.0_f32, f32::max)
    };
    let nudges: Vec<f64> = (0..width)
        .map(|dim| f64::from(largest(dim)) * NUDGE)
        .collect();
    for entry in 0..ENTRIES {
        // Rows are in no order, so these are as good as any.
        for (dim, &x) in piece(entry * rows / ENTRIES).iter().enumerate() {
            codebook[dim * ENTRIES + entry] = x;
        }
    }
    for _ in 0..TRAINING_ITERATIONS {
        let mut sums = vec![0.0_f64; width * ENTRIES];
        let mut counts = [0_u32; ENTRIES];
        let mut distances = [0.0; ENTRIES];
        for row in 0..rows {
            kernels.l2_squared_to_16(piece(row), &codebook, &mut distances);
            let entry = usize::from(least(&distances));
            counts[entry] += 1;
            for (dim, &x) in piece(row).iter().enumerate() {
                sums[dim * ENTRIES + entry] += f64::from(x);
            }
        }
        for entry in 0..ENTRIES {
            if counts[entry] == 0 {
                split_largest(&mut codebook, &mut sums, &mut counts, &nudges, entry);
                continue;
            }
            for dim in 0..width {
                let mean = sums[dim * ENTRIES + entry] / f64::from(counts[entry]);
                codebook[dim * ENTRIES + entry] = mean as f32;
            }
        }
    }
    codebook
}

/// Initial distance between the halves of a split entry, as a share of the largest element, so that
/// they differ even if their mean is zero.
const NUDGE: f64 = 1e-6;

/// Moves an unused entry next to the most used one, so that it takes half of its rows.
fn split_largest(
    codebook: &mut [f32],
    sums: &mut [f64],
    counts: &mut [u32; ENTRIES],
    nudges: &[f64],
    empty: usize,
) {
    let largest = (0..ENTRIES).max_by_key(|&entry| counts[entry]).unwrap_or(0);
    if counts[largest] < 2 {
        return;
    }
    let half = counts[largest] / 2;
    for (dim, nudge) in nudges.iter().enumerate() {
        let sum = sums[dim * ENTRIES + largest];
        let mean = sum / f64::from(counts[largest]);
        codebook[dim * ENTRIES + empty] = (mean * 1.001 + nudge) as f32;
        sums[dim * ENTRIES + largest] = mean * f64::from(counts[largest] - half);
        sums[dim * ENTRIES + empty] = mean * f64::from(half);
        codebook[dim * ENTRIES + largest] = (mean * 0.999 - nudge) as f32;
    }
    counts[largest] -= half;
    counts[empty] = half;
}

/// Trains the distances that the last code stands for on the errors of sampled rows.
pub fn train_errors(kernels: Kernels, errors: &mut [f32]) -> [f32; ENTRIES] {
    // In order, so that the entries begin evenly spread over the rows.
    errors.sort_unstable_by(f32::total_cmp);
    // Training squares them, so they must not be small themselves.
    let unit = errors.last().copied().filter(|&largest| largest > 0.0);
    let unit = unit.unwrap_or(1.0);
    errors.iter_mut().for_each(|error| *error /= unit);
    let mut levels = [0.0; ENTRIES];
    levels.copy_from_slice(&train(kernels, 1, 0..1, errors));
    levels.map(|level| level * unit)
}

/// Scale of distance tables that are rounded to bytes for a scan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Distance for a sum of zero.
    pub bias: f32,
    /// Distance per step of a table entry.
    pub step: f32,
}

impl Scale {
    /// The distance that a sum of table entries stands for.
    #[inline]
    pub fn distance(self, sum: u16) -> f32 {
        self.bias + self.step * f32::from(sum)
    }

    /// Bound on sums: every sum that stands for `distance` or less is below it.
    #[inline]
    pub fn below(self, distance: f32) -> u16 {
        // The cast saturates, and makes zero of what is not a number.
        let last = ((distance - self.bias) / self.step).ceil();
        if last < 0.0 {
            0
        } else {
            (last as u16).saturating_add(1)
        }
    }
}

/// Rounds tables of f32 ([`ENTRIES`] per code) to bytes whose sum over the codes fits 16 bits.
pub fn quantise_tables(kernels: Kernels, tables: &[f32], bytes: &mut [u8]) -> Scale {
    let (bias, step) = kernels.round_tables(tables, bytes);
    Scale { bias, step }
}
