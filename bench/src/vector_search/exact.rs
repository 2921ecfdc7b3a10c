//! Exact distances, and the nearest of many.

use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::{Element, Metric, normalise};

/// How far a query is from stored vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distance {
    pub(crate) kernels: Kernels,
    pub(crate) metric: Metric,
    pub(crate) element: Element,
}

impl Distance {
    /// The query as [`Distance::to`] takes it.
    pub(crate) fn prepared(&self, query: &[f32]) -> Vec<f32> {
        let mut query = query.to_vec();
        if self.metric == Metric::Cosine {
            normalise(&mut query);
        }
        query
    }

    /// To the vector whose bytes are `row`; not finite where there is none.
    #[inline]
    pub(crate) fn to(&self, prepared: &[f32], row: &[u8]) -> f32 {
        match self.metric {
            Metric::L2 => self.kernels.l2_squared(self.element, prepared, row),
            Metric::Dot => -self.kernels.dot(self.element, prepared, row),
            Metric::Cosine => {
                let (dot, squared) = self.kernels.dot_and_norm(self.element, prepared, row);
                // As a search leaves out what has no direction, or is too short to tell.
                if !squared.is_normal() {
                    return f32::INFINITY;
                }
                1.0 - dot / squared.sqrt()
            }
        }
    }
}

/// A row and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) distance: f32,
    pub(crate) row: u64,
}

impl Neighbour {
    /// Nearer first; of two that are as near, the lower row.
    fn order(&self, other: &Neighbour) -> std::cmp::Ordering {
        let rows = self.row.cmp(&other.row);
        self.distance.total_cmp(&other.distance).then(rows)
    }
}

/// The nearest `wanted` of those pushed.
#[derive(Debug, Clone)]
pub(crate) struct Nearest {
    wanted: usize,
    /// At most twice as many as wanted.
    kept: Vec<Neighbour>,
    /// Whatever is further is not among the nearest.
    bar: f32,
}

impl Nearest {
    pub(crate) fn new(wanted: usize) -> Nearest {
        Nearest {
            wanted,
            kept: Vec::with_capacity(2 * wanted),
            bar: f32::MAX,
        }
    }

    /// Distances that are not finite are left out.
    #[inline]
    pub(crate) fn push(&mut self, distance: f32, row: u64) {
        if distance <= self.bar && distance.is_finite() {
            self.kept.push(Neighbour { distance, row });
            if self.kept.len() >= 2 * self.wanted {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.wanted && self.wanted > 0 {
            let (_, last, _) = self
                .kept
                .select_nth_unstable_by(self.wanted - 1, Neighbour::order);
            self.bar = last.distance;
        }
        self.kept.truncate(self.wanted);
    }

    /// Takes in what another has kept.
    pub(crate) fn absorb(&mut self, other: Nearest) {
        for neighbour in other.kept {
            self.push(neighbour.distance, neighbour.row);
        }
    }

    /// The nearest first.
    pub(crate) fn sorted(mut self) -> Vec<Neighbour> {
        self.cut();
        self.kept.sort_unstable_by(Neighbour::order);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_are_those_of_a_sort_whatever_the_order_and_the_number() {
        let distances: Vec<f32> = (0..200_u16).map(|i| f32::from(i * 37 % 101)).collect();
        let mut all: Vec<Neighbour> = distances
            .iter()
            .zip(0..)
            .map(|(distance, row)| Neighbour {
                distance: *distance,
                row,
            })
            .collect();
        all.sort_by(Neighbour::order);
        for wanted in [1, 2, 7, 199, 200, 300] {
            let (mut one, mut two) = (Nearest::new(wanted), Nearest::new(wanted));
            for (distance, row) in distances.iter().zip(0..) {
                let half = if row % 2 == 0 { &mut one } else { &mut two };
                half.push(*distance, row);
            }
            one.absorb(two);
            assert_eq!(one.sorted(), all[..wanted.min(200)], "{wanted}");
        }
    }

    #[test]
    fn rows_without_a_distance_are_left_out() {
        let mut nearest = Nearest::new(3);
        for (distance, row) in [(f32::NAN, 0), (f32::INFINITY, 1), (2.0, 2)] {
            nearest.push(distance, row);
        }
        let rows: Vec<u64> = nearest.sorted().iter().map(|n| n.row).collect();
        assert_eq!(rows, [2]);
    }

    #[test]
    fn distances_are_what_their_names_say() {
        let row: Vec<u8> = [3.0_f32, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        for (metric, expected) in [
            (Metric::L2, 13.0),
            (Metric::Dot, -8.0),
            (Metric::Cosine, 1.0 - 0.8),
        ] {
            let distance = Distance {
                kernels: Kernels::best(),
                metric,
                element: Element::F32,
            };
            let query = distance.prepared(&[0.0, 2.0]);
            let found = distance.to(&query, &row);
            assert!((found - expected).abs() < 1e-6, "{metric}: {found}");
        }
        let zero = Distance {
            kernels: Kernels::best(),
            metric: Metric::Cosine,
            element: Element::F32,
        };
        assert!(!zero.to(&[1.0, 0.0], &[0; 8]).is_finite());
    }
}
