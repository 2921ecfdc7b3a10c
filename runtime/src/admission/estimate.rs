//! How large the next of some values will hardly be: a running mean and so many mean deviations, as
//! TCP tells its timeouts (V. Jacobson, *Congestion Avoidance and Control*, SIGCOMM 1988).

/// Of what is new, the share that goes into the mean, and into the deviation.
const MEAN_GAIN: f64 = 1.0 / 8.0;
const DEVIATION_GAIN: f64 = 1.0 / 4.0;
/// Deviations above the mean that the next value may be.
const DEVIATIONS: f64 = 2.0;
/// What one value can say at most, in bounds: a process that was stopped for a minute has not
/// become slow.
const GROWTH_MAX: f64 = 4.0;
/// What a doubt leaves.
const DOUBT: f64 = 1.0 - 1.0 / 64.0;

/// How many times as long as it took counts what ended late: not all of it was done.
pub(crate) const LATE_COUNTS: f64 = 2.0;

/// See the module.
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

    /// Makes less of what has been learned: whoever acts on it sees no values that would correct it.
    pub(crate) fn doubt(&mut self) {
        self.mean *= DOUBT;
        self.deviation *= DOUBT;
    }

    /// What most of the values are below.
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
