//! Which parts are begun when more is asked for than can be served in time.
//!
//! A part with a deadline that has waited in the shard is begun only if it will probably end in
//! time: reading what comes too late makes what comes after it late too, and so on for as long as
//! more is asked for than the drive can give. How long it will take follows from the rate at which
//! the shard has served others while it waited; how far such forecasts are off is learned from the
//! parts begun before.

use std::time::{Duration, Instant};

use crate::admission::estimate::{Estimate, LATE_COUNTS};
use crate::host::clock;
use crate::metrics::stats::ShardCounters;

/// A forecast needs at least this many rows served: drives serve in bursts.
const SERVED_MIN: u64 = 256;
/// How many times as long as its forecast a part is given before anything has been learned.
const MARGIN_FIRST: f64 = 2.0;
/// The least and the most that is learned.
const MARGIN_RANGE: (f64, f64) = (1.0, 32.0);
/// Shorter forecasts are noise.
const TAKES_MIN: Duration = Duration::from_micros(1);

/// When a part began to wait, and what the shard had delivered by then.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    since: Instant,
    rows: u64,
    cache_hits: u64,
}

/// The shard's work while a part waited.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    waited: Duration,
    /// Rows that the shard has delivered meanwhile.
    rows: u64,
    /// Rows among them that came from the drive.
    from_drive: u64,
}

/// When a part was begun, and how long it was to take.
#[derive(Clone, Copy)]
pub(super) struct Forecast {
    began: Instant,
    takes: Duration,
}

impl Waits {
    pub(super) fn begin(counters: &ShardCounters) -> Waits {
        Waits {
            since: clock::now(),
            rows: counters.rows.get(),
            cache_hits: counters.cache_hits.get(),
        }
    }

    pub(super) fn seen(&self, now: Instant, counters: &ShardCounters) -> Seen {
        let rows = counters.rows.get() - self.rows;
        let cache_hits = counters.cache_hits.get() - self.cache_hits;
        Seen {
            waited: now - self.since,
            rows,
            from_drive: rows.saturating_sub(cache_hits),
        }
    }
}

impl Seen {
    /// Whether nothing of what was served came from the drive.
    pub(super) fn is_all_from_memory(&self) -> bool {
        self.from_drive == 0
    }

    /// How long `rows` rows take behind `reads_before` reads in flight, at the rate of what was
    /// served. `None` if too little was: a part that has waited for few others knows no rate.
    pub(super) fn takes(&self, rows: u64, reads_before: u32) -> Option<Duration> {
        let reads_before = u64::from(reads_before);
        if self.rows < (rows + reads_before).max(SERVED_MIN) {
            return None;
        }
        let time_per = |served: u64| self.waited.as_secs_f64() / served.max(1) as f64;
        let seconds =
            reads_before as f64 * time_per(self.from_drive) + rows as f64 * time_per(self.rows);
        Some(Duration::from_secs_f64(seconds).max(TAKES_MIN))
    }
}

/// How many times as long as its forecast a part is given.
#[derive(Clone, Copy)]
pub(super) struct Margin(Estimate);

impl Default for Margin {
    fn default() -> Margin {
        Margin(Estimate::of(MARGIN_FIRST))
    }
}

impl Margin {
    /// Whether what takes so long by its forecast would probably take longer than `left`.
    pub(super) fn forbids(&self, takes: Duration, left: Duration) -> bool {
        let (least, most) = MARGIN_RANGE;
        takes.mul_f64(self.0.bound().clamp(least, most)) > left
    }

    /// A part has ended.
    pub(super) fn learn(&mut self, forecast: Forecast, ended: Instant, deadline: Instant) {
        let took = (ended - forecast.began).as_secs_f64() / forecast.takes.as_secs_f64();
        let took = if ended >= deadline {
            took * LATE_COUNTS
        } else {
            took
        };
        self.0.learn(took.min(MARGIN_RANGE.1));
    }
}

impl Forecast {
    pub(super) fn of(began: Instant, takes: Duration) -> Forecast {
        Forecast { began, takes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A thousand rows each ten milliseconds.
    const SEEN: Seen = Seen {
        waited: milliseconds(50),
        rows: 5_000,
        from_drive: 5_000,
    };

    #[test]
    fn a_forecast_is_what_comes_before_and_the_part_at_the_rate_of_others() {
        assert_eq!(SEEN.takes(400, 100), Some(milliseconds(5)));
        assert_eq!(SEEN.takes(0, 0), Some(TAKES_MIN));
        // Reads go at the rate of the drive, however many rows came from memory.
        let half = Seen {
            from_drive: 2_500,
            ..SEEN
        };
        assert_eq!(half.takes(400, 100), Some(milliseconds(6)));
    }

    #[test]
    fn a_part_that_has_seen_few_others_has_no_forecast() {
        for (served, rows) in [(1_009, 1_000), (255, 1), (0, 0)] {
            let seen = Seen {
                waited: Duration::from_secs(1),
                rows: served,
                from_drive: served,
            };
            assert_eq!(seen.takes(rows, 10), None);
        }
    }

    #[test]
    fn a_part_is_given_what_those_before_it_took() {
        let began = Instant::now();
        let deadline = began + milliseconds(50);
        let forecast = Forecast::of(began, milliseconds(5));
        let mut margin = Margin::default();
        assert!(!margin.forbids(milliseconds(5), milliseconds(10)));
        assert!(margin.forbids(milliseconds(5), milliseconds(9)));
        for _ in 0..100 {
            margin.learn(forecast, began + milliseconds(20), deadline);
        }
        assert!(!margin.forbids(milliseconds(5), milliseconds(21)));
        assert!(margin.forbids(milliseconds(5), milliseconds(19)));
        // What ends at its deadline was cut off there: the next is given more, and more again.
        for _ in 0..100 {
            margin.learn(forecast, deadline, deadline);
        }
        assert!(margin.forbids(milliseconds(5), milliseconds(90)));
        // And it is forgotten.
        for _ in 0..100 {
            margin.learn(forecast, began + milliseconds(1), deadline);
        }
        assert!(!margin.forbids(milliseconds(5), milliseconds(6)));
    }
}
