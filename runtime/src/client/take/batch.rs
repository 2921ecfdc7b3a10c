//! The future of a take into new buffers, from a request to a `RecordBatch`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use ringtake_storage::assemble::record_batch;

use super::flight::Flight;
use super::in_place;
use super::route::{Request, Route};
use crate::error::Result;
use crate::memory::outputs::Outputs;
use crate::metrics::{CallerStage, Watch};

/// A take into new buffers. The first poll checks it and either copies pinned rows at once or
/// sends a flight.
pub(crate) struct Batch<'a, R: Route<'a>> {
    request: Request<'a>,
    route: R,
    watch: Watch<'a>,
    /// `Some` from the first poll on, where shards bring the rows.
    flight: Option<Flight<'a, R>>,
}

impl<'a, R: Route<'a>> Batch<'a, R> {
    pub(crate) fn new(request: Request<'a>, route: R, watch: Watch<'a>) -> Batch<'a, R> {
        Batch {
            request,
            route,
            watch,
            flight: None,
        }
    }

    fn allocate(request: &Request<'_>) -> Result<Outputs> {
        Outputs::allocate(
            request.dataset,
            request.projection,
            request.ids,
            request.results,
        )
    }

    /// The rows copied by this thread, if all of them are pinned.
    fn copy_in_place(&self) -> Result<Option<Outputs>> {
        let (request, route) = (&self.request, &self.route);
        if !in_place::may_fill(request, route) {
            return Ok(None);
        }
        let mut outputs = Batch::<R>::allocate(request)?;
        Ok(in_place::fill(request, route, &mut outputs).then_some(outputs))
    }

    fn poll_outputs(&mut self, context: &Context<'_>) -> Poll<Result<Outputs>> {
        if self.flight.is_none() {
            self.request.check()?;
            if let Some(outputs) = self.copy_in_place()? {
                return Poll::Ready(Ok(outputs));
            }
        }
        let (request, route) = (self.request, self.route);
        let flight = self
            .flight
            .get_or_insert_with(|| Flight::new(request, route));
        let allocate = || Batch::<R>::allocate(&request);
        let outputs = ready!(flight.poll(context, &self.watch, allocate))?;
        let Some(outputs) = Arc::into_inner(outputs) else {
            unreachable!("parts let the outputs go before they are finished");
        };
        Poll::Ready(Ok(outputs))
    }
}

impl<'a, R: Route<'a> + Unpin> Future for Batch<'a, R> {
    type Output = Result<RecordBatch>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outputs = ready!(self.poll_outputs(context))?;
        // SAFETY: either `fill` returned true or the flight ended without an error, so the row of
        // each place has been delivered; missing rows were zeroed by `allocate`.
        let columns = unsafe { outputs.into_columns() };
        let Request {
            dataset,
            projection,
            missing,
            ids,
            ..
        } = self.request;
        let batch = record_batch(dataset, projection, missing, ids, columns)?;
        self.watch.mark(CallerStage::Assemble);
        Poll::Ready(Ok(batch))
    }
}
