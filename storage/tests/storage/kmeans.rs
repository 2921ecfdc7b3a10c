//! K-means against a naive assignment, and what each round must not make worse.

use proptest::prelude::*;
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::kmeans::{Assigned, Centroids, Sums};

use crate::columns::Seeded;

fn numbers(seeded: &mut Seeded, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| seeded.below(20_001) as f32 / 100.0 - 100.0)
        .collect()
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum()
}

/// The sum of squared distances of rows to the centroids they are assigned to.
fn cost(centroids: &Centroids, rows: &[f32], nearest: &[u32]) -> f64 {
    let rows = rows.chunks(centroids.dims()).zip(nearest);
    rows.map(|(row, &nearest)| squared(row, centroids.row(nearest as usize)))
        .sum()
}

/// Largest rounding error of a squared distance of `dims` elements up to 100.
fn slack(dims: usize) -> f64 {
    dims as f64 * 40_000.0 * f64::from(f32::EPSILON) * 8.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_are_assigned_to_the_nearest_centroid(
        seed: u64,
        dims in 1_usize..40,
        count in 1_usize..30,
        rows in 0_usize..70,
    ) {
        let seeded = &mut Seeded(seed);
        let centroids = Centroids::new(dims, numbers(seeded, dims * count));
        prop_assert_eq!((centroids.len(), centroids.is_empty()), (count, false));
        let rows = numbers(seeded, dims * rows);
        for kernels in Kernels::all_supported() {
            let mut assigned = Assigned::default();
            // What was assigned before does not matter.
            centroids.assign(kernels, &numbers(seeded, dims * 3), &mut assigned);
            centroids.assign(kernels, &rows, &mut assigned);
            prop_assert_eq!(assigned.nearest.len(), rows.len() / dims);
            for (row, &nearest) in rows.chunks(dims).zip(&assigned.nearest) {
                let chosen = squared(row, centroids.row(nearest as usize));
                let least = (0..count)
                    .map(|centroid| squared(row, centroids.row(centroid)))
                    .fold(f64::INFINITY, f64::min);
                prop_assert!(chosen <= least + slack(dims), "{chosen} {least}");
            }
        }
    }

    #[test]
    fn no_round_makes_the_distances_longer(
        seed: u64,
        dims in 1_usize..20,
        count in 1_usize..12,
        rows in 12_usize..200,
    ) {
        let seeded = &mut Seeded(seed);
        let rows = numbers(seeded, dims * rows);
        let mut centroids = Centroids::new(dims, rows[..dims * count].to_vec());
        let (kernels, mut assigned) = (Kernels::best(), Assigned::default());
        centroids.assign(kernels, &rows, &mut assigned);
        let mut before = cost(&centroids, &rows, &assigned.nearest);
        for _ in 0..6 {
            let mut sums = Sums::new(dims, count);
            sums.add(&rows, &assigned.nearest);
            let empty = (0..count as u32).any(|centroid| !assigned.nearest.contains(&centroid));
            sums.apply(&mut centroids);
            centroids.assign(kernels, &rows, &mut assigned);
            let after = cost(&centroids, &rows, &assigned.nearest);
            // A cluster that is split is moved a little off its mean.
            if !empty {
                let allowed = before + slack(dims) * rows.len() as f64;
                prop_assert!(after <= allowed, "{after} after {before}");
            }
            before = after;
        }
    }

    #[test]
    fn centroids_become_the_means_of_their_rows_however_they_are_summed(
        seed: u64,
        dims in 1_usize..20,
        cut in 0_usize..50,
    ) {
        let seeded = &mut Seeded(seed);
        let rows = numbers(seeded, dims * 50);
        // Each of three centroids has rows.
        let nearest: Vec<u32> = (0..50).map(|row| row % 3).collect();
        let mut centroids = Centroids::new(dims, vec![0.0; dims * 3]);
        let (mut first, mut second) = (Sums::new(dims, 3), Sums::new(dims, 3));
        first.add(&rows[..cut * dims], &nearest[..cut]);
        second.add(&rows[cut * dims..], &nearest[cut..]);
        first.merge(&second);
        first.apply(&mut centroids);
        for centroid in 0..3 {
            for dim in 0..dims {
                let of = (centroid..50).step_by(3).map(|row| f64::from(rows[row * dims + dim]));
                let mean = of.clone().sum::<f64>() / of.count() as f64;
                let is = f64::from(centroids.row(centroid)[dim]);
                prop_assert!((is - mean).abs() < 0.001, "{is} {mean}");
            }
            let norm: f64 = centroids.row(centroid).iter().map(|&x| f64::from(x).powi(2)).sum();
            let stored = f64::from(centroids.squared_norms()[centroid]);
            prop_assert!((stored - norm).abs() <= slack(dims), "{stored} {norm}");
        }
    }

    #[test]
    fn a_centroid_without_rows_gets_some_where_there_are_enough(
        seed: u64,
        dims in 1_usize..8,
        count in 2_usize..9,
    ) {
        let seeded = &mut Seeded(seed);
        let rows = numbers(seeded, dims * 200);
        // All begin at one place, so that one of them is nearest to every row.
        let mut centroids = Centroids::new(dims, rows[..dims].repeat(count));
        let (kernels, mut assigned) = (Kernels::best(), Assigned::default());
        for _ in 0..12 {
            centroids.assign(kernels, &rows, &mut assigned);
            let mut sums = Sums::new(dims, count);
            sums.add(&rows, &assigned.nearest);
            sums.apply(&mut centroids);
        }
        centroids.assign(kernels, &rows, &mut assigned);
        let used = (0..count as u32).filter(|centroid| assigned.nearest.contains(centroid));
        prop_assert_eq!(used.count(), count);
    }
}
