//! The rows that every peer is given: those of a Ringtake dataset, in the order of their ids.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ringtake_runtime::{Config, Projection, Store};

use crate::error::Result;

/// Rows handed over at a time.
const BATCH_ROWS: u64 = 4096;

/// A dataset opened for export.
#[derive(Debug)]
pub struct Source {
    store: Store,
    projection: Projection,
}

impl Source {
    /// Opens the dataset at `path`.
    ///
    /// # Errors
    /// What [`Store::open`] returns.
    pub fn open(path: &Path) -> Result<Source> {
        let store = Store::open(path, Config::default())?;
        Ok(Source {
            projection: store.all_columns(),
            store,
        })
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.store.schema().clone()
    }

    /// Rows of the dataset.
    pub fn rows(&self) -> u64 {
        self.store.row_count()
    }

    /// Every row once, in order; each batch with the id of its first row.
    pub fn batches(&self) -> impl Iterator<Item = Result<(u64, RecordBatch)>> {
        let rows = self.rows();
        (0..rows).step_by(BATCH_ROWS as usize).map(move |start| {
            let ids: Vec<u64> = (start..rows.min(start + BATCH_ROWS)).collect();
            Ok((start, self.store.take(&ids, &self.projection).wait()?))
        })
    }
}
