//! The caller's end of a take that shards serve.
//!
//! Ids are cut into windows of bounded size, a few of them in flight, so that a take of millions
//! of rows needs no memory beyond its result and those windows. Each window sends one message to
//! each shard that owns some of its rows.
//!
//! Written as a state machine and not as an `async fn`, so that the future of a take has a name:
//! it can be kept in a struct, and awaiting it allocates nothing.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_lite::future::block_on;
use ringtake_storage::plan::Entry;

use super::route::{Request, Route};
use super::windows::Windows;
use crate::admission::{Need, NotAdmitted, Permit, Place, Terms, WhenFull};
use crate::error::Result;
use crate::memory::outputs::Outputs;
use crate::metrics::{CallerStage, Watch};
use crate::ownership::Ownership;
use crate::shard::part::{Part, Progress, Window};

/// Windows of one take in flight.
const WINDOWS_IN_FLIGHT: usize = 2;

/// A take in flight. Dropping it cancels reads that have not been submitted.
pub(crate) struct Flight<'a, R> {
    request: Request<'a>,
    route: R,
    progress: Arc<Progress>,
    windows: Windows<'a>,
    windows_started: usize,
    /// Made once the first window has been admitted, so that a take that waits holds no more than
    /// its ids.
    outputs: Option<Arc<Outputs>>,
    step: Step<'a>,
}

/// The event that a flight waits for.
enum Step<'a> {
    /// The permit of the next window.
    Permit {
        window: Range<usize>,
        place: Place<'a>,
    },
    /// The end of an earlier window, before it asks for the permit of the next.
    Room { window: Range<usize>, need: Need },
    /// The end of every window.
    Rows,
    /// Nothing any more.
    Ended,
}

impl<'a, R: Route<'a>> Flight<'a, R> {
    pub(crate) fn new(request: Request<'a>, route: R) -> Flight<'a, R> {
        let Terms {
            class, deadline, ..
        } = request.terms;
        let mut windows = Windows::new(request, route.admission().limits(class));
        let step = match windows.next() {
            Some((window, need)) => Step::Permit {
                window,
                place: route.admission().ask(request.terms, need),
            },
            None => Step::Rows,
        };
        Flight {
            request,
            route,
            progress: Arc::new(Progress::new(class, deadline)),
            windows,
            windows_started: 0,
            outputs: None,
            step,
        }
    }

    /// Sends every window out and waits for all of them. `make` is called once at most.
    ///
    /// # Panics
    /// If it is polled after it has ended, as the future of an `async fn` does.
    pub(crate) fn poll(
        &mut self,
        context: &Context<'_>,
        watch: &Watch<'_>,
        make: impl FnMut() -> Result<Outputs>,
    ) -> Poll<Result<Arc<Outputs>>> {
        let outcome = ready!(self.step(context, watch, make));
        self.step = Step::Ended;
        Poll::Ready(outcome)
    }

    fn step(
        &mut self,
        context: &Context<'_>,
        watch: &Watch<'_>,
        mut make: impl FnMut() -> Result<Outputs>,
    ) -> Poll<Result<Arc<Outputs>>> {
        loop {
            match &mut self.step {
                Step::Ended => panic!("a take was polled after its end"),
                Step::Permit { window, place } => {
                    let window = window.clone();
                    let permit = match ready!(place.poll(context)) {
                        Ok(permit) => permit,
                        Err(NotAdmitted::Expired) if window.start > 0 => {
                            let rows = self.request.ids.len() - window.start;
                            self.progress.expire(rows as u64);
                            self.step = Step::Rows;
                            continue;
                        }
                        Err(refused) => {
                            return Poll::Ready(Err(refused.into_error(self.request.ids.len())));
                        }
                    };
                    watch.mark(CallerStage::Admit);
                    let outputs = match self.outputs.take() {
                        Some(outputs) => outputs,
                        None => Arc::new(make()?),
                    };
                    self.send(window, permit, &outputs);
                    self.outputs = Some(outputs);
                    watch.mark(CallerStage::Route);
                    self.step = match self.windows.next() {
                        Some((window, need)) => Step::Room { window, need },
                        None => Step::Rows,
                    };
                }
                Step::Room { window, need } => {
                    let done = self.windows_started.saturating_sub(WINDOWS_IN_FLIGHT - 1);
                    ready!(self.progress.poll_finished(done, context));
                    watch.mark(CallerStage::Shards);
                    // A take that was admitted once waits for its further windows.
                    let terms = Terms {
                        when_full: WhenFull::Wait,
                        ..self.request.terms
                    };
                    self.step = Step::Permit {
                        window: window.clone(),
                        place: self.route.admission().ask(terms, *need),
                    };
                }
                Step::Rows => {
                    ready!(self.progress.poll_finished(self.windows_started, context));
                    watch.mark(CallerStage::Shards);
                    self.progress.outcome(self.request.ids.len())?;
                    return Poll::Ready(match self.outputs.take() {
                        Some(outputs) => Ok(outputs),
                        None => make().map(Arc::new),
                    });
                }
            }
        }
    }

    /// Sends the places `window` of the take to the shards that own its rows.
    fn send(&mut self, window: Range<usize>, permit: Permit, outputs: &Arc<Outputs>) {
        let request = &self.request;
        let (base, ids) = (window.start, &request.ids[window]);
        let owners = split(ids, request.dataset.rows(), request.ownership, self.route);
        if owners.is_empty() {
            return;
        }
        let shared = Window::new(owners.len() as u32, self.progress.clone(), permit);
        self.windows_started += 1;
        // All parts exist before the first is sent: whatever happens on the way, each is
        // finished or dropped, and either counts.
        let parts: Vec<(usize, Part)> = owners
            .into_iter()
            .map(|(shard, entries)| {
                let (projection, outputs) = (request.projection.clone(), outputs.clone());
                // SAFETY: windows do not overlap, and `split` gives each position of this one to
                // one shard; the caller waits for the parts before it looks at the outputs.
                let part = unsafe {
                    Part::of_take(shard, entries, base, projection, outputs, shared.clone())
                };
                (shard, part)
            })
            .collect();
        drop(shared);
        for (shard, part) in parts {
            self.route.send(shard, part);
        }
    }
}

impl<R> Flight<'_, R> {
    /// Blocks until no shard holds anything of this take.
    fn drain(&self) {
        self.progress.cancel();
        let let_go =
            |context: &mut Context<'_>| self.progress.poll_let_go(self.windows_started, context);
        block_on(poll_fn(let_go));
    }
}

impl<R> Drop for Flight<'_, R> {
    fn drop(&mut self) {
        self.progress.cancel();
    }
}

/// A flight into borrowed buffers: it ends before they are given back, whatever happens.
pub(crate) struct Drained<'a, R>(pub(crate) Flight<'a, R>);

impl<R> Drop for Drained<'_, R> {
    fn drop(&mut self) {
        self.0.drain();
    }
}

/// The entries of each shard that owns any of `ids`; ids past the end belong to none.
fn split<'a>(
    ids: &[u64],
    rows: u64,
    ownership: Ownership,
    route: impl Route<'a>,
) -> Vec<(usize, Vec<Entry>)> {
    let there = || {
        let entry = |(position, &row): (usize, &u64)| Entry {
            row,
            position: position as u32,
        };
        ids.iter()
            .enumerate()
            .map(entry)
            .filter(|entry| entry.row < rows)
    };
    let shards = route.shards();
    if shards.len() == 1 {
        // Its exact size, which a filter does not know: what grows holds up to three times that.
        let mut entries = Vec::with_capacity(ids.len());
        entries.extend(there());
        return if entries.is_empty() {
            Vec::new()
        } else {
            vec![(shards.start, entries)]
        };
    }
    if let [id] = *ids
        && id < rows
    {
        let entry = Entry {
            row: id,
            position: 0,
        };
        return vec![(ownership.owner(id), vec![entry])];
    }
    let mut owners: Vec<(usize, Vec<Entry>)> = Vec::with_capacity(shards.len());
    let mut lengths = vec![0_usize; shards.len()];
    for entry in there() {
        lengths[ownership.owner(entry.row)] += 1;
    }
    for (shard, length) in lengths.into_iter().enumerate() {
        owners.push((shard, Vec::with_capacity(length)));
    }
    for entry in there() {
        owners[ownership.owner(entry.row)].1.push(entry);
    }
    owners.retain(|(_, entries)| !entries.is_empty());
    owners
}
