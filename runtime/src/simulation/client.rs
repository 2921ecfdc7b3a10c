//! Clients: what they ask for, and whether the answer is right.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch,
};
use arrow::datatypes::{DataType, Field, Float32Type, UInt64Type};
use futures_lite::future::poll_fn;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_storage::layout::{GroupOptions, LayoutPolicy, PAGE_BYTES};
use ringtake_storage::write::{WriteOptions, Writer};

use super::device::Kind;
use super::{Plan, world};
use crate::admission::{LatencyClass, Terms, WhenFull};
use crate::client::index_build::IndexOptions;
use crate::client::store::Store;
use crate::client::take::TakeRequest;
use crate::config::{Config, CpuChoice};
use crate::error::{Error, FaultKind, RowFault};
use crate::host::clock;

const ROWS: u64 = 1_200;
const DIMS: usize = 12;
/// The most by which an answer may miss its deadline: shards look every millisecond, and are not
/// always polled at once.
const SLACK: Duration = Duration::from_millis(5);

/// The answer to one query, as far as it must be the same again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    client: usize,
    after: Duration,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Rows(usize),
    Found(usize),
    Faults(u64),
    Overloaded,
    Late,
    ShardEnded(usize),
    Panicked,
    Dropped,
}

impl What {
    const KINDS: [&str; 8] = [
        "takes right",
        "searches right",
        "refused with faults named",
        "overloaded",
        "late",
        "of a dead shard",
        "panics of callers",
        "dropped",
    ];

    fn kind(self) -> usize {
        match self {
            What::Rows(_) => 0,
            What::Found(_) => 1,
            What::Faults(_) => 2,
            What::Overloaded => 3,
            What::Late => 4,
            What::ShardEnded(_) => 5,
            What::Panicked => 6,
            What::Dropped => 7,
        }
    }
}

/// How many answers there were of each kind. A wrong one, or one that never comes, ends the run
/// before it is counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: [usize; What::KINDS.len()],
    rows: usize,
}

impl Tally {
    pub(super) fn count(&mut self, report: &Report) {
        self.kinds[report.what.kind()] += 1;
        if let What::Rows(rows) = report.what {
            self.rows += rows;
        }
    }

    /// A simulation in which some answer never comes up shows nothing about it.
    pub(super) fn assert_covers_all(&self) {
        assert!(self.kinds.iter().all(|&count| count > 0), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows)?;
        for (count, kind) in self.kinds.iter().zip(What::KINDS) {
            write!(f, ", {count} {kind}")?;
        }
        Ok(())
    }
}

fn vector(row: u64) -> impl Iterator<Item = f32> {
    let mut random = ChaCha8Rng::seed_from_u64(row);
    std::iter::repeat_with(move || random.random_range(-100..100) as f32).take(DIMS)
}

fn rows(ids: &[u64]) -> RecordBatch {
    let id = Int64Array::from_iter_values(ids.iter().map(|&id| id as i64));
    let items: Float32Array = ids.iter().flat_map(|&id| vector(id)).map(Some).collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::new(item, DIMS as i32, Arc::new(items), None);
    let blob = BinaryArray::from_iter_values(ids.iter().map(|&id| {
        let bytes = [0, 17, 900, 9_000, 40_000][if id % 60 == 7 { 4 } else { id as usize % 4 }];
        (0..bytes)
            .map(|at| (id as usize + at / 7) as u8)
            .collect::<Vec<u8>>()
    }));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(id)),
        ("vector", Arc::new(vectors)),
        ("blob", Arc::new(blob)),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

const COLUMNS: [&str; 3] = ["id", "vector", "blob"];

/// Makes the dataset that all worlds read, with its index.
pub(super) fn write(path: &Path) {
    let terms = WriteOptions {
        block_rows: Some(256),
        grouping: GroupOptions {
            policy: LayoutPolicy::Packed,
            ..GroupOptions::default()
        },
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &rows(&[0]).schema(), terms).expect("a new dataset");
    let all: Vec<u64> = (0..ROWS).collect();
    for ids in all.chunks(250) {
        writer.write(&rows(ids)).expect("rows are written");
    }
    writer.finish().expect("the dataset is committed");
    let config = Config {
        shards: Some(1),
        cpus: CpuChoice::Unpinned,
        ..Config::default()
    };
    let store = Store::open(path, config).expect("the store opens");
    let terms = IndexOptions {
        partitions: Some(8),
        iterations: 3,
        threads: Some(1),
        ..IndexOptions::default()
    };
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    store
        .build_index("vector", &terms, go_on)
        .expect("an index");
}

/// The life of one client. Panics where an answer is wrong.
pub(super) async fn life(
    client: usize,
    seed: u64,
    plan: Plan,
    store: Store,
    reports: Arc<Mutex<Vec<Report>>>,
    began: Instant,
) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..plan.queries {
        let terms = some_terms(plan, &mut random);
        // To run code on a shard has no deadline, so it waits for permits that reads hold which
        // never come.
        let kinds = if plan.deadlines { 8 } else { 10 };
        let kind = random.random_range(0..kinds);
        let what = match kind {
            0..=4 => take(&store, terms, &mut random).await,
            5 | 6 => search(&store, terms, &mut random).await,
            7 => dropped(&store, terms, &mut random).await,
            8 => local(&store, terms, &mut random).await,
            _ => panics(&store, &mut random).await,
        };
        if let Some(deadline) = terms.deadline
            && kind < 8
        {
            // No client can look while the clock leaps.
            let looked = deadline.max(world(|world| world.leapt_to));
            let late = clock::now().saturating_duration_since(looked);
            assert!(late < SLACK, "{what:?} came {late:?} after its deadline");
        }
        let after = clock::now() - began;
        let reports = &mut *reports.lock().expect("no client has panicked");
        reports.push(Report {
            client,
            after,
            what,
        });
    }
}

fn some_terms(plan: Plan, random: &mut ChaCha8Rng) -> Terms {
    let has_deadline = plan.deadlines || random.random_bool(0.2);
    let until = |random: &mut ChaCha8Rng| Duration::from_micros(random.random_range(0..20_000));
    Terms {
        deadline: has_deadline.then(|| clock::now() + until(random)),
        when_full: match random.random_bool(0.3) {
            true => WhenFull::Refuse,
            false => WhenFull::Wait,
        },
        class: match random.random_bool(0.3) {
            true => LatencyClass::Bulk,
            false => LatencyClass::Urgent,
        },
    }
}

/// The request on these terms.
fn on<On>(terms: Terms, request: TakeRequest<'_, On>) -> TakeRequest<'_, On> {
    request
        .class(terms.class)
        .deadline(terms.deadline)
        .when_full(terms.when_full)
}

fn some_ids(random: &mut ChaCha8Rng) -> Vec<u64> {
    let from = random.random_range(0..ROWS);
    let near = random.random_bool(0.3);
    let id = |random: &mut ChaCha8Rng| match near {
        true => (from + random.random_range(0..30)) % ROWS,
        false => random.random_range(0..ROWS),
    };
    let count = random.random_range(1..40);
    (0..count).map(|_| id(random)).collect()
}

fn some_columns(random: &mut ChaCha8Rng) -> Vec<&'static str> {
    let mut columns: Vec<&str> = COLUMNS.to_vec();
    columns.rotate_left(random.random_range(0..3));
    columns.truncate(random.random_range(1..=3));
    columns
}

fn expected(ids: &[u64], columns: &[&str]) -> RecordBatch {
    let all = rows(ids);
    let place = |name: &&str| all.schema().index_of(name).expect("a column");
    let places: Vec<usize> = columns.iter().map(place).collect();
    all.project(&places).expect("columns there are")
}

async fn take(store: &Store, terms: Terms, random: &mut ChaCha8Rng) -> What {
    let (ids, columns) = (some_ids(random), some_columns(random));
    let projection = store.projection(&columns).expect("columns there are");
    match on(terms, store.take(&ids, &projection)).await {
        Ok(taken) => {
            assert!(taken == expected(&ids, &columns), "wrong rows for {ids:?}");
            What::Rows(ids.len())
        }
        Err(error) => refused(store, &error, terms, &ids),
    }
}

/// A take by code on the shard that owns the rows.
async fn local(store: &Store, terms: Terms, random: &mut ChaCha8Rng) -> What {
    let (mut ids, columns) = (some_ids(random), some_columns(random));
    let shard = store.shard_of(ids[0]);
    ids.retain(|&id| store.shard_of(id) == shard);
    let (asked, names) = (ids.clone(), columns.clone());
    let taken = store.run_on(shard, move |local| async move {
        let projection = local.projection(&names)?;
        on(terms, local.take(&asked, &projection)).await
    });
    match taken.await.and_then(|taken| taken) {
        Ok(taken) => {
            assert!(taken == expected(&ids, &columns), "wrong rows for {ids:?}");
            What::Rows(ids.len())
        }
        Err(error) => refused(store, &error, terms, &ids),
    }
}

/// Code on a shard that panics.
async fn panics(store: &Store, random: &mut ChaCha8Rng) -> What {
    let shard = store.shard_of(random.random_range(0..ROWS));
    let ran = store.run_on(shard, |_| async {
        std::panic::resume_unwind(Box::new("oh"))
    });
    match ran.await {
        Ok(()) => panic!("a panic came back as success"),
        Err(Error::Panicked { shard: named, .. }) => {
            assert_eq!(named, shard.0);
            What::Panicked
        }
        Err(error) => refused(store, &error, Terms::default(), &[]),
    }
}

/// A take that is dropped at some point of its life.
async fn dropped(store: &Store, terms: Terms, random: &mut ChaCha8Rng) -> What {
    let (ids, columns) = (some_ids(random), some_columns(random));
    let projection = store.projection(&columns).expect("columns there are");
    let mut polls = random.random_range(0..3);
    let mut taken = pin!(on(terms, store.take(&ids, &projection)).into_future());
    let outcome = poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        taken.as_mut().poll(context).map(Some)
    });
    match outcome.await {
        None => What::Dropped,
        Some(Ok(taken)) => {
            assert!(taken == expected(&ids, &columns), "wrong rows for {ids:?}");
            What::Rows(ids.len())
        }
        Some(Err(error)) => refused(store, &error, terms, &ids),
    }
}

/// A search that looks at all rows, whose answer must be exact.
async fn search(store: &Store, terms: Terms, random: &mut ChaCha8Rng) -> What {
    const K: usize = 3;
    let query: Vec<f32> = (0..DIMS)
        .map(|_| random.random_range(-100..100) as f32)
        .collect();
    let search = store
        .search(&query)
        .k(K)
        .nprobes(usize::MAX)
        .refine_factor((ROWS as usize / K) as u32)
        .deadline(terms.deadline)
        .class(terms.class)
        .when_full(terms.when_full);
    match search.await {
        Ok(found) => {
            let squared = |row: u64| -> f32 {
                let differences = vector(row).zip(&query).map(|(a, b)| (a - b) * (a - b));
                differences.sum()
            };
            let mut nearest: Vec<f32> = (0..ROWS).map(squared).collect();
            nearest.sort_by(f32::total_cmp);
            let ids = found.column(0).as_primitive::<UInt64Type>().values();
            let distances = found.column(1).as_primitive::<Float32Type>().values();
            assert_eq!(&distances[..], &nearest[..K], "wrong distances");
            let exact: Vec<f32> = ids.iter().map(|&row| squared(row)).collect();
            assert_eq!(exact, nearest[..K], "wrong rows {ids:?}");
            What::Found(K)
        }
        Err(error) => refused(store, &error, terms, &[]),
    }
}

/// Whether an error is one that this world may have caused.
fn refused(store: &Store, error: &Error, terms: Terms, ids: &[u64]) -> What {
    match error {
        Error::Overloaded => {
            assert_eq!(terms.when_full, WhenFull::Refuse);
            What::Overloaded
        }
        Error::DeadlineExceeded { .. } => {
            assert!(terms.deadline.is_some());
            What::Late
        }
        Error::ShardEnded { shard } => {
            let dies = world(|world| world.plan.dies);
            assert_eq!(dies.map(|(dying, _)| dying), Some(*shard));
            What::ShardEnded(*shard)
        }
        Error::Rows { faults, rows } => {
            assert!(!faults.is_empty() && *rows >= faults.len() as u64);
            for fault in faults {
                assert!(ids.is_empty() || ids.contains(&fault.row), "{fault}");
                assert_caused(store, fault);
            }
            What::Faults(*rows)
        }
        other => panic!("nothing here causes {other:?}"),
    }
}

/// A fault must have been injected into a read of the row that it names.
fn assert_caused(store: &Store, fault: &RowFault) {
    let dataset = store.dataset();
    let extent = dataset
        .locator(fault.group)
        .locate(fault.row)
        .expect("sound offsets");
    assert_eq!(fault.page, extent.offset / PAGE_BYTES, "{fault}");
    let dirs = dataset.layout().dirs.len() as u32;
    let file = fault.group as u32 * dirs + extent.dir;
    let kinds: &[Kind] = match fault.kind {
        FaultKind::Io { errno: libc::EIO } => &[Kind::Error],
        FaultKind::Checksum => &[Kind::Flipped, Kind::Misdirected],
        // From behind the end of the file nothing comes.
        FaultKind::CutShort => &[Kind::Misdirected],
        _ => panic!("nothing here causes {fault}"),
    };
    let caused = world(|world| {
        world.injected.iter().any(|injected| {
            kinds.contains(&injected.kind)
                && injected.file == file
                && injected.offset < extent.offset + u64::from(extent.bytes)
                && extent.offset < injected.offset + injected.bytes
        })
    });
    assert!(
        caused,
        "nothing was done to what is said to be wrong: {fault}"
    );
}
