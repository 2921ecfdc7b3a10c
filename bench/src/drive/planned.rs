//! Clients that go over a plan of reads made beforehand: one thread for each CPU, pinned to it.
//!
//! Each thread has a fixed share of the queries, so that none waits for another's counter.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use ringtake_runtime::yardstick::pin_this_thread;

use crate::count::process::Spent;
use crate::drive::clients::Work;
use crate::drive::load::Bound;
use crate::drive::run::{Client, Run, sum};
use crate::error::Error;

/// Runs `one` on every thread. Each calls [`Share::start`] once it stands ready.
pub(super) fn run_pinned(
    work: Work<'_>,
    at_start: &mut dyn FnMut(),
    one: impl Fn(&mut Client, &Share<'_>) -> Result<(), Error> + Sync,
) -> Result<Run, Error> {
    let threads = work.load.threads.get();
    let (ready, go) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let failed = AtomicBool::new(false);
    let clients = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads)
            .map(|thread| {
                let share = Share {
                    next: Cell::new(thread as u64),
                    step: threads as u64,
                    work,
                    deadline: Cell::new(None),
                    started: Cell::new(None),
                    failed: &failed,
                    ready: &ready,
                    go: &go,
                };
                let one = &one;
                scope.spawn(move || share.run(one))
            })
            .collect();
        ready.wait();
        at_start();
        go.wait();
        spawned.into_iter().map(|thread| thread.join()).collect()
    });
    sum(clients, work.pace, work.interrupted)
}

/// The queries of one thread.
pub(super) struct Share<'a> {
    next: Cell<u64>,
    step: u64,
    work: Work<'a>,
    deadline: Cell<Option<Instant>>,
    /// When the thread began, and what it had spent until then.
    started: Cell<Option<(Instant, Spent)>>,
    /// Set by the first thread that meets an error, so that the others stop.
    failed: &'a AtomicBool,
    ready: &'a Barrier,
    go: &'a Barrier,
}

impl Share<'_> {
    fn run(self, one: impl Fn(&mut Client, &Share<'_>) -> Result<(), Error>) -> Client {
        pin_this_thread((self.next.get()) as usize);
        let mut client = Client::new(self.work.live.join());
        if let Err(error) = one(&mut client, &self) {
            self.failed.store(true, Ordering::Relaxed);
            client = Client::new(Arc::default());
            client.error = Some(error);
        }
        // One that failed before its start would leave the others waiting for it.
        if self.started.get().is_none() {
            self.start();
        }
        if let Some((started, before)) = self.started.get() {
            client.started = Some(started);
            client.spent = Spent::by_this_thread().since(before);
        }
        client
    }

    /// Waits until every thread stands ready.
    pub(super) fn start(&self) {
        self.ready.wait();
        self.go.wait();
        let now = Instant::now();
        self.started.set(Some((now, Spent::by_this_thread())));
        if let Bound::Time(time) = self.work.load.bound {
            self.deadline.set(now.checked_add(time));
        }
    }

    /// The next query and the time at which it is asked.
    pub(super) fn next_query(&self) -> Option<(u64, Instant)> {
        let query = self.next.get();
        let asked = Instant::now();
        let over = match self.work.load.bound {
            Bound::Queries(queries) => query >= queries,
            Bound::Time(_) => self.deadline.get().is_some_and(|end| asked >= end),
        };
        let stopped =
            self.failed.load(Ordering::Relaxed) || self.work.interrupted.load(Ordering::Relaxed);
        if over || stopped {
            return None;
        }
        self.next.set(query + self.step);
        Some((query, asked))
    }

    /// Rows of each query.
    pub(super) fn rows_per_query(&self) -> u64 {
        self.work.workload.rows_per_query()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::num::NonZeroUsize;
    use std::sync::Mutex;

    use crate::drive::live::Live;
    use crate::drive::load::{Load, Pace};
    use crate::workload::Workload;

    fn run(
        bound: Bound,
        one: impl Fn(&mut Client, &Share<'_>) -> Result<(), Error> + Sync,
    ) -> Result<Run, Error> {
        let work = Work {
            load: Load {
                threads: NonZeroUsize::new(3).unwrap(),
                in_flight: NonZeroUsize::MIN,
                bound,
            },
            pace: Pace::Closed,
            workload: &Workload::new(1_000, 10, 1).unwrap(),
            interrupted: &AtomicBool::new(false),
            live: &Live::default(),
        };
        run_pinned(work, &mut || (), one)
    }

    #[test]
    fn every_query_is_asked_by_one_thread() {
        let asked = Mutex::new(Vec::new());
        let run = run(Bound::Queries(50), |client, share| {
            share.start();
            while let Some((query, at)) = share.next_query() {
                asked.lock().unwrap().push(query);
                client.answered(at, Instant::now(), share.rows_per_query());
            }
            Ok(())
        })
        .unwrap();
        assert_eq!((run.queries, run.rows), (50, 500));
        let mut asked = asked.into_inner().unwrap();
        asked.sort_unstable();
        assert_eq!(asked, (0..50).collect::<Vec<u64>>());
    }

    /// The other threads waited for ever where the ring of one could not be made.
    #[test]
    fn thread_that_fails_before_its_start_ends_the_run() {
        let hour = Bound::Time(std::time::Duration::from_secs(3600));
        let failed = AtomicBool::new(false);
        let refused = run(hour, |_, share| {
            if !failed.swap(true, Ordering::Relaxed) {
                return Err(Error::subject("no ring"));
            }
            share.start();
            while share.next_query().is_some() {
                std::thread::yield_now();
            }
            Ok(())
        });
        assert!(refused.unwrap_err().to_string().contains("no ring"));
    }
}
