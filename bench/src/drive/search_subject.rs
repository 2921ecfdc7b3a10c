//! The store as a subject that searches: an id is the number of a query.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt64Type;
use ringtake_runtime::{Projection, SearchParams, ShardStats, Store, StoreMetrics, TakeOptions};

use crate::drive::store_subject::{Patience, metrics, read_path_name};
use crate::drive::subject::{Answer, Subject, SubjectLimits};
use crate::error::Error;
use crate::workload::row_checksum::{RowsChecksum, touch};
use crate::workload::search::queries::Queries;

/// See the module.
pub(crate) struct SearchSubject {
    pub(crate) store: Store,
    pub(crate) queries: Arc<Queries>,
    /// May be changed between two measurements.
    pub(crate) params: SearchParams,
    /// What a warm run keeps in memory.
    pub(crate) vectors: Projection,
    /// The files that are read.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) patience: Patience,
    /// Rows that an answer has if there are enough.
    pub(crate) rows_found: usize,
}

impl SearchSubject {
    /// The number of the only query asked for.
    fn query(&self, ids: &[u64]) -> &[f32] {
        self.queries
            .get(ids.first().map_or(0, |number| *number as usize))
    }
}

/// The rows found.
#[derive(Debug)]
pub(crate) struct Found(RecordBatch);

impl Found {
    pub(crate) fn row_ids(&self) -> Vec<u64> {
        self.0
            .column(0)
            .as_primitive::<UInt64Type>()
            .values()
            .to_vec()
    }
}

impl Answer for Found {
    fn rows(&self) -> usize {
        self.0.num_rows()
    }

    fn touch(&self) -> u64 {
        touch(&self.0)
    }

    /// Which rows were found for which query, in which order. Not their distances, whose last
    /// bits depend on the instructions that the machine has.
    fn add_to(&self, checksum: &mut RowsChecksum, ids: &[u64]) -> Result<(), Error> {
        checksum.add_found(ids.first().copied().unwrap_or(0), &self.row_ids());
        Ok(())
    }
}

impl Subject for SearchSubject {
    type Answer = Found;

    async fn take(&self, ids: &[u64]) -> Result<Found, Error> {
        let search = self.store.search_borrowed(self.query(ids), &self.params);
        Ok(Found(search.await?))
    }

    async fn take_due(&self, ids: &[u64], due: Instant) -> Result<Found, Error> {
        let params = SearchParams {
            when_full: self.patience.when_full,
            deadline: self.patience.deadline_of(due),
            ..self.params.clone()
        };
        let search = self.store.search_borrowed(self.query(ids), &params);
        Ok(Found(search.await?))
    }

    fn is_whole(&self, _asked: usize, rows: usize) -> bool {
        rows == self.rows_found
    }

    /// A search takes the rows it chooses, so they are taken by id here.
    async fn fill(&self, row_ids: &[u64]) -> Result<(), Error> {
        let options = TakeOptions::default();
        self.store
            .take_borrowed(row_ids, &self.vectors, options)
            .await?;
        Ok(())
    }

    fn read_path(&self) -> String {
        let config = self.store.config();
        read_path_name(config.read_path, config.lab.scheduler)
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(self.paths.clone())
    }

    fn counters(&self) -> Option<ShardStats> {
        let shards = self.store.stats();
        Some(
            shards
                .into_iter()
                .fold(ShardStats::default(), |sum, shard| sum + shard),
        )
    }

    fn metrics(&self) -> Option<StoreMetrics> {
        metrics(&self.store)
    }

    fn permits_held(&self) -> Option<u64> {
        Some(self.store.permits().windows)
    }

    fn spin(&self) -> Duration {
        self.store.config().spin_before_park
    }

    fn warnings(&self) -> Vec<String> {
        self.store.info().warnings.clone()
    }

    fn limits(&self) -> Option<SubjectLimits> {
        let config = self.store.config();
        Some(SubjectLimits {
            shards: config.shards,
            queue_depth: config.queue_depth as usize,
        })
    }

    fn configuration(&self) -> serde_json::Value {
        serde_json::to_value(self.store.config()).unwrap_or_default()
    }

    fn description(&self) -> serde_json::Value {
        serde_json::to_value(self.store.info()).unwrap_or_default()
    }
}
