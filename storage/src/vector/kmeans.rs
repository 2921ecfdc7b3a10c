//! Lloyd's k-means (S. Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 28,
//! 1982), in steps that the caller may spread over threads: [`Centroids::assign`] pieces of the
//! sample, add them to [`Sums`], merge those, and let them [move](Sums::apply) the centroids.

use super::kernels::Kernels;

/// Rows whose products with all centroids are in memory at once.
const TILE_ROWS: usize = 16;

/// Initial distance between the halves of a split cluster, relative to each coordinate.
const SPLIT: f32 = 1.0 / 1024.0;

/// Centroids of partitions.
#[derive(Debug, Clone)]
pub struct Centroids {
    dims: usize,
    /// Elements, row-major.
    values: Vec<f32>,
    squared_norms: Vec<f32>,
}

/// The nearest centroid of each of some rows; can be used again to save the allocation.
#[derive(Debug, Default)]
pub struct Assigned {
    /// The nearest centroid of each row.
    pub nearest: Vec<u32>,
    products: Vec<f32>,
}

impl Centroids {
    /// Centroids of `dims` elements each, row-major.
    ///
    /// # Panics
    /// If `values` is no whole number of rows of `dims`.
    pub fn new(dims: usize, values: Vec<f32>) -> Centroids {
        assert!(dims > 0 && values.len().is_multiple_of(dims));
        let mut centroids = Centroids {
            dims,
            values,
            squared_norms: Vec::new(),
        };
        centroids.weigh();
        centroids
    }

    fn weigh(&mut self) {
        let norm = |row: &[f32]| row.iter().map(|x| x * x).sum();
        self.squared_norms = self.values.chunks_exact(self.dims).map(norm).collect();
    }

    /// Elements of each centroid.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Number of centroids.
    pub fn len(&self) -> usize {
        self.squared_norms.len()
    }

    /// Whether there are no centroids.
    pub fn is_empty(&self) -> bool {
        self.squared_norms.is_empty()
    }

    /// All centroids, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One centroid.
    pub fn row(&self, centroid: usize) -> &[f32] {
        &self.values[centroid * self.dims..][..self.dims]
    }

    /// Squared length of each centroid.
    pub fn squared_norms(&self) -> &[f32] {
        &self.squared_norms
    }

    /// Subtracts `origin` from each centroid.
    pub fn subtract(&mut self, origin: &[f32]) {
        for row in self.values.chunks_exact_mut(self.dims) {
            row.iter_mut().zip(origin).for_each(|(x, o)| *x -= o);
        }
        self.weigh();
    }

    /// Finds the nearest centroid, by squared distance, of each row of `rows` (row-major).
    pub fn assign(&self, kernels: Kernels, rows: &[f32], assigned: &mut Assigned) {
        assigned.nearest.clear();
        for tile in rows.chunks(TILE_ROWS * self.dims) {
            let tile_rows = tile.len() / self.dims;
            assigned.products.resize(tile_rows * self.len(), 0.0);
            kernels.dots(self.dims, tile, &self.values, &mut assigned.products);
            for products in assigned.products.chunks_exact(self.len()) {
                assigned.nearest.push(self.nearest(products));
            }
        }
    }

    /// The centroid for which `|c|² - 2 x·c` is least.
    fn nearest(&self, products: &[f32]) -> u32 {
        let mut nearest = (f32::INFINITY, 0);
        for (centroid, (product, norm)) in products.iter().zip(&self.squared_norms).enumerate() {
            let distance = norm - 2.0 * product;
            if distance < nearest.0 {
                nearest = (distance, centroid as u32);
            }
        }
        nearest.1
    }
}

/// The mean of `rows` (row-major, `dims` elements each); zeros if there are none.
pub fn mean(dims: usize, rows: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dims];
    for row in rows.chunks_exact(dims) {
        let terms = sums.iter_mut().zip(row);
        terms.for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let rows = (rows.len() / dims).max(1) as f64;
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

/// Sums of the rows assigned to each centroid.
#[derive(Debug)]
pub struct Sums {
    dims: usize,
    values: Vec<f32>,
    rows: Vec<u32>,
}

impl Sums {
    /// Empty sums for `centroids` centroids.
    pub fn new(dims: usize, centroids: usize) -> Sums {
        Sums {
            dims,
            values: vec![0.0; dims * centroids],
            rows: vec![0; centroids],
        }
    }

    /// Adds each row of `rows` to the sum of its centroid.
    pub fn add(&mut self, rows: &[f32], nearest: &[u32]) {
        for (row, &centroid) in rows.chunks_exact(self.dims).zip(nearest) {
            let sum = &mut self.values[centroid as usize * self.dims..][..self.dims];
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
            self.rows[centroid as usize] += 1;
        }
    }

    /// Adds the sums of another thread.
    pub fn merge(&mut self, other: &Sums) {
        for (sum, x) in self.values.iter_mut().zip(&other.values) {
            *sum += x;
        }
        for (rows, more) in self.rows.iter_mut().zip(&other.rows) {
            *rows += more;
        }
    }

    /// Moves each centroid to the mean of its rows. A centroid without rows takes over half of the
    /// largest cluster.
    pub fn apply(&mut self, centroids: &mut Centroids) {
        let dims = self.dims;
        for (centroid, &rows) in self.rows.iter().enumerate() {
            if rows == 0 {
                continue;
            }
            let sum = &self.values[centroid * dims..][..dims];
            let value = &mut centroids.values[centroid * dims..][..dims];
            for (value, sum) in value.iter_mut().zip(sum) {
                *value = sum / rows as f32;
            }
        }
        for empty in 0..self.rows.len() {
            if self.rows[empty] > 0 {
                continue;
            }
            let largest = (0..self.rows.len()).max_by_key(|&centroid| self.rows[centroid]);
            let Some(largest) = largest.filter(|&largest| self.rows[largest] > 1) else {
                break;
            };
            for dim in 0..dims {
                let centre = centroids.values[largest * dims + dim];
                let away = if dim % 2 == 0 { SPLIT } else { -SPLIT };
                centroids.values[empty * dims + dim] = centre * (1.0 + away);
                centroids.values[largest * dims + dim] = centre * (1.0 - away);
            }
            self.rows[empty] = self.rows[largest] / 2;
            self.rows[largest] -= self.rows[empty];
        }
        centroids.weigh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(mut centroids: Centroids, rows: &[f32], iterations: usize) -> (Centroids, Vec<u32>) {
        let kernels = Kernels::best();
        let mut assigned = Assigned::default();
        for _ in 0..iterations {
            let mut sums = Sums::new(centroids.dims(), centroids.len());
            centroids.assign(kernels, rows, &mut assigned);
            sums.add(rows, &assigned.nearest);
            sums.apply(&mut centroids);
        }
        centroids.assign(kernels, rows, &mut assigned);
        (centroids, assigned.nearest)
    }

    #[test]
    fn clusters_that_are_apart_are_found() {
        let centres = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]];
        let rows: Vec<f32> = (0..300)
            .flat_map(|row| {
                let near = (row % 7) as f32 / 10.0;
                let [x, y] = centres[row % 3];
                [x + near, y - near]
            })
            .collect();
        let (centroids, nearest) = train(Centroids::new(2, rows[..6].to_vec()), &rows, 5);
        assert_eq!(centroids.len(), 3);
        for (row, &centroid) in nearest.iter().enumerate() {
            assert_eq!(centroid, nearest[row % 3]);
        }
    }

    #[test]
    fn a_centroid_without_rows_takes_half_of_the_largest_cluster() {
        // Two of the three begin at the same place, so one of them gets no row.
        let rows: Vec<f32> = (0..100).flat_map(|row| [1.0 + row as f32, 2.0]).collect();
        let begin = Centroids::new(2, vec![1.0, 2.0, 1.0, 2.0, 1000.0, 0.0]);
        let (_, nearest) = train(begin, &rows, 10);
        for centroid in 0..3 {
            assert!(nearest.contains(&centroid), "{centroid} is empty");
        }
    }

    #[test]
    fn sums_of_pieces_are_the_sum_of_all() {
        let rows: Vec<f32> = (0..40).map(|x| x as f32).collect();
        let nearest: Vec<u32> = (0..20).map(|row| row % 2).collect();
        let mut whole = Sums::new(2, 2);
        whole.add(&rows, &nearest);
        let (mut first, mut second) = (Sums::new(2, 2), Sums::new(2, 2));
        first.add(&rows[..10], &nearest[..5]);
        second.add(&rows[10..], &nearest[5..]);
        first.merge(&second);
        assert_eq!((first.values, first.rows), (whole.values, whole.rows));
    }
}
