//! The store as a subject that searches.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt64Type;
use ringtake_runtime::{Metric, Projection, SearchRequest};

use crate::drive::patience::Patience;
use crate::drive::store_subject::OpenStore;
use crate::drive::subject::{Answer, Observed, Subject};
use crate::error::Error;
use crate::workload::row_checksum::{RowsChecksum, touch};
use crate::workload::search::queries::Queries;

/// The options of every search of a run.
#[derive(Debug)]
pub(crate) struct SearchOptions {
    pub(crate) column: String,
    pub(crate) k: usize,
    pub(crate) nprobes: usize,
    pub(crate) refine_factor: Option<u32>,
    pub(crate) metric: Option<Metric>,
    /// Columns of the rows found that each answer has beside.
    pub(crate) projection: Option<Projection>,
}

/// A store that is asked for the rows nearest to the queries of a pool.
pub(crate) struct SearchSubject {
    pub(crate) open: OpenStore,
    pub(crate) queries: Arc<Queries>,
    /// May be changed between two measurements.
    pub(crate) options: SearchOptions,
    /// The columns that a warm run keeps in memory.
    pub(crate) vectors: Projection,
    pub(crate) patience: Patience,
    /// Rows of a whole answer.
    pub(crate) rows_found: usize,
}

impl SearchSubject {
    /// A search for the query of that number.
    fn search(&self, number: u64) -> SearchRequest<'_> {
        let options = &self.options;
        self.open
            .store
            .search(self.queries.get(number as usize))
            .column(&*options.column)
            .k(options.k)
            .nprobes(options.nprobes)
            .refine_factor(options.refine_factor)
            .metric(options.metric)
            .projection(&options.projection)
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
    type Query = u64;
    type Answer = Found;

    async fn take(&self, number: &u64) -> Result<Found, Error> {
        Ok(Found(self.search(*number).await?))
    }

    async fn take_due(&self, number: &u64, due: Instant) -> Result<Found, Error> {
        let search = self
            .search(*number)
            .when_full(self.patience.when_full)
            .deadline(self.patience.deadline_of(due));
        Ok(Found(search.await?))
    }

    fn is_whole(&self, _asked: usize, rows: usize) -> bool {
        rows == self.rows_found
    }

    /// A search takes the rows it chooses, so they are taken by id here.
    async fn fill(&self, row_ids: &[u64]) -> Result<(), Error> {
        self.open.store.take(row_ids, &self.vectors).await?;
        Ok(())
    }

    fn observed(&self) -> &dyn Observed {
        &self.open
    }
}
