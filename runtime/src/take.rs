//! A take: ids in, rows out. Runs on the caller's thread; the shards do the reading.
//!
//! Ids are cut into windows of bounded size, a few of them in flight, so that a take of
//! millions of rows needs no memory beyond its result and those windows. Each window sends one
//! message to each shard that owns some of its rows.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use arrow::array::RecordBatch;
use async_lock::Semaphore;
use ringtake_storage::assemble::record_batch;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::plan::Entry;
use ringtake_storage::projection::{Missing, Projection};

use crate::inbox::{Inbox, Message};
use crate::outputs::Outputs;
use crate::part::{Part, Progress, Window};
use crate::route::Ownership;
use crate::{Error, Result};

/// How a take treats what it cannot bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakeOptions {
    /// Ids at or past the end.
    pub missing: Missing,
}

/// Rows in one window of a take.
const WINDOW_ROWS: usize = 1 << 16;
/// Windows of one take in flight.
const WINDOWS_IN_FLIGHT: usize = 2;

/// How parts reach their shards.
pub(crate) trait Route {
    /// The shards to choose from: all of them, or the one whose thread this is.
    fn shards(&self) -> Range<usize>;
    /// Where a window gets its permit, if it needs one.
    fn permits(&self) -> Option<&Arc<Semaphore>>;
    /// Hands a part over. One that cannot be is dropped, which fails the take.
    fn send(&self, shard: usize, part: Part);
}

/// From any thread, through the inboxes.
#[derive(Clone, Copy)]
pub(crate) struct Inboxes<'a> {
    pub(crate) inboxes: &'a [Inbox],
    pub(crate) permits: &'a Arc<Semaphore>,
}

impl Route for Inboxes<'_> {
    fn shards(&self) -> Range<usize> {
        0..self.inboxes.len()
    }

    fn permits(&self) -> Option<&Arc<Semaphore>> {
        Some(self.permits)
    }

    fn send(&self, shard: usize, part: Part) {
        drop(self.inboxes[shard].send(Message::Take(part)));
    }
}

/// Takes rows into new buffers.
pub(crate) async fn batch(
    dataset: &Dataset,
    ownership: Ownership,
    route: impl Route,
    ids: &[u64],
    projection: &Projection,
    options: TakeOptions,
) -> Result<RecordBatch> {
    check(dataset, ids, projection, options)?;
    let outputs = Arc::new(Outputs::allocate(dataset, projection, ids)?);
    let flight = Flight::default();
    flight
        .fill(dataset, ownership, route, ids, projection, &outputs)
        .await?;
    let outputs = Arc::into_inner(outputs).ok_or(Error::Closed)?;
    // SAFETY: `fill` returned without error, so each entry has been delivered, and there was one
    // for each place of an existing row; missing rows were zeroed by `allocate`.
    let columns = unsafe { outputs.into_columns() };
    Ok(record_batch(
        dataset,
        projection,
        options.missing,
        ids,
        columns,
    )?)
}

/// Refuses what cannot be taken before anything is done.
pub(crate) fn check(
    dataset: &Dataset,
    ids: &[u64],
    projection: &Projection,
    options: TakeOptions,
) -> Result<()> {
    if !projection.belongs_to(dataset) {
        return Err(Error::ForeignProjection);
    }
    let rows = dataset.rows();
    if options.missing == Missing::Error
        && let Some(&id) = ids.iter().find(|&&id| id >= rows)
    {
        return Err(Error::NoSuchRow { id, rows });
    }
    Ok(())
}

/// The caller's end of a take in flight. Dropping it cancels what has not been read yet.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    progress: Arc<Progress>,
    windows_started: AtomicUsize,
}

impl Flight {
    /// Sends every window out and waits for all of them.
    pub(crate) async fn fill(
        &self,
        dataset: &Dataset,
        ownership: Ownership,
        route: impl Route,
        ids: &[u64],
        projection: &Projection,
        outputs: &Arc<Outputs>,
    ) -> Result<()> {
        let projection = Arc::new(projection.clone());
        for (window, ids) in ids.chunks(WINDOW_ROWS).enumerate() {
            let started = self.windows_started.load(Ordering::Relaxed);
            self.windows_done(started.saturating_sub(WINDOWS_IN_FLIGHT - 1))
                .await;
            let owners = split(ids, dataset.rows(), ownership, &route);
            if owners.is_empty() {
                continue;
            }
            let permit = match route.permits() {
                Some(permits) => Some(permits.acquire_arc().await),
                None => None,
            };
            let shared = Window::new(owners.len() as u32, self.progress.clone(), permit);
            self.windows_started.store(started + 1, Ordering::Relaxed);
            // All parts exist before the first is sent: whatever happens on the way, each is
            // finished or dropped, and either counts.
            let parts: Vec<(usize, Part)> = owners
                .into_iter()
                .map(|(shard, entries)| {
                    let base = window * WINDOW_ROWS;
                    (
                        shard,
                        Part::new(
                            entries,
                            base,
                            projection.clone(),
                            outputs.clone(),
                            shared.clone(),
                        ),
                    )
                })
                .collect();
            drop(shared);
            for (shard, part) in parts {
                route.send(shard, part);
            }
        }
        self.windows_done(self.windows_started.load(Ordering::Relaxed))
            .await;
        self.progress.outcome()
    }

    /// Waits until `windows` windows are done.
    async fn windows_done(&self, windows: usize) {
        poll_fn(|context| {
            if self.progress.windows_done() >= windows {
                return Poll::Ready(());
            }
            self.progress.waker().register(context.waker());
            if self.progress.windows_done() >= windows {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Blocks until no shard holds anything of this take.
    pub(crate) fn drain(&self) {
        self.progress.cancel();
        futures_lite::future::block_on(
            self.windows_done(self.windows_started.load(Ordering::Relaxed)),
        );
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
        let entries: Vec<Entry> = there().collect();
        return if entries.is_empty() {
            Vec::new()
        } else {
            vec![(shards.start, entries)]
        };
    }
    let mut lengths = vec![0_usize; shards.len()];
    for entry in there() {
        lengths[ownership.owner(entry.row)] += 1;
    }
    let mut owners: Vec<(usize, Vec<Entry>)> = lengths
        .into_iter()
        .enumerate()
        .map(|(shard, length)| (shard, Vec::with_capacity(length)))
        .collect();
    for entry in there() {
        owners[ownership.owner(entry.row)].1.push(entry);
    }
    owners.retain(|(_, entries)| !entries.is_empty());
    owners
}
