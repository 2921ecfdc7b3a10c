//! The request that `Store::search` and `Store::search_batch` return.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures_lite::future::block_on;
use ringtake_storage::projection::Projection;
use ringtake_storage::vector::Metric;

use super::params::Params;
use super::run;
use crate::admission::{LatencyClass, WhenFull};
use crate::client::store::Store;
use crate::error::Result;
use crate::index::filter::RowFilter;

/// A search that has not begun: options, and then one of two endings.
///
/// [`Store::search`] makes one for a vector, whose answer is a `RecordBatch`;
/// [`Store::search_batch`] makes one for several vectors, whose answer is a `Vec` with a batch for
/// each vector, in their order. The vectors, the projection and the filter are borrowed, so making
/// a request copies nothing, and a copy of it asks again for the same.
///
/// | ending | runs on |
/// |---|---|
/// | [`wait`](SearchRequest::wait) | the calling thread, which sleeps until the answer is there |
/// | `.await` | any executor, on any thread; the future is `Send` |
///
/// A batch has the columns `_rowid` (UInt64, [`ROW_ID_COLUMN`](crate::ROW_ID_COLUMN)),
/// `_distance` (Float32, [`DISTANCE_COLUMN`](crate::DISTANCE_COLUMN), in the units that [`Metric`]
/// says) and those of the projection, the nearest row first. It has [`k`](SearchRequest::k) rows,
/// and fewer only if no more rows may be returned.
///
/// Dropping the future gives its place up if it waits for a permit, and cancels what has not been
/// scanned or submitted.
///
/// ```no_run
/// # use ringtake_runtime::{Result, RowFilter, Store};
/// # async fn example(store: Store, vector: Vec<f32>) -> Result<()> {
/// let nearest = store
///     .search(&vector)
///     .k(50)
///     .refine_factor(10)
///     .projection(&store.projection(&["title"])?)
///     .filter(&RowFilter::forbid([7, 3]))
///     .await?;
/// assert!(nearest.num_rows() <= 50);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Every ending returns [`Error::Search`](crate::Error::Search) for a search that cannot be made
/// (no index, a vector of another length, an element that is no number, …); otherwise the errors
/// of a [`TakeRequest`](crate::TakeRequest). A batch fails with the first of its searches that
/// fails.
#[must_use = "a request does nothing until it is awaited or ends in `wait`"]
pub struct SearchRequest<'a, Answer = RecordBatch> {
    store: &'a Store,
    vectors: &'a [f32],
    params: Params<'a>,
    answer: PhantomData<fn() -> Answer>,
}

impl<Answer> Clone for SearchRequest<'_, Answer> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Answer> Copy for SearchRequest<'_, Answer> {}

impl<Answer> fmt::Debug for SearchRequest<'_, Answer> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchRequest")
            .field("elements", &self.vectors.len())
            .field("params", &self.params)
            .finish()
    }
}

impl<'a, Answer> SearchRequest<'a, Answer> {
    pub(crate) fn new(store: &'a Store, vectors: &'a [f32]) -> Self {
        SearchRequest {
            store,
            vectors,
            params: Params::default(),
            answer: PhantomData,
        }
    }

    /// Names the column to search. It may be left out where only one column has an index.
    pub fn column(mut self, column: impl Into<Option<&'a str>>) -> Self {
        self.params.column = column.into();
        self
    }

    /// Sets how many rows are wanted for each vector, at least 1. The default is [`K_DEFAULT`](crate::K_DEFAULT).
    pub fn k(mut self, k: usize) -> Self {
        self.params.k = k;
        self
    }

    /// Sets how many partitions are looked at, the nearest ones, at least 1. The default is
    /// [`NPROBES_DEFAULT`](crate::NPROBES_DEFAULT).
    ///
    /// More partitions find more of the true neighbours and take more time, about in proportion.
    /// A number past the end leaves no partition out. If the partitions hold fewer than `k` rows
    /// that may be returned, the search looks at more of them by itself.
    pub fn nprobes(mut self, nprobes: usize) -> Self {
        self.params.nprobes = nprobes;
        self
    }

    /// Sets how many times `k` rows are read and ranked by their exact distance, at least 1.
    /// Without one, the default, no row is read and the distances are those of the codes.
    ///
    /// A higher factor orders the answer better and reads more rows from the drive. Ten is a good
    /// beginning where the order matters.
    pub fn refine_factor(mut self, factor: impl Into<Option<u32>>) -> Self {
        self.params.refine_factor = factor.into();
        self
    }

    /// Requires that the index was built for `metric`; without one, the default, any will do.
    pub fn metric(mut self, metric: impl Into<Option<Metric>>) -> Self {
        self.params.metric = metric.into();
        self
    }

    /// Adds columns of the rows found to the answer, at the price of a take of `k` rows. None of
    /// them may have the name of a column of the answer.
    pub fn projection(mut self, projection: impl Into<Option<&'a Projection>>) -> Self {
        self.params.projection = projection.into();
        self
    }

    /// Sets which rows may be returned, all by default. The filter is applied before candidates
    /// are chosen, so it never makes the answer shorter than it has to be.
    pub fn filter(mut self, filter: impl Into<Option<&'a RowFilter>>) -> Self {
        self.params.filter = filter.into();
        self
    }

    /// Sets the latency class, as [`TakeRequest::class`](crate::TakeRequest::class) does.
    pub fn class(mut self, class: LatencyClass) -> Self {
        self.params.terms.class = class;
        self
    }

    /// Sets when the answer is of no more use, as
    /// [`TakeRequest::deadline`](crate::TakeRequest::deadline) does.
    pub fn deadline(mut self, deadline: impl Into<Option<Instant>>) -> Self {
        self.params.terms.deadline = deadline.into();
        self
    }

    /// Sets what happens when the store is at its limits, as
    /// [`TakeRequest::when_full`](crate::TakeRequest::when_full) does.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.params.terms.when_full = when_full;
        self
    }
}

impl Store {
    /// Asks for the rows nearest to `vector`, which has as many elements as the vectors of the
    /// column. The request ends in [`wait`](SearchRequest::wait) or `.await`; until then it does
    /// nothing. [`SearchRequest`] says what the answer has, and lists the errors.
    pub fn search<'a>(&'a self, vector: &'a [f32]) -> SearchRequest<'a> {
        SearchRequest::new(self, vector)
    }

    /// Asks for the rows nearest to each of `vectors`, which stand one after another. All searches
    /// are in flight together, and the answer has a batch for each vector.
    pub fn search_batch<'a>(&'a self, vectors: &'a [f32]) -> SearchRequest<'a, Vec<RecordBatch>> {
        SearchRequest::new(self, vectors)
    }
}

impl<'a> SearchRequest<'a> {
    async fn run(self) -> Result<RecordBatch> {
        run::one(self.store, self.vectors, &self.params).await
    }

    /// Searches and blocks the calling thread until the answer is there.
    ///
    /// # Errors
    /// As listed at [`SearchRequest`].
    pub fn wait(self) -> Result<RecordBatch> {
        self.store.core.check_may_block()?;
        block_on(self.run())
    }
}

impl<'a> SearchRequest<'a, Vec<RecordBatch>> {
    async fn run(self) -> Result<Vec<RecordBatch>> {
        run::several(self.store, self.vectors, &self.params).await
    }

    /// Searches and blocks the calling thread until every answer is there.
    ///
    /// # Errors
    /// As listed at [`SearchRequest`].
    pub fn wait(self) -> Result<Vec<RecordBatch>> {
        self.store.core.check_may_block()?;
        block_on(self.run())
    }
}

impl<'a> IntoFuture for SearchRequest<'a> {
    type Output = Result<RecordBatch>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<'a> IntoFuture for SearchRequest<'a, Vec<RecordBatch>> {
    type Output = Result<Vec<RecordBatch>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
