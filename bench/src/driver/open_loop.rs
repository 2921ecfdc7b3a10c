//! The open loop: queries arrive at a rate, whether or not those before have come back.
//!
//! Arrivals are a Poisson process: each thread plans its own share of the rate, and the sum of
//! such processes is one again. Latency counts from the planned arrival, so a store that stands
//! still for a second is charged for every query that would have come in that second, and not
//! for the one that did (coordinated omission). How late each query was started is kept beside
//! it: that part is the generator's, or the store's where it took the generator's CPU.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use hdrhistogram::Histogram;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Bound, Client, Shared, latency_histogram, nanoseconds};
use crate::error::Error;
use crate::permutation::mix;
use crate::subject::{Alarm, Answer, Subject, whole};

/// A thread starts no further query while it waits for so many rows; those planned meanwhile
/// start late. It bounds the memory of an overload.
const ROWS_IN_FLIGHT_MAX: u64 = 1 << 16;

/// The same for queries, the other way round: at least so many may wait.
const QUERIES_IN_FLIGHT_MIN: u64 = 64;

/// How long after its end a run goes on to start what was planned before it.
const GRACE: Duration = Duration::from_secs(1);

/// A query started later than this after its time counts as late.
const LATE: Duration = Duration::from_micros(100);

/// What an open loop did besides answering.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// Queries planned.
    pub(crate) planned: u64,
    /// From the planned arrival to the start, in nanoseconds.
    pub(crate) start_late_ns: Histogram<u64>,
    /// Queries started more than 100 microseconds late.
    pub(crate) late: u64,
    /// Queries planned that were not started before the run was over.
    pub(crate) never_started: u64,
    /// Queries that the subject refused, since it had too much to do.
    pub(crate) refused: u64,
    /// Queries whose deadline came before their rows.
    pub(crate) expired: u64,
}

impl Arrivals {
    pub(super) fn new() -> Arrivals {
        Arrivals {
            planned: 0,
            start_late_ns: latency_histogram(),
            late: 0,
            never_started: 0,
            refused: 0,
            expired: 0,
        }
    }

    pub(super) fn absorb(&mut self, other: Arrivals) {
        self.planned += other.planned;
        self.start_late_ns += other.start_late_ns;
        self.late += other.late;
        self.never_started += other.never_started;
        self.refused += other.refused;
        self.expired += other.expired;
    }

    fn started(&mut self, late: Duration) {
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
    pub(super) fn of_client(rate_per_s: f64, seed: u64, client: usize) -> Poisson {
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

impl<S: Subject> Shared<'_, S> {
    /// One thread's share of the arrivals, from now on.
    pub(super) fn open_client(
        &self,
        thread: usize,
        rate_per_s: f64,
        seed: u64,
        client: &RefCell<Client>,
    ) {
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

/// Where an open loop gets its queries, and who answers them.
pub(super) trait Queries {
    /// What a query comes back with.
    type Answer: Answer;

    /// Rows of each query.
    fn rows_per_query(&self) -> u64;

    /// The next query that nobody has asked; `None` if nothing more shall be asked.
    fn next_query(&self) -> Option<u64>;

    /// Puts the rows of query `index` into `rows`.
    fn query(&self, index: u64, rows: &mut Vec<u64>);

    /// Takes the rows of a query that was to come at `planned`. An answer that lacks some is an
    /// error.
    fn take_due(
        &self,
        rows: &[u64],
        planned: Instant,
    ) -> impl Future<Output = Result<Self::Answer, Error>>;

    /// Whether a client has met an error, or a signal has come.
    fn stopped(&self) -> bool;

    /// Stops every client.
    fn stop(&self);
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

/// Starts each of `queries` when `arrivals` says so, from now on, and ends when the last has come
/// back. `wait` is told, in each poll that waits, when the next is due; what it does not bring
/// about is late.
pub(super) async fn generate<Q: Queries>(
    queries: &Q,
    arrivals: Poisson,
    bound: Bound,
    client: &RefCell<Client>,
    wait: impl Fn(&Context<'_>, Option<Instant>),
) {
    let in_flight = Cell::new(0);
    let executor = LocalExecutor::new();
    let mut running = pin!(executor.run(std::future::pending::<()>()));
    let mut generator = Generator {
        queries,
        client,
        in_flight: &in_flight,
        in_flight_max: (ROWS_IN_FLIGHT_MAX / queries.rows_per_query()).max(QUERIES_IN_FLIGHT_MIN),
        arrivals,
        started: Instant::now(),
        end: match bound {
            Bound::Time(time) => time,
            Bound::Queries(_) => Duration::MAX,
        },
        over: false,
    };
    std::future::poll_fn(|context: &mut Context<'_>| {
        loop {
            generator.start_due(&executor);
            if let Poll::Ready(()) = running.as_mut().poll(context) {
                unreachable!("it waits for ever");
            }
            if generator.over && in_flight.get() == 0 {
                return Poll::Ready(());
            }
            let next = generator.next_at();
            wait(context, next);
            if next.is_none_or(|at| at > Instant::now()) {
                return Poll::Pending;
            }
        }
    })
    .await;
}

struct Generator<'a, Q> {
    queries: &'a Q,
    client: &'a RefCell<Client>,
    in_flight: &'a Cell<u64>,
    in_flight_max: u64,
    arrivals: Poisson,
    started: Instant,
    end: Duration,
    /// No further query will be started.
    over: bool,
}

impl<'a, Q: Queries> Generator<'a, Q> {
    /// When the next query must be started; `None` if a completion must come first.
    fn next_at(&self) -> Option<Instant> {
        if self.over || self.in_flight.get() >= self.in_flight_max {
            return None;
        }
        self.started.checked_add(self.arrivals.next())
    }

    /// Starts every query whose time has come.
    fn start_due(&mut self, executor: &LocalExecutor<'a>) {
        while !self.over && self.in_flight.get() < self.in_flight_max {
            let planned = self.arrivals.next();
            let now = self.started.elapsed();
            if planned >= self.end || self.queries.stopped() {
                self.over = true;
            } else if now > self.end.saturating_add(GRACE) {
                self.give_up();
            } else if planned > now {
                return;
            } else if let Some(query) = self.queries.next_query() {
                self.client.borrow_mut().arrivals.planned += 1;
                self.client.borrow_mut().arrivals.started(now - planned);
                self.arrivals.pass();
                self.start(query, self.started + planned, executor);
            } else {
                self.over = true;
            }
        }
        // While everything waits for completions the time may run out.
        if self.in_flight.get() >= self.in_flight_max
            && self.started.elapsed() > self.end.saturating_add(GRACE)
            && !self.over
        {
            self.give_up();
        }
    }

    /// Counts what was planned and will not be started.
    fn give_up(&mut self) {
        let arrivals = &mut self.client.borrow_mut().arrivals;
        while self.arrivals.next() < self.end {
            arrivals.planned += 1;
            arrivals.never_started += 1;
            self.arrivals.pass();
        }
        self.over = true;
    }

    fn start(&self, query: u64, planned: Instant, executor: &LocalExecutor<'a>) {
        let (queries, client, in_flight) = (self.queries, self.client, self.in_flight);
        in_flight.set(in_flight.get() + 1);
        let one = async move {
            let mut rows = Vec::new();
            queries.query(query, &mut rows);
            let answer = queries.take_due(&rows, planned).await;
            let now = Instant::now();
            match answer.as_ref().err().and_then(Error::shed) {
                Some(shed) => client.borrow_mut().shed(now, shed),
                None => client.borrow_mut().came(planned, now, answer),
            }
            if client.borrow().error.is_some() {
                queries.stop();
            }
            in_flight.set(in_flight.get() - 1);
        };
        executor.spawn(one).detach();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use crate::driver::Live;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use crate::driver::{Load, Pace, run};
    use crate::subject::tests::{Fake, echo};
    use crate::workload::Workload;

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
