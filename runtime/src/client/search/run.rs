//! Searches as futures: for one vector and for several, with the columns asked for beside.

use arrow::array::RecordBatch;
use ringtake_storage::projection::Missing;
use tracing::Instrument as _;

use super::answer::answer;
use super::batch::all;
use super::check::check_names;
use super::params::Params;
use crate::admission::{Terms, WhenFull};
use crate::client::store::{QUERY_SPANS, Store};
use crate::client::take::Batch;
use crate::error::search::SearchError;
use crate::error::{Error, Result};
use crate::metrics::{CallerStage, QueryKind, Watch};

/// Searches for one vector.
pub(super) async fn one(store: &Store, vector: &[f32], params: &Params<'_>) -> Result<RecordBatch> {
    let core = &*store.core;
    core.check_open()?;
    if let Some(projection) = params.projection
        && !projection.belongs_to(store.dataset())
    {
        return Err(Error::ForeignProjection);
    }
    check_names(params, store.schema())?;
    let watch = core.callers.watch(QueryKind::Search, params.k);
    let span = tracing::debug_span!(target: QUERY_SPANS, "search", k = params.k);
    let searcher = core.searcher();
    let search = searcher.search(vector, params, &watch);
    let found = core.as_closed(search.instrument(span.clone()).await)?;
    let columns = match params.projection {
        None => None,
        Some(projection) => {
            let ids: Vec<u64> = found.iter().map(|neighbour| neighbour.row).collect();
            let terms = Terms {
                when_full: WhenFull::Wait,
                ..params.terms
            };
            let request = core.request(&ids, projection, Missing::Error, terms);
            let take = Batch::new(request, core.route(), Watch::NONE);
            let columns = core.as_closed(take.instrument(span).await)?;
            watch.mark(CallerStage::Assemble);
            Some(columns)
        }
    };
    answer(&found, columns)
}

/// Searches for each of `vectors`, row-major, all of them in flight together.
pub(super) async fn several(
    store: &Store,
    vectors: &[f32],
    params: &Params<'_>,
) -> Result<Vec<RecordBatch>> {
    let dims = store.core.searcher().dims(params)?;
    if !vectors.len().is_multiple_of(dims) {
        let given = vectors.len();
        return Err(SearchError::PartOfQuery { given, dims }.into());
    }
    let several = vectors.len() > dims;
    let of_batch = |place: usize, error: Error| match error {
        Error::Search(reason) if several && reason.is_of_query() => SearchError::OfBatch {
            query: place,
            reason: Box::new(reason),
        }
        .into(),
        error => error,
    };
    let searches = vectors
        .chunks_exact(dims)
        .enumerate()
        .map(|(place, vector)| async move {
            let answer = one(store, vector, params).await;
            answer.map_err(|error| of_batch(place, error))
        });
    all(searches).await
}
