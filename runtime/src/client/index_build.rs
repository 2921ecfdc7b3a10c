//! Building an index: a sample, k-means, codebooks, and one pass over all rows.
//!
//! Memory is bounded whatever the number of rows: the sample by
//! [`IndexOptions::sample_bytes_max`], and the codes, which the pass makes in the order of rows and
//! the index has in the order of partitions, by [`IndexOptions::gather_bytes_max`].

mod codebooks;
mod coding;
mod options;
mod partitions;
mod plan;
mod progress;
mod sample;
mod spill;

use std::ops::ControlFlow;
use std::sync::Arc;

use ringtake_storage::dataset::Dataset;
use ringtake_storage::vector::index::writer::IndexWriter;
use ringtake_storage::vector::index::{IndexLayout, Section};
use ringtake_storage::vector::kmeans::Centroids;
use ringtake_storage::write::file_system::RealFileSystem;

use crate::admission::LatencyClass;
use crate::client::store::Store;
use crate::error::Result;
use crate::index::opened::{self, IndexInfo};
use crate::memory::outputs::ColumnBuffer;
pub use options::{Axes, IndexOptions};
use plan::{IndexPlan, ReadRows, subtract};
pub use progress::BuildProgress;
use progress::Watch;

impl Store {
    /// Builds the index of the vectors in `column` and puts it beside the dataset, instead of an
    /// older one. Stores opened from then on use it. `watch` gets the progress, and ends the build
    /// by breaking.
    ///
    /// # Errors
    /// A column without vectors, options that cannot work, rows that cannot be read, a dataset
    /// that is being written, the file system's; [`Error::Stopped`](crate::Error::Stopped) if
    /// `watch` ended it. The dataset then has the index it had, and nothing else is left.
    pub fn build_index(
        &self,
        column: &str,
        options: &IndexOptions,
        watch: &mut dyn FnMut(BuildProgress) -> ControlFlow<()>,
    ) -> Result<IndexInfo> {
        let projection = self.projection(&[column])?;
        let read_rows = |ids: &[u64], vectors: &mut [u8]| {
            self.take(ids, &projection)
                .class(LatencyClass::Bulk)
                .wait_into(&mut [ColumnBuffer::Fixed(vectors)])
        };
        build(self.dataset(), &read_rows, column, options, watch)
    }
}

/// Builds the index of `column`, whose vectors `read_rows` reads, beside `dataset`.
fn build(
    dataset: &Dataset,
    read_rows: &ReadRows<'_>,
    column: &str,
    options: &IndexOptions,
    watch: &mut Watch<'_>,
) -> Result<IndexInfo> {
    let plan = IndexPlan::new(dataset, read_rows, column, options)?;
    let mut sample = plan.sample(watch)?;
    let origin = plan.origin(&sample);
    if let Some(origin) = &origin {
        let dims = plan.column.dims;
        plan.spread(&mut sample, |rows| {
            rows.chunks_exact_mut(dims)
                .for_each(|row| subtract(row, origin));
        })?;
    }
    let centroids = plan.partition(&sample, watch)?;
    let quantiser = plan.quantiser(sample, &centroids, watch)?;
    let layout = IndexLayout {
        column: plan.column.column as u32,
        element: plan.column.element,
        dims: plan.column.dims as u32,
        metric: options.metric,
        rows: plan.rows,
        rows_indexed: 0,
        partitions: 0,
        codes: 0,
        seed: options.seed,
        rotation: Section::default(),
        centroids: Section::default(),
        ends: Section::default(),
        codebooks: Section::default(),
        errors: Section::default(),
        counts: Section::default(),
        lists: Section::default(),
    };
    let file_system = Arc::new(RealFileSystem);
    let mut stored = centroids.values().to_vec();
    for row in stored.chunks_exact_mut(plan.column.dims) {
        let origin = origin.iter().flatten();
        row.iter_mut().zip(origin).for_each(|(c, o)| *c += o);
    }
    let turned = quantiser.rotate(plan.kernels, &stored);
    let turned = Centroids::new(plan.column.dims, turned);
    let writer = IndexWriter::create(file_system, dataset, layout, &turned, &quantiser)?;
    let coded = plan.code(origin.as_deref(), &centroids, &quantiser, watch)?;
    coded.write(writer, options.gather_bytes_max, watch)?;
    opened::info_of(dataset, plan.column.column)
}
