//! A measured run of searches by vector: a query is asked by its number, and beside speed stands
//! recall, held against the true nearest rows.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringtake_bench::{
    Alarm, Bound, Cache, Load, Options, QuerySource, Record, SearchFigures, Subject,
};
use ringtake_storage::vector::{Metric, VectorColumn};
use ringtake_vectors::npy::{self, RowLists, Vectors};

use crate::error::{Error, Result};
use crate::run::{Calls, Chill, Place, Run};
use crate::source::Source;

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Which one
    pub(crate) peer: String,
    #[command(flatten)]
    place: Place,
    /// The column to search
    #[arg(long, value_name = "NAME", default_value = "vector")]
    column: String,
    /// Queries, an .npy array of vectors
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// The true nearest rows of the first of them, an .npy array of row ids
    #[arg(long, value_name = "FILE")]
    nearest: PathBuf,
    /// Partitions of the index, which is built if there is none like it
    #[arg(long, value_name = "N", default_value = "256")]
    partitions: NonZeroU32,
    /// Pieces of a vector, each of which has a code of a byte
    #[arg(long, value_name = "N")]
    sub_vectors: NonZeroU32,
    /// Rows wanted of each search
    #[arg(long, value_name = "K", default_value = "50")]
    k: NonZeroUsize,
    /// Partitions looked at
    #[arg(long, value_name = "N", default_value = "20")]
    nprobes: NonZeroUsize,
    /// How many times k rows are read and measured exactly
    #[arg(long, value_name = "R", default_value = "10")]
    refine_factor: NonZeroU32,
    /// Whether refined rows come from the drive or from memory
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    cache: Cache,
    /// How long to ask queries
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Threads of the peer
    #[arg(long, value_name = "T", default_value = "2")]
    threads: NonZeroUsize,
    /// Queries in flight for each of them
    #[arg(long, value_name = "C", default_value = "4")]
    in_flight: NonZeroUsize,
    /// Chooses the order of the queries
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Write the record as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) json: PathBuf,
}

/// How often to measure at most while others read the drive: it is still only in moments.
const ATTEMPTS: u32 = 10;

/// How often the page cache is emptied beside searches. All reads of the queries in flight must
/// have time to be answered in between: what is dropped before it was copied is read again.
const EMPTIED_EVERY: Duration = Duration::from_millis(500);

/// An answer whose rows are known by their ids.
pub trait FoundRows: ringtake_bench::Answer {
    /// The rows found, the nearest first.
    fn row_ids(&self) -> Vec<u64>;
}

/// A run of searches as it was asked for.
#[derive(Debug)]
pub struct Search {
    run: Run,
    column: String,
    queries: Vectors,
    nearest: RowLists,
    queries_path: PathBuf,
    partitions: u32,
    sub_vectors: u32,
    k: usize,
    nprobes: usize,
    refine_factor: u32,
}

impl Search {
    pub(crate) fn new(peer: &'static str, args: &SearchArgs) -> Result<Search> {
        if args.cache == Cache::Mixed {
            return Err(ringtake_bench::Error::NoMixedSearch.into());
        }
        let (rows, schema) = {
            let source = Source::open(&args.place.dataset)?;
            (source.rows(), source.schema())
        };
        let column =
            VectorColumn::named(&schema, &args.column).map_err(ringtake_bench::Error::from)?;
        let queries = npy::read_vectors(&args.queries)?;
        if queries.dims != column.dims {
            return Err(ringtake_bench::Error::QueryDims {
                path: args.queries.clone(),
                given: queries.dims,
                column: args.column.clone(),
                dims: column.dims,
            }
            .into());
        }
        let nearest = npy::read_row_lists(&args.nearest)?;
        let count = queries.numbers.len() / queries.dims;
        let (lists, k) = (nearest.ids.len() / nearest.length, args.k.get());
        if nearest.length < k || lists > count {
            return Err(Error::OtherNearest {
                path: args.nearest.clone(),
                length: nearest.length,
                lists,
                k,
                queries: count,
            });
        }
        let candidates = k as u64 * u64::from(args.refine_factor.get());
        let options = Options {
            workload: "peer-search",
            cache: args.cache,
            load: Load {
                threads: args.threads,
                in_flight: args.in_flight,
                bound: Bound::Time(Duration::from_secs_f64(args.seconds)),
            },
            dataset_rows: rows,
            rows,
            rows_per_query: candidates.min(rows).max(1),
            query_pool: Some(count as u64),
            seed: args.seed,
            attempts: ATTEMPTS,
            dataset: args.place.dataset.clone(),
            columns: vec![args.column.clone()],
            row_bytes: Some((column.dims * column.element.bytes()) as u64),
            ..Options::default()
        };
        Ok(Search {
            run: Run {
                peer,
                options,
                storages: args.place.storages.clone(),
                memory_group: None,
            },
            column: args.column.clone(),
            queries,
            nearest,
            queries_path: args.queries.clone(),
            partitions: args.partitions.get(),
            sub_vectors: args.sub_vectors.get(),
            k,
            nprobes: args.nprobes.get(),
            refine_factor: args.refine_factor.get(),
        })
    }

    /// Where a storage is.
    ///
    /// # Errors
    /// One that was not prepared.
    pub fn storage(&self, storage: &'static str) -> Result<PathBuf> {
        self.run.storage(storage)
    }

    /// Threads a peer may have for itself.
    pub fn threads(&self) -> NonZeroUsize {
        self.run.threads()
    }

    /// The column to search.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The query of that number.
    pub fn query(&self, number: u64) -> &[f32] {
        &self.queries.numbers[number as usize * self.queries.dims..][..self.queries.dims]
    }

    /// Partitions of the index.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Pieces of a vector, each of which has a code of a byte.
    pub fn sub_vectors(&self) -> u32 {
        self.sub_vectors
    }

    /// Rows wanted.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Partitions looked at.
    pub fn nprobes(&self) -> usize {
        self.nprobes
    }

    /// How many times k rows are measured exactly.
    pub fn refine_factor(&self) -> u32 {
        self.refine_factor
    }

    /// Rows that are measured exactly for each query.
    pub fn candidates(&self) -> u64 {
        self.run.options.rows_per_query
    }

    /// Opens a subject that reads `files` and measures it: its speed, then its recall on a second
    /// one. `build_seconds` is what its index took, if it was built just now.
    ///
    /// # Errors
    /// What `open`, a search or the bench returns.
    pub fn measure<S>(
        &self,
        files: &[PathBuf],
        build_seconds: Option<f64>,
        open: impl Fn() -> Result<S>,
    ) -> Result<Record>
    where
        S: Subject<Query = u64, Answer: FoundRows>,
    {
        let record =
            self.run
                .measure(Calls::Futures, Chill::Emptied(EMPTIED_EVERY), files, &open)?;
        Ok(record.with_search(SearchFigures {
            k: self.k,
            nprobes: Some(self.nprobes),
            refine_factor: Some(self.refine_factor),
            metric: Metric::L2,
            recall_at_k: Some(self.recall(&open()?)?),
            recall_queries: self.lists(),
            index_bytes_per_row: None,
            index: None,
            query_source: QuerySource::File(self.queries_path.clone()),
            query_pool: self.queries.numbers.len() / self.queries.dims,
            kernels: None,
            partitions: Some(self.partitions as usize),
            build_seconds,
        }))
    }

    /// Queries whose nearest rows are known.
    fn lists(&self) -> usize {
        self.nearest.ids.len() / self.nearest.length
    }

    /// The share of the true nearest rows that are found.
    fn recall<S: Subject<Query = u64, Answer: FoundRows>>(&self, subject: &S) -> Result<f64> {
        let (mut hits, mut wanted) = (0, 0);
        let asking = async {
            for number in 0..self.lists() {
                let nearest = &self.nearest.ids[number * self.nearest.length..][..self.k];
                let found = subject.take(&(number as u64)).await?.row_ids();
                let near = nearest.iter().filter(|id| **id >= 0);
                wanted += near.clone().count();
                hits += near.filter(|id| found.contains(&(**id as u64))).count();
            }
            Ok::<_, ringtake_bench::Error>(())
        };
        subject.drive(asking, &Alarm::default())?;
        Ok(hits as f64 / wanted.max(1) as f64)
    }
}
