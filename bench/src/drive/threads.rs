//! Client threads: in a closed loop they keep a fixed number of queries in flight.
//!
//! A client of a closed loop asks its next query when the one before has come
//! back, so the rate found is the capacity; latency under a given rate is
//! another measurement, the open loop of `open_loop.rs`, whose clients may also
//! be inside the shards: `in_shard.rs`.
//! Each thread drives its queries with an executor of its own. The queries of
//! all clients come from one ticket counter: a run of n queries is the first n
//! of the workload, on any number of threads.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use async_executor::LocalExecutor;

use crate::count::clocks::Clocks;
use crate::count::process::{Spent, name_this_thread};
use crate::drive::arrivals::Poisson;
use crate::drive::clients::{Clients, Work};
use crate::drive::load::{Bound, Pace};
use crate::drive::open_loop::{Queries, generate};
use crate::drive::run::{Client, Run, sum};
use crate::drive::subject::{Alarm, Query as _, Subject, whole};
use crate::error::Error;

/// Clients of a subject on threads of their own.
pub(crate) struct Threads<'a, S>(pub(crate) &'a S);

impl<S: Subject> Clients for Threads<'_, S> {
    fn run(&self, work: Work<'_>, at_start: &mut dyn FnMut()) -> Result<Run, Error> {
        let threads = work.load.threads.get();
        let shared = Shared {
            work: Work {
                pace: work.pace.for_one_of(threads),
                ..work
            },
            subject: self.0,
            tickets: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            ready: Barrier::new(threads + 1),
            go: Barrier::new(threads + 1),
        };
        let clients: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| {
                    let shared = &shared;
                    scope.spawn(move || shared.client_thread(thread))
                })
                .collect();
            shared.ready.wait();
            at_start();
            shared.go.wait();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        sum(clients, work.pace, work.interrupted)
    }
}

/// State that all client threads share.
struct Shared<'a, S> {
    /// At the pace of each thread.
    work: Work<'a>,
    subject: &'a S,
    /// The number of the next query; written by every client.
    tickets: AtomicU64,
    /// Set by the first client that meets an error, so that the others stop.
    failed: AtomicBool,
    ready: Barrier,
    go: Barrier,
}

impl<S: Subject> Shared<'_, S> {
    fn client_thread(&self, thread: usize) -> Client {
        name_this_thread(&format!("bench-client-{thread}"));
        let client = RefCell::new(Client::new(self.work.live.join()));
        if self.work.pace != Pace::Closed {
            Clocks::of_this_machine().keep_client(thread);
        }
        self.ready.wait();
        self.go.wait();
        let before = Spent::by_this_thread();
        // By the thread's own clock: those of two CPUs may differ by milliseconds.
        client.borrow_mut().started = Some(Instant::now());
        match self.work.pace {
            Pace::Closed | Pace::Capacity => self.closed_client(&client),
            Pace::Open { rate_per_s, seed } => self.open_client(thread, rate_per_s, seed, &client),
        }
        let mut client = client.into_inner();
        client.spent = Spent::by_this_thread().since(before);
        client
    }

    fn closed_client(&self, client: &RefCell<Client>) {
        client.borrow_mut().deadline = match self.work.load.bound {
            Bound::Time(limit) => Instant::now().checked_add(limit),
            Bound::Queries(_) => None,
        };
        let executor = LocalExecutor::new();
        let tasks: Vec<_> = (0..self.work.load.in_flight.get())
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
            self.work.workload.query(query, &mut rows);
            let asked = Instant::now();
            let answer = self.subject.take(S::Query::of(&rows)).await;
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
        self.failed.load(Ordering::Relaxed) || self.work.interrupted.load(Ordering::Relaxed)
    }

    fn next_query(&self) -> Option<u64> {
        if self.stopped() {
            return None;
        }
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        match self.work.load.bound {
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
        let alarm = Alarm::spinning(self.subject.observed().spin());
        let arrivals = Poisson::of_client(rate_per_s, seed, thread);
        let all = generate(self, arrivals, self.work.load.bound, client, |_, next| {
            alarm.set(next)
        });
        self.subject.drive(all, &alarm);
    }
}

impl<S: Subject> Queries for Shared<'_, S> {
    type Answer = S::Answer;

    fn rows_per_query(&self) -> u64 {
        self.work.workload.rows_per_query()
    }

    fn next_query(&self) -> Option<u64> {
        Shared::next_query(self)
    }

    fn query(&self, index: u64, rows: &mut Vec<u64>) {
        self.work.workload.query(index, rows);
    }

    async fn take_due(&self, rows: &[u64], planned: Instant) -> Result<S::Answer, Error> {
        let answer = self.subject.take_due(S::Query::of(rows), planned).await?;
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
mod tests;
