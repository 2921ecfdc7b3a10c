//! The request that `Store::take` and `LocalShard::take` return, and the future of the former.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use arrow::array::RecordBatch;
use futures_lite::future::block_on;
use ringtake_storage::projection::{Missing, Projection};
use tracing::Span;

use super::batch::Batch;
use super::flight::{Drained, Flight};
use super::in_place;
use super::route::{Inboxes, Request};
use crate::admission::{LatencyClass, Terms, WhenFull};
use crate::client::store::{QUERY_SPANS, Store};
use crate::error::Result;
use crate::memory::outputs::{ColumnBuffer, Outputs};
use crate::metrics::QueryKind;

/// A take by row ids that has not begun: options, and then one of three endings.
///
/// [`Store::take`] and [`LocalShard::take`](crate::LocalShard::take) make it. It borrows the ids, the projection and the
/// store, so making one copies and allocates nothing, and a copy of it asks again for the same.
///
/// | ending | returns | runs on |
/// |---|---|---|
/// | [`wait`](TakeRequest::wait) | a `RecordBatch` | the calling thread, which sleeps until the rows are there |
/// | `.await` | a `RecordBatch` | any executor, on any thread; the future is `Send` |
/// | [`wait_into`](TakeRequest::wait_into) | nothing: the rows are in buffers of the caller | the calling thread |
///
/// A batch has one row for each id, in the order of the ids, duplicates included. A request of a
/// [`LocalShard`](crate::LocalShard) can only be awaited, since a shard that waited for itself would never wake.
///
/// Dropping the future gives its place up if it waits for a permit, and cancels reads that have
/// not been submitted. To spawn it, move the store and the ids into the task:
///
/// ```no_run
/// # use std::time::{Duration, Instant};
/// # use ringtake_runtime::{LatencyClass, Projection, Result, Store, WhenFull};
/// # fn spawn(_: impl Future<Output = Result<()>> + Send + 'static) {}
/// # fn example(store: Store, columns: Projection) {
/// spawn(async move {
///     let ids = vec![7, 3, 7];
///     let rows = store
///         .take(&ids, &columns)
///         .class(LatencyClass::Bulk)
///         .deadline(Instant::now() + Duration::from_millis(5))
///         .when_full(WhenFull::Refuse)
///         .await?;
///     assert_eq!(rows.num_rows(), 3);
///     Ok(())
/// });
/// # }
/// ```
///
/// # Errors
/// Every ending returns
/// - [`Error::NoSuchRow`](crate::Error::NoSuchRow) for an id at or past the end, unless
///   [`missing`](TakeRequest::missing) allows it;
/// - [`Error::Rows`](crate::Error::Rows) for rows that cannot be read or fail their checksum, each
///   with its file, page and column group;
/// - [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded) and
///   [`Error::Overloaded`](crate::Error::Overloaded) where the options ask for it;
/// - [`Error::ForeignProjection`](crate::Error::ForeignProjection) for a projection of another
///   dataset;
/// - [`Error::NotOwned`](crate::Error::NotOwned), in a shard, for a row of another shard;
/// - [`Error::WouldDeadlock`](crate::Error::WouldDeadlock) if an ending that blocks is used on the
///   thread of one of the store's shards;
/// - [`Error::Closed`](crate::Error::Closed) and [`Error::ShardEnded`](crate::Error::ShardEnded)
///   where the store cannot serve any more.
#[must_use = "a request does nothing until it is awaited or ends in `wait` or `wait_into`"]
pub struct TakeRequest<'a, On = Store> {
    pub(super) on: &'a On,
    pub(super) ids: &'a [u64],
    pub(super) projection: &'a Projection,
    pub(super) missing: Missing,
    pub(super) terms: Terms,
}

impl<On> Clone for TakeRequest<'_, On> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<On> Copy for TakeRequest<'_, On> {}

impl<On> fmt::Debug for TakeRequest<'_, On> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeRequest")
            .field("ids", &self.ids)
            .field("columns", &self.projection.columns())
            .field("missing", &self.missing)
            .field("terms", &self.terms)
            .finish()
    }
}

impl<'a, On> TakeRequest<'a, On> {
    pub(crate) fn new(on: &'a On, ids: &'a [u64], projection: &'a Projection) -> Self {
        TakeRequest {
            on,
            ids,
            projection,
            missing: Missing::default(),
            terms: Terms::default(),
        }
    }

    /// Sets the latency class. Urgent takes, the default, go before bulk takes everywhere; a bulk
    /// take gets more rows per second out of a busy store, and waits longer.
    pub fn class(mut self, class: LatencyClass) -> Self {
        self.terms.class = class;
        self
    }

    /// Sets when the rows are of no more use; without one, the default, a take waits for the
    /// drive however long it takes.
    ///
    /// After the deadline no row is read and the take fails, even if the drive still works on it;
    /// only [`wait_into`](TakeRequest::wait_into) waits for that, because it borrows the buffers.
    /// Where other takes are served first, each shard predicts before the first read whether its
    /// rows will come in time; if not, it reads none of them and the take fails at once.
    pub fn deadline(mut self, deadline: impl Into<Option<Instant>>) -> Self {
        self.terms.deadline = deadline.into();
        self
    }

    /// Sets what happens to ids at or past the end: the take fails, the default, or their rows
    /// are null in every column.
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Sets what happens when the store is at its limits: the take waits, the default, or it fails
    /// at once with [`Error::Overloaded`](crate::Error::Overloaded).
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.terms.when_full = when_full;
        self
    }
}

impl<'a> TakeRequest<'a> {
    /// Takes the rows and blocks the calling thread until they are there.
    ///
    /// # Errors
    /// As listed at [`TakeRequest`].
    pub fn wait(self) -> Result<RecordBatch> {
        self.on.core.check_may_block()?;
        block_on(self.into_future())
    }

    /// Takes the rows into `buffers`, one for each column of the projection, and blocks the
    /// calling thread until they are there. No memory is allocated for the rows.
    ///
    /// [`Projection::columns`] has the order. Missing rows are an error, whatever
    /// [`missing`](TakeRequest::missing) says: a buffer has no place for nulls.
    ///
    /// # Errors
    /// As listed at [`TakeRequest`], and [`Error::Buffer`](crate::Error::Buffer) for buffers that
    /// do not fit. After an error the contents of the buffers are unspecified, though initialised.
    pub fn wait_into(self, buffers: &mut [ColumnBuffer<'_>]) -> Result<()> {
        let core = &*self.on.core;
        core.check_may_block()?;
        core.check_open()?;
        let watch = core.callers.watch(QueryKind::Take, self.ids.len());
        let request = self.missing(Missing::Error).on_store();
        request.check()?;
        let Request {
            dataset,
            projection,
            ids,
            ..
        } = request;
        let route = core.route();
        if in_place::may_fill(&request, &route) {
            // SAFETY: the buffers are borrowed for the whole of this function, and these outputs
            // stay in this block.
            let mut outputs = unsafe { Outputs::borrow(dataset, projection, ids, buffers)? };
            if in_place::fill(&request, &route, &mut outputs) {
                return Ok(());
            }
        }
        let mut drained = Drained(Flight::new(request, route));
        // SAFETY: the buffers are borrowed for the whole of this function, and `Drained` keeps
        // it from returning or unwinding before every shard has let go of the outputs.
        let mut borrow = || unsafe { Outputs::borrow(dataset, projection, ids, buffers) };
        let fill = |context: &mut Context<'_>| drained.0.poll(context, &watch, &mut borrow);
        core.as_closed(block_on(poll_fn(fill)).map(drop))
    }

    fn on_store(self) -> Request<'a> {
        let core = &*self.on.core;
        core.request(self.ids, self.projection, self.missing, self.terms)
    }
}

impl<'a> IntoFuture for TakeRequest<'a> {
    type Output = Result<RecordBatch>;
    type IntoFuture = TakeFuture<'a>;

    fn into_future(self) -> TakeFuture<'a> {
        TakeFuture {
            request: self,
            span: Span::none(),
            batch: None,
        }
    }
}

impl Store {
    /// Asks for rows by id. The request ends in [`wait`](TakeRequest::wait), `.await` or
    /// [`wait_into`](TakeRequest::wait_into); until then it does nothing.
    ///
    /// The answer has one row for each id, in the order of `ids`, duplicates included, and the
    /// columns of `projection` in its order. [`TakeRequest`] lists the errors.
    ///
    /// ```no_run
    /// # fn example(store: ringtake_runtime::Store) -> ringtake_runtime::Result<()> {
    /// let columns = store.projection(&["vector", "title"])?;
    /// let rows = store.take(&[7, 3, 7], &columns).wait()?;
    /// assert_eq!(rows.num_rows(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn take<'a>(&'a self, ids: &'a [u64], projection: &'a Projection) -> TakeRequest<'a> {
        TakeRequest::new(self, ids, projection)
    }
}

/// The future of a [`TakeRequest`]. It needs no runtime: any executor may poll it, on any thread.
#[must_use = "a future does nothing until it is awaited"]
pub struct TakeFuture<'a> {
    request: TakeRequest<'a>,
    span: Span,
    /// `Some` from the first poll on.
    batch: Option<Batch<'a, Inboxes<'a>>>,
}

impl fmt::Debug for TakeFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TakeFuture").field(&self.request).finish()
    }
}

impl Future for TakeFuture<'_> {
    type Output = Result<RecordBatch>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let TakeFuture {
            request,
            span,
            batch,
        } = &mut *self;
        let core = &*request.on.core;
        if batch.is_none() {
            core.check_open()?;
            let rows = request.ids.len();
            let watch = core.callers.watch(QueryKind::Take, rows);
            *span = tracing::debug_span!(target: QUERY_SPANS, "take", rows);
            *batch = Some(Batch::new(request.on_store(), core.route(), watch));
        }
        let Some(batch) = batch else {
            unreachable!("it was made above");
        };
        let _entered = span.enter();
        let outcome = ready!(Pin::new(batch).poll(context));
        Poll::Ready(core.as_closed(outcome))
    }
}
