//! The yardstick of refining: a bare loop over vectors in a memory map.
//!
//! For each query it computes as many distances as a search would refine, with the same kernels,
//! and keeps the nearest k. The choice of rows does not change the time, so they are random, and
//! chosen before the clock starts. There is no index, no checksum and no second thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringtake_runtime::yardstick::MappedFiles;
use ringtake_storage::vector::VectorColumn;
use ringtake_storage::vector::distance::Distance;
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::nearest::Nearest;

use crate::drive::subject::{Answer, Observed, Subject};
use crate::error::Error;
use crate::workload::Workload;
use crate::workload::read_plan::{Cut, LargestGroup, ReadPlan};
use crate::workload::row_checksum::RowsChecksum;
use crate::workload::search::queries::Queries;

/// Queries that are answered by measuring rows of a map.
pub(crate) struct MapLoop {
    files: MappedFiles,
    places: LargestGroup,
    plan: ReadPlan,
    /// The rows of the plan, as many for each query.
    rows: Vec<u64>,
    distance: Distance,
    /// Prepared for the distance.
    queries: Vec<Vec<f32>>,
    k: usize,
    candidates: usize,
}

/// The parameters of a [`MapLoop`].
pub(crate) struct Measured<'a> {
    pub(crate) dataset: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) column: VectorColumn,
    pub(crate) metric: ringtake_storage::vector::Metric,
    pub(crate) queries: &'a Arc<Queries>,
    pub(crate) k: usize,
    pub(crate) candidates: usize,
    pub(crate) seed: u64,
}

impl MapLoop {
    pub(crate) fn open(measured: &Measured<'_>) -> Result<MapLoop, Error> {
        let places = LargestGroup::of(measured.dataset, &[measured.name.to_owned()])?;
        if places.columns.len() > 1 {
            return Err(Error::NotAlone {
                column: measured.name.to_owned(),
            });
        }
        let candidates = measured.candidates as u64;
        let workload = Workload::new(places.rows(), candidates, measured.seed)?;
        let plan = places.plan(&workload, &Cut::Rows)?;
        let mut rows = Vec::with_capacity(plan.reads.len());
        let mut of_query = Vec::new();
        for query in 0..plan.queries() {
            workload.query(query, &mut of_query);
            rows.extend_from_slice(&of_query);
        }
        let distance = Distance {
            kernels: Kernels::best(),
            metric: measured.metric,
            element: measured.column.element,
        };
        let queries = measured.queries;
        Ok(MapLoop {
            files: MappedFiles::open(&places.paths)
                .map_err(Error::io("map the files of", measured.dataset))?,
            places,
            plan,
            rows,
            distance,
            queries: (0..queries.count())
                .map(|number| distance.prepared(queries.get(number)))
                .collect(),
            k: measured.k,
            candidates: measured.candidates,
        })
    }

    fn nearest(&self, number: u64) -> NearestRows {
        let query = &self.queries[number as usize];
        let reads = self.plan.query(number);
        let first = (number % self.plan.queries()) as usize * self.candidates;
        let mut nearest = Nearest::new(self.k);
        for (read, row) in reads.iter().zip(&self.rows[first..]) {
            nearest.push(self.distance.to(query, self.files.bytes(*read)), *row);
        }
        NearestRows(nearest.sorted().iter().map(|found| found.row).collect())
    }
}

/// The rows found.
pub(crate) struct NearestRows(Vec<u64>);

impl Answer for NearestRows {
    fn rows(&self) -> usize {
        self.0.len()
    }

    fn touch(&self) -> u64 {
        self.0.iter().fold(0, |sum, row| sum.wrapping_add(*row))
    }

    fn add_to(&self, checksum: &mut RowsChecksum, ids: &[u64]) -> Result<(), Error> {
        checksum.add_found(ids.first().copied().unwrap_or(0), &self.0);
        Ok(())
    }
}

impl Subject for MapLoop {
    type Query = u64;
    type Answer = NearestRows;

    async fn take(&self, number: &u64) -> Result<NearestRows, Error> {
        Ok(self.nearest(*number))
    }

    /// Rows without a vector are not found.
    fn is_whole(&self, _asked: usize, rows: usize) -> bool {
        rows <= self.k
    }

    /// Touches the rows, which brings them into the page cache.
    async fn fill(&self, row_ids: &[u64]) -> Result<(), Error> {
        let mut sum = 0_u64;
        for row in row_ids {
            let at = self.places.value_at(*row)?;
            let bytes = self.files.bytes(at);
            for byte in bytes.iter().step_by(64) {
                sum = sum.wrapping_add(u64::from(*byte));
            }
        }
        std::hint::black_box(sum);
        Ok(())
    }

    fn rows_read(&self, queries: u64) -> Option<u64> {
        Some(queries * self.candidates as u64)
    }
    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for MapLoop {
    fn read_path(&self) -> String {
        "mmap-loop".to_owned()
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(self.places.paths.clone())
    }
}
