//! An upper bound of the next value of a series: a running mean plus a multiple of the mean
//! deviation, as TCP sets its timeouts (V. Jacobson, *Congestion Avoidance and Control*, SIGCOMM
//! 1988).

/// The share of a new difference that goes into the mean.
const MEAN_GAIN: f64 = 1.0 / 8.0;
/// The share of a new difference that goes into the deviation.
const DEVIATION_GAIN: f64 = 1.0 / 4.0;
/// Deviations above the mean that the next value may be.
const DEVIATIONS: f64 = 2.0;
/// The largest value that is learned, as a multiple of the bound: a process that was stopped for a
/// minute has not become slow.
const GROWTH_MAX: f64 = 4.0;
/// The factor by which one doubt shrinks the estimate.
const DOUBT: f64 = 1.0 - 1.0 / 64.0;

/// Factor on the time of work that ended late, since not all of it was done.
pub(crate) const LATE_COUNTS: f64 = 2.0;

/// A running mean and mean deviation of the values learned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    mean: f64,
    deviation: f64,
}

impl Estimate {
    /// Before anything has been learned. `first` is not 0.
    pub(crate) const fn of(first: f64) -> Estimate {
        Estimate {
            mean: first,
            deviation: 0.0,
        }
    }

    pub(crate) fn learn(&mut self, value: f64) {
        let off = value.min(self.bound() * GROWTH_MAX) - self.mean;
        self.mean += off * MEAN_GAIN;
        self.deviation += (off.abs() - self.deviation) * DEVIATION_GAIN;
    }

    /// Shrinks the estimate. A caller that rejects work because of it sees no values that would
    /// correct it.
    pub(crate) fn doubt(&mut self) {
        self.mean *= DOUBT;
        self.deviation *= DOUBT;
    }

    /// The value that most of the values stay below.
    pub(crate) fn bound(&self) -> f64 {
        self.mean + DEVIATIONS * self.deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_near_values_that_are_all_alike_and_above_most_that_are_not() {
        let mut alike = Estimate::of(2.0);
        let mut mixed = Estimate::of(2.0);
        for turn in 0..1_000 {
            alike.learn(5.0);
            mixed.learn([4.0, 6.0][turn % 2]);
        }
        assert!((alike.bound() - 5.0).abs() < 0.01, "{alike:?}");
        assert!(mixed.bound() > 6.0 && mixed.bound() < 8.0, "{mixed:?}");
    }

    #[test]
    fn one_value_says_little_and_what_is_doubted_is_forgotten() {
        let mut estimate = Estimate::of(1.0);
        (0..100).for_each(|_| estimate.learn(1.0));
        estimate.learn(1e9);
        assert!(estimate.bound() < 5.0, "{estimate:?}");
        (0..300).for_each(|_| estimate.doubt());
        assert!(estimate.bound() < 0.05, "{estimate:?}");
    }
}
