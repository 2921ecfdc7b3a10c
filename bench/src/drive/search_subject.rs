//! The store as a subject that searches.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt64Type;
use ringtake_runtime::{Projection, SearchParams, TakeOptions};

use crate::drive::store_subject::{OpenStore, Patience};
use crate::drive::subject::{Answer, Observed, Subject};
use crate::error::Error;
use crate::workload::row_checksum::{RowsChecksum, touch};
use crate::workload::search::queries::Queries;

/// A store that is asked for the rows nearest to the queries of a pool.
pub(crate) struct SearchSubject {
    pub(crate) open: OpenStore,
    pub(crate) queries: Arc<Queries>,
    /// May be changed between two measurements.
    pub(crate) params: SearchParams,
    /// The columns that a warm run keeps in memory.
    pub(crate) vectors: Projection,
    pub(crate) patience: Patience,
    /// Rows of a whole answer.
    pub(crate) rows_found: usize,
}

impl SearchSubject {
    /// The vector of the query of that number.
    fn query(&self, number: u64) -> &[f32] {
        self.queries.get(number as usize)
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
        let search = self
            .open
            .store
            .search_borrowed(self.query(*number), &self.params);
        Ok(Found(search.await?))
    }

    async fn take_due(&self, number: &u64, due: Instant) -> Result<Found, Error> {
        let params = SearchParams {
            when_full: self.patience.when_full,
            deadline: self.patience.deadline_of(due),
            ..self.params.clone()
        };
        let search = self
            .open
            .store
            .search_borrowed(self.query(*number), &params);
        Ok(Found(search.await?))
    }

    fn is_whole(&self, _asked: usize, rows: usize) -> bool {
        rows == self.rows_found
    }

    /// A search takes the rows it chooses, so they are taken by id here.
    async fn fill(&self, row_ids: &[u64]) -> Result<(), Error> {
        let options = TakeOptions::default();
        let take = self
            .open
            .store
            .take_borrowed(row_ids, &self.vectors, options);
        take.await?;
        Ok(())
    }

    fn observed(&self) -> &dyn Observed {
        &self.open
    }
}
