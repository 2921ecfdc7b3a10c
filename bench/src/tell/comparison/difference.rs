//! Whether two sets of measurements differ.

use serde::Serialize;

use crate::measure::rounds::Spread;
use crate::numbers::rounded;

/// Fewer measurements than this on a side have no interval.
const MEASUREMENTS_MIN: usize = 3;

/// The quantile 0.975 of Student's t by degrees of freedom, from 1 on.
const T_975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The second side over the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Difference {
    /// All numbers of both sides are the same.
    Same,
    /// Some are zero, or less: there is no ratio.
    FromZero,
    /// Too few measurements for more than the ratio of the medians.
    #[serde(rename = "untold")]
    Unmeasured { ratio: f64 },
    /// The ratio of the geometric means is within these bounds in 95 of 100 cases.
    #[serde(rename = "told")]
    Measured { ratio: f64, low: f64, high: f64 },
}

/// The middle of some numbers; `None` if there are none.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    Spread::of(numbers.iter().copied()).map(|spread| spread.median)
}

impl Difference {
    /// By Welch's test on the logarithms, which makes a ratio of a difference (B. L. Welch, The
    /// generalization of "Student's" problem when several different population variances are
    /// involved, Biometrika 1947).
    pub(crate) fn of(before: &[f64], after: &[f64]) -> Difference {
        let all = || before.iter().chain(after);
        if all().all(|number| *number == before[0]) {
            return Difference::Same;
        }
        if all().any(|number| *number <= 0.0) {
            return Difference::FromZero;
        }
        if before.len().min(after.len()) < MEASUREMENTS_MIN {
            let medians = median(before).zip(median(after));
            return Difference::Unmeasured {
                ratio: medians.map_or(1.0, |(before, after)| after / before),
            };
        }
        let (one, two) = (Logs::of(before), Logs::of(after));
        let error = one.error + two.error;
        let difference = two.mean - one.mean;
        let reach = match error > 0.0 {
            true => t_975(error.powi(2) / (one.weight() + two.weight())) * error.sqrt(),
            false => 0.0,
        };
        Difference::Measured {
            ratio: difference.exp(),
            low: (difference - reach).exp(),
            high: (difference + reach).exp(),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Difference::Same => "1".to_owned(),
            Difference::FromZero => "no ratio".to_owned(),
            Difference::Unmeasured { ratio } => rounded(*ratio),
            Difference::Measured { ratio, low, high } => {
                format!("{ratio:.3} ({low:.3} to {high:.3})")
            }
        }
    }
}

/// Logarithms of one side.
struct Logs {
    count: f64,
    mean: f64,
    /// The variance of the mean.
    error: f64,
}

impl Logs {
    fn of(numbers: &[f64]) -> Logs {
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|number| number.ln()).sum::<f64>() / count;
        let squares = numbers.iter().map(|number| (number.ln() - mean).powi(2));
        let variance = squares.sum::<f64>() / (count - 1.0);
        Logs {
            count,
            mean,
            error: variance / count,
        }
    }

    /// Its part of the denominator of the degrees of freedom (the equation of Welch and
    /// Satterthwaite).
    fn weight(&self) -> f64 {
        self.error.powi(2) / (self.count - 1.0)
    }
}

/// The quantile for the next lower whole degree, which is the wider one.
fn t_975(degrees: f64) -> f64 {
    let whole = (degrees.floor().max(1.0) as usize).min(T_975.len());
    T_975[whole - 1]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn interval_is_that_of_welch() {
        // exp of 1..5 and of 2, 4, 6, 8, 10: means 3 and 6, variances 2.5 and 10, five each.
        let before: Vec<f64> = (1..=5).map(|x| f64::from(x).exp()).collect();
        let after: Vec<f64> = (1..=5).map(|x| f64::from(2 * x).exp()).collect();
        let Difference::Measured { ratio, low, high } = Difference::of(&before, &after) else {
            panic!("there are enough measurements");
        };
        // Standard error sqrt(0.5 + 2), 5.88 degrees of freedom, t of 5 degrees 2.571.
        let reach = 2.571 * 2.5_f64.sqrt();
        assert!((ratio.ln() - 3.0).abs() < 1e-9);
        assert!((low.ln() - (3.0 - reach)).abs() < 1e-9, "{}", low.ln());
        assert!((high.ln() - (3.0 + reach)).abs() < 1e-9);
    }

    #[test]
    fn few_measurements_zeros_and_equal_numbers_have_no_interval() {
        assert_eq!(Difference::of(&[2.0], &[2.0]), Difference::Same);
        assert_eq!(Difference::of(&[0.0; 3], &[0.0; 3]), Difference::Same);
        assert_eq!(Difference::of(&[0.0; 3], &[1.0; 3]), Difference::FromZero);
        let untold = Difference::of(&[1.0, 3.0], &[4.0; 5]);
        assert_eq!(untold, Difference::Unmeasured { ratio: 2.0 });
        let exact = Difference::of(&[1.0; 3], &[2.0; 3]);
        let measured = Difference::Measured {
            ratio: 2.0,
            low: 2.0,
            high: 2.0,
        };
        assert!(matches!(exact, Difference::Measured { .. }));
        assert_eq!(exact.text(), measured.text());
    }
}
