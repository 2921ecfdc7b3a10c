//! The answers of a run: what each client received, and the sum over all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use crate::count::process::Spent;
use crate::drive::arrivals::Arrivals;
use crate::drive::latency::{latency_histogram, nanoseconds};
use crate::drive::live::Tally;
use crate::drive::load::Pace;
use crate::drive::subject::Answer;
use crate::error::{Error, Shed};

/// The answers that all clients have received.
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
    /// CPU time of the client threads, part of that of the process.
    pub(crate) clients: Spent,
    /// A sum over bytes of the answers: proof that they were looked at.
    pub(crate) touched: u64,
    /// The arrivals of an open loop.
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

/// The sum over `clients`.
///
/// # Errors
/// The error of a client; an interruption before the first answer.
pub(crate) fn sum(
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

/// The answers that one client has received.
pub(crate) struct Client {
    pub(crate) tally: Arc<CachePadded<Tally>>,
    pub(crate) started: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    /// When the last query was answered, or found to be given up.
    pub(crate) last_answer: Option<Instant>,
    pub(crate) queries: u64,
    pub(crate) rows: u64,
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) spent: Spent,
    pub(crate) touched: u64,
    pub(crate) arrivals: Arrivals,
    pub(crate) error: Option<Error>,
}

impl Client {
    pub(crate) fn new(tally: Arc<CachePadded<Tally>>) -> Client {
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

    /// A query was not answered, since the store was full or its deadline had come.
    pub(crate) fn shed(&mut self, now: Instant, shed: Shed) {
        // Time in which nothing is answered counts.
        self.last_answer = Some(now);
        match shed {
            Shed::Refused => self.arrivals.refused += 1,
            Shed::Expired => self.arrivals.expired += 1,
        }
    }

    /// A query that was asked at `asked` has come back.
    pub(crate) fn came(
        &mut self,
        asked: Instant,
        now: Instant,
        answer: Result<impl Answer, Error>,
    ) {
        match answer {
            Ok(answer) => {
                self.answered(asked, now, answer.rows() as u64);
                let touched = std::hint::black_box(answer.touch());
                self.touched = self.touched.wrapping_add(touched);
            }
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    /// A query that was asked at `asked` has been answered with `rows` rows.
    pub(crate) fn answered(&mut self, asked: Instant, now: Instant, rows: u64) {
        let latency_ns = nanoseconds(now - asked);
        self.latency_ns.saturating_record(latency_ns);
        self.tally.answered(rows, latency_ns);
        self.last_answer = Some(now);
        self.queries += 1;
        self.rows += rows;
    }

    /// Looks at the first byte of an answer.
    pub(crate) fn touch(&mut self, first: u8) {
        let first = u64::from(std::hint::black_box(first));
        self.touched = self.touched.wrapping_add(first);
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
