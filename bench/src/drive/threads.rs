//! Client threads: in a closed loop they keep a fixed number of queries in flight.
//!
//! A client of a closed loop asks its next query when the one before has come
//! back, so the rate found is the capacity; latency under a given rate is
//! another measurement, the open loop of `driver/open_loop.rs`, whose clients
//! may also be inside the shards: `driver/in_shard.rs`.
//! Each thread drives its queries with an executor of its own. The queries of
//! all clients come from one ticket counter: a run of n queries is the first n
//! of the workload, whoever asks them.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use async_executor::LocalExecutor;

use crate::count::clocks::Clocks;
use crate::count::process::{Spent, name_this_thread};
use crate::drive::arrivals::Poisson;
use crate::drive::live::Live;
use crate::drive::load::{Bound, Load, Pace};
use crate::drive::open_loop::{Queries, generate};
use crate::drive::run::{Client, Run, sum};
use crate::drive::subject::{Alarm, Subject, whole};
use crate::error::Error;
use crate::workload::Workload;

/// Runs `load` against `subject`, which `live` shows to others meanwhile. `at_start` is called when
/// every thread stands ready and none has asked yet: the place to read counters.
///
/// # Errors
/// What a query returns; an interruption before the first has come back. A later one ends the run,
/// which says so.
pub(crate) fn run<S: Subject>(
    load: Load,
    pace: Pace,
    workload: &Workload,
    interrupted: &AtomicBool,
    subject: &S,
    live: &Live,
    at_start: impl FnOnce(),
) -> Result<Run, Error> {
    let shared = Shared {
        live,
        workload,
        subject,
        tickets: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        interrupted,
        bound: load.bound,
        pace: pace.for_one_of(load.threads.get()),
        ready: Barrier::new(load.threads.get() + 1),
        go: Barrier::new(load.threads.get() + 1),
    };
    let clients: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.threads.get())
            .map(|thread| {
                let shared = &shared;
                scope.spawn(move || shared.client_thread(thread, load.in_flight.get()))
            })
            .collect();
        shared.ready.wait();
        at_start();
        shared.go.wait();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    sum(clients, pace, interrupted)
}

/// What all client threads look at.
struct Shared<'a, S> {
    live: &'a Live,
    workload: &'a Workload,
    subject: &'a S,
    /// The next query nobody has asked; written by every client.
    tickets: AtomicU64,
    /// Set by the first client that meets an error, so that the others stop.
    failed: AtomicBool,
    interrupted: &'a AtomicBool,
    bound: Bound,
    /// Of each thread.
    pace: Pace,
    ready: Barrier,
    go: Barrier,
}

impl<S: Subject> Shared<'_, S> {
    fn client_thread(&self, thread: usize, in_flight: usize) -> Client {
        name_this_thread(&format!("bench-client-{thread}"));
        let client = RefCell::new(Client::new(self.live.join()));
        if self.pace != Pace::Closed {
            Clocks::of_this_machine().keep_client(thread);
        }
        self.ready.wait();
        self.go.wait();
        let before = Spent::by_this_thread();
        // By the thread's own clock: those of two CPUs may differ by milliseconds.
        client.borrow_mut().started = Some(Instant::now());
        match self.pace {
            Pace::Closed | Pace::Capacity => self.closed_client(in_flight, &client),
            Pace::Open { rate_per_s, seed } => self.open_client(thread, rate_per_s, seed, &client),
        }
        let mut client = client.into_inner();
        client.spent = Spent::by_this_thread().since(before);
        client
    }

    fn closed_client(&self, in_flight: usize, client: &RefCell<Client>) {
        client.borrow_mut().deadline = match self.bound {
            Bound::Time(limit) => Instant::now().checked_add(limit),
            Bound::Queries(_) => None,
        };
        let executor = LocalExecutor::new();
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| executor.spawn(self.client_loop(client)))
            .collect();
        let all = executor.run(async {
            for task in tasks {
                task.await;
            }
        });
        self.subject.drive(all, &Alarm::default());
    }

    /// One query after another, until a bound is met.
    async fn client_loop(&self, client: &RefCell<Client>) {
        let mut rows = Vec::new();
        // The clock may cost a system call, as much as a row: it is read twice a query.
        let mut now = Instant::now();
        loop {
            if client.borrow().deadline.is_some_and(|end| now >= end) {
                return;
            }
            let Some(query) = self.next_query() else {
                return;
            };
            self.workload.query(query, &mut rows);
            let asked = Instant::now();
            let answer = self.subject.take(&rows).await;
            now = Instant::now();
            let answer = answer.and_then(|answer| whole(self.subject, rows.len(), answer));
            client.borrow_mut().came(asked, now, answer);
            if self.stop_on_error(&client.borrow()) {
                return;
            }
        }
    }

    /// Stops every client if this one has met an error.
    fn stop_on_error(&self, client: &Client) -> bool {
        let failed = client.error.is_some();
        if failed {
            self.stop();
        }
        failed
    }

    fn stop(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.interrupted.load(Ordering::Relaxed)
    }

    fn next_query(&self) -> Option<u64> {
        if self.stopped() {
            return None;
        }
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        match self.bound {
            Bound::Queries(queries) if ticket >= queries => None,
            _ => Some(ticket),
        }
    }
}

impl<S: Subject> Shared<'_, S> {
    /// One thread's share of the arrivals, from now on.
    fn open_client(&self, thread: usize, rate_per_s: f64, seed: u64, client: &RefCell<Client>) {
        // The kernel delays timers by 50 microseconds to wake less often. Where it does not
        // take the wish, starts are late, which is measured.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let alarm = Alarm::spinning(self.subject.spin());
        let arrivals = Poisson::of_client(rate_per_s, seed, thread);
        let all = generate(self, arrivals, self.bound, client, |_, next| {
            alarm.set(next)
        });
        self.subject.drive(all, &alarm);
    }
}

impl<S: Subject> Queries for Shared<'_, S> {
    type Answer = S::Answer;

    fn rows_per_query(&self) -> u64 {
        self.workload.rows_per_query()
    }

    fn next_query(&self) -> Option<u64> {
        Shared::next_query(self)
    }

    fn query(&self, index: u64, rows: &mut Vec<u64>) {
        self.workload.query(index, rows);
    }

    async fn take_due(&self, rows: &[u64], planned: Instant) -> Result<S::Answer, Error> {
        let answer = self.subject.take_due(rows, planned).await?;
        whole(self.subject, rows.len(), answer)
    }

    fn stopped(&self) -> bool {
        Shared::stopped(self)
    }

    fn stop(&self) {
        Shared::stop(self);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::num::NonZeroUsize;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use crate::drive::subject::tests::{Fake, echo};

    fn load(threads: usize, in_flight: usize, bound: Bound) -> Load {
        Load {
            threads: NonZeroUsize::new(threads).unwrap(),
            in_flight: NonZeroUsize::new(in_flight).unwrap(),
            bound,
        }
    }

    #[test]
    fn every_query_is_asked_once_whatever_the_threads() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let asked_by = |threads, in_flight| {
            let asked = Mutex::new(Vec::new());
            let run = run(
                load(threads, in_flight, Bound::Queries(60)),
                Pace::Closed,
                &workload,
                &AtomicBool::new(false),
                &Fake(|rows: &[u64]| {
                    asked.lock().unwrap().extend_from_slice(rows);
                    let batch = echo(rows);
                    async move {
                        futures_lite::future::yield_now().await;
                        Ok(batch)
                    }
                }),
                &Live::default(),
                || (),
            )
            .unwrap();
            assert_eq!((run.queries, run.rows), (60, 600));
            assert_eq!(run.latency_ns.len(), 60);
            let mut asked = asked.into_inner().unwrap();
            asked.sort_unstable();
            (asked, run.touched)
        };
        let one = asked_by(1, 1);
        assert_eq!(one.0.len(), 600);
        assert_eq!(one, asked_by(3, 4));
    }

    #[test]
    fn each_thread_keeps_its_queries_in_flight_and_no_more() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (now, most) = (&now, &most);
        run(
            load(1, 5, Bound::Queries(50)),
            Pace::Closed,
            &workload,
            &AtomicBool::new(false),
            &Fake(|rows: &[u64]| {
                let batch = echo(rows);
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // Long enough for every other client to come by.
                    for _ in 0..20 {
                        futures_lite::future::yield_now().await;
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(batch)
                }
            }),
            &Live::default(),
            || (),
        )
        .unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn first_error_ends_the_run_and_is_returned() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let refused = run(
            load(2, 2, Bound::Time(Duration::from_secs(3600))),
            Pace::Closed,
            &workload,
            &AtomicBool::new(false),
            &Fake(|_: &[u64]| async { Err(Error::Interrupted) }),
            &Live::default(),
            || (),
        );
        assert!(matches!(refused, Err(Error::Interrupted)));
    }

    #[test]
    fn answer_with_rows_missing_is_an_error() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let refused = run(
            load(1, 1, Bound::Queries(5)),
            Pace::Closed,
            &workload,
            &AtomicBool::new(false),
            &Fake(|rows: &[u64]| {
                let batch = echo(&rows[1..]);
                async move { Ok(batch) }
            }),
            &Live::default(),
            || (),
        );
        assert!(matches!(
            refused,
            Err(Error::RowsLost {
                asked: 10,
                returned: 9
            })
        ));
    }

    #[test]
    fn signal_ends_a_run_without_end_and_keeps_what_it_has_measured() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let interrupted = AtomicBool::new(false);
        let part = run(
            load(1, 1, Bound::Time(Duration::from_secs(3600))),
            Pace::Closed,
            &workload,
            &interrupted,
            &Fake(|rows: &[u64]| {
                interrupted.store(true, Ordering::Relaxed);
                let batch = echo(rows);
                async move { Ok(batch) }
            }),
            &Live::default(),
            || (),
        )
        .unwrap();
        assert_eq!((part.queries, part.interrupted), (1, true));
        assert!(matches!(part.whole(), Err(Error::Interrupted)));
    }

    #[test]
    fn signal_before_the_first_answer_leaves_nothing_to_keep() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let refused = run(
            load(1, 1, Bound::Time(Duration::from_secs(3600))),
            Pace::Closed,
            &workload,
            &AtomicBool::new(true),
            &Fake(|rows: &[u64]| {
                let batch = echo(rows);
                async move { Ok(batch) }
            }),
            &Live::default(),
            || (),
        );
        assert!(matches!(refused, Err(Error::Interrupted)));
    }

    #[test]
    fn counters_are_read_before_the_first_query() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let asked = AtomicUsize::new(0);
        let at_start = AtomicUsize::new(usize::MAX);
        run(
            load(2, 2, Bound::Queries(8)),
            Pace::Closed,
            &workload,
            &AtomicBool::new(false),
            &Fake(|rows: &[u64]| {
                asked.fetch_add(1, Ordering::SeqCst);
                let batch = echo(rows);
                async move { Ok(batch) }
            }),
            &Live::default(),
            || at_start.store(asked.load(Ordering::SeqCst), Ordering::SeqCst),
        )
        .unwrap();
        assert_eq!(at_start.load(Ordering::SeqCst), 0);
        assert_eq!(asked.load(Ordering::SeqCst), 8);
    }
}

#[cfg(test)]
mod open_loop_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use std::time::Duration;

    use crate::drive::subject::tests::{Fake, echo};

    fn load(bound: Bound) -> Load {
        Load {
            threads: std::num::NonZeroUsize::MIN,
            in_flight: std::num::NonZeroUsize::MIN,
            bound,
        }
    }

    const FAST: Pace = Pace::Open {
        rate_per_s: 2_000.0,
        seed: 1,
    };

    #[test]
    fn standstill_of_the_subject_is_charged_to_every_query_that_was_due_in_it() {
        let workload = Workload::new(10_000, 10, 1).unwrap();
        let standstill = Duration::from_millis(200);
        let taken = AtomicU64::new(0);
        let run = run(
            load(Bound::Queries(1_000)),
            FAST,
            &workload,
            &AtomicBool::new(false),
            &Fake(|rows: &[u64]| {
                // One query stops the thread, and with it the generator.
                if taken.fetch_add(1, Ordering::Relaxed) == 100 {
                    std::thread::sleep(standstill);
                }
                let batch = echo(rows);
                async move { Ok(batch) }
            }),
            &Live::default(),
            || (),
        )
        .unwrap();
        assert_eq!(run.queries, 1_000);
        // At 2,000 per second about 400 queries were due in the standstill, half of them in its
        // first half. Counted from their start, one would have been slow.
        let half = standstill.as_nanos() as u64 / 2;
        let slow = run.latency_ns.count_between(half, u64::MAX);
        assert!(slow >= 120, "{slow}");
        let arrivals = run.arrivals.unwrap();
        assert_eq!((arrivals.planned, arrivals.never_started), (1_000, 0));
        assert!(arrivals.late >= 240, "{}", arrivals.late);
    }

    #[test]
    fn queries_start_although_those_before_have_not_come_back() {
        let workload = Workload::new(10_000, 10, 1).unwrap();
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let (now, most) = (&now, &most);
        let all = 40;
        let subject = Fake(|rows: &[u64]| {
            let batch = echo(rows);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Nobody comes back before the last has started.
                while now.load(Ordering::SeqCst) < all {
                    futures_lite::future::yield_now().await;
                }
                Ok(batch)
            }
        });
        let interrupted = AtomicBool::new(false);
        let bound = load(Bound::Queries(all));
        let run = run(
            bound,
            FAST,
            &workload,
            &interrupted,
            &subject,
            &Live::default(),
            || (),
        )
        .unwrap();
        assert_eq!((run.queries, most.load(Ordering::SeqCst)), (all, all));
    }

    #[test]
    fn queries_that_an_overload_kept_from_starting_are_counted() {
        let workload = Workload::new(100_000, 10_000, 1).unwrap();
        let subject = Fake(|rows: &[u64]| {
            std::thread::sleep(Duration::from_millis(30));
            let batch = echo(rows);
            async move { Ok(batch) }
        });
        let bound = load(Bound::Time(Duration::from_millis(100)));
        let interrupted = AtomicBool::new(false);
        let run = run(
            bound,
            FAST,
            &workload,
            &interrupted,
            &subject,
            &Live::default(),
            || (),
        )
        .unwrap();
        let arrivals = run.arrivals.unwrap();
        assert!(arrivals.never_started > 0, "{arrivals:?}");
        assert_eq!(arrivals.planned, run.queries + arrivals.never_started);
    }

    #[test]
    fn first_error_ends_an_open_loop_and_is_returned() {
        let workload = Workload::new(1_000, 10, 1).unwrap();
        let subject = Fake(|_: &[u64]| async { Err(Error::Interrupted) });
        let bound = load(Bound::Time(Duration::from_secs(3600)));
        let refused = run(
            bound,
            FAST,
            &workload,
            &AtomicBool::new(false),
            &subject,
            &Live::default(),
            || (),
        );
        assert!(matches!(refused, Err(Error::Interrupted)));
    }

    #[test]
    fn queries_that_are_shed_are_counted_and_end_nothing() {
        let workload = Workload::new(10_000, 10, 1).unwrap();
        let asked = AtomicU64::new(0);
        let subject = Fake(|rows: &[u64]| {
            let batch = echo(rows);
            let nth = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                match nth % 4 {
                    0 => Err(Error::Store(ringtake_runtime::Error::Overloaded {
                        ids: Vec::new(),
                    })),
                    1 => Err(Error::Store(ringtake_runtime::Error::DeadlineExceeded {
                        rows_unread: 1,
                        rows: 10,
                    })),
                    _ => Ok(batch),
                }
            }
        });
        let bound = load(Bound::Queries(40));
        let run = run(
            bound,
            FAST,
            &workload,
            &AtomicBool::new(false),
            &subject,
            &Live::default(),
            || (),
        )
        .unwrap();
        let arrivals = run.arrivals.unwrap();
        assert_eq!(
            (arrivals.refused, arrivals.expired, run.queries),
            (10, 10, 20)
        );
    }
}
