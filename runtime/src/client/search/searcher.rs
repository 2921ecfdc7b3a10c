//! One search at work: ranks the centroids, admits, sends to every shard, merges.

use std::future::poll_fn;
use std::sync::Arc;

use ringtake_storage::dataset::Dataset;
use ringtake_storage::vector::Metric;
use ringtake_storage::vector::nearest::Neighbour;

use super::check::check;
use super::params::Params;
use crate::admission::{Admission, Need};
use crate::client::take::read_bytes_max;
use crate::doorbell::Doorbell;
use crate::error::Result;
use crate::error::search::SearchError;
use crate::index::nearest::Nearest;
use crate::index::opened::{Indexes, OpenIndex};
use crate::index::query::{Asked, Query, Refine};
use crate::metrics::{CallerStage, Watch};
use crate::shard::inbox::{Inbox, Message};
use crate::shard::part::{Part, Progress, Window};

/// Factor on the number of partitions to search after too few rows were found.
const MORE_PROBES: usize = 4;

/// The parts of a store that a search uses.
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
    /// As listed at [`SearchRequest`](super::request::SearchRequest).
    pub(super) async fn search(
        &self,
        vector: &[f32],
        params: &Params<'_>,
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
    pub(super) fn dims(&self, params: &Params<'_>) -> Result<usize> {
        Ok(self.index(params)?.column.dims)
    }

    fn index(&self, params: &Params<'_>) -> Result<&Arc<OpenIndex>> {
        let usable = &*self.indexes.usable;
        let available = || {
            let names: Vec<&str> = usable.iter().map(|index| &*index.name).collect();
            names.join(", ")
        };
        let error = match (params.column, usable) {
            (None, [index]) => return Ok(index),
            (None, [_, _, ..]) => SearchError::WhichColumn {
                available: available(),
            },
            (Some(name), [_, ..]) => match usable.iter().find(|index| index.name == name) {
                Some(index) => return Ok(index),
                None => {
                    let (column, available) = (name.to_owned(), available());
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
        params: &Params<'_>,
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
            filter: params.filter.cloned(),
            doorbells: self.doorbells.clone(),
        }
    }

    /// Has every shard search and waits for all. The nearest, and how many rows with codes may be
    /// returned, as far as that many are wanted.
    async fn run(
        &self,
        asked: Asked<'_>,
        params: &Params<'_>,
        watch: &Watch<'_>,
    ) -> Result<(Vec<Neighbour>, usize)> {
        let rows = asked.candidates;
        let admission = self.admission;
        let limits = admission.limits(params.terms.class);
        let need = self.need(&asked);
        let need = Need {
            reads: need.reads.min(limits.reads),
            bytes: need.bytes.min(limits.bytes),
            ..need
        };
        let permit = admission
            .ask(params.terms, need)
            .await
            .map_err(|refused| refused.into_error(rows))?;
        watch.mark(CallerStage::Admit);
        let query = Arc::new(Query::new(asked));
        watch.mark(CallerStage::Tables);
        let progress = Arc::new(Progress::new(params.terms.class, params.terms.deadline));
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
        poll_fn(|context| progress.poll_finished(1, context)).await;
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

/// Cancels the search on the shards when its future is dropped.
struct CancelOnDrop<'a>(&'a Progress);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
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
