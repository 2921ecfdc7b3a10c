//! Takes by code inside a shard.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use ringtake_storage::projection::Projection;

use super::batch::Batch;
use super::request::TakeRequest;
use crate::client::local::LocalShard;
use crate::error::{Error, Result};
use crate::metrics::Watch;

impl LocalShard {
    /// Asks for rows that this shard owns; the request is awaited. No message is sent and no other
    /// thread takes part.
    ///
    /// Code on a shard has a share of the store's limits for itself; beyond them a take waits for
    /// others of the same shard, or fails, as [`TakeRequest::when_full`] says. Errors are listed at
    /// [`TakeRequest`].
    pub fn take<'a>(
        &'a self,
        ids: &'a [u64],
        projection: &'a Projection,
    ) -> TakeRequest<'a, LocalShard> {
        TakeRequest::new(self, ids, projection)
    }
}

impl<'a> IntoFuture for TakeRequest<'a, LocalShard> {
    type Output = Result<RecordBatch>;
    type IntoFuture = LocalTakeFuture<'a>;

    fn into_future(self) -> LocalTakeFuture<'a> {
        LocalTakeFuture {
            request: self,
            batch: None,
            yielded: None,
        }
    }
}

/// The future of a [`TakeRequest`] made by a [`LocalShard`]. It stays on the shard's thread.
#[must_use = "a future does nothing until it is awaited"]
pub struct LocalTakeFuture<'a> {
    request: TakeRequest<'a, LocalShard>,
    /// `Some` from the first poll on.
    batch: Option<Batch<'a, &'a LocalShard>>,
    /// The outcome, while others are let run before it is returned.
    yielded: Option<Result<RecordBatch>>,
}

impl fmt::Debug for LocalTakeFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        f.debug_tuple("LocalTakeFuture").field(request).finish()
    }
}

impl Future for LocalTakeFuture<'_> {
    type Output = Result<RecordBatch>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let LocalTakeFuture {
            request,
            batch,
            yielded,
        } = &mut *self;
        if let Some(outcome) = yielded.take() {
            return Poll::Ready(outcome);
        }
        let (shard, ids) = (request.on, request.ids);
        if batch.is_none() {
            check_owned(shard, ids)?;
            let asked = shard.request(ids, request.projection, request.missing, request.terms);
            *batch = Some(Batch::new(asked, shard, Watch::NONE));
        }
        let Some(batch) = batch else {
            unreachable!("it was made above");
        };
        let outcome = ready!(Pin::new(batch).poll(context));
        if shard.turn_is_over(ids.len(), &outcome) {
            *yielded = Some(outcome);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(outcome)
    }
}

fn check_owned(shard: &LocalShard, ids: &[u64]) -> Result<()> {
    let rows = shard.row_count();
    match ids.iter().find(|&&id| id < rows && !shard.owns(id)) {
        None => Ok(()),
        Some(&id) => Err(Error::NotOwned {
            id,
            owner: shard.owner(id).0,
            shard: shard.id().0,
        }),
    }
}
