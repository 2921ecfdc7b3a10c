//! Admission: what may be at work at once, over all callers of a store.
//!
//! A window of a take asks once for all it needs (`Need`) and gives it back when the last shard
//! has done with it. `admission/ledger.rs` has the rules; this file puts them under a lock,
//! taken twice per window (windows with a deadline take another when they end, to measure how
//! long they took), and makes waiting a future; `admission/timer.rs` wakes that future at its
//! deadline.
//!
//! Under overload, a window that would miss its deadline even if it began now gives its permit to
//! the next one: served in turn, all would come too late. The time that work takes is estimated
//! from the work that has just ended.
//!
//! Invariant: no caller waits for a permit that only its own progress could free: a permit belongs
//! to work that shards finish without its caller.

pub(crate) mod estimate;
mod ledger;
mod terms;
mod timer;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use serde::Serialize;

use crate::admission::estimate::{Estimate, LATE_COUNTS};
use crate::config::Limits;
use crate::error::Error;
use crate::error::shortage::{Asked, shortage};
use crate::host::clock;
use crate::host::fork::Origin;
use crate::host::lock::lock;

pub use ledger::ClassStats;
pub(crate) use ledger::Need;
use ledger::{Ledger, Ticket};
pub(crate) use terms::Terms;
pub use terms::{LatencyClass, WhenFull};
use timer::Timer;

/// Seconds that work takes before anything has been learned.
const SERVICE_FIRST: f64 = 1e-3;

impl From<&Limits> for Need {
    /// The whole of the limits, as a need.
    fn from(limits: &Limits) -> Need {
        Need {
            windows: limits.takes_in_flight_max as u64,
            reads: limits.reads_in_flight_max,
            bytes: limits.bytes_in_flight_max,
        }
    }
}

/// Counts of admission since the store was opened, in windows of takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AdmissionStats {
    /// Counts of urgent takes.
    pub urgent: ClassStats,
    /// Counts of bulk takes.
    pub bulk: ClassStats,
}

impl std::ops::Add for AdmissionStats {
    type Output = AdmissionStats;

    fn add(self, other: AdmissionStats) -> AdmissionStats {
        AdmissionStats {
            urgent: self.urgent + other.urgent,
            bulk: self.bulk + other.bulk,
        }
    }
}

/// Permits held at one instant, those of takes by code on shards included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PermitsHeld {
    /// Windows of takes, and searches.
    pub windows: u64,
    /// Their rows times column groups.
    pub reads: u64,
    /// Bytes that they may need.
    pub bytes: u64,
}

impl PermitsHeld {
    /// Each as a metric: its name, what it counts, and the number.
    pub(crate) fn by_name(self) -> [(&'static str, &'static str, u64); 3] {
        [
            (
                "permits_windows",
                "Windows and searches at work",
                self.windows,
            ),
            (
                "permits_reads",
                "Their rows times column groups",
                self.reads,
            ),
            ("permits_bytes", "Bytes that they may need", self.bytes),
        ]
    }
}

impl std::ops::Add for PermitsHeld {
    type Output = PermitsHeld;

    fn add(self, other: PermitsHeld) -> PermitsHeld {
        PermitsHeld {
            windows: self.windows + other.windows,
            reads: self.reads + other.reads,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Why work got no permit.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    Expired,
    /// There was none at once, and the work does not wait.
    Full,
    /// The holders of the permits are in another process.
    Forked,
    /// The thread that wakes waiters at their deadlines could not be started.
    NoTimer(std::io::Error),
}

/// The permits of a store or of one shard, and the futures that wait for them.
pub(crate) struct Admission {
    ledger: Mutex<Ledger<Waker>>,
    limits: [Need; LatencyClass::COUNT],
    /// By class, seconds from the permit to the end of work that has a deadline.
    service: Mutex<[Estimate; LatencyClass::COUNT]>,
    origin: Origin,
    timer: Timer,
}

/// The outcome of the work that a permit was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Done,
    /// Not all of it could be done by its deadline.
    Late,
    /// Its caller no longer wants it.
    Cancelled,
}

impl NotAdmitted {
    /// The error of a take that has sent nothing yet.
    pub(crate) fn into_error(self, rows: usize) -> Error {
        match self {
            NotAdmitted::Expired => Error::DeadlineExceeded {
                rows_unread: rows as u64,
                rows: rows as u64,
            },
            NotAdmitted::Full => Error::Overloaded,
            NotAdmitted::Forked => Error::Forked,
            NotAdmitted::NoTimer(error) => Error::NoTimer {
                reason: shortage(&error, Asked::Thread),
            },
        }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Admission {
    pub(crate) fn new(limits: Need) -> Admission {
        let ledger = Ledger::new(limits);
        Admission {
            limits: [
                ledger.limits(LatencyClass::Urgent),
                ledger.limits(LatencyClass::Bulk),
            ],
            ledger: Mutex::new(ledger),
            service: Mutex::new([Estimate::of(SERVICE_FIRST); LatencyClass::COUNT]),
            origin: Origin::here(),
            timer: Timer::default(),
        }
    }

    /// The most that one window of `class` can be given.
    pub(crate) fn limits(&self, class: LatencyClass) -> Need {
        self.limits[class.index()]
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<Waker>> {
        lock(&self.ledger)
    }

    pub(crate) fn stats(&self) -> AdmissionStats {
        let [urgent, bulk] = self.lock().stats;
        AdmissionStats { urgent, bulk }
    }

    pub(crate) fn held(&self) -> PermitsHeld {
        let used = self.lock().used();
        PermitsHeld {
            windows: used.windows,
            reads: used.reads,
            bytes: used.bytes,
        }
    }

    /// Asks for a permit. The place returned is a future; dropping it gives the place up.
    pub(crate) fn ask(self: &Arc<Self>, terms: Terms, need: Need) -> Place<'_> {
        Place {
            admission: self,
            terms,
            need,
            ticket: None,
        }
    }

    /// Counts a window that expired before it asked.
    fn expired(&self, class: LatencyClass) {
        self.lock().stats[class.index()].expired += 1;
    }

    /// Lets everybody in who fits after `change`, and wakes them outside the lock.
    fn settle(&self, change: impl FnOnce(&mut Ledger<Waker>)) {
        let mut ledger = self.lock();
        change(&mut ledger);
        let Some(first) = ledger.admit_next() else {
            return;
        };
        let rest: Vec<Waker> = std::iter::from_fn(|| ledger.admit_next()).collect();
        drop(ledger);
        first.wake();
        rest.into_iter().for_each(Waker::wake);
    }
}

/// A request for a permit. It has a place in the queue once it has been polled and not admitted.
pub(crate) struct Place<'a> {
    admission: &'a Arc<Admission>,
    terms: Terms,
    need: Need,
    /// `Some` from the first wait until a permit or the deadline.
    ticket: Option<Ticket>,
}

impl Place<'_> {
    fn given(&self) -> Need {
        self.need.at_most(self.admission.limits(self.terms.class))
    }

    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<Permit, NotAdmitted>> {
        let admission = self.admission;
        // Before the lock, which a thread that stayed behind may hold.
        if admission.origin.is_elsewhere() {
            return Poll::Ready(Err(NotAdmitted::Forked));
        }
        if self.ticket.is_none() && self.terms.is_late() {
            admission.expired(self.terms.class);
            return Poll::Ready(Err(NotAdmitted::Expired));
        }
        // Dropped after the lock is.
        let mut before = None;
        let mut ledger = admission.lock();
        let ticket = match self.ticket {
            None => {
                if ledger.try_admit(self.terms.class, self.need).is_some() {
                    drop(ledger);
                    return Poll::Ready(Ok(self.permit()));
                }
                if self.terms.when_full == WhenFull::Refuse {
                    ledger.stats[self.terms.class.index()].refused += 1;
                    return Poll::Ready(Err(NotAdmitted::Full));
                }
                let ticket = ledger.wait(self.terms.class, self.need, context.waker().clone());
                self.ticket = Some(ticket);
                ticket
            }
            Some(ticket) => {
                let Some(waker) = ledger.waiter(self.terms.class, ticket) else {
                    drop(ledger);
                    self.unset(ticket);
                    self.ticket = None;
                    return Poll::Ready(self.let_in());
                };
                before = Some(std::mem::replace(waker, context.waker().clone()));
                ticket
            }
        };
        drop(ledger);
        drop(before);
        let Some(deadline) = self.terms.deadline else {
            return Poll::Pending;
        };
        if clock::now() >= deadline {
            return self.expire(ticket);
        }
        match admission
            .timer
            .set((deadline, ticket), context.waker().clone())
        {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(NotAdmitted::NoTimer(error))),
        }
    }

    /// The deadline has passed; a permit that came in the last moment is used all the same.
    fn expire(&mut self, ticket: Ticket) -> Poll<Result<Permit, NotAdmitted>> {
        let class = self.terms.class;
        // A waker is dropped without the lock: it may be the last to hold a task that waits here too.
        let mut left = None;
        self.admission.settle(|ledger| {
            left = ledger.leave(class, ticket);
            if left.is_some() {
                ledger.stats[class.index()].expired += 1;
            }
        });
        self.unset(ticket);
        self.ticket = None;
        Poll::Ready(if left.is_some() {
            Err(NotAdmitted::Expired)
        } else {
            Ok(self.permit())
        })
    }

    fn permit(&self) -> Permit {
        Permit::new(
            self.admission,
            self.terms.class,
            self.given(),
            self.terms.deadline,
        )
    }

    /// The permit that came after a wait, unless it came too late to be of use.
    fn let_in(&self) -> Result<Permit, NotAdmitted> {
        let permit = self.permit();
        if permit.is_hopeless() {
            permit.give_back(|stats| stats.expired += 1);
            return Err(NotAdmitted::Expired);
        }
        Ok(permit)
    }

    fn unset(&self, ticket: Ticket) {
        if let Some(deadline) = self.terms.deadline {
            self.admission.timer.unset((deadline, ticket));
        }
    }
}

impl Future for Place<'_> {
    type Output = Result<Permit, NotAdmitted>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Place::poll(&mut self, context)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self
            .ticket
            .filter(|_| !self.admission.origin.is_elsewhere())
        else {
            return;
        };
        let (class, given) = (self.terms.class, self.given());
        let mut left = None;
        self.admission.settle(|ledger| {
            left = ledger.leave(class, ticket);
            if left.is_some() {
                ledger.stats[class.index()].cancelled += 1;
            } else {
                // Let in, and gone before it could use it.
                ledger.release(class, given);
            }
        });
        drop(left);
        self.unset(ticket);
    }
}

/// The share of the limits that a window holds. Given back once, by `release` or when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    class: LatencyClass,
    given: Need,
    /// When work that has a deadline began, and that deadline.
    time: Option<Time>,
    released: AtomicBool,
}

/// Since when there is a permit, and until when the work shall be done.
#[derive(Debug, Clone, Copy)]
struct Time {
    since: Instant,
    deadline: Instant,
}

impl Permit {
    fn new(
        admission: &Arc<Admission>,
        class: LatencyClass,
        given: Need,
        deadline: Option<Instant>,
    ) -> Permit {
        let since = |deadline| Time {
            since: clock::now(),
            deadline,
        };
        Permit {
            admission: admission.clone(),
            class,
            given,
            time: deadline.map(since),
            released: AtomicBool::new(false),
        }
    }

    /// Whether work probably takes longer than there is time.
    fn is_hopeless(&self) -> bool {
        self.time.is_some_and(|Time { since, deadline }| {
            let service = &mut lock(&self.admission.service)[self.class.index()];
            let left = deadline.saturating_duration_since(since).as_secs_f64();
            let hopeless = left < service.bound();
            if hopeless {
                service.doubt();
            }
            hopeless
        })
    }

    /// Gives it back after work.
    pub(crate) fn release(&self, work: Work) {
        if self.admission.origin.is_elsewhere() {
            return;
        }
        let took = match (self.time, work) {
            (Some(time), Work::Done) => Some((clock::now() - time.since).as_secs_f64()),
            (Some(time), Work::Late) => {
                let had = time.deadline.saturating_duration_since(time.since);
                Some(had.as_secs_f64() * LATE_COUNTS)
            }
            _ => None,
        };
        if let Some(took) = took {
            lock(&self.admission.service)[self.class.index()].learn(took);
        }
        self.give_back(|_| {});
    }

    fn give_back(&self, count: impl FnOnce(&mut ClassStats)) {
        if !self.released.swap(true, Ordering::Relaxed) && !self.admission.origin.is_elsewhere() {
            let (class, given) = (self.class, self.given);
            self.admission.settle(|ledger| {
                ledger.release(class, given);
                count(&mut ledger.stats[class.index()]);
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::host::clock::virtual_time::Stopped;

    const ONE: Need = Need {
        windows: 1,
        reads: 1,
        bytes: 1,
    };
    const SERVICE: Duration = Duration::from_millis(10);
    const URGENT: LatencyClass = LatencyClass::Urgent;

    fn urgent(deadline: Option<Instant>) -> Terms {
        Terms {
            class: URGENT,
            deadline,
            when_full: WhenFull::Wait,
        }
    }

    fn at_once(admission: &Arc<Admission>, deadline: Option<Instant>) -> Permit {
        let terms = Terms {
            when_full: WhenFull::Refuse,
            ..urgent(deadline)
        };
        block_on(admission.ask(terms, ONE)).unwrap()
    }

    /// Room for one, and what it takes to serve one is known.
    fn admission(time: &Stopped, work: Work) -> Arc<Admission> {
        let admission = Arc::new(Admission::new(ONE));
        for _ in 0..100 {
            let deadline = clock::now() + SERVICE;
            let permit = at_once(&admission, Some(deadline));
            time.advance(SERVICE);
            permit.release(work);
        }
        admission
    }

    /// Whether a window that is let in after a wait, with so much time left, is served.
    fn serves(admission: &Arc<Admission>, time: &Stopped, left: Duration) -> bool {
        let waits = Duration::from_millis(100);
        let before = at_once(admission, None);
        let deadline = Some(clock::now() + waits + left);
        let mut asked = admission.ask(urgent(deadline), ONE);
        assert!(block_on(poll_once(&mut asked)).is_none());
        time.advance(waits);
        before.release(Work::Done);
        let let_in = block_on(asked).is_ok();
        assert_eq!(admission.held(), PermitsHeld::default());
        let_in
    }

    #[test]
    fn who_is_let_in_with_too_little_time_left_gives_its_permit_to_the_next() {
        let time = Stopped::new();
        let done = admission(&time, Work::Done);
        assert!(serves(&done, &time, SERVICE + Duration::from_millis(1)));
        assert!(!serves(&done, &time, SERVICE - Duration::from_millis(1)));
        assert_eq!(done.stats().urgent.expired, 1);
    }

    #[test]
    fn work_that_was_late_counts_as_longer_and_cancelled_work_not_at_all() {
        let time = Stopped::new();
        let late = admission(&time, Work::Late);
        assert!(!serves(&late, &time, SERVICE + Duration::from_millis(9)));
        assert!(serves(&late, &time, SERVICE + Duration::from_millis(11)));
        let cancelled = admission(&time, Work::Cancelled);
        assert!(serves(&cancelled, &time, Duration::from_millis(2)));
    }

    #[test]
    fn windows_without_a_deadline_wait_as_long_as_it_takes() {
        let time = Stopped::new();
        let admission = admission(&time, Work::Done);
        let before = at_once(&admission, None);
        let mut asked = admission.ask(urgent(None), ONE);
        assert!(block_on(poll_once(&mut asked)).is_none());
        time.advance(Duration::from_secs(100));
        before.release(Work::Done);
        assert!(block_on(asked).is_ok());
    }
}
