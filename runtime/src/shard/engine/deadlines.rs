//! Deadlines of parts: rows that would come too late are not read, and callers whose deadline has
//! passed are not kept waiting for reads in flight.
//!
//! The clock is read once per round, and only while a part has a deadline.

use std::time::{Duration, Instant};

use super::forecast::Margin;
use super::parts::Parts;
use super::patience::TimeLeft;
use super::scan::Scans;
use super::turns::Turns;
use crate::host::clock;
use crate::metrics::stats::ShardCounters;

/// The shortest time between two looks for overdue takes.
const OVERDUE_LOOK: Duration = Duration::from_millis(1);

/// The next deadlines, and how far forecasts are off.
#[derive(Default)]
pub(super) struct Deadlines {
    /// No deadline of a part with rows to plan is before it; `None` if there is no deadline.
    to_plan: Option<Instant>,
    /// No deadline of a part whose caller still waits is before it; `None` if there is no deadline.
    to_finish: Option<Instant>,
    /// How much longer than forecast parts have taken.
    pub(super) margin: Margin,
}

/// The earlier of two deadlines, the first of which may be missing.
fn earlier(next: Option<Instant>, deadline: Instant) -> Instant {
    next.map_or(deadline, |next| next.min(deadline))
}

impl Deadlines {
    /// Notes the deadline of a part that has come.
    pub(super) fn accepted(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.to_finish = Some(earlier(self.to_finish, deadline));
        }
    }

    /// Notes the deadline of a part that has rows to plan.
    pub(super) fn begun(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.to_plan = Some(earlier(self.to_plan, deadline));
        }
    }

    /// Whether any part has a deadline, so that the clock has to be read.
    #[inline]
    pub(super) fn are_set(&self) -> bool {
        self.to_plan.is_some() || self.to_finish.is_some()
    }

    /// How long it is until a take is overdue; `None` where none has a deadline.
    #[inline]
    pub(super) fn overdue_in(&self) -> Option<Duration> {
        let next = self.to_finish?;
        Some(next.saturating_duration_since(clock::now()))
    }

    /// The time until the next deadlines.
    pub(super) fn left(&self) -> TimeLeft {
        if !self.are_set() {
            return TimeLeft::default();
        }
        let now = clock::now();
        let left = |next: Option<Instant>| next.map(|next| next.saturating_duration_since(now));
        TimeLeft {
            to_plan: left(self.to_plan),
            to_finish: left(self.to_finish),
        }
    }

    /// Gives up parts in line whose deadline has passed. Returns whether it has looked for them, and
    /// the line may have changed.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        turns: &mut Turns,
        parts: &mut Parts,
        counters: &ShardCounters,
    ) -> bool {
        let Some(next) = self.to_plan else {
            return false;
        };
        if turns.is_empty() {
            self.to_plan = None;
            return false;
        }
        if now < next {
            return false;
        }
        self.to_plan = None;
        turns.retain(|id| {
            let work = parts.get_mut(id);
            let Some(deadline) = work.part.deadline() else {
                return true;
            };
            if deadline > now {
                self.to_plan = Some(earlier(self.to_plan, deadline));
                return true;
            }
            if let Some(forecast) = work.forecast {
                self.margin.learn(forecast, now, deadline);
            }
            work.give_up_late(counters);
            parts.finish_if_done(id, &mut self.margin);
            false
        });
        true
    }

    /// Ends the waits of callers whose deadline has passed, though reads of their takes are in
    /// flight: a drive may keep one for seconds, or for ever.
    pub(super) fn end_overdue_waits(&mut self, now: Instant, parts: &mut Parts, scans: &mut Scans) {
        let Some(next) = self.to_finish else {
            return;
        };
        if parts.is_empty() && scans.is_empty() {
            self.to_finish = None;
            return;
        }
        if now < next {
            return;
        }
        self.to_finish = scans.expire(now);
        for work in parts.iter_mut() {
            match work.part.deadline() {
                Some(deadline) if deadline > now => {
                    self.to_finish = Some(earlier(self.to_finish, deadline));
                }
                Some(_) if !work.overdue => {
                    work.overdue = true;
                    let rows = u64::from(work.in_flight.max(1));
                    work.part.progress().overdue(rows);
                }
                _ => {}
            }
        }
        // Parts that come and go in time are looked at no more often than this.
        self.to_finish = self.to_finish.map(|next| next.max(now + OVERDUE_LOOK));
    }
}
