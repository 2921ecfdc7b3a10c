//! Exact distances between a query and stored vectors, under each metric.

use super::kernels::Kernels;
use super::{Element, Metric, normalise};

/// Distance from a query to stored vectors of one element type under one metric.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    /// Inner loops that do the arithmetic.
    pub kernels: Kernels,
    /// The metric.
    pub metric: Metric,
    /// Element type of the stored vectors.
    pub element: Element,
}

impl Distance {
    /// The query as [`Distance::to`] takes it: scaled to length one if the metric is the cosine.
    pub fn prepared(&self, query: &[f32]) -> Vec<f32> {
        let mut query = query.to_vec();
        if self.metric == Metric::Cosine {
            normalise(&mut query);
        }
        query
    }

    /// Distance of a prepared query to the vector stored as `bytes`.
    ///
    /// The result is NaN under the cosine if the vector has no direction, or is so short that its
    /// squared length is inexact.
    #[inline]
    pub fn to(&self, prepared: &[f32], bytes: &[u8]) -> f32 {
        match self.metric {
            Metric::L2 => self.kernels.l2_squared(self.element, prepared, bytes),
            Metric::Dot => -self.kernels.dot(self.element, prepared, bytes),
            Metric::Cosine => {
                let (dot, squared) = self.kernels.dot_and_norm(self.element, prepared, bytes);
                if squared.is_normal() {
                    1.0 - dot / squared.sqrt()
                } else {
                    f32::NAN
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(metric: Metric) -> Distance {
        Distance {
            kernels: Kernels::best(),
            metric,
            element: Element::F32,
        }
    }

    fn bytes(vector: [f32; 2]) -> Vec<u8> {
        vector.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn distances_are_those_that_the_metrics_name() {
        for (metric, expected) in [
            (Metric::L2, 13.0),
            (Metric::Dot, -8.0),
            (Metric::Cosine, 1.0 - 0.8),
        ] {
            let distance = distance(metric);
            let query = distance.prepared(&[0.0, 2.0]);
            let found = distance.to(&query, &bytes([3.0, 4.0]));
            assert!((found - expected).abs() < 1e-6, "{metric}: {found}");
        }
    }

    #[test]
    fn vector_without_a_direction_has_no_cosine_distance() {
        let cosine = distance(Metric::Cosine);
        for vector in [[0.0, 0.0], [1e-30, 0.0]] {
            assert!(
                cosine.to(&[1.0, 0.0], &bytes(vector)).is_nan(),
                "{vector:?}"
            );
        }
        let l2 = distance(Metric::L2);
        assert_eq!(l2.to(&[1.0, 0.0], &bytes([0.0, 0.0])), 1.0);
    }
}
