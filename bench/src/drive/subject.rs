//! The seam to the thing under measurement: it takes rows by id, or answers queries by number.
//!
//! [`Subject`] is asked by the clients, [`Observed`] is read from outside, and [`Answer`] is what
//! comes back. None of them says anything of Arrow, so that a subject may use another version of
//! it, or none.

use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use ringtake_runtime::{ShardStats, StoreMetrics};

use crate::error::Error;
use crate::workload::row_checksum::{RowsChecksum, touch};

/// The rows of one query.
pub trait Answer {
    /// How many there are.
    fn rows(&self) -> usize;

    /// The sum of one byte of each row and column: proof that the rows were made, at the price
    /// of a cache line each. Called inside the measured loop.
    fn touch(&self) -> u64;

    /// Adds every row to `checksum`, `row_ids` naming them in order. Called outside of the
    /// measured loop.
    ///
    /// # Errors
    /// A column whose type the checksum does not know.
    fn add_to(&self, checksum: &mut RowsChecksum, row_ids: &[u64]) -> Result<(), Error>;
}

impl Answer for RecordBatch {
    fn rows(&self) -> usize {
        self.num_rows()
    }

    fn touch(&self) -> u64 {
        touch(self)
    }

    fn add_to(&self, checksum: &mut RowsChecksum, row_ids: &[u64]) -> Result<(), Error> {
        checksum.add(row_ids, self)
    }
}

/// The limits of a subject, for advice about the load.
#[derive(Debug, Clone, Copy)]
pub struct SubjectLimits {
    /// Threads of the subject that compete with the clients for CPUs.
    pub shards: usize,
    /// Reads each of them keeps in flight.
    pub queue_depth: usize,
}

/// A query as a subject takes it. A workload draws ids; they are rows, or the number of a query.
pub trait Query {
    /// The query that `ids` stand for.
    fn of(ids: &[u64]) -> &Self;
}

/// Rows to be taken, in this order.
impl Query for [u64] {
    fn of(ids: &[u64]) -> &[u64] {
        ids
    }
}

/// The number of a query in a pool.
impl Query for u64 {
    fn of(ids: &[u64]) -> &u64 {
        ids.first().unwrap_or(&0)
    }
}

/// Something that answers queries. Every client thread uses the same one.
pub trait Subject: Sync {
    /// Ids of rows, or the number of a query.
    type Query: Query + ?Sized + 'static;

    /// Rows that come back.
    type Answer: Answer;

    /// Answers `query`. Of ids, none is named twice, and the answer has their order.
    fn take(&self, query: &Self::Query) -> impl Future<Output = Result<Self::Answer, Error>>;

    /// Takes the rows of a query that was planned for `due`. A subject with deadlines counts them
    /// from there, and may reject the query.
    fn take_due(
        &self,
        query: &Self::Query,
        due: Instant,
    ) -> impl Future<Output = Result<Self::Answer, Error>> {
        let _ = due;
        self.take(query)
    }

    /// Whether an answer of `rows` rows to a query of `asked` ids is a whole one.
    fn is_whole(&self, asked: usize, rows: usize) -> bool {
        rows == asked
    }

    /// Brings these rows into the caches; by taking them, unless queries are no rows.
    fn fill(&self, row_ids: &[u64]) -> impl Future<Output = Result<(), Error>> {
        let take = self.take(Self::Query::of(row_ids));
        async { take.await.map(drop) }
    }

    /// Rows that it looked at for `queries` queries, where that is another number than its answers'
    /// and its counters'.
    fn rows_read(&self, queries: u64) -> Option<u64> {
        let _ = queries;
        None
    }

    /// Runs a client thread's queries to their end. A subject that needs a runtime of its own
    /// enters it here, and polls `client` when it is woken and at [`Alarm::next`].
    fn drive<F: Future>(&self, client: F, alarm: &Alarm) -> F::Output {
        alarm.drive(client)
    }

    /// Its state, as a record and an observer see it.
    fn observed(&self) -> &dyn Observed;
}

/// The state of a subject, read from outside while it works.
pub trait Observed: Sync {
    /// The name of the way the rows are read, as the record shows it.
    fn read_path(&self) -> String;

    /// The files that hold the rows; reads of the device below them are counted.
    ///
    /// # Errors
    /// Files that cannot be found.
    fn files(&self) -> Result<Vec<PathBuf>, Error>;

    /// Counts since it was opened; `None` if it does not count its own reads, in which case a cold
    /// run is proven by the bytes that the device moved.
    fn counters(&self) -> Option<ShardStats> {
        None
    }

    /// Times and waits since it was opened; `None` if it does not say.
    fn metrics(&self) -> Option<StoreMetrics> {
        None
    }

    /// Takes and searches at work in it; `None` if it does not count them.
    fn permits_held(&self) -> Option<u64> {
        None
    }

    /// How long a client thread of an open loop polls for an answer before it sleeps.
    fn spin(&self) -> Duration {
        Duration::ZERO
    }

    /// Reasons why the numbers may mislead, one sentence each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Its limits, if they are known.
    fn limits(&self) -> Option<SubjectLimits> {
        None
    }

    /// Its configuration, for the record's `config.store`.
    fn configuration(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Its findings about this machine, for the record's `config.store_info`.
    fn description(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// `answer`, or an error if rows are missing.
pub(crate) fn whole<S: Subject>(
    subject: &S,
    asked: usize,
    answer: S::Answer,
) -> Result<S::Answer, Error> {
    let returned = answer.rows();
    if subject.is_whole(asked, returned) {
        return Ok(answer);
    }
    Err(Error::RowsLost { asked, returned })
}

/// When a client must be polled although nothing has woken it: the next query is due. Written
/// by the client, in its poll.
#[derive(Debug, Default)]
pub struct Alarm {
    at: Cell<Option<Instant>>,
    spin: Duration,
}

impl Alarm {
    /// One whose thread looks for what wakes it for so long before it sleeps.
    pub(crate) fn spinning(spin: Duration) -> Alarm {
        Alarm {
            at: Cell::default(),
            spin,
        }
    }

    /// The next time, if there is one; it may change with each poll.
    pub fn next(&self) -> Option<Instant> {
        self.at.get()
    }

    pub(crate) fn set(&self, at: Option<Instant>) {
        self.at.set(at);
    }

    /// Polls `client` on this thread, which sleeps in between.
    pub fn drive<F: Future>(&self, client: F) -> F::Output {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(false),
            thread: std::thread::current(),
        });
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        let mut client = pin!(client);
        loop {
            if let Poll::Ready(output) = client.as_mut().poll(&mut context) {
                return output;
            }
            let spin_until = (!self.spin.is_zero()).then(|| Instant::now() + self.spin);
            while !bell.rung.swap(false, Ordering::Acquire) {
                if let Some(until) = spin_until {
                    let now = Instant::now();
                    if self.next().is_some_and(|at| at <= now) {
                        break;
                    }
                    if now < until {
                        std::hint::spin_loop();
                        continue;
                    }
                }
                match self.next() {
                    None => std::thread::park(),
                    Some(at) => {
                        let now = Instant::now();
                        if at <= now {
                            break;
                        }
                        std::thread::park_timeout(at - now);
                    }
                }
            }
        }
    }
}

/// Wakes one thread, which may not be asleep.
struct Bell {
    rung: AtomicBool,
    thread: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Only the first of several wakes costs a system call.
        if !self.rung.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    use arrow::array::UInt64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    /// A closure as a subject.
    pub(crate) struct Fake<T>(pub(crate) T);

    impl<T, F> Subject for Fake<T>
    where
        T: Fn(&[u64]) -> F + Sync,
        F: Future<Output = Result<RecordBatch, Error>>,
    {
        type Query = [u64];
        type Answer = RecordBatch;

        fn take(&self, row_ids: &[u64]) -> impl Future<Output = Result<RecordBatch, Error>> {
            (self.0)(row_ids)
        }

        fn observed(&self) -> &dyn Observed {
            self
        }
    }

    impl<T: Sync> Observed for Fake<T> {
        fn read_path(&self) -> String {
            "fake".to_owned()
        }

        fn files(&self) -> Result<Vec<PathBuf>, Error> {
            Ok(Vec::new())
        }
    }

    /// Rows whose only column is their id.
    pub(crate) fn echo(rows: &[u64]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::UInt64, false)]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(UInt64Array::from(rows.to_vec()))],
        )
        .unwrap()
    }

    #[test]
    fn client_is_polled_when_another_thread_wakes_it() {
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        let other = std::thread::spawn(move || receiver.recv().unwrap().wake());
        let mut polls = 0;
        let client = std::future::poll_fn(|context| {
            polls += 1;
            if polls == 1 {
                sender.send(context.waker().clone()).unwrap();
                return Poll::Pending;
            }
            Poll::Ready(polls)
        });
        assert_eq!(Alarm::default().drive(client), 2);
        other.join().unwrap();
    }

    #[test]
    fn client_is_polled_when_its_alarm_is_due_and_not_before() {
        let alarm = Alarm::default();
        let due = Instant::now() + Duration::from_millis(20);
        alarm.set(Some(due));
        let mut polled = false;
        let second = alarm.drive(std::future::poll_fn(|_| {
            if std::mem::replace(&mut polled, true) {
                Poll::Ready(Instant::now())
            } else {
                Poll::Pending
            }
        }));
        assert!(second >= due);
    }
}
