//! Neighbours of a query, and a collector of the nearest.

use std::cmp::Ordering;

/// A row and its distance from a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Distance from the query; smaller is nearer.
    pub distance: f32,
    /// Id of the row.
    pub row: u64,
}

impl Neighbour {
    /// Orders by distance, then by row id.
    pub fn order(&self, other: &Neighbour) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then(self.row.cmp(&other.row))
    }
}

/// Drops all but the nearest `count`, in no particular order.
pub fn keep_nearest(neighbours: &mut Vec<Neighbour>, count: usize) {
    if neighbours.len() > count {
        if count > 0 {
            neighbours.select_nth_unstable_by(count - 1, Neighbour::order);
        }
        neighbours.truncate(count);
    }
}

/// Collects the nearest `wanted` neighbours of those pushed, in bounded memory.
#[derive(Debug, Clone)]
pub struct Nearest {
    wanted: usize,
    /// At most twice `wanted`, so that a cut is paid for by as many pushes.
    kept: Vec<Neighbour>,
    /// A neighbour farther than this is not among the nearest.
    farthest: f32,
}

impl Nearest {
    /// An empty collector of `wanted` neighbours.
    pub fn new(wanted: usize) -> Nearest {
        Nearest {
            wanted,
            kept: Vec::with_capacity(2 * wanted),
            farthest: f32::MAX,
        }
    }

    /// Adds a row, unless its distance is not finite.
    #[inline]
    pub fn push(&mut self, distance: f32, row: u64) {
        if distance <= self.farthest && distance.is_finite() {
            self.kept.push(Neighbour { distance, row });
            if self.kept.len() >= 2 * self.wanted {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        keep_nearest(&mut self.kept, self.wanted);
        if let Some(farthest) = self.kept.iter().max_by(|one, two| one.order(two)) {
            self.farthest = farthest.distance;
        }
    }

    /// Adds every neighbour of another collector.
    pub fn absorb(&mut self, other: Nearest) {
        for neighbour in other.kept {
            self.push(neighbour.distance, neighbour.row);
        }
    }

    /// The neighbours collected, the nearest first.
    pub fn sorted(mut self) -> Vec<Neighbour> {
        keep_nearest(&mut self.kept, self.wanted);
        self.kept.sort_unstable_by(Neighbour::order);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours() -> Vec<Neighbour> {
        let distances = (0..200_u16).map(|i| f32::from(i * 37 % 101));
        let neighbours = distances.zip(0..);
        neighbours
            .map(|(distance, row)| Neighbour { distance, row })
            .collect()
    }

    #[test]
    fn nearest_are_those_of_a_sort_in_any_order_and_number() {
        let mut all = neighbours();
        all.sort_by(Neighbour::order);
        for wanted in [0, 1, 2, 7, 199, 200, 300] {
            let (mut one, mut two) = (Nearest::new(wanted), Nearest::new(wanted));
            for neighbour in neighbours() {
                let half = match neighbour.row % 2 {
                    0 => &mut one,
                    _ => &mut two,
                };
                half.push(neighbour.distance, neighbour.row);
            }
            one.absorb(two);
            assert_eq!(one.sorted(), all[..wanted.min(200)], "{wanted}");
            let mut kept = neighbours();
            keep_nearest(&mut kept, wanted);
            kept.sort_by(Neighbour::order);
            assert_eq!(kept, all[..wanted.min(200)], "{wanted}");
        }
    }

    #[test]
    fn rows_without_a_distance_are_left_out() {
        let mut nearest = Nearest::new(3);
        let none = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for (distance, row) in none.into_iter().chain([2.0]).zip(0..) {
            nearest.push(distance, row);
        }
        let rows: Vec<u64> = nearest.sorted().iter().map(|n| n.row).collect();
        assert_eq!(rows, [3]);
    }

    #[test]
    fn memory_is_bounded_by_twice_the_rows_wanted() {
        let mut nearest = Nearest::new(8);
        // Each is nearer than all before it, so none is refused.
        for row in 0..10_000_u16 {
            nearest.push(-f32::from(row), row.into());
            assert!(nearest.kept.len() < 16);
        }
    }
}
