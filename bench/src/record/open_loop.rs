//! The arrivals of an open loop, as a record has them.

use std::time::Duration;

use serde::Serialize;

use crate::drive::latency::nanoseconds;
use crate::drive::load::Pace;
use crate::drive::run::Run;
use crate::record::latency::LatencyUs;

/// The arrivals of an open loop, part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct OpenLoop {
    /// Planned queries per second, on average.
    pub(crate) rate_asked_per_s: f64,
    /// Queries per second that were answered.
    pub(crate) rate_achieved_per_s: f64,
    /// The rate of the closed loop before it, if the rate asked for is a share of that.
    pub(crate) capacity_per_s: Option<f64>,
    /// Queries planned.
    pub(crate) planned: u64,
    /// Queries started later than [`crate::drive::arrivals::LATE`] after their time.
    pub(crate) late_starts: u64,
    /// From the planned arrival to the start.
    pub(crate) start_late_us: LatencyUs,
    /// Queries planned that were not started before the run was over.
    pub(crate) never_started: u64,
    /// Queries that the store rejected at its limits.
    pub(crate) refused: u64,
    /// Queries whose deadline came before their rows.
    pub(crate) expired: u64,
    /// From the planned arrival.
    pub(crate) deadline_ms: Option<f64>,
    /// Queries per second that were answered before their deadline: the goodput.
    pub(crate) in_time_per_s: Option<f64>,
    /// The goodput as a share of the capacity.
    pub(crate) goodput: Option<f64>,
}

impl OpenLoop {
    /// `None` for a closed loop.
    pub(crate) fn of(
        run: &Run,
        pace: Pace,
        capacity_per_s: Option<f64>,
        deadline: Option<Duration>,
    ) -> Option<OpenLoop> {
        let Pace::Open { rate_per_s, .. } = pace else {
            return None;
        };
        let arrivals = run.arrivals.as_ref()?;
        let seconds = run.duration.as_secs_f64();
        let in_time_per_s = deadline.map(|deadline| {
            let in_time = run.latency_ns.count_between(0, nanoseconds(deadline));
            in_time as f64 / seconds.max(f64::MIN_POSITIVE)
        });
        Some(OpenLoop {
            rate_asked_per_s: rate_per_s,
            rate_achieved_per_s: if seconds > 0.0 {
                run.queries as f64 / seconds
            } else {
                0.0
            },
            capacity_per_s,
            planned: arrivals.planned,
            late_starts: arrivals.late,
            start_late_us: LatencyUs::of(&arrivals.start_late_ns),
            never_started: arrivals.never_started,
            refused: arrivals.refused,
            expired: arrivals.expired,
            deadline_ms: deadline.map(|deadline| deadline.as_secs_f64() * 1e3),
            in_time_per_s,
            goodput: in_time_per_s
                .zip(capacity_per_s)
                .map(|(in_time, capacity)| in_time / capacity),
        })
    }
}
