//! Admission: what may be at work at once, over all callers of a store.
//!
//! A window of a take asks once for all it needs (`Need`) and gives it back when the last shard
//! has done with it. `admission/ledger.rs` has the rules; this file puts them under a lock,
//! taken twice per window, and makes waiting a future; `admission/timer.rs` wakes that future at
//! its deadline.
//!
//! Invariant: nobody waits for a permit while the work that would free it waits for them: a
//! permit belongs to work that shards finish without its caller.

mod ledger;
mod timer;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use serde::Serialize;

use crate::Error;
use crate::clock;
use crate::lock::lock;

pub use ledger::ClassStats;
pub(crate) use ledger::Need;
use ledger::{Ledger, Ticket};
use timer::Timer;

/// Whose reads go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyClass {
    /// Somebody waits for the rows: before all bulk work. The default, since bulk work knows
    /// that it is.
    #[default]
    Urgent,
    /// Work that is about rows per second: it leaves part of each queue to urgent takes, and
    /// keeps a small share of its own when they fill the rest.
    Bulk,
}

impl LatencyClass {
    pub(crate) const COUNT: usize = 2;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// What a take does when the store has no permit for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// It waits its turn, until its deadline if it has one.
    #[default]
    Wait,
    /// It fails at once with [`Error::Overloaded`](crate::Error::Overloaded). A take that has
    /// been let in is not refused later: its further windows wait.
    Refuse,
}

/// What admission has done since the store was opened. Counted in windows of takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AdmissionStats {
    /// Of urgent takes.
    pub urgent: ClassStats,
    /// Of bulk takes.
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

/// What is at work at one instant, takes by code on shards included.
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

/// Why a wait ended without a permit.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    Expired,
    /// Nobody could wake the waiter at its deadline.
    NoTimer(std::io::Error),
}

/// See the module.
pub(crate) struct Admission {
    ledger: Mutex<Ledger<Waker>>,
    limits: [Need; LatencyClass::COUNT],
    timer: Timer,
}

impl NotAdmitted {
    /// The error of a take that has sent nothing yet.
    pub(crate) fn into_error(self, rows: usize) -> Error {
        match self {
            NotAdmitted::Expired => Error::DeadlineExceeded {
                rows_unread: rows as u64,
                rows: rows as u64,
            },
            NotAdmitted::NoTimer(error) => Error::NoTimer {
                reason: error.to_string(),
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

    /// A permit, if there is one now and nobody is passed; otherwise the refusal is counted.
    pub(crate) fn try_acquire(self: &Arc<Self>, class: LatencyClass, need: Need) -> Option<Permit> {
        let mut ledger = self.lock();
        let given = ledger.try_admit(class, need);
        if given.is_none() {
            ledger.stats[class.index()].refused += 1;
        }
        drop(ledger);
        given.map(|given| Permit::new(self, class, given))
    }

    /// Waits for a permit. Dropping the future gives the place up.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        class: LatencyClass,
        need: Need,
        deadline: Option<Instant>,
    ) -> Result<Permit, NotAdmitted> {
        let mut place = Place {
            admission: self,
            class,
            need,
            ticket: None,
            deadline,
        };
        poll_fn(|context| place.poll(context)).await
    }

    /// Counts a window that expired before it asked.
    pub(crate) fn expired(&self, class: LatencyClass) {
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

/// A place in the queue, once it has been polled.
struct Place<'a> {
    admission: &'a Arc<Admission>,
    class: LatencyClass,
    need: Need,
    /// There from the first wait until a permit or the deadline.
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
}

impl Place<'_> {
    fn given(&self) -> Need {
        self.need.at_most(self.admission.limits(self.class))
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<Permit, NotAdmitted>> {
        let admission = self.admission;
        // Dropped after the lock is.
        let mut before = None;
        let mut ledger = admission.lock();
        let ticket = match self.ticket {
            None => {
                if let Some(given) = ledger.try_admit(self.class, self.need) {
                    drop(ledger);
                    return Poll::Ready(Ok(Permit::new(admission, self.class, given)));
                }
                let ticket = ledger.wait(self.class, self.need, context.waker().clone());
                self.ticket = Some(ticket);
                ticket
            }
            Some(ticket) => {
                let Some(waker) = ledger.waiter(self.class, ticket) else {
                    drop(ledger);
                    self.unset(ticket);
                    self.ticket = None;
                    let permit = Permit::new(admission, self.class, self.given());
                    return Poll::Ready(Ok(permit));
                };
                before = Some(std::mem::replace(waker, context.waker().clone()));
                ticket
            }
        };
        drop(ledger);
        drop(before);
        let Some(deadline) = self.deadline else {
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
        let class = self.class;
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
            Ok(Permit::new(self.admission, class, self.given()))
        })
    }

    fn unset(&self, ticket: Ticket) {
        if let Some(deadline) = self.deadline {
            self.admission.timer.unset((deadline, ticket));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        let (class, given) = (self.class, self.given());
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

/// What a window was given. Given back once, by `release` or when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    class: LatencyClass,
    given: Need,
    released: AtomicBool,
}

impl Permit {
    fn new(admission: &Arc<Admission>, class: LatencyClass, given: Need) -> Permit {
        Permit {
            admission: admission.clone(),
            class,
            given,
            released: AtomicBool::new(false),
        }
    }

    pub(crate) fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            let (class, given) = (self.class, self.given);
            self.admission.settle(|ledger| ledger.release(class, given));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}
