//! Measurements taken in turn (A B C A B C), so that a machine that changes its speed changes
//! all of them, and the medians over the rounds.

use serde::Serialize;

use crate::error::Error;
use crate::numbers::{NOT_AVAILABLE, rounded};

/// Runs each of `count` measurements once in every round; the results by measurement.
pub(crate) fn in_turn<T>(
    count: usize,
    rounds: usize,
    mut measure: impl FnMut(usize) -> Result<T, Error>,
) -> Result<Vec<Vec<T>>, Error> {
    let mut all: Vec<Vec<T>> = (0..count).map(|_| Vec::with_capacity(rounds)).collect();
    for _ in 0..rounds {
        for (index, results) in all.iter_mut().enumerate() {
            results.push(measure(index)?);
        }
    }
    Ok(all)
}

/// The median and the range of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// `None` if there is no number.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[upper - 1], sorted[upper])
        } else {
            sorted[upper]
        };
        Some(Spread { median, min, max })
    }

    /// The ratios of the second number of each pair to its first.
    pub(crate) fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Spread> {
        let ratios = pairs.into_iter().map(|(one, two)| two / one);
        Spread::of(ratios.filter(|ratio| ratio.is_finite()))
    }

    /// The median, and the range where there is one.
    pub(crate) fn text(spread: Option<Spread>) -> String {
        spread.map_or_else(
            || NOT_AVAILABLE.to_owned(),
            |spread| {
                if spread.min == spread.max {
                    return rounded(spread.median);
                }
                let (median, min, max) = (
                    rounded(spread.median),
                    rounded(spread.min),
                    rounded(spread.max),
                );
                format!("{median} ({min} to {max})")
            },
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn measurements_take_turns() {
        let mut order = Vec::new();
        let all = in_turn(3, 2, |index| {
            order.push(index);
            Ok(order.len())
        })
        .unwrap();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        assert_eq!(all, [[1, 4], [2, 5], [3, 6]]);
    }

    #[test]
    fn first_error_ends_the_rounds() {
        let refused = in_turn(2, 5, |index| {
            if index == 1 {
                return Err(Error::Interrupted);
            }
            Ok(())
        });
        assert!(refused.is_err());
    }

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        let of = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 100.0]).unwrap().median, 3.0);
        let even = of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((even.median, even.min, even.max), (2.5, 1.0, 4.0));
        assert_eq!(Spread::text(of(&[2.0, 2.0])), "2.00");
        assert_eq!(Spread::text(of(&[1.0, 3.0])), "2.00 (1.00 to 3.00)");
    }
}
