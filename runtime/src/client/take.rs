//! A take: ids in, rows out. Runs on the caller's thread; the shards do the reading.
//!
//! Ids are cut into windows of bounded size, a few of them in flight, so that a take of
//! millions of rows needs no memory beyond its result and those windows. Each window sends one
//! message to each shard that owns some of its rows.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arrow::array::RecordBatch;
use ringtake_storage::assemble::record_batch;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::plan::Entry;
use ringtake_storage::projection::{Missing, Projection};

use crate::admission::{Admission, LatencyClass, Need, NotAdmitted, Permit, WhenFull};
use crate::config::Checksums;
use crate::error::{Error, Result};
use crate::host::clock;
use crate::memory::outputs::Outputs;
use crate::memory::results::ResultMemory;
use crate::metrics::{CallerStage, Watch};
use crate::ownership::Ownership;
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::inbox::{Inbox, Message};
use crate::shard::part::{Part, Progress, Window};

pub(crate) mod in_place;
mod windows;

use windows::Windows;
pub(crate) use windows::read_bytes_max;

/// How a take treats what it cannot bring, and how it stands beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakeOptions {
    /// Ids at or past the end.
    pub missing: Missing,
    /// What to do when the store is at its limits.
    pub when_full: WhenFull,
    /// When the rows are of no more use: from then on none is read, and the take fails, whatever
    /// the drive still has in hand (only [`Store::take_into`](crate::Store::take_into) waits for
    /// that, since the buffers are its caller's). Where others are served
    /// first, each shard decides before the first read whether its rows will probably come in time,
    /// and keeps half of the time left in hand; if not they are not read and the take fails.
    pub deadline: Option<Instant>,
    /// Whose reads go first.
    pub class: LatencyClass,
}

/// Windows of one take in flight.
const WINDOWS_IN_FLIGHT: usize = 2;

/// A take as its caller asked for it.
pub(crate) struct Request<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) ownership: Ownership,
    pub(crate) align_bytes: u32,
    pub(crate) results: Option<&'a Arc<ResultMemory>>,
    pub(crate) checksums: Checksums,
    pub(crate) ids: &'a [u64],
    pub(crate) projection: &'a Projection,
    pub(crate) options: TakeOptions,
    pub(crate) watch: &'a Watch<'a>,
}

/// How parts reach their shards.
pub(crate) trait Route {
    /// The shards to choose from: all of them, or the one whose thread this is.
    fn shards(&self) -> Range<usize>;
    /// Where a window gets its permit.
    fn admission(&self) -> &Arc<Admission>;
    /// The pages of a shard, if they are pinned.
    fn pinned(&self, shard: usize) -> Option<&PinnedPages>;
    /// Hands a part over. One that cannot be is dropped, which fails the take.
    fn send(&self, shard: usize, part: Part);
}

/// From any thread, through the inboxes.
#[derive(Clone, Copy)]
pub(crate) struct Inboxes<'a> {
    pub(crate) inboxes: &'a [Inbox],
    pub(crate) admission: &'a Arc<Admission>,
    pub(crate) pinned: &'a [Arc<OnceLock<PinnedPages>>],
}

impl Route for Inboxes<'_> {
    fn shards(&self) -> Range<usize> {
        0..self.inboxes.len()
    }

    fn admission(&self) -> &Arc<Admission> {
        self.admission
    }

    fn pinned(&self, shard: usize) -> Option<&PinnedPages> {
        self.pinned[shard].get()
    }

    fn send(&self, shard: usize, part: Part) {
        drop(self.inboxes[shard].send(Message::Take(part)));
    }
}

/// Takes rows into new buffers.
pub(crate) async fn batch(request: &Request<'_>, route: impl Route) -> Result<RecordBatch> {
    request.check()?;
    let Request {
        dataset,
        ids,
        projection,
        options,
        results,
        ..
    } = *request;
    let allocate = || Outputs::allocate(dataset, projection, ids, results);
    let mut in_place = None;
    if in_place::may_fill(request, &route) {
        let mut outputs = allocate()?;
        in_place = in_place::fill(request, &route, &mut outputs).then_some(outputs);
    }
    let outputs = match in_place {
        Some(outputs) => outputs,
        None => {
            let flight = Flight::new(options);
            let outputs = flight.fill(request, route, allocate).await?;
            let Some(outputs) = Arc::into_inner(outputs) else {
                unreachable!("parts let the outputs go before they are finished");
            };
            outputs
        }
    };
    // SAFETY: either `fill` returned without complaint, so the row of each place has been
    // delivered; missing rows were zeroed by `allocate`.
    let columns = unsafe { outputs.into_columns() };
    let batch = record_batch(dataset, projection, options.missing, ids, columns)?;
    request.watch.mark(CallerStage::Assemble);
    Ok(batch)
}

impl Request<'_> {
    /// Refuses what cannot be taken before anything is done.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.projection.belongs_to(self.dataset) {
            return Err(Error::ForeignProjection);
        }
        let rows = self.dataset.rows();
        if self.options.missing == Missing::Error
            && let Some(&id) = self.ids.iter().find(|&&id| id >= rows)
        {
            return Err(Error::NoSuchRow { id, rows });
        }
        Ok(())
    }
}

impl TakeOptions {
    /// Whether what comes now comes too late.
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| clock::now() >= deadline)
    }

    /// The permit of the first window of `rows` rows in all: the only one that may be refused.
    pub(crate) async fn admit_first(
        &self,
        admission: &Arc<Admission>,
        need: Need,
        rows: usize,
    ) -> Result<Permit> {
        let class = self.class;
        match self.when_full {
            WhenFull::Wait => self
                .admit_next(admission, need)
                .await
                .map_err(|refused| refused.into_error(rows)),
            WhenFull::Refuse if self.is_late() => {
                admission.expired(class);
                Err(NotAdmitted::Expired.into_error(rows))
            }
            WhenFull::Refuse => admission
                .try_acquire(class, need, self.deadline)
                .ok_or(Error::Overloaded { ids: Vec::new() }),
        }
    }

    async fn admit_next(
        &self,
        admission: &Arc<Admission>,
        need: Need,
    ) -> Result<Permit, NotAdmitted> {
        if self.is_late() {
            admission.expired(self.class);
            return Err(NotAdmitted::Expired);
        }
        admission.acquire(self.class, need, self.deadline).await
    }
}

/// The caller's end of a take in flight. Dropping it cancels what has not been read yet.
#[derive(Debug)]
pub(crate) struct Flight {
    progress: Arc<Progress>,
    windows_started: AtomicUsize,
}

impl Flight {
    pub(crate) fn new(options: TakeOptions) -> Flight {
        Flight {
            progress: Arc::new(Progress::new(options.class, options.deadline)),
            windows_started: AtomicUsize::new(0),
        }
    }

    /// Sends every window out and waits for all of them. The outputs are made once the first
    /// window has been let in, so that a take that waits holds no more than its ids.
    pub(crate) async fn fill(
        &self,
        request: &Request<'_>,
        route: impl Route,
        make: impl FnOnce() -> Result<Outputs>,
    ) -> Result<Arc<Outputs>> {
        let admission = route.admission();
        let class = request.options.class;
        let mut windows = Windows::new(request, admission.limits(class));
        let Some((mut window, need)) = windows.next() else {
            return Ok(Arc::new(make()?));
        };
        let options = request.options;
        let mut permit = options
            .admit_first(admission, need, request.ids.len())
            .await?;
        request.watch.mark(CallerStage::Admit);
        let outputs = Arc::new(make()?);
        loop {
            self.send(request, &route, window, permit, &outputs);
            request.watch.mark(CallerStage::Route);
            let Some((next, need)) = windows.next() else {
                break;
            };
            let started = self.windows_started.load(Ordering::Relaxed);
            self.progress
                .finished(started.saturating_sub(WINDOWS_IN_FLIGHT - 1))
                .await;
            request.watch.mark(CallerStage::Shards);
            permit = match options.admit_next(admission, need).await {
                Ok(permit) => permit,
                Err(NotAdmitted::Expired) => {
                    self.progress
                        .expire((request.ids.len() - next.start) as u64);
                    break;
                }
                Err(refused) => return Err(refused.into_error(request.ids.len())),
            };
            request.watch.mark(CallerStage::Admit);
            window = next;
        }
        let started = self.windows_started.load(Ordering::Relaxed);
        self.progress.finished(started).await;
        request.watch.mark(CallerStage::Shards);
        self.progress.outcome(request.ids.len())?;
        Ok(outputs)
    }

    /// Sends the places `window` of the take to the shards that own its rows.
    fn send(
        &self,
        request: &Request<'_>,
        route: &impl Route,
        window: Range<usize>,
        permit: Permit,
        outputs: &Arc<Outputs>,
    ) {
        let (base, ids) = (window.start, &request.ids[window]);
        let owners = split(ids, request.dataset.rows(), request.ownership, route);
        if owners.is_empty() {
            return;
        }
        let shared = Window::new(owners.len() as u32, self.progress.clone(), permit);
        self.windows_started.fetch_add(1, Ordering::Relaxed);
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
            route.send(shard, part);
        }
    }

    /// Blocks until no shard holds anything of this take.
    pub(crate) fn drain(&self) {
        self.progress.cancel();
        let started = self.windows_started.load(Ordering::Relaxed);
        futures_lite::future::block_on(self.progress.let_go(started));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.progress.cancel();
    }
}

/// The entries of each shard that owns any of `ids`; ids past the end belong to none.
fn split(
    ids: &[u64],
    rows: u64,
    ownership: Ownership,
    route: &impl Route,
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
