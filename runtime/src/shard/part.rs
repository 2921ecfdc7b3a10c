//! Parts cross threads: the rows that one shard has to bring for one window of a take, or to find
//! for a search. Finishing one says that it has.

mod finish;
mod sync;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use ringtake_storage::plan::Entry;
use ringtake_storage::projection::Projection;

use crate::admission::{LatencyClass, Permit, Work};
use crate::error::Error;
use crate::error::{FAULTS_MAX, RowFault};
use crate::host::fork::Origin;
use crate::host::lock::lock;
use crate::index::nearest::Nearest;
use crate::memory::outputs::Outputs;
use finish::{Countdown, Finish};

/// The state of a take that its shards and its caller share.
#[derive(Debug)]
pub(crate) struct Progress {
    finish: Finish,
    /// Set by the caller when it no longer wants the rows.
    cancelled: AtomicBool,
    /// The shard whose part was dropped unfinished, counted from 1; 0 if none was.
    abandoned_by: AtomicUsize,
    faults: Mutex<Faults>,
    class: LatencyClass,
    /// After it no more reads are planned.
    deadline: Option<Instant>,
    /// Rows not read because of it, or not delivered by then. Written by shards and the caller.
    rows_expired: AtomicU64,
    origin: Origin,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            finish: Finish::default(),
            cancelled: AtomicBool::new(false),
            abandoned_by: AtomicUsize::new(0),
            faults: Mutex::default(),
            class: LatencyClass::default(),
            deadline: None,
            rows_expired: AtomicU64::new(0),
            origin: Origin::here(),
        }
    }
}

#[derive(Debug, Default)]
struct Faults {
    first: Vec<RowFault>,
    rows: u64,
}

impl Progress {
    pub(crate) fn new(class: LatencyClass, deadline: Option<Instant>) -> Progress {
        Progress {
            class,
            deadline,
            ..Progress::default()
        }
    }

    pub(crate) fn class(&self) -> LatencyClass {
        self.class
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Notes rows that are not read since the deadline has passed.
    pub(crate) fn expire(&self, rows: u64) {
        self.rows_expired.fetch_add(rows, Ordering::Relaxed);
    }

    /// Whether some rows have not been read because of that.
    pub(crate) fn is_late(&self) -> bool {
        self.rows_expired.load(Ordering::Relaxed) > 0
    }

    /// Notes that the deadline has passed while `rows` rows are being read, and ends the wait for
    /// them.
    pub(crate) fn overdue(&self, rows: u64) {
        self.expire(rows);
        self.finish.overdue();
    }

    /// Whether `windows` windows are done, or the wait is over because of a deadline.
    pub(crate) fn poll_finished(&self, windows: usize, context: &Context<'_>) -> Poll<()> {
        self.poll(|| self.finish.poll_finished(windows, context))
    }

    /// Whether no shard holds anything of `windows` windows.
    pub(crate) fn poll_let_go(&self, windows: usize, context: &Context<'_>) -> Poll<()> {
        self.poll(|| self.finish.poll_let_go(windows, context))
    }

    /// The outcome of `poll`; in a forked child ready at once, since no shard runs there.
    fn poll(&self, poll: impl FnOnce() -> Poll<()>) -> Poll<()> {
        if self.origin.is_elsewhere() {
            return Poll::Ready(());
        }
        poll()
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Notes a row that could not be read.
    pub(crate) fn fault(&self, fault: RowFault) {
        let mut faults = lock(&self.faults);
        faults.rows += 1;
        if faults.first.len() < FAULTS_MAX {
            faults.first.push(fault);
        }
    }

    /// The faults of a take of `rows` rows, once all windows are done.
    pub(crate) fn outcome(&self, rows: usize) -> Result<(), Error> {
        if self.origin.is_elsewhere() {
            return Err(Error::Forked);
        }
        if let Some(shard) = self.abandoned_by.load(Ordering::Acquire).checked_sub(1) {
            return Err(Error::ShardEnded { shard });
        }
        let rows_unread = self.rows_expired.load(Ordering::Relaxed);
        if rows_unread > 0 {
            // Of a search each shard counts what it would have read at most.
            return Err(Error::DeadlineExceeded {
                rows_unread: rows_unread.min(rows as u64),
                rows: rows as u64,
            });
        }
        let mut faults = lock(&self.faults);
        if faults.rows == 0 {
            return Ok(());
        }
        let mut first = std::mem::take(&mut faults.first);
        first.sort_by_key(|fault| (fault.row, fault.group));
        Err(Error::Rows {
            faults: first,
            rows: faults.rows,
        })
    }
}

/// A bounded piece of a take, spread over shards.
#[derive(Debug)]
pub(crate) struct Window {
    /// Parts not finished yet. The shard that brings it to zero wakes the caller.
    parts_left: Countdown,
    progress: Arc<Progress>,
    permit: Permit,
}

impl Window {
    pub(crate) fn new(parts: u32, progress: Arc<Progress>, permit: Permit) -> Arc<Window> {
        Arc::new(Window {
            parts_left: Countdown::new(parts),
            progress,
            permit,
        })
    }
}

/// The destination of the rows of a part.
#[derive(Debug)]
enum Sink {
    /// Each goes to its place in the result of a take.
    Rows(Arc<Outputs>),
    /// Their distances to the query of a search are kept.
    Nearest(Box<Nearest>),
}

/// The rows of one window that one shard owns; of a search, the shard's share, whose rows are not
/// known before it has scanned its codes.
#[derive(Debug)]
pub(crate) struct Part {
    /// Rows and their positions in the window. Kept from other modules: the writing of rows
    /// without a lock rests on no two parts of a take having the same place.
    entries: Vec<Entry>,
    /// The first place of the window in the output.
    base: usize,
    pub(crate) projection: Projection,
    /// The shard that owns its rows.
    shard: usize,
    /// `None` once the part is finished.
    sink: Option<Sink>,
    window: Option<Arc<Window>>,
    /// When it was sent, where the time that it waits is measured.
    sent_at: Option<Instant>,
}

impl Part {
    /// A part of a take: the row of each entry goes to the place `base` plus its position.
    ///
    /// # Safety
    /// No other part of these outputs has one of these places, and no other code writes or reads
    /// them before the part is finished or dropped.
    pub(crate) unsafe fn of_take(
        shard: usize,
        entries: Vec<Entry>,
        base: usize,
        projection: Projection,
        outputs: Arc<Outputs>,
        window: Arc<Window>,
    ) -> Part {
        Part {
            entries,
            base,
            projection,
            shard,
            sink: Some(Sink::Rows(outputs)),
            window: Some(window),
            sent_at: None,
        }
    }

    /// A part of a search. [`Part::choose`] gives it its rows.
    pub(crate) fn of_search(
        shard: usize,
        projection: Projection,
        nearest: Nearest,
        window: Arc<Window>,
    ) -> Part {
        Part {
            entries: Vec::new(),
            base: 0,
            projection,
            shard,
            sink: Some(Sink::Nearest(Box::new(nearest))),
            window: Some(window),
            sent_at: None,
        }
    }

    /// Rows and their positions in the window.
    #[inline]
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The place in the output of position 0.
    #[inline]
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// Puts the entries in the order of their rows.
    pub(crate) fn sort(&mut self) {
        self.entries.sort_unstable();
    }

    /// Makes the candidates of a search that are to be read, and the rows of `unindexed`, the
    /// entries of its part. Returns whether every shard has scanned, so that they are known.
    pub(crate) fn choose(&mut self, unindexed: impl Iterator<Item = u64>) -> bool {
        let Some(Sink::Nearest(nearest)) = &mut self.sink else {
            return false;
        };
        match nearest.chosen(unindexed) {
            Some(entries) => self.entries = entries,
            None => return false,
        }
        true
    }

    /// Notes that it is sent now.
    pub(crate) fn stamp(&mut self) {
        self.sent_at = Some(Instant::now());
    }

    /// When it was sent, if that was noted.
    pub(crate) fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    /// The result that the rows of a take go to.
    pub(crate) fn outputs(&self) -> Option<&Outputs> {
        match &self.sink {
            Some(Sink::Rows(outputs)) => Some(outputs),
            _ => None,
        }
    }

    /// The result of a take, to be kept beyond the part by a shard that ends with reads in flight.
    pub(crate) fn share_outputs(&self) -> Option<Arc<Outputs>> {
        match &self.sink {
            Some(Sink::Rows(outputs)) => Some(outputs.clone()),
            _ => None,
        }
    }

    /// The candidates of a search.
    pub(crate) fn nearest(&mut self) -> Option<&mut Nearest> {
        match &mut self.sink {
            Some(Sink::Nearest(nearest)) => Some(nearest),
            _ => None,
        }
    }

    /// The state of the take or search.
    #[inline]
    pub(crate) fn progress(&self) -> &Progress {
        let Some(window) = &self.window else {
            unreachable!("a part has its window until it is finished");
        };
        &window.progress
    }

    pub(crate) fn class(&self) -> LatencyClass {
        self.progress().class()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.progress().deadline()
    }

    /// Ends the part: all its rows are in their places, or noted as faults.
    pub(crate) fn finish(mut self) {
        if let Some(Sink::Nearest(nearest)) = &mut self.sink {
            nearest.publish(&self.entries);
        }
        self.signal();
    }

    /// Gives back the memory for its rows, and the permit and the caller's wait with the last part.
    fn signal(&mut self) {
        let Some(window) = self.window.take() else {
            unreachable!("a part ends once");
        };
        let progress = &window.progress;
        let release = || {
            window.permit.release(match progress {
                _ if progress.is_cancelled() => Work::Cancelled,
                _ if progress.is_late() => Work::Late,
                _ => Work::Done,
            });
        };
        let finish = &progress.finish;
        window
            .parts_left
            .end_part(self.sink.take(), release, finish);
    }
}

impl Drop for Part {
    /// A part that is dropped unfinished (a shard ended, an inbox was closed) fails its take
    /// instead of leaving it waiting.
    fn drop(&mut self) {
        if let Some(window) = &self.window {
            let abandoned_by = &window.progress.abandoned_by;
            abandoned_by.store(self.shard + 1, Ordering::Release);
            self.signal();
        }
    }
}
