//! The searches to measure: the column, its index, the queries and their true nearest rows.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringtake_runtime::{CacheChoice, Config, IndexInfo, Store};
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::{Metric, VectorColumn};

use super::flags::{Refine, VectorSearchArgs};
use super::search_dataset::{DATA_SEED, SearchDataset};
use crate::command::args::Contents;
use crate::drive::load::ClientPlace;
use crate::error::Error;
use crate::measure::options::Options;
use crate::record::proof::Cache;
use crate::record::search::SearchFigures;
use crate::workload::dataset::DatasetFiles;
use crate::workload::distribution::Distribution;
use crate::workload::search::queries::Queries;
use crate::workload::search::stored_vectors::StoredVectors;
use crate::workload::search::truth::{Truth, Wanted};

/// The column that is searched, its index and its queries.
pub(super) struct Prepared {
    /// Name of the column.
    pub(super) name: String,
    pub(super) column: VectorColumn,
    pub(super) metric: Metric,
    pub(super) index: Option<IndexInfo>,
    pub(super) queries: Arc<Queries>,
    pub(super) truth: Option<Truth>,
    pub(super) rows: u64,
}

impl Prepared {
    /// Opens the dataset and prepares everything before the clock starts.
    pub(super) fn new(
        args: &VectorSearchArgs,
        home: &SearchDataset,
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
        let stored = StoredVectors::of(&store, &name)?;
        let column = stored.column();
        let queries = match (&args.queries, &home.mixture) {
            (Some(path), _) => Queries::of_file(path, &name, column.dims)?,
            (None, Some(mixture)) => Queries::of_mixture(mixture, DATA_SEED, args.query_pool.get()),
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
    pub(super) fn options(
        &self,
        args: &VectorSearchArgs,
        home: &SearchDataset,
        candidates: usize,
    ) -> Options {
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

    pub(super) fn figures(&self, args: &VectorSearchArgs, refine: Refine) -> SearchFigures {
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
    pub(super) fn candidates(&self, args: &VectorSearchArgs, refine: Refine) -> usize {
        let wanted = args.k.saturating_mul(refine.factor().unwrap_or(1) as usize);
        wanted.min(usize::try_from(self.rows).unwrap_or(usize::MAX))
    }
}

/// The store's configuration for the vectors in `columns`.
pub(super) fn store_config_of(
    args: &VectorSearchArgs,
    home: &SearchDataset,
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
        open_loop: args.arrivals.rate.map(|_| ClientPlace::Threads),
    })
}

/// The configuration for the work before the clock starts.
pub(super) fn uncached_config(
    args: &VectorSearchArgs,
    home: &SearchDataset,
) -> Result<Config, Error> {
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
    // The store says best why it cannot be searched; it is asked for the neighbours of a vector
    // that any metric takes.
    let vector = vec![1.0; found.map_or(1, |index| index.dims)];
    let search = store.search(&vector).column(args.column.as_deref());
    search.metric(args.metric).wait()?;
    found
        .cloned()
        .ok_or_else(|| unreachable!("a store that can be searched says by what index"))
}

/// The column of vectors, where no index names it.
fn vectors_of(
    store: &Store,
    args: &VectorSearchArgs,
    home: &SearchDataset,
) -> Result<String, Error> {
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
