//! A search: a vector in, the rows nearest to it out. This file is its caller's side.
//!
//! The caller ranks the centroids, makes the tables of distances and sends one message to each
//! shard. There `shard/engine/scan.rs` scans the codes of the rows that the shard owns, and the
//! rows found are read as those of a take are, but measured where they were read
//! (`index/nearest.rs`). `index/query.rs` is where the shards meet; what comes back is their
//! nearest, which the caller merges.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::Projection;
use ringtake_storage::vector::nearest::Neighbour;
use ringtake_storage::vector::{Metric, is_measurable, normalise};

use crate::admission::{Admission, LatencyClass, Need, WhenFull};
use crate::client::take::{TakeOptions, read_bytes_max};
use crate::doorbell::Doorbell;
use crate::error::Result;
use crate::metrics::{CallerStage, Watch};
use crate::shard::inbox::{Inbox, Message};
use crate::shard::part::{Part, Progress, Window};

use crate::error::search::SearchError;
use crate::index::filter::RowFilter;
use crate::index::nearest::Nearest;
use crate::index::opened::{Indexes, OpenIndex};
use crate::index::query::{Asked, Query, Refine};

/// Column of row ids in the answer to a search.
pub const ROW_ID_COLUMN: &str = "_rowid";
/// Column of distances in the answer to a search.
pub const DISTANCE_COLUMN: &str = "_distance";

/// What a search asks for beside the vector.
#[derive(Debug, Clone)]
pub struct SearchParams {
    /// The column to search; `None` where only one has an index.
    pub column: Option<String>,
    /// Rows wanted.
    pub k: usize,
    /// Partitions whose rows are looked at, the nearest ones. More are, where those hold fewer
    /// than `k` rows that may be returned. As many as there are, or more, leave none out.
    pub nprobes: usize,
    /// How many times `k` rows are read to be ranked by their exact distance; `None` to rank by
    /// what the codes say and read none. Ten is a good beginning where the order matters.
    pub refine_factor: Option<u32>,
    /// The distance; `None` for that of the index.
    pub metric: Option<Metric>,
    /// Further columns of the rows found; none of them may have the name of a column of the answer.
    pub projection: Option<Projection>,
    /// Which rows may be returned. It is applied before candidates are chosen.
    pub filter: Option<RowFilter>,
    /// When the answer is of no more use.
    pub deadline: Option<Instant>,
    /// Whose reads go first.
    pub class: LatencyClass,
    /// What to do when the store is at its limits.
    pub when_full: WhenFull,
}

impl Default for SearchParams {
    fn default() -> Self {
        SearchParams {
            column: None,
            k: 10,
            nprobes: 20,
            refine_factor: None,
            metric: None,
            projection: None,
            filter: None,
            deadline: None,
            class: LatencyClass::default(),
            when_full: WhenFull::default(),
        }
    }
}

/// Where too few rows were found, so many times as many partitions are looked at.
const MORE_PROBES: usize = 4;

/// What a search needs of the store.
pub(crate) struct Searcher<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) indexes: &'a Indexes,
    pub(crate) inboxes: &'a [Inbox],
    pub(crate) doorbells: &'a Arc<[Arc<Doorbell>]>,
    pub(crate) admission: &'a Arc<Admission>,
    pub(crate) align_bytes: u32,
}

impl Searcher<'_> {
    /// The rows nearest to `vector`, nearest first.
    ///
    /// # Errors
    /// What [`Store::search`](crate::Store::search) says.
    pub(crate) async fn search(
        &self,
        vector: &[f32],
        params: &SearchParams,
        watch: &Watch<'_>,
    ) -> Result<Vec<Neighbour>> {
        let index = self.index(params)?;
        let vector = check(index, vector, params)?;
        let mut along_axes = index.index.quantiser().rotate(index.kernels, &vector);
        if let Some(origin) = &index.origin {
            along_axes.iter_mut().zip(origin).for_each(|(x, o)| *x -= o);
        }
        let ranked = rank(index, &along_axes);
        watch.mark(CallerStage::Rank);
        let mut probes = params.nprobes.min(ranked.len());
        loop {
            let asked = self.asked(index, &vector, &along_axes, &ranked[..probes], params);
            let (found, coded) = self.run(asked, params, watch).await?;
            // Rows without codes are found whichever partitions are looked at.
            if coded >= params.k || probes == ranked.len() {
                return Ok(found);
            }
            probes = probes.saturating_mul(MORE_PROBES).min(ranked.len());
        }
    }

    /// Elements of the queries that `params` are for.
    pub(crate) fn dims(&self, params: &SearchParams) -> Result<usize> {
        Ok(self.index(params)?.column.dims)
    }

    fn index(&self, params: &SearchParams) -> Result<&Arc<OpenIndex>> {
        let usable = &*self.indexes.usable;
        let available = || {
            let names: Vec<&str> = usable.iter().map(|index| &*index.name).collect();
            names.join(", ")
        };
        let error = match (&params.column, usable) {
            (None, [index]) => return Ok(index),
            (None, [_, _, ..]) => SearchError::WhichColumn {
                available: available(),
            },
            (Some(name), [_, ..]) => match usable.iter().find(|index| index.name == *name) {
                Some(index) => return Ok(index),
                None => {
                    let (column, available) = (name.clone(), available());
                    match self.dataset.schema().column_with_name(name) {
                        Some(_) => SearchError::NotIndexed { column, available },
                        None => SearchError::NoColumn { column, available },
                    }
                }
            },
            (_, []) => match self.indexes.faults.first() {
                Some(reason) => SearchError::Unusable {
                    reason: reason.clone(),
                },
                None => SearchError::NoIndex,
            },
        };
        Err(error.into())
    }

    fn asked<'a>(
        &self,
        index: &Arc<OpenIndex>,
        vector: &[f32],
        along_axes: &'a [f32],
        partitions: &'a [u32],
        params: &SearchParams,
    ) -> Asked<'a> {
        let (refine, candidates) = match params.refine_factor {
            Some(factor) => (Refine::Yes, params.k.saturating_mul(factor as usize)),
            None => (Refine::No, params.k),
        };
        Asked {
            index: index.clone(),
            vector: vector.to_vec(),
            along_axes,
            partitions,
            k: params.k,
            // No more than there are, whatever is asked.
            candidates: candidates.min(index.index.layout().rows_indexed as usize),
            refine,
            filter: params.filter.clone(),
            doorbells: self.doorbells.clone(),
        }
    }

    /// Has every shard search and waits for all. The nearest, and how many rows with codes may be
    /// returned, as far as that many are wanted.
    async fn run(
        &self,
        asked: Asked<'_>,
        params: &SearchParams,
        watch: &Watch<'_>,
    ) -> Result<(Vec<Neighbour>, usize)> {
        let rows = asked.candidates;
        let admission = self.admission;
        let options = TakeOptions {
            when_full: params.when_full,
            deadline: params.deadline,
            class: params.class,
            ..TakeOptions::default()
        };
        let limits = admission.limits(params.class);
        let need = self.need(&asked);
        let need = Need {
            reads: need.reads.min(limits.reads),
            bytes: need.bytes.min(limits.bytes),
            ..need
        };
        let permit = options.admit_first(admission, need, rows).await?;
        watch.mark(CallerStage::Admit);
        let query = Arc::new(Query::new(asked));
        watch.mark(CallerStage::Tables);
        let progress = Arc::new(Progress::new(params.class, params.deadline));
        let cancel = CancelOnDrop(&progress);
        let window = Window::new(self.inboxes.len() as u32, progress.clone(), permit);
        // All parts exist before the first is sent, as in a take.
        let parts: Vec<Part> = (0..self.inboxes.len())
            .map(|shard| {
                let nearest = Nearest::new(query.clone(), shard);
                let projection = query.index.projection.clone();
                Part::of_search(shard, projection, nearest, window.clone())
            })
            .collect();
        drop(window);
        for (inbox, part) in self.inboxes.iter().zip(parts) {
            // A part that cannot be sent is dropped, which fails the search.
            drop(inbox.send(Message::Take(part)));
        }
        watch.mark(CallerStage::Route);
        progress.finished(1).await;
        watch.mark(CallerStage::Shards);
        drop(cancel);
        progress.outcome(rows)?;
        let merged = query.merged();
        watch.mark(CallerStage::Merge);
        Ok((merged, query.coded()))
    }

    fn need(&self, asked: &Asked<'_>) -> Need {
        let reads = match asked.refine {
            Refine::Yes => asked.candidates as u64,
            Refine::No => 0,
        } + self.dataset.rows()
            - asked.index.index.layout().rows;
        let group = asked.index.projection.groups()[0].group;
        let record_bytes = self.dataset.locator(group).record_bytes().unwrap_or(0);
        let row_bytes = read_bytes_max(record_bytes, self.align_bytes);
        let candidates = asked.candidates * size_of::<Neighbour>() * 2 * self.inboxes.len();
        Need {
            windows: 1,
            reads,
            bytes: reads * row_bytes + candidates as u64 + asked.table_bytes(),
        }
    }
}

/// Tells the shards that nobody waits any more.
struct CancelOnDrop<'a>(&'a Progress);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Refuses what cannot be searched for; the query as the index needs it.
fn check(index: &OpenIndex, vector: &[f32], params: &SearchParams) -> Result<Vec<f32>> {
    let zero = |what| Err(SearchError::Zero { what }.into());
    if params.k == 0 {
        return zero("k");
    }
    if params.nprobes == 0 {
        return zero("nprobes");
    }
    if params.refine_factor == Some(0) {
        return zero("refine_factor");
    }
    let (dims, built) = (index.column.dims, index.metric());
    if let Some(asked) = params.metric.filter(|&asked| asked != built) {
        return Err(SearchError::OtherMetric { asked, built }.into());
    }
    if vector.len() != dims {
        let given = vector.len();
        return Err(SearchError::Dimensions { given, dims }.into());
    }
    if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
        let value = vector[position];
        return Err(SearchError::NotFinite { position, value }.into());
    }
    let squared: f32 = vector.iter().map(|x| x * x).sum();
    if built != Metric::Cosine && !is_measurable(squared) {
        return Err(SearchError::TooLong.into());
    }
    let mut vector = vector.to_vec();
    if built == Metric::Cosine && !normalise(&mut vector) {
        return Err(SearchError::NoDirection.into());
    }
    Ok(vector)
}

/// Refuses a projection with a column that the answer would have twice.
pub(crate) fn check_names(params: &SearchParams, schema: &Schema) -> Result<()> {
    let columns = params
        .projection
        .iter()
        .flat_map(|projection| projection.columns());
    for &column in columns {
        let name = schema.field(column).name();
        if name == ROW_ID_COLUMN || name == DISTANCE_COLUMN {
            let column = name.clone();
            return Err(SearchError::ReservedColumn { column }.into());
        }
    }
    Ok(())
}

/// All partitions, the nearest first.
fn rank(index: &OpenIndex, vector: &[f32]) -> Vec<u32> {
    let centroids = index.index.centroids();
    let mut distances = vec![0.0; centroids.len()];
    let kernels = index.kernels;
    kernels.dots(centroids.dims(), vector, centroids.values(), &mut distances);
    if index.metric() == Metric::Dot {
        distances
            .iter_mut()
            .for_each(|product| *product = -*product);
    } else {
        for (product, norm) in distances.iter_mut().zip(centroids.squared_norms()) {
            *product = norm - 2.0 * *product;
        }
    }
    let mut ranked: Vec<u32> = (0..centroids.len() as u32).collect();
    ranked.sort_unstable_by(|&a, &b| distances[a as usize].total_cmp(&distances[b as usize]));
    ranked
}

/// Searches of a batch in flight: more would only wait in line, and each is looked at whenever one
/// of them has news.
const BATCH_IN_FLIGHT: usize = 64;

/// Runs searches side by side; the answers in their order.
pub(crate) async fn all<F>(searches: impl Iterator<Item = F>) -> Result<Vec<RecordBatch>>
where
    F: Future<Output = Result<RecordBatch>>,
{
    let mut waiting = searches.enumerate();
    let mut running: Vec<(usize, _)> = Vec::new();
    let mut answers: Vec<(usize, RecordBatch)> = Vec::new();
    poll_fn(|context| {
        loop {
            let room = BATCH_IN_FLIGHT - running.len();
            let next = waiting.by_ref().take(room);
            running.extend(next.map(|(place, search)| (place, Box::pin(search))));
            let before = answers.len();
            let mut at = 0;
            while let Some((place, search)) = running.get_mut(at) {
                match search.as_mut().poll(context) {
                    Poll::Ready(done) => {
                        answers.push((*place, done?));
                        running.swap_remove(at);
                    }
                    Poll::Pending => at += 1,
                }
            }
            if running.is_empty() && answers.len() == before {
                return Poll::Ready(Ok(()));
            }
            // Where some have ended, others begin.
            if answers.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await
    .map(|()| {
        answers.sort_unstable_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    })
}

/// The answer to a search: ids and distances, and then the columns that were asked for.
pub(crate) fn answer(found: &[Neighbour], columns: Option<RecordBatch>) -> Result<RecordBatch> {
    let mut fields = vec![
        Arc::new(Field::new(ROW_ID_COLUMN, DataType::UInt64, false)),
        Arc::new(Field::new(DISTANCE_COLUMN, DataType::Float32, false)),
    ];
    let rows = UInt64Array::from_iter_values(found.iter().map(|neighbour| neighbour.row));
    let distances = found.iter().map(|neighbour| neighbour.distance);
    let distances = Float32Array::from_iter_values(distances);
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(rows), Arc::new(distances)];
    if let Some(columns) = columns {
        fields.extend(columns.schema().fields().iter().cloned());
        arrays.extend(columns.columns().iter().cloned());
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema, arrays).map_err(ringtake_storage::Error::from)?;
    Ok(batch)
}
