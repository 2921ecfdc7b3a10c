//! The open loop: queries arrive at a rate, whether or not those before have come back.
//!
//! Arrivals are a Poisson process: each thread plans its own share of the rate, and the sum of
//! such processes is one again. Latency counts from the planned arrival, so a store that stands
//! still for a second is charged for every query that would have come in that second, and not
//! for the one that did (coordinated omission). How late each query was started is kept beside
//! it: that part is the generator's, or the store's where it took the generator's CPU.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;

use crate::drive::arrivals::Poisson;
use crate::drive::load::Bound;
use crate::drive::run::Client;
use crate::drive::subject::Answer;
use crate::error::Error;

/// Rows in flight at which a thread starts no further query; queries planned meanwhile start
/// late. It bounds the memory of an overload.
const ROWS_IN_FLIGHT_MAX: u64 = 1 << 16;

/// Queries that a thread may always have in flight, whatever their rows.
const QUERIES_IN_FLIGHT_MIN: u64 = 64;

/// How long after its end a run still starts queries that were planned before the end.
const GRACE: Duration = Duration::from_secs(1);

/// The queries of an open loop, and the subject that answers them.
pub(crate) trait Queries {
    /// The answer to a query.
    type Answer: Answer;

    /// Rows of each query.
    fn rows_per_query(&self) -> u64;

    /// The next query, which no client has asked; `None` at the end of the run.
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

/// Starts each of `queries` when `arrivals` says so, from now on, and ends when the last has come
/// back. Each poll that waits calls `wait` with the time of the next query; a query is late if the
/// client is not polled by then.
pub(crate) async fn generate<Q: Queries>(
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

    /// Counts the queries that were planned and will not be started.
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
