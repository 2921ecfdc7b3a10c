//! `bench vector-search`: how fast a store answers queries by vector, and how right.
//!
//! A run goes as one of `bench file-read` does: a query is asked by its number instead of by rows.
//! Beside speed stands recall, held against the true nearest rows, and beside the store stands a
//! loop over a map that does nothing but measure vectors.

mod export;
mod figures;
mod home;
mod map_loop;
mod queries;
mod stored;
mod subject;
mod sweep;
mod truth;

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringtake_runtime::{CacheChoice, Config, IndexInfo, SearchParams, Store};
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::{Metric, VectorColumn};

use crate::args::{ArrivalArgs, Contents, LoadArgs, RunArgs, StoreArgs, bound, parse_seconds};
use crate::dataset::DatasetFiles;
use crate::distribution::Distribution;
use crate::driver::{Bound, Clients};
use crate::error::Error;
use crate::measure::{Bench, Options, stop_if};
use crate::proof::Cache;
use crate::record::Record;
use crate::report::{emit, heading, report, words};
use crate::subject::{Alarm, Subject as _};
use home::Home;
use map_loop::{MapLoop, Measured};
use queries::Queries;
use stored::Stored;
use subject::SearchSubject;
use truth::{Truth, Wanted};

pub use figures::SearchFigures;
pub use queries::QuerySource;

/// Partitions looked at, unless it is said: the least, and what is usual.
const NPROBES: [usize; 2] = [1, 20];

pub(crate) const EXAMPLES: &str = "\
Examples:
  bench vector-search                              makes a dataset and an index, and removes them
  bench vector-search --dir place                  the same, kept for the next run
  bench vector-search --dataset vectors --cache warm --nprobes 20 --threads 2
  bench vector-search --dataset vectors --queries queries.npy --rate 70%
  bench vector-search --dataset vectors --sweep --csv curve.csv
  bench vector-search --dataset vectors --yardstick map";

/// Flags of `bench vector-search`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VectorSearchArgs {
    /// A dataset with an index [default: one of clustered vectors is made]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dir", "rows", "dims", "partitions"])]
    pub(crate) dataset: Option<PathBuf>,
    /// Directory to make that dataset in, or to find it again [default: one that is removed at the
    /// end, in ./target if it exists, else here]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Rows to make [default: those found, or 1,000,000]
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroU64>,
    /// Dimensions of each vector made [default: those found, or 768]
    #[arg(long, value_name = "N", value_parser = parse_dims)]
    pub(crate) dims: Option<NonZeroU32>,
    /// Partitions of the index made [default: the store's]
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<NonZeroU32>,
    /// The column to search [default: the only one with an index]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// The distance: l2, cosine or dot [default: the index's, l2 for one that is made]
    #[arg(long, value_name = "M")]
    pub(crate) metric: Option<Metric>,
    /// Queries, an .npy array of vectors [default: for a dataset that is made, drawn as its rows
    /// are; for another, rows with noise]
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Queries to generate; none is repeated before all have been used
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        conflicts_with = "queries"
    )]
    query_pool: NonZeroUsize,
    /// Queries that recall is measured with, 0 for no recall
    #[arg(long, value_name = "N", default_value_t = 256)]
    recall_queries: usize,
    /// Rows that each search returns
    #[arg(long, value_name = "K", default_value = "50", value_parser = parse_count)]
    k: usize,
    /// Partitions that a search scans; several are measured one after the other [default: 1,20]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = parse_count)]
    nprobes: Vec<usize>,
    /// Refine factor: this many times k rows are read and ranked by their exact distance, or none;
    /// several are measured one after the other [default: 10]
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = parse_refine)]
    refine_factor: Vec<Refine>,
    /// Further columns of the rows found
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// Measure many nprobes and refine factors, and print recall against speed
    #[arg(long, conflicts_with_all = ["yardstick", "rate"])]
    sweep: bool,
    /// Write the curve to this file, `-` for standard output
    #[arg(long, value_name = "FILE", requires = "sweep")]
    csv: Option<PathBuf>,
    /// Measure this yardstick instead of the store
    #[arg(long, value_enum)]
    yardstick: Option<Yardstick>,
    /// Measure nothing; write vectors.npy, queries.npy and nearest.npy, the true nearest rows of the
    /// first queries, into this directory, to measure other software with them
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sweep", "yardstick", "json"])]
    export: Option<PathBuf>,
    /// Where refined rows come from: cold from the drive, warm from the shards' caches
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    cache: Cache,
    /// Duration of each run [default: 10, and 2 in a sweep]
    #[arg(long, value_name = "S", value_parser = parse_seconds, conflicts_with = "searches")]
    seconds: Option<Duration>,
    /// End after this many queries instead
    #[arg(long, value_name = "Q")]
    searches: Option<NonZeroU64>,
    /// The load.
    #[command(flatten)]
    load: LoadArgs,
    /// The arrivals.
    #[command(flatten)]
    arrivals: ArrivalArgs,
    /// The store.
    #[command(flatten)]
    store: StoreArgs,
    /// The run.
    #[command(flatten)]
    run: RunArgs,
}

/// A yardstick for searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Yardstick {
    /// A loop over a memory map that computes as many distances as a search refines
    Map,
}

/// How many times k rows are measured exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refine {
    /// None: rows are ranked by their codes.
    None,
    /// So many times.
    Times(u32),
}

impl Refine {
    fn of(factor: Option<u32>) -> Refine {
        factor.map_or(Refine::None, Refine::Times)
    }

    fn factor(self) -> Option<u32> {
        match self {
            Refine::None => None,
            Refine::Times(factor) => Some(factor),
        }
    }
}

impl fmt::Display for Refine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refine::None => f.write_str("none"),
            Refine::Times(factor) => factor.fmt(f),
        }
    }
}

/// Measures and tells.
pub(crate) fn run(args: &VectorSearchArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    if args.cache == Cache::Mixed {
        return Err(Error::NoMixedSearch);
    }
    let home = Home::find(args, interrupted)?;
    if let Some(dir) = &args.export {
        let prepared = Prepared::new(args, &home, interrupted)?;
        let config = uncached_config(args, &home)?;
        return export::export(&prepared, &home.dataset, config, dir, interrupted);
    }
    let records = match args.yardstick {
        Some(Yardstick::Map) => vec![measure_map(args, &home, interrupted)?],
        None => measure_store(args, &home, interrupted)?,
    };
    tell(args, &records)?;
    stop_if(interrupted)
}

fn tell(args: &VectorSearchArgs, records: &[Record]) -> Result<(), Error> {
    let text = match (args.sweep, records) {
        (true, [first, ..]) => {
            let mut text = format!("{}\n{}", heading(first), sweep::table(records));
            // A sweep is of short runs, and each would say so in its own numbers.
            let of_each = words(records)
                .into_iter()
                .filter(|(prefix, _)| prefix.starts_with("NOT"));
            for (prefix, words) in words(&records[..1]).into_iter().chain(of_each) {
                if !text.contains(&words) {
                    text += &format!("{prefix}: {words}\n");
                }
            }
            text
        }
        _ => report(records),
    };
    let json = args.run.output.json.path();
    match records {
        [record] => emit(json, &text, record)?,
        records => emit(json, &text, &records)?,
    }
    if let Some(path) = &args.csv {
        sweep::write_csv(path, records)?;
    }
    args.run.output.check_valid(records)
}

/// What is searched, and with what.
struct Prepared {
    /// Name of the column.
    name: String,
    column: VectorColumn,
    metric: Metric,
    index: Option<IndexInfo>,
    queries: Arc<Queries>,
    truth: Option<Truth>,
    rows: u64,
}

impl Prepared {
    /// Opens the dataset for what comes before the clock starts.
    fn new(
        args: &VectorSearchArgs,
        home: &Home,
        interrupted: &AtomicBool,
    ) -> Result<Prepared, Error> {
        let config = uncached_config(args, home)?;
        let searches = args.yardstick.is_none() && args.export.is_none();
        if searches {
            home.build_index(&config, args)?;
        }
        let store = Store::open(&home.dataset, config)?;
        let index = match searches {
            true => Some(index_of(&store, args)?),
            false => None,
        };
        let name = match &index {
            Some(index) => index.column.clone(),
            None => vectors_of(&store, args, home)?,
        };
        let stored = Stored::of(&store, &name)?;
        let column = stored.column();
        let queries = match (&args.queries, &home.mixture) {
            (Some(path), _) => Queries::of_file(path, &name, column.dims)?,
            (None, Some(mixture)) => {
                Queries::of_mixture(mixture, home::DATA_SEED, args.query_pool.get())
            }
            (None, None) => Queries::of_rows(&stored, args.query_pool.get())?,
        };
        if queries.count() == 0 {
            return Err(Error::NoVectors {
                path: home.dataset.clone(),
            });
        }
        let metric = index.as_ref().map(|index| index.metric);
        let metric = metric.or(args.metric).unwrap_or_default();
        let count = args.recall_queries.min(queries.count());
        let truth = match args.yardstick.is_some() || count == 0 {
            true => None,
            false => {
                let wanted = Wanted {
                    dataset: &home.dataset,
                    column: &name,
                    metric,
                    k: args.k,
                    queries: &queries,
                    count,
                };
                Some(Truth::of(&store, wanted, interrupted)?)
            }
        };
        Ok(Prepared {
            rows: store.row_count(),
            name,
            column,
            metric,
            index,
            queries: Arc::new(queries),
            truth,
        })
    }

    /// How to ask for `candidates` rows a query.
    fn options(&self, args: &VectorSearchArgs, home: &Home, candidates: usize) -> Options {
        let mut columns = vec![self.name.clone()];
        columns.extend(args.columns.iter().cloned());
        Options {
            workload: "vector-search",
            cache: args.cache,
            load: args.load.load(args.bound()),
            rate: args.arrivals.rate,
            deadline: args.arrivals.deadline,
            dataset_rows: self.rows,
            rows: self.rows,
            rows_per_query: candidates as u64,
            query_pool: Some(self.queries.count() as u64),
            seed: args.run.seed,
            attempts: args.run.attempts,
            dataset: home.dataset.clone(),
            row_bytes: Some((self.column.dims * self.column.element.bytes()) as u64),
            columns,
            ..Options::default()
        }
    }

    fn figures(&self, args: &VectorSearchArgs, refine: Refine) -> SearchFigures {
        SearchFigures {
            k: args.k,
            nprobes: None,
            refine_factor: refine.factor(),
            metric: self.metric,
            recall_at_k: None,
            recall_queries: 0,
            index_bytes_per_row: self.index.as_ref().map(|index| index.bytes_per_row),
            index: self.index.clone(),
            query_source: self.queries.source.clone(),
            query_pool: self.queries.count(),
            kernels: Some(Kernels::best().name()),
            partitions: self.index.as_ref().map(|index| index.partitions),
            build_seconds: None,
        }
    }

    /// Rows that are measured exactly for each query.
    fn candidates(&self, args: &VectorSearchArgs, refine: Refine) -> usize {
        let wanted = args.k.saturating_mul(refine.factor().unwrap_or(1) as usize);
        wanted.min(usize::try_from(self.rows).unwrap_or(usize::MAX))
    }
}

/// The store's configuration for the vectors in `columns`.
fn store_config_of(
    args: &VectorSearchArgs,
    home: &Home,
    columns: &[String],
    cache: Cache,
) -> Result<Config, Error> {
    let files = DatasetFiles::of(&home.dataset, columns)?;
    let mut store = args.store.clone();
    if cache != args.cache {
        store.cache_bytes = None;
    }
    store.config(Contents {
        files: &files,
        rows: files.rows,
        cache,
        distribution: Distribution::Uniform,
        open_loop: args.arrivals.rate.map(|_| Clients::Threads),
    })
}

/// That for what comes before the clock starts.
fn uncached_config(args: &VectorSearchArgs, home: &Home) -> Result<Config, Error> {
    Ok(Config {
        cache: CacheChoice::Off,
        ..store_config_of(args, home, &[], Cache::Cold)?
    })
}

/// The index that is searched.
fn index_of(store: &Store, args: &VectorSearchArgs) -> Result<IndexInfo, Error> {
    let indexes = store.indexes();
    let found = match &args.column {
        Some(name) => indexes.iter().find(|index| index.column == *name),
        None => indexes.first().filter(|_| indexes.len() == 1),
    };
    let params = SearchParams {
        column: args.column.clone(),
        metric: args.metric,
        ..SearchParams::default()
    };
    // The store says best why it cannot be searched; it is asked for the neighbours of a vector
    // that any metric takes.
    let vector = vec![1.0; found.map_or(1, |index| index.dims)];
    store.search(&vector, params)?;
    found
        .cloned()
        .ok_or_else(|| unreachable!("a store that can be searched says by what index"))
}

/// The column of vectors, where no index tells it.
fn vectors_of(store: &Store, args: &VectorSearchArgs, home: &Home) -> Result<String, Error> {
    if let Some(name) = &args.column {
        return Ok(name.clone());
    }
    let schema = store.schema();
    let column = (0..schema.fields().len()).find(|at| VectorColumn::at(schema, *at).is_some());
    column
        .map(|column| schema.field(column).name().clone())
        .ok_or_else(|| Error::NoVectors {
            path: home.dataset.clone(),
        })
}

/// A record for each number of probes and refine factor.
fn measure_store(
    args: &VectorSearchArgs,
    home: &Home,
    interrupted: &AtomicBool,
) -> Result<Vec<Record>, Error> {
    let prepared = Prepared::new(args, home, interrupted)?;
    let base = prepared.options(args, home, prepared.candidates(args, Refine::None));
    let mut bench = Bench::open(interrupted, || open(args, home, &prepared, &base.columns))?;
    bench.fill(&base)?;
    let runs = runs(args, prepared.index.as_ref());
    let mut records = Vec::with_capacity(runs.len());
    for (done, (nprobes, refine)) in runs.iter().copied().enumerate() {
        if runs.len() > 1 {
            eprintln!(
                "{}/{} nprobes {nprobes}, refine factor {refine}",
                done + 1,
                runs.len()
            );
        }
        let params = &mut bench.subject.params;
        (params.nprobes, params.refine_factor) = (nprobes, refine.factor());
        let reads = refine != Refine::None || reads_besides(args, &prepared);
        let options = Options {
            // What reads nothing can only be warm.
            cache: if reads { args.cache } else { Cache::Warm },
            ..prepared.options(args, home, prepared.candidates(args, refine))
        };
        let mut record = match bench.measure(&options) {
            // What was measured before is told.
            Err(Error::Interrupted) if !records.is_empty() => break,
            record => record?,
        };
        if !reads && args.cache == Cache::Cold {
            record.notes.push(format!(
                "without --refine-factor no row is read, so the run with nprobes {nprobes} is warm"
            ));
        }
        let count = args.recall_queries.min(prepared.queries.count());
        let truth = prepared.truth.as_ref().filter(|_| !record.is_partial());
        record.search = Some(SearchFigures {
            nprobes: Some(nprobes),
            recall_at_k: truth
                .map(|truth| recall(&bench, truth, count, interrupted))
                .transpose()?,
            recall_queries: truth.map_or(0, |_| count),
            ..prepared.figures(args, refine)
        });
        records.push(record);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(records)
}

/// Whether a search reads rows although it refines none.
fn reads_besides(args: &VectorSearchArgs, prepared: &Prepared) -> bool {
    let unindexed = prepared
        .index
        .as_ref()
        .map_or(0, |index| prepared.rows - index.rows);
    !args.columns.is_empty() || unindexed > 0
}

/// What is measured, in order.
fn runs(args: &VectorSearchArgs, index: Option<&IndexInfo>) -> Vec<(usize, Refine)> {
    let nprobes = match (args.nprobes.as_slice(), args.sweep) {
        ([], false) => NPROBES.to_vec(),
        ([], true) => sweep::distinct(&sweep::NPROBES, index.map_or(1, |index| index.partitions)),
        (asked, _) => asked.to_vec(),
    };
    let refine = match (args.refine_factor.as_slice(), args.sweep) {
        ([], false) => vec![Refine::Times(10)],
        ([], true) => sweep::REFINE.to_vec(),
        (asked, _) => asked.to_vec(),
    };
    let of = |refine| nprobes.iter().map(move |nprobes| (*nprobes, refine));
    refine.into_iter().flat_map(of).collect()
}

fn open(
    args: &VectorSearchArgs,
    home: &Home,
    prepared: &Prepared,
    columns: &[String],
) -> Result<SearchSubject, Error> {
    let files = DatasetFiles::of(&home.dataset, columns)?;
    if args.cache == Cache::Cold {
        files.drop_from_page_cache();
    }
    let config = store_config_of(args, home, columns, args.cache)?;
    let store = Store::open(&home.dataset, config)?;
    let projection = match args.columns.as_slice() {
        [] => None,
        names => Some(store.projection(names)?),
    };
    let index = prepared.index.as_ref();
    let searched = index.map_or(0, |index| index.rows_indexed + (prepared.rows - index.rows));
    Ok(SearchSubject {
        queries: prepared.queries.clone(),
        params: SearchParams {
            column: Some(prepared.name.clone()),
            k: args.k,
            metric: args.metric,
            projection,
            ..SearchParams::default()
        },
        vectors: store.projection(columns)?,
        paths: files.paths,
        patience: args.arrivals.patience(),
        rows_found: args.k.min(usize::try_from(searched).unwrap_or(usize::MAX)),
        store,
    })
}

/// Asks the first queries of the pool again and holds what comes against the truth.
fn recall(
    bench: &Bench<'_, SearchSubject>,
    truth: &Truth,
    count: usize,
    interrupted: &AtomicBool,
) -> Result<f64, Error> {
    let subject = &bench.subject;
    let asking = async {
        let mut sum = 0.0;
        for number in 0..count {
            stop_if(interrupted)?;
            let found = subject.take(&[number as u64]).await?;
            sum += truth.recall(number, &found.row_ids());
        }
        Ok(sum / count as f64)
    };
    subject.drive(asking, &Alarm::default())
}

/// The record of the loop over a map.
fn measure_map(
    args: &VectorSearchArgs,
    home: &Home,
    interrupted: &AtomicBool,
) -> Result<Record, Error> {
    let prepared = Prepared::new(args, home, interrupted)?;
    let refine = args.refine_factor.first().copied();
    let refine = refine.unwrap_or(Refine::Times(10));
    let candidates = prepared.candidates(args, refine);
    let options = Options {
        cache: Cache::Warm,
        ..prepared.options(args, home, candidates)
    };
    let measured = Measured {
        dataset: &home.dataset,
        name: &prepared.name,
        column: prepared.column,
        metric: prepared.metric,
        queries: &prepared.queries,
        k: args.k,
        candidates,
        seed: args.run.seed,
    };
    let bench = Bench::open(interrupted, || MapLoop::open(&measured))?;
    bench.fill(&options)?;
    let mut record = bench.measure(&options)?;
    record.search = Some(prepared.figures(args, refine));
    Ok(record)
}

impl VectorSearchArgs {
    /// When a run ends.
    fn bound(&self) -> Bound {
        let seconds = self.seconds.or(self.sweep.then_some(sweep::TIME));
        bound(self.searches, seconds)
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("give a whole number from 1 on".to_owned()),
    }
}

const DIMS_MAX: u32 = 1 << 16;

fn parse_dims(text: &str) -> Result<NonZeroU32, String> {
    match text.trim().parse::<NonZeroU32>() {
        Ok(dims) if dims.get() <= DIMS_MAX => Ok(dims),
        _ => Err(format!("give a whole number from 1 to {DIMS_MAX}")),
    }
}

fn parse_refine(text: &str) -> Result<Refine, String> {
    match (text.trim(), text.trim().parse()) {
        ("none", _) => Ok(Refine::None),
        (_, Ok(factor)) if factor > 0 => Ok(Refine::Times(factor)),
        _ => Err("give a whole number from 1 on, or none".to_owned()),
    }
}
