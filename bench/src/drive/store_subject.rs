//! The store as a subject whose rows are taken by id, and as it is observed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use ringtake_runtime::{
    Config, LatencyClass, Projection, ReadPathChoice, Scheduler, ShardStats, Store, StoreMetrics,
    TakeRequest,
};
use thread_local::ThreadLocal;

use crate::drive::in_shard::InShard;
use crate::drive::patience::Patience;
use crate::drive::subject::{Observed, Subject, SubjectLimits};
use crate::error::Error;
use crate::workload::dataset::DatasetFiles;

/// The read path as records name it: the usual scheduler goes without saying.
fn read_path_name(read_path: ReadPathChoice, scheduler: Scheduler) -> String {
    match scheduler {
        Scheduler::Batched => read_path.to_string(),
        other => format!("{read_path} ({other})"),
    }
}

/// A store, observed: both subjects that ask a store have one.
#[derive(Clone)]
pub(crate) struct OpenStore {
    pub(crate) store: Store,
    dataset: PathBuf,
    columns: Vec<String>,
}

impl OpenStore {
    /// Opens the dataset, of which `columns` are read, or all if none is named.
    pub(crate) fn open(
        dataset: &Path,
        columns: &[String],
        config: Config,
    ) -> Result<OpenStore, Error> {
        Ok(OpenStore {
            store: Store::open(dataset, config)?,
            dataset: dataset.to_path_buf(),
            columns: columns.to_vec(),
        })
    }

    /// The columns named, or all if none is.
    fn projection(&self) -> Result<Projection, Error> {
        match self.columns.as_slice() {
            [] => Ok(self.store.all_columns()),
            names => Ok(self.store.projection(names)?),
        }
    }
}

/// The store under measurement, whose rows are taken by id.
#[derive(Clone)]
pub(crate) struct StoreSubject {
    open: OpenStore,
    /// Each client thread has its own: see [`Projection`].
    projections: Arc<ThreadLocal<Projection>>,
    class: LatencyClass,
    patience: Patience,
}

impl StoreSubject {
    /// Opens the dataset and takes `columns`, or all if none is named.
    pub(crate) fn open(
        dataset: &Path,
        columns: &[String],
        patience: Patience,
        config: Config,
    ) -> Result<StoreSubject, Error> {
        let open = OpenStore::open(dataset, columns, config)?;
        let projections = Arc::new(ThreadLocal::new());
        projections.get_or_try(|| open.projection())?;
        Ok(StoreSubject {
            open,
            projections,
            class: LatencyClass::default(),
            patience,
        })
    }

    /// This subject with takes of `class`.
    pub(crate) fn with_class(&self, class: LatencyClass) -> StoreSubject {
        StoreSubject {
            class,
            ..self.clone()
        }
    }

    /// The store.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.open.store
    }

    /// Rows of the dataset.
    pub(crate) fn rows(&self) -> u64 {
        self.open.store.row_count()
    }

    /// Clients inside the shards that take the same columns of the first `rows` rows.
    pub(crate) fn inside(&self, rows: u64) -> InShard {
        InShard::new(
            &self.open.store,
            rows,
            &self.open.columns,
            self.class,
            self.patience,
        )
    }

    fn request<'a>(&'a self, row_ids: &'a [u64]) -> Result<TakeRequest<'a>, Error> {
        let projection = self.projections.get_or_try(|| self.open.projection())?;
        Ok(self.open.store.take(row_ids, projection).class(self.class))
    }
}

impl Subject for StoreSubject {
    type Query = [u64];
    type Answer = RecordBatch;

    async fn take(&self, row_ids: &[u64]) -> Result<RecordBatch, Error> {
        Ok(self.request(row_ids)?.await?)
    }

    async fn take_due(&self, row_ids: &[u64], due: Instant) -> Result<RecordBatch, Error> {
        let take = self
            .request(row_ids)?
            .when_full(self.patience.when_full)
            .deadline(self.patience.deadline_of(due));
        Ok(take.await?)
    }

    fn observed(&self) -> &dyn Observed {
        &self.open
    }
}

impl Observed for OpenStore {
    fn read_path(&self) -> String {
        read_path_name(
            self.store.config().read_path,
            self.store.config().lab.scheduler,
        )
    }

    /// Looked up after the store was opened: one opened while the dataset was being replaced has
    /// the newer ones.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(DatasetFiles::of(&self.dataset, &self.columns)?.paths)
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
        let metrics = || self.store.metrics();
        self.store.config().observe.metrics.then(metrics)
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
