//! Client threads: in a closed loop they keep a fixed number of queries in flight.
//!
//! A client of a closed loop asks its next query when the one before has come
//! back, so the rate found is the capacity; latency under a given rate is
//! another measurement, the open loop of `driver/open_loop.rs`, whose clients
//! may also be inside the shards: `driver/in_shard.rs`.
//! Each thread drives its queries with an executor of its own. The queries of
//! all clients come from one ticket counter: a run of n queries is the first n
//! of the workload, whoever asks them.

mod in_shard;
mod live;
mod open_loop;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use clap::ValueEnum;
use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;
use serde::Serialize;

pub(crate) use in_shard::InShard;
use live::Tally;
pub(crate) use live::{Done, Live};
pub(crate) use open_loop::Arrivals;

use crate::clocks::Clocks;
use crate::error::{Error, Shed};
use crate::process::{Spent, name_this_thread};
use crate::subject::{Alarm, Answer, Subject, whole};
use crate::workload::Workload;

/// Latencies are kept to three digits from a nanosecond to an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const LATENCY_DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
        .unwrap_or_else(|error| unreachable!("constant bounds are right: {error}"))
}

/// A time as histograms take it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// No query is asked after this time; those in flight are waited for.
    Time(Duration),
    /// So many queries are asked.
    Queries(u64),
}

/// How hard the clients push.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Client threads.
    pub threads: NonZeroUsize,
    /// Queries each of them keeps in flight.
    pub in_flight: NonZeroUsize,
    /// When they stop.
    pub bound: Bound,
}

/// Where the clients of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Clients {
    /// On threads of their own.
    #[default]
    Threads,
    /// In each shard, beside the rows it owns.
    InShard,
}

/// When queries are asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Each when one before it has come back.
    Closed,
    /// The same on the CPUs of an open loop, for its capacity.
    Capacity,
    /// At times planned beforehand.
    Open {
        /// Queries per second, on average.
        rate_per_s: f64,
        /// Chooses the times.
        seed: u64,
    },
}

/// What the clients saw.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// From the first query asked to the last answered.
    pub(crate) duration: Duration,
    /// Queries answered.
    pub(crate) queries: u64,
    /// Rows in the answers.
    pub(crate) rows: u64,
    /// From asking, or the planned time of it, to answer, in nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// What the client threads spent, part of what the process spent.
    pub(crate) clients: Spent,
    /// A sum over bytes of the answers: proof that they were looked at.
    pub(crate) touched: u64,
    /// What an open loop did besides.
    pub(crate) arrivals: Option<Arrivals>,
    /// It was ended before its time.
    pub(crate) interrupted: bool,
}

impl Run {
    /// The run, if it was not ended before its time.
    pub(crate) fn whole(self) -> Result<Run, Error> {
        match self.interrupted {
            true => Err(Error::Interrupted),
            false => Ok(self),
        }
    }
}

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

/// What all clients saw together.
fn sum(
    clients: Vec<std::thread::Result<Client>>,
    pace: Pace,
    interrupted: &AtomicBool,
) -> Result<Run, Error> {
    let mut sum = Client::new(Arc::default());
    for client in clients {
        match client {
            Ok(client) => sum.absorb(client),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    if let Some(error) = sum.error {
        return Err(error);
    }
    let interrupted = interrupted.load(Ordering::Relaxed);
    if interrupted && sum.queries == 0 {
        return Err(Error::Interrupted);
    }
    Ok(Run {
        interrupted,
        duration: sum
            .started
            .zip(sum.last_answer)
            .map_or(Duration::ZERO, |(first, last)| last.duration_since(first)),
        queries: sum.queries,
        rows: sum.rows,
        latency_ns: sum.latency_ns,
        clients: sum.spent,
        touched: sum.touched,
        arrivals: match pace {
            Pace::Closed | Pace::Capacity => None,
            Pace::Open { .. } => Some(sum.arrivals),
        },
    })
}

impl Pace {
    fn for_one_of(self, threads: usize) -> Pace {
        match self {
            Pace::Closed | Pace::Capacity => self,
            Pace::Open { rate_per_s, seed } => Pace::Open {
                rate_per_s: rate_per_s / threads as f64,
                seed,
            },
        }
    }
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

/// What one client thread has seen.
struct Client {
    tally: Arc<CachePadded<Tally>>,
    started: Option<Instant>,
    deadline: Option<Instant>,
    /// When the last query was answered, or found to be given up.
    last_answer: Option<Instant>,
    queries: u64,
    rows: u64,
    latency_ns: Histogram<u64>,
    spent: Spent,
    touched: u64,
    arrivals: Arrivals,
    error: Option<Error>,
}

impl Client {
    fn new(tally: Arc<CachePadded<Tally>>) -> Client {
        Client {
            tally,
            started: None,
            deadline: None,
            last_answer: None,
            queries: 0,
            rows: 0,
            latency_ns: latency_histogram(),
            spent: Spent::default(),
            touched: 0,
            arrivals: Arrivals::new(),
            error: None,
        }
    }

    fn shed(&mut self, now: Instant, shed: Shed) {
        // Time in which nothing is answered counts.
        self.last_answer = Some(now);
        match shed {
            Shed::Refused => self.arrivals.refused += 1,
            Shed::Expired => self.arrivals.expired += 1,
        }
    }

    fn came(&mut self, asked: Instant, now: Instant, answer: Result<impl Answer, Error>) {
        match answer {
            Ok(answer) => self.answered(asked, now, &answer),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    fn answered(&mut self, asked: Instant, now: Instant, answer: &impl Answer) {
        let latency_ns = nanoseconds(now - asked);
        self.latency_ns.saturating_record(latency_ns);
        self.tally.answered(answer.rows() as u64, latency_ns);
        self.last_answer = Some(now);
        self.queries += 1;
        self.rows += answer.rows() as u64;
        self.touched = self
            .touched
            .wrapping_add(std::hint::black_box(answer.touch()));
    }

    fn absorb(&mut self, other: Client) {
        self.started = match (self.started, other.started) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.last_answer = self.last_answer.max(other.last_answer);
        self.queries += other.queries;
        self.rows += other.rows;
        self.latency_ns += other.latency_ns;
        self.spent = self.spent.plus(other.spent);
        self.touched = self.touched.wrapping_add(other.touched);
        self.arrivals.absorb(other.arrivals);
        self.error = self.error.take().or(other.error);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use crate::subject::tests::{Fake, echo};

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
