//! Clients of an open loop inside the shards: each asks for rows of its own shard, on its thread.
//!
//! No message is sent and no thread is woken, neither for a query nor for its answer, so what is
//! measured is the shard and the drive. The client waits for the next arrival by looking at the
//! clock whenever the shard comes by, which it does all the time if it never sleeps
//! (`spin_before_park`); a shard that sleeps is late, which is measured like any other start.
//!
//! The clients walk the same queries, each asks those whose row its shard owns: a run of n
//! queries is the first n of the workload, as outside. A query has one row, since the rows of a
//! larger one have several owners.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use crossbeam_utils::CachePadded;
use ringtake_runtime::{LatencyClass, LocalShard, Projection, ShardId, Store};

use crate::count::process::Spent;
use crate::drive::arrivals::Poisson;
use crate::drive::clients::{Clients, Work};
use crate::drive::live::Tally;
use crate::drive::load::{Bound, ClientPlace, Pace};
use crate::drive::open_loop::{Queries, generate};
use crate::drive::patience::Patience;
use crate::drive::run::{Client, Run, sum};
use crate::drive::subject::Alarm;
use crate::error::Error;
use crate::workload::Workload;

/// How often the threads that wait for the shards check for a signal.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A store whose shards run the clients.
pub(crate) struct InShard {
    store: Store,
    columns: Vec<String>,
    class: LatencyClass,
    patience: Patience,
    /// The share of the rows that each shard owns.
    shares: Vec<f64>,
}

impl InShard {
    /// Clients that take `columns`, or all if none is named, of the first `rows` rows.
    pub(crate) fn new(
        store: &Store,
        rows: u64,
        columns: &[String],
        class: LatencyClass,
        patience: Patience,
    ) -> InShard {
        let names = store.schema().fields().iter().map(|field| field.name());
        InShard {
            columns: match columns {
                [] => names.cloned().collect(),
                named => named.to_vec(),
            },
            shares: shares(store.config().shards, rows, |row| store.shard_of(row).0),
            store: store.clone(),
            class,
            patience,
        }
    }

    /// Waits for the client in shard `shard`, and stops it when a signal comes.
    fn client_thread(
        &self,
        shard: usize,
        plan: ShardClient,
        ready: &Barrier,
        interrupted: &AtomicBool,
    ) -> Client {
        ready.wait();
        let before = Spent::by_this_thread();
        let stop = Arc::clone(&plan.stop);
        let running = self.store.run_on(
            ShardId(shard),
            |shard| async move { plan.follow(shard).await },
        );
        let mut running = pin!(running);
        let alarm = Alarm::default();
        let outcome = alarm.drive(std::future::poll_fn(|context| {
            if interrupted.load(Ordering::Relaxed) {
                stop.store(true, Ordering::Relaxed);
            }
            alarm.set(Instant::now().checked_add(LOOK_EVERY));
            running.as_mut().poll(context)
        }));
        let mut client = outcome.unwrap_or_else(|error| {
            stop.store(true, Ordering::Relaxed);
            let mut client = Client::new(Arc::default());
            client.error = Some(error.into());
            client
        });
        client.spent = Spent::by_this_thread().since(before);
        client
    }
}

impl Clients for InShard {
    fn place(&self) -> ClientPlace {
        ClientPlace::InShard
    }

    /// Each client has its shard's share of the rate. A closed loop is rejected: its clients are
    /// outside.
    fn run(&self, work: Work<'_>, at_start: &mut dyn FnMut()) -> Result<Run, Error> {
        let Pace::Open { rate_per_s, seed } = work.pace else {
            return Err(Error::InShardRate);
        };
        let stop = Arc::new(AtomicBool::new(false));
        let owners: Vec<usize> = (0..self.shares.len())
            .filter(|shard| self.shares[*shard] > 0.0)
            .collect();
        let ready = &Barrier::new(owners.len() + 1);
        let clients = std::thread::scope(|scope| {
            let threads: Vec<_> = owners
                .into_iter()
                .map(|shard| {
                    let plan = ShardClient {
                        tally: work.live.join(),
                        arrivals: Poisson::of_client(rate_per_s * self.shares[shard], seed, shard),
                        bound: work.load.bound,
                        workload: work.workload.clone(),
                        stop: Arc::clone(&stop),
                        columns: self.columns.clone(),
                        class: self.class,
                        patience: self.patience,
                    };
                    scope.spawn(move || self.client_thread(shard, plan, ready, work.interrupted))
                })
                .collect();
            at_start();
            ready.wait();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        sum(clients, work.pace, work.interrupted)
    }
}

/// The share of the first `rows` rows that each of `shards` owns.
fn shares(shards: usize, rows: u64, owner: impl Fn(u64) -> usize) -> Vec<f64> {
    let mut owned = vec![0_u64; shards];
    for row in 0..rows {
        owned[owner(row)] += 1;
    }
    let share = |owned: u64| owned as f64 / rows.max(1) as f64;
    owned.into_iter().map(share).collect()
}

/// A client, on its way into its shard.
struct ShardClient {
    tally: Arc<CachePadded<Tally>>,
    arrivals: Poisson,
    bound: Bound,
    workload: Workload,
    stop: Arc<AtomicBool>,
    columns: Vec<String>,
    class: LatencyClass,
    patience: Patience,
}

impl ShardClient {
    async fn follow(self, shard: LocalShard) -> Client {
        let client = RefCell::new(Client::new(self.tally));
        let projection = match shard.projection(&self.columns) {
            Ok(projection) => projection,
            Err(error) => {
                self.stop.store(true, Ordering::Relaxed);
                client.borrow_mut().error = Some(error.into());
                return client.into_inner();
            }
        };
        let queries = OwnQueries {
            shard,
            projection,
            workload: self.workload,
            next: Cell::new(0),
            bound: self.bound,
            stop: self.stop,
            class: self.class,
            patience: self.patience,
        };
        client.borrow_mut().started = Some(Instant::now());
        // The shard's loop comes by again at once, and between two polls looks after its reads.
        generate(
            &queries,
            self.arrivals,
            self.bound,
            &client,
            |context, _| {
                context.waker().wake_by_ref();
            },
        )
        .await;
        client.into_inner()
    }
}

/// The queries of a workload whose row one shard owns.
struct OwnQueries {
    shard: LocalShard,
    projection: Projection,
    workload: Workload,
    /// The first query of the workload that was not looked at.
    next: Cell<u64>,
    bound: Bound,
    stop: Arc<AtomicBool>,
    class: LatencyClass,
    patience: Patience,
}

impl Queries for OwnQueries {
    type Answer = RecordBatch;

    fn rows_per_query(&self) -> u64 {
        self.workload.rows_per_query()
    }

    fn next_query(&self) -> Option<u64> {
        if self.stopped() {
            return None;
        }
        let end = match self.bound {
            Bound::Time(_) => u64::MAX,
            Bound::Queries(queries) => queries,
        };
        let first = self.next.get();
        // A shard that owns next to no row must not look for one for ever.
        let end = end.min(first + 2 * self.workload.pass_queries());
        let mut rows = Vec::new();
        let found = (first..end).find(|index| {
            self.workload.query(*index, &mut rows);
            rows.iter().all(|row| self.shard.owns(*row))
        });
        self.next.set(found.map_or(end, |index| index + 1));
        found
    }

    fn query(&self, index: u64, rows: &mut Vec<u64>) {
        self.workload.query(index, rows);
    }

    async fn take_due(&self, rows: &[u64], planned: Instant) -> Result<RecordBatch, Error> {
        let answer = self
            .shard
            .take(rows, &self.projection)
            .class(self.class)
            .when_full(self.patience.when_full)
            .deadline(self.patience.deadline_of(planned))
            .await?;
        match answer.num_rows() {
            returned if returned == rows.len() => Ok(answer),
            returned => Err(Error::RowsLost {
                asked: rows.len(),
                returned,
            }),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use std::num::NonZeroUsize;
    use std::path::{Path, PathBuf};

    use arrow::array::{ArrayRef, FixedSizeListArray, Int64Array};
    use arrow::datatypes::{DataType, Field};
    use ringtake_runtime::{Config, IoMode};
    use ringtake_storage::write::{WriteOptions, Writer};

    use crate::drive::live::Live;
    use crate::drive::load::Load;

    const ROWS: u64 = 4_000;

    fn dataset(dir: &Path) -> PathBuf {
        let item = Arc::new(Field::new("item", DataType::Int64, false));
        let values = Arc::new(Int64Array::from_iter_values(0..64 * ROWS as i64));
        let vectors = FixedSizeListArray::new(item, 64, values, None);
        let batch =
            RecordBatch::try_from_iter([("vector", Arc::new(vectors) as ArrayRef)]).unwrap();
        let path = dir.join("dataset");
        let mut writer = Writer::create(&path, &batch.schema(), WriteOptions::default()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        path
    }

    fn store(path: &Path, shards: usize) -> Store {
        let config = Config {
            shards: Some(shards),
            io: IoMode::Buffered,
            spin_before_park: Duration::from_millis(100),
            ..Config::default()
        };
        Store::open(path, config).unwrap()
    }

    const FAST: Pace = Pace::Open {
        rate_per_s: 2_000.0,
        seed: 1,
    };

    fn run(store: &Store, bound: Bound, pace: Pace, stop: &AtomicBool) -> Result<Run, Error> {
        let workload = Workload::new(ROWS, 1, 1).unwrap();
        let inside = InShard::new(
            store,
            ROWS,
            &[],
            LatencyClass::default(),
            Patience::default(),
        );
        let work = Work {
            load: Load {
                threads: NonZeroUsize::MIN,
                in_flight: NonZeroUsize::MIN,
                bound,
            },
            pace,
            workload: &workload,
            interrupted: stop,
            live: &Live::default(),
        };
        inside.run(work, &mut || ())
    }

    #[test]
    fn each_query_is_asked_by_the_shard_that_owns_its_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dataset(dir.path());
        let touched = |shards| {
            let store = store(&path, shards);
            let never = AtomicBool::new(false);
            let run = run(&store, Bound::Queries(200), FAST, &never).unwrap();
            let arrivals = run.arrivals.unwrap();
            assert_eq!((run.queries, run.rows, arrivals.planned), (200, 200, 200));
            let taken = store.stats().iter().map(|shard| shard.rows).sum::<u64>();
            assert_eq!(taken, 200);
            run.touched
        };
        assert_eq!(touched(1), touched(3));
    }

    #[test]
    fn queries_arrive_at_the_rate_whatever_the_number_of_shards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dataset(dir.path());
        let bound = Bound::Time(Duration::from_millis(500));
        let never = AtomicBool::new(false);
        let run = run(&store(&path, 2), bound, FAST, &never).unwrap();
        // A thousand on average, with a deviation of 32.
        let planned = run.arrivals.unwrap().planned;
        assert!((800..1_200).contains(&planned), "{planned}");
    }

    #[test]
    fn signal_ends_the_clients_in_the_shards() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dataset(dir.path()), 1);
        let bound = Bound::Time(Duration::from_secs(3600));
        let refused = run(&store, bound, FAST, &AtomicBool::new(true));
        assert!(matches!(refused, Err(Error::Interrupted)));
    }

    #[test]
    fn closed_loop_is_for_clients_outside() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dataset(dir.path()), 1);
        let never = AtomicBool::new(false);
        let refused = run(&store, Bound::Queries(1), Pace::Closed, &never);
        assert!(matches!(refused, Err(Error::InShardRate)));
    }

    #[test]
    fn shards_have_the_shares_of_the_rows_they_own() {
        assert_eq!(shares(3, 8, |row| (row % 4 == 0).into()), [0.75, 0.25, 0.0]);
    }
}
