//! Arrivals of an open loop: a Poisson process, and counts of late and unanswered arrivals.

use std::time::Duration;

use hdrhistogram::Histogram;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::drive::latency::{latency_histogram, nanoseconds};
use crate::workload::permutation::mix;

/// A query started later than this after its time counts as late.
const LATE: Duration = Duration::from_micros(100);

/// Planned arrivals that were late, or that no answer came of.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// Queries planned.
    pub(crate) planned: u64,
    /// From the planned arrival to the start, in nanoseconds.
    pub(crate) start_late_ns: Histogram<u64>,
    /// Queries started later than [`LATE`] after their time.
    pub(crate) late: u64,
    /// Queries planned that were not started before the run was over.
    pub(crate) never_started: u64,
    /// Queries that the subject refused, since it had too much to do.
    pub(crate) refused: u64,
    /// Queries whose deadline came before their rows.
    pub(crate) expired: u64,
}

impl Arrivals {
    pub(crate) fn new() -> Arrivals {
        Arrivals {
            planned: 0,
            start_late_ns: latency_histogram(),
            late: 0,
            never_started: 0,
            refused: 0,
            expired: 0,
        }
    }

    pub(crate) fn absorb(&mut self, other: Arrivals) {
        self.planned += other.planned;
        self.start_late_ns += other.start_late_ns;
        self.late += other.late;
        self.never_started += other.never_started;
        self.refused += other.refused;
        self.expired += other.expired;
    }

    /// A query was started `late` after its planned arrival.
    pub(crate) fn started(&mut self, late: Duration) {
        self.start_late_ns.saturating_record(nanoseconds(late));
        self.late += u64::from(late > LATE);
    }
}

/// Times of arrivals, measured from the start.
#[derive(Debug)]
pub(crate) struct Poisson {
    random: ChaCha8Rng,
    rate_per_s: f64,
    next_s: f64,
}

impl Poisson {
    /// Arrivals at `rate_per_s` on average; the same for the same seed.
    pub(crate) fn new(rate_per_s: f64, seed: u64) -> Poisson {
        let mut arrivals = Poisson {
            random: ChaCha8Rng::seed_from_u64(seed),
            rate_per_s,
            next_s: 0.0,
        };
        arrivals.pass();
        arrivals
    }

    /// The arrivals of the client `client` of several, whose rates add up.
    pub(crate) fn of_client(rate_per_s: f64, seed: u64, client: usize) -> Poisson {
        Poisson::new(rate_per_s, mix(seed ^ mix(client as u64)))
    }

    /// The next arrival.
    pub(crate) fn next(&self) -> Duration {
        Duration::try_from_secs_f64(self.next_s).unwrap_or(Duration::MAX)
    }

    /// Goes on to the one after it.
    pub(crate) fn pass(&mut self) {
        // From (0, 1], so that its logarithm is finite.
        let uniform = 1.0 - self.random.random::<f64>();
        self.next_s -= uniform.ln() / self.rate_per_s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(rate_per_s: f64, seed: u64, count: usize) -> Vec<f64> {
        let mut arrivals = Poisson::new(rate_per_s, seed);
        let mut before = 0.0;
        (0..count)
            .map(|_| {
                let gap = arrivals.next_s - before;
                before = arrivals.next_s;
                arrivals.pass();
                gap
            })
            .collect()
    }

    #[test]
    fn arrivals_are_a_poisson_process_and_the_same_for_the_same_seed() {
        let gaps_s = gaps(1_000.0, 7, 20_000);
        let mean = gaps_s.iter().sum::<f64>() / gaps_s.len() as f64;
        let variance =
            gaps_s.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps_s.len() as f64;
        // Exponential gaps: the deviation is the mean, and e^-1 of them are longer than it.
        assert!((mean * 1_000.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() * 1_000.0 - 1.0).abs() < 0.05, "{variance}");
        let longer = gaps_s.iter().filter(|gap| **gap > 0.001).count() as f64;
        assert!(
            (longer / 20_000.0 - (-1.0_f64).exp()).abs() < 0.02,
            "{longer}"
        );
        assert_eq!(gaps(1_000.0, 7, 100), gaps(1_000.0, 7, 100));
        assert_ne!(gaps(1_000.0, 7, 100), gaps(1_000.0, 8, 100));
    }
}
