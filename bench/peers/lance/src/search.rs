//! Searches by vector in Lance's IVF_PQ.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_array::{Float32Array, RecordBatch};
use lance::Dataset;
use lance::index::DatasetIndexExt as _;
use lance::index::vector::VectorIndexParams;
use lance_index::IndexType;
use lance_linalg::distance::MetricType;
use ringtake_bench::{Alarm, Answer, Observed, RowsChecksum, Subject};
use ringtake_peers_harness::{Error, FoundRows, Result, Search};

use crate::answer::LanceRows;
use crate::{LanceDataset, STORAGE, multi_thread};

/// Rounds of k-means for the codes: Lance's default.
const ITERATIONS: usize = 50;
const CODE_BITS: u8 = 8;

/// Where Lance puts the ids of rows.
const ROW_ID: &str = "_rowid";
/// Its ids are addresses: the fragment, and the row in it.
const ROW_BITS: u32 = 32;

type BenchResult<T> = std::result::Result<T, ringtake_bench::Error>;

/// The name of the index that `search` asks for.
fn index_name(search: &Search) -> String {
    format!("ivf{}-pq{}", search.partitions(), search.sub_vectors())
}

/// Builds the index that `search` asks for, unless it is there, and tells the seconds it took.
pub(crate) fn build_index(path: &Path, search: &Search) -> Result<Option<f64>> {
    let (partitions, pieces) = (search.partitions(), search.sub_vectors());
    let name = index_name(search);
    multi_thread(std::thread::available_parallelism().map_or(1, usize::from))?
        .block_on(async {
            let mut dataset = Dataset::open(&format!("file://{}", path.display())).await?;
            let indexes = dataset.load_indices().await?;
            if indexes.iter().any(|index| index.name == name) {
                return Ok(None);
            }
            // A column is searched through one of its indexes: there must be no other.
            for index in indexes.iter() {
                dataset.drop_index(&index.name).await?;
            }
            eprintln!("peers: building the index {name} of Lance");
            let start = Instant::now();
            let params = VectorIndexParams::ivf_pq(
                partitions as usize,
                CODE_BITS,
                pieces as usize,
                MetricType::L2,
                ITERATIONS,
            );
            dataset
                .create_index(
                    &[search.column()],
                    IndexType::Vector,
                    Some(name),
                    &params,
                    true,
                )
                .await?;
            Ok(Some(start.elapsed().as_secs_f64()))
        })
        .map_err(|error: lance::Error| Error::peer(STORAGE)(error))
}

/// A dataset that is searched: an id is the number of a query.
pub(crate) struct Searched<'a> {
    rows: LanceDataset,
    search: &'a Search,
    /// The id of each fragment and of its first row.
    first_rows: Vec<(u64, u64)>,
}

impl<'a> Searched<'a> {
    /// Brings the whole index into memory first.
    pub(crate) fn open(rows: LanceDataset, search: &'a Search) -> Result<Searched<'a>> {
        let name = index_name(search);
        let warmed = async { rows.dataset.prewarm_index(&name).await };
        multi_thread(1)?
            .block_on(warmed)
            .map_err(Error::peer(STORAGE))?;
        let mut next_row = 0;
        let first_rows = rows.dataset.manifest().fragments.iter().map(|fragment| {
            let first_row = next_row;
            next_row += fragment.num_rows().unwrap_or(0) as u64;
            (fragment.id, first_row)
        });
        Ok(Searched {
            first_rows: first_rows.collect(),
            rows,
            search,
        })
    }
}

/// The rows found and how far they are.
pub(crate) struct Found {
    rows: LanceRows,
    ids: Vec<u64>,
}

impl Answer for Found {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn touch(&self) -> u64 {
        self.rows.touch()
    }

    /// Not the distances, whose last bits depend on the instructions used.
    fn add_to(&self, checksum: &mut RowsChecksum, ids: &[u64]) -> BenchResult<()> {
        checksum.add_found(ids.first().copied().unwrap_or(0), &self.ids);
        Ok(())
    }
}

impl FoundRows for Found {
    fn row_ids(&self) -> Vec<u64> {
        self.ids.clone()
    }
}

/// One query.
async fn nearest(
    dataset: Arc<Dataset>,
    column: String,
    query: Float32Array,
    (k, nprobes, refine_factor): (usize, usize, u32),
) -> lance::Result<RecordBatch> {
    let mut scanner = dataset.scan();
    scanner
        .nearest(&column, &query, k)?
        .nprobes(nprobes)
        .refine(refine_factor)
        .project::<&str>(&[])?
        .with_row_id();
    scanner.try_into_batch().await
}

impl Subject for Searched<'_> {
    type Query = u64;
    type Answer = Found;

    async fn take(&self, number: &u64) -> BenchResult<Found> {
        let search = self.search;
        let query = search.query(*number);
        let asked = nearest(
            Arc::clone(&self.rows.dataset),
            search.column().to_owned(),
            Float32Array::from(query.to_vec()),
            (search.k(), search.nprobes(), search.refine_factor()),
        );
        let batch = self.rows.query(asked).await?;
        let addresses = batch[ROW_ID].as_primitive::<UInt64Type>();
        let id_of = |address: &u64| {
            let fragment = address >> ROW_BITS;
            let first = self.first_rows.iter().find(|(id, _)| *id == fragment);
            first.map_or(0, |(_, first)| *first) + (address & ((1 << ROW_BITS) - 1))
        };
        Ok(Found {
            ids: addresses.values().iter().map(id_of).collect(),
            rows: LanceRows(batch),
        })
    }

    fn is_whole(&self, _asked: usize, rows: usize) -> bool {
        rows == self.search.k()
    }

    /// Takes the rows, which brings them into the page cache.
    async fn fill(&self, row_ids: &[u64]) -> BenchResult<()> {
        self.rows.take(row_ids).await.map(drop)
    }

    fn rows_read(&self, queries: u64) -> Option<u64> {
        Some(queries * self.search.candidates())
    }

    fn drive<F: Future>(&self, client: F, alarm: &Alarm) -> F::Output {
        self.rows.drive(client, alarm)
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Searched<'_> {
    fn read_path(&self) -> String {
        self.rows.read_path()
    }

    fn files(&self) -> BenchResult<Vec<PathBuf>> {
        self.rows.files()
    }
}
