//! Axes along which vectors are cut into pieces: the principal axes of the training vectors, the
//! widest first, with few wide axes and many narrow ones per piece.
//!
//! That is optimised product quantisation with the Gaussian solution for the axes (Ge, He, Ke, Sun,
//! Optimized product quantization, IEEE TPAMI 36, 2014); pieces of different widths take the place
//! of its balancing of axes among pieces of one width.

use nalgebra::{DMatrix, SymmetricEigen};

use super::kernels::Kernels;

/// An orthogonal change of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    dims: usize,
    /// Elements, row-major; each row is an axis.
    axes: Vec<f32>,
}

/// Principal axes and the variance of vectors along each.
#[derive(Debug, Clone)]
pub struct PrincipalAxes {
    /// The axes, the widest first.
    pub rotation: Rotation,
    /// Variance along each axis.
    pub variances: Vec<f32>,
}

/// Widest piece that [`ends_by_variance`] chooses, in elements.
const WIDTH_MAX: usize = 64;
/// Bits of a code.
const BITS: f64 = 4.0;

impl Rotation {
    /// `dims` axes of `dims` elements, row-major.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn new(dims: usize, axes: Vec<f32>) -> Rotation {
        assert_eq!(axes.len(), dims * dims);
        Rotation { dims, axes }
    }

    /// The axes, row-major.
    pub fn axes(&self) -> &[f32] {
        &self.axes
    }

    /// Whether the axes have length one and are at right angles, within the rounding of f32.
    pub fn is_orthogonal(&self, kernels: Kernels) -> bool {
        let dims = self.dims;
        let mut products = vec![0.0; dims * dims];
        kernels.dots(dims, &self.axes, &self.axes, &mut products);
        products.iter().enumerate().all(|(place, product)| {
            let wanted = if place / dims == place % dims {
                1.0
            } else {
                0.0
            };
            (product - wanted).abs() < 1e-3
        })
    }

    /// Writes `vectors` along the new axes into `rotated`; both are row-major.
    pub fn apply(&self, kernels: Kernels, vectors: &[f32], rotated: &mut [f32]) {
        kernels.dots(self.dims, vectors, &self.axes, rotated);
    }
}

/// The principal axes of `vectors` (row-major, about zero). Variances are in units of the square of
/// the largest element.
pub fn principal_axes(kernels: Kernels, dims: usize, vectors: &[f32]) -> PrincipalAxes {
    let rows = vectors.len() / dims;
    // Axes do not depend on the unit; squares of very large or small elements would.
    let largest = vectors
        .iter()
        .fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let unit = if largest.is_normal() { largest } else { 1.0 };
    // One row for each element, so that products of rows are sums over vectors.
    let mut columns = vec![0.0; vectors.len()];
    for (row, vector) in vectors.chunks_exact(dims).enumerate() {
        for (dim, &x) in vector.iter().enumerate() {
            columns[dim * rows + row] = x / unit;
        }
    }
    let mut products = vec![0.0; dims * dims];
    kernels.dots(rows, &columns, &columns, &mut products);
    let scale = 1.0 / rows.max(1) as f64;
    let covariance = DMatrix::from_fn(dims, dims, |a, b| {
        f64::from(products[a * dims + b] + products[b * dims + a]) / 2.0 * scale
    });
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..dims).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let axis = |&place: &usize| {
        eigen
            .eigenvectors
            .column(place)
            .iter()
            .map(|&x| x as f32)
            .collect()
    };
    let axes: Vec<Vec<f32>> = order.iter().map(axis).collect();
    PrincipalAxes {
        rotation: Rotation::new(dims, axes.concat()),
        variances: order
            .iter()
            .map(|&place| eigen.eigenvalues[place].max(0.0) as f32)
            .collect(),
    }
}

/// Cuts axes of these variances, descending, into `pieces` pieces such that the expected error of
/// coding each in four bits is least in sum. Returns the end of each piece.
///
/// # Panics
/// If there are no pieces, or more than axes.
pub fn ends_by_variance(variances: &[f32], pieces: usize) -> Vec<u32> {
    let dims = variances.len();
    assert!(pieces >= 1 && pieces <= dims);
    let width_max = WIDTH_MAX.max(dims.div_ceil(pieces) * 2).min(dims);
    let costs: Vec<Vec<f64>> = (0..dims)
        .map(|from| errors(&variances[from..(from + width_max).min(dims)]))
        .collect();
    // least[end]: least error of the axes up to `end` in this number of pieces, and the widths that
    // lead to it.
    let mut least = vec![f64::INFINITY; dims + 1];
    least[0] = 0.0;
    let mut widths = vec![0_u32; pieces * (dims + 1)];
    for piece in 0..pieces {
        let mut next = vec![f64::INFINITY; dims + 1];
        for (from, &so_far) in least.iter().enumerate().take(dims) {
            if so_far == f64::INFINITY {
                continue;
            }
            for (place, cost) in costs[from].iter().enumerate() {
                let end = from + place + 1;
                if so_far + cost < next[end] {
                    next[end] = so_far + cost;
                    widths[piece * (dims + 1) + end] = place as u32 + 1;
                }
            }
        }
        least = next;
    }
    let mut ends = vec![dims as u32; pieces];
    for piece in (1..pieces).rev() {
        let end = ends[piece];
        ends[piece - 1] = end - widths[piece * (dims + 1) + end as usize];
    }
    ends
}

/// Expected errors of coding the first 1, 2, … of Gaussian elements of these variances in one
/// piece: reverse water-filling (Cover, Thomas, Elements of Information Theory, 10.3), and what
/// sixteen entries cannot reach of it.
fn errors(variances: &[f32]) -> Vec<f64> {
    let floor = f64::from(variances[0]).max(f64::MIN_POSITIVE) * 1e-12;
    let mut logs = 0.0;
    let mut all = 0.0;
    // Elements above the water, whose level is `exp2(level)`.
    let mut wet = Vec::with_capacity(variances.len());
    let mut errors = Vec::with_capacity(variances.len());
    for &variance in variances {
        let variance = f64::from(variance).max(floor);
        all += variance;
        wet.push(variance);
        logs += variance.log2();
        // The narrowest drop out while the level lies above them.
        let (mut count, mut sum) = (wet.len(), logs);
        let level = loop {
            let level = (sum - 2.0 * BITS) / count as f64;
            if count == 1 || level <= wet[count - 1].log2() {
                break level.exp2();
            }
            sum -= wet[count - 1].log2();
            count -= 1;
        };
        let below: f64 = wet[count..].iter().sum();
        let width = count as f64;
        // Lloyd-Max needs 2.95 times the bound for one element in four bits, pairs 1.8 times.
        let above = level * width * (1.0 + 1.95 / width.powf(1.1));
        errors.push((above + below).min(all));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_equal_variance_are_cut_into_equal_pieces() {
        for (dims, pieces) in [(12, 4), (64, 8), (40, 40), (96, 1)] {
            let ends = ends_by_variance(&vec![1.0; dims], pieces);
            let even: Vec<u32> = (1..=pieces)
                .map(|piece| (piece * dims / pieces) as u32)
                .collect();
            assert_eq!(ends, even, "{dims} in {pieces}");
        }
    }

    #[test]
    fn wide_axes_have_pieces_of_their_own() {
        let variances: Vec<f32> = (0..64)
            .map(|axis| if axis < 4 { 1000.0 } else { 1.0 })
            .collect();
        let ends = ends_by_variance(&variances, 10);
        assert_eq!(ends[..4], [1, 2, 3, 4]);
        assert_eq!(ends[9], 64);
        assert!(ends.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn variances_of_nothing_still_give_pieces() {
        let ends = ends_by_variance(&[0.0; 20], 7);
        assert_eq!((ends.len(), ends[6]), (7, 20));
        assert!(ends.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn principal_axes_are_those_along_which_vectors_spread() {
        let kernels = Kernels::best();
        // Along (3, 4) / 5 far, across it near.
        let vectors: Vec<f32> = (-50..50)
            .flat_map(|step| {
                let (along, across) = (step as f32, (step % 3) as f32 / 10.0);
                [along * 0.6 - across * 0.8, along * 0.8 + across * 0.6]
            })
            .collect();
        let axes = principal_axes(kernels, 2, &vectors);
        assert!(axes.rotation.is_orthogonal(kernels));
        assert!(axes.variances[0] > 100.0 * axes.variances[1]);
        let first = &axes.rotation.axes()[..2];
        assert!((first[0] * 0.6 + first[1] * 0.8).abs() > 0.999, "{first:?}");
        let mut rotated = [0.0; 2];
        axes.rotation.apply(kernels, &[3.0, 4.0], &mut rotated);
        assert!(
            (rotated[0].abs() - 5.0).abs() < 0.01 && rotated[1].abs() < 0.1,
            "{rotated:?}"
        );
    }

    #[test]
    fn axes_that_are_no_rotation_are_recognised() {
        let kernels = Kernels::best();
        assert!(Rotation::new(2, vec![0.0, 1.0, -1.0, 0.0]).is_orthogonal(kernels));
        assert!(!Rotation::new(2, vec![1.0, 0.0, 0.1, 1.0]).is_orthogonal(kernels));
        assert!(!Rotation::new(2, vec![2.0, 0.0, 0.0, 1.0]).is_orthogonal(kernels));
    }
}
