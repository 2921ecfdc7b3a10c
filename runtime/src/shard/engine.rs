//! What a shard does with rows: plan reads from the parts it holds, keep the queue full, decode
//! what comes back.
//!
//! Nothing here allocates per row or per read, once the vectors have reached their size; the
//! exception is a row larger than a slot, which gets a buffer of its own for one read.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::time::Duration;

use ringtake_storage::dataset::{BadOffsets, Locator};
use ringtake_storage::layout::PAGE_BYTES;
use ringtake_storage::plan::{Entry, PlannedRead, ReadLimits, next_read};

use super::ShardContext;
use super::decode::{Checked, Decoder};
use crate::arena::{Arena, Region};
use crate::cache::load::load;
use crate::cache::{CacheError, Found, PageCache, Refused, Use};
use crate::error::{FaultKind, RowFault};
use crate::part::Part;
use crate::read_path::{Completion, Read, ReadPath, Wait};

/// Room for neighbours to be merged, and for a row that straddles pages.
const SLOT_BYTES_MIN: u32 = 16 << 10;
const SLOT_BYTES_MAX: u32 = 128 << 10;
/// Bytes of rows larger than a slot in flight at once; a single larger row is read alone.
const OVERSIZE_BYTES_MAX: usize = 32 << 20;
/// With a full queue the shard waits until this share of it is complete: one system call then
/// brings and sends several reads, while the device keeps the rest to work on.
const FULL_QUEUE_SHARE: u32 = 16;
/// The longest wait with reads in flight, so that a broken device does not silence the loop.
const IN_FLIGHT_WAIT: Duration = Duration::from_millis(100);

/// Bytes of a slot: enough for any row of fixed width, within bounds.
pub(super) fn slot_bytes(context: &ShardContext) -> u32 {
    let dataset = &context.dataset;
    let widest = (0..dataset.layout().groups.len())
        .filter_map(|group| dataset.locator(group).record_bytes())
        .max()
        .unwrap_or(0);
    let edge = context.align_bytes.max(PAGE_BYTES as u32);
    let straddling = widest.saturating_add(2 * edge);
    straddling
        .clamp(SLOT_BYTES_MIN, SLOT_BYTES_MAX)
        .next_power_of_two()
}

/// A part at work.
struct Active {
    part: Part,
    /// Which of the projection's groups is being planned.
    group: usize,
    /// The first entry of that group not planned yet.
    next: usize,
    in_flight: u32,
    /// How the cache counts its use of pages.
    asks: Use,
}

/// A read in flight, at the place of its slot.
#[derive(Default)]
struct Flight {
    active: u32,
    group: u32,
    first_entry: u32,
    entries: u32,
    dir: u32,
    offset: u64,
    bytes: u32,
    /// Bytes that came with completions before; a short read is continued.
    got: u32,
    /// The buffer of a row larger than a slot.
    oversize: Option<Region>,
}

/// See the module.
pub(super) struct Engine<'a> {
    context: &'a ShardContext,
    arena: &'a Arena,
    path: Box<dyn ReadPath + 'a>,
    locators: Vec<Locator<'a>>,
    cache: Option<PageCache>,
    /// Parts taken on, for the cache to tell one from another.
    parts_seen: u32,
    limits: ReadLimits,
    actives: Vec<Option<Active>>,
    active_free: Vec<u32>,
    /// Actives with entries to plan, the oldest first.
    to_plan: VecDeque<u32>,
    flights: Vec<Flight>,
    slots_free: Vec<u32>,
    oversize_bytes: usize,
    /// The next planned read waits for oversize ones to complete.
    held_back: bool,
    completions: Vec<Completion>,
    /// Reads whose memory the path holds: queued, and not come back from a turn.
    lent: u32,
    /// The thread of the shard.
    #[cfg(debug_assertions)]
    thread: std::thread::ThreadId,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        context: &'a ShardContext,
        arena: &'a Arena,
        path: Box<dyn ReadPath + 'a>,
    ) -> Result<Engine<'a>, CacheError> {
        let dataset = &context.dataset;
        let locators: Vec<_> = (0..dataset.layout().groups.len())
            .map(|group| dataset.locator(group))
            .collect();
        let cache = PageCache::new(
            dataset,
            &locators,
            context.ownership,
            context.shard.0,
            context.cache,
        )?;
        // The cache keeps whole pages, so reads bring whole pages.
        let align_bytes = if cache.is_some() {
            context.align_bytes.max(PAGE_BYTES as u32)
        } else {
            context.align_bytes
        };
        let depth = context.queue_depth;
        Ok(Engine {
            context,
            arena,
            path,
            locators,
            cache,
            parts_seen: 0,
            limits: ReadLimits {
                align_bytes,
                bytes_max: arena.slot_bytes(),
            },
            actives: Vec::new(),
            active_free: Vec::new(),
            to_plan: VecDeque::new(),
            flights: (0..depth).map(|_| Flight::default()).collect(),
            slots_free: (0..depth).rev().collect(),
            oversize_bytes: 0,
            held_back: false,
            completions: Vec::with_capacity(depth as usize),
            lent: 0,
            #[cfg(debug_assertions)]
            thread: std::thread::current().id(),
        })
    }

    /// Fills the cache if it is a pinned one. Returns what is missing or wrong, in sentences.
    ///
    /// # Errors
    /// The read path is broken.
    pub(super) async fn load(&mut self) -> std::io::Result<Vec<String>> {
        match &mut self.cache {
            Some(cache) if cache.is_pinned() => {
                load(cache, self.context, &self.locators, &mut *self.path).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// A read is submitted, completed and decoded on one thread.
    #[inline]
    fn assert_own_thread(&self) {
        #[cfg(debug_assertions)]
        assert_eq!(
            std::thread::current().id(),
            self.thread,
            "a read has crossed threads"
        );
    }

    /// Takes a part on. Its rows are read in ascending order, which brings neighbours together.
    pub(super) fn accept(&mut self, mut part: Part) {
        self.context.counters.parts.add(1);
        part.entries.sort_unstable();
        self.parts_seen = self.parts_seen.wrapping_add(1);
        let asks = match part.base {
            0 => Use::By(self.parts_seen),
            _ => Use::Bulk,
        };
        let active = Active {
            part,
            group: 0,
            next: 0,
            in_flight: 0,
            asks,
        };
        let id = match self.active_free.pop() {
            Some(id) => {
                self.actives[id as usize] = Some(active);
                id
            }
            None => {
                self.actives.push(Some(active));
                (self.actives.len() - 1) as u32
            }
        };
        self.to_plan.push_back(id);
    }

    fn in_flight(&self) -> u32 {
        self.context.queue_depth - self.slots_free.len() as u32
    }

    /// Whether no part is at work.
    pub(super) fn is_idle(&self) -> bool {
        self.to_plan.is_empty() && self.in_flight() == 0
    }

    /// Whether another round would plan something.
    pub(super) fn can_plan(&self) -> bool {
        !self.to_plan.is_empty() && !self.slots_free.is_empty() && !self.held_back
    }

    /// One round: fill the queue, hand it over, decode what is complete. Returns whether
    /// anything moved.
    pub(super) fn round(&mut self) -> bool {
        let mut moved = false;
        while self.can_plan() {
            moved = true;
            self.plan();
        }
        let full = !self.to_plan.is_empty() && self.in_flight() > 0;
        let wait = if full {
            Wait::For {
                completions: (self.in_flight() / FULL_QUEUE_SHARE).max(1),
                timeout: IN_FLIGHT_WAIT,
            }
        } else {
            Wait::No
        };
        self.turn(wait) || moved
    }

    /// Waits for completions or the doorbell.
    pub(super) fn sleep(&mut self, timeout: Duration) {
        self.context.counters.sleeps.add(1);
        // One completion is enough to end it, since the doorbell counts as one too.
        let timeout = match self.in_flight() {
            0 => timeout,
            _ => timeout.min(IN_FLIGHT_WAIT),
        };
        let wait = Wait::For {
            completions: 1,
            timeout,
        };
        self.turn(wait);
    }

    fn turn(&mut self, wait: Wait) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        if let Err(error) = self.path.turn(wait, &mut completions) {
            // Nothing in flight can be told finished any more; its buffers must stay. The
            // thread ends here, and every take it holds fails with `Closed`.
            tracing::error!(shard = self.context.shard.0, %error, "the read path is broken");
            panic!(
                "the read path of shard {} is broken: {error}",
                self.context.shard
            );
        }
        self.lent -= completions.len() as u32;
        let moved = !completions.is_empty();
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.completions = completions;
        moved
    }

    /// Plans up to one read of the oldest part: rows in the cache are delivered on the way.
    fn plan(&mut self) {
        let Some(&id) = self.to_plan.front() else {
            return;
        };
        let Some(active) = self.actives[id as usize].as_mut() else {
            self.to_plan.pop_front();
            return;
        };
        let groups = active.part.projection.groups().len();
        let cancelled = active
            .part
            .progress()
            .is_none_or(|progress| progress.is_cancelled());
        if cancelled {
            active.group = groups;
        }
        while active.group < groups {
            let group = active.part.projection.groups()[active.group].group;
            let locator = &self.locators[group];
            if let Some(cache) = &mut self.cache {
                deliver_hits(self.context, active, locator, cache);
            }
            if active.next == active.part.entries.len() {
                active.group += 1;
                active.next = 0;
                continue;
            }
            let planned = match next_read(locator, &active.part.entries[active.next..], self.limits)
            {
                Ok(planned) => planned,
                Err(BadOffsets { row }) => {
                    let file = self.context.files.index(group, 0);
                    fault(self.context, active, group, file, row, FaultKind::Offsets);
                    active.next += 1;
                    continue;
                }
            };
            let first_entry = active.next;
            let file = self.context.files.index(group, planned.dir);
            if planned.bytes == 0 {
                self.context.counters.rows.add(planned.entries as u64);
                active.next += planned.entries;
                continue;
            }
            if let Some(wrong) = &self.context.files.files[file as usize].wrong {
                for entry in first_entry..first_entry + planned.entries {
                    let row = active.part.entries[entry].row;
                    fault(
                        self.context,
                        active,
                        group,
                        file,
                        row,
                        FaultKind::WrongFile(wrong.clone()),
                    );
                }
                active.next += planned.entries;
                continue;
            }
            if planned.bytes > self.limits.bytes_max
                && self.oversize_bytes > 0
                && self.oversize_bytes + planned.bytes as usize > OVERSIZE_BYTES_MAX
            {
                self.held_back = true;
                return;
            }
            active.next += planned.entries;
            active.in_flight += 1;
            let group = active.group as u32;
            self.submit(id, group, first_entry as u32, file, planned);
            return;
        }
        self.to_plan.pop_front();
        self.finish_if_done(id);
    }

    fn submit(
        &mut self,
        active: u32,
        group: u32,
        first_entry: u32,
        file: u32,
        planned: PlannedRead,
    ) {
        let Some(slot) = self.slots_free.pop() else {
            unreachable!("a read is planned only when there is a slot");
        };
        let oversize = (planned.bytes > self.limits.bytes_max).then(|| {
            self.oversize_bytes += planned.bytes as usize;
            match Region::new(planned.bytes as usize) {
                Ok(region) => region,
                Err(error) => panic!("no memory for a row of {} bytes: {error}", planned.bytes),
            }
        });
        self.flights[slot as usize] = Flight {
            active,
            group,
            first_entry,
            entries: planned.entries as u32,
            dir: planned.dir,
            offset: planned.offset,
            bytes: planned.bytes,
            got: 0,
            oversize,
        };
        self.context.counters.reads.add(1);
        self.context
            .counters
            .read_bytes
            .add(u64::from(planned.bytes));
        self.queue(slot, file);
    }

    /// Hands the rest of a slot's read to the device.
    fn queue(&mut self, slot: u32, file: u32) {
        self.assert_own_thread();
        let flight = &self.flights[slot as usize];
        let start = match &flight.oversize {
            Some(region) => region.start(),
            None => self.arena.slot(slot),
        };
        // SAFETY: `got` is less than `bytes`, which is what the buffer has room for.
        let buffer: NonNull<u8> = unsafe { start.add(flight.got as usize) };
        let read = Read {
            token: slot,
            file,
            offset: flight.offset + u64::from(flight.got),
            bytes: flight.bytes - flight.got,
            buffer,
            in_arena: flight.oversize.is_none(),
        };
        // SAFETY: the slot is taken until `complete` sees its completion; nobody looks at it or
        // frees it before (the arena outlives the engine, whose drop waits for completions).
        unsafe { self.path.queue(read) };
        self.lent += 1;
    }

    fn complete(&mut self, completion: Completion) {
        self.assert_own_thread();
        let slot = completion.token;
        let flight = &mut self.flights[slot as usize];
        let Some(group) = self.actives[flight.active as usize]
            .as_ref()
            .and_then(|active| active.part.projection.groups().get(flight.group as usize))
            .map(|wanted| wanted.group)
        else {
            unreachable!("a part lives until its last read is complete");
        };
        let file = self.context.files.index(group, flight.dir);
        let failed = match completion.result {
            Ok(0) => None,
            Ok(bytes) => {
                flight.got += bytes;
                if flight.got < flight.bytes {
                    // A short read. Continue where the device can: at an aligned place.
                    let aligned = flight.got - flight.got % self.limits.align_bytes;
                    let ends_here = aligned < flight.got || bytes < self.limits.align_bytes;
                    if !ends_here {
                        self.queue(slot, file);
                        return;
                    }
                }
                None
            }
            Err(libc::EAGAIN | libc::EINTR) => {
                self.queue(slot, file);
                return;
            }
            Err(errno) => Some(FaultKind::Io { errno }),
        };
        self.context.counters.completions.add(1);
        self.decode(slot, group, file, failed);
        let flight = &mut self.flights[slot as usize];
        if let Some(region) = flight.oversize.take() {
            self.oversize_bytes -= region.bytes();
            self.held_back = false;
        }
        let id = flight.active;
        self.slots_free.push(slot);
        if let Some(active) = self.actives[id as usize].as_mut() {
            active.in_flight -= 1;
        }
        self.finish_if_done(id);
    }

    /// Delivers the rows of a completed read.
    fn decode(&mut self, slot: u32, group: usize, file: u32, failed: Option<FaultKind>) {
        self.assert_own_thread();
        let flight = &self.flights[slot as usize];
        let Some(active) = self.actives[flight.active as usize].as_mut() else {
            return;
        };
        // SAFETY: the read is complete, and the slot is not lent again before it is freed.
        let bytes = unsafe {
            match &flight.oversize {
                Some(region) => region.slice(0, flight.got as usize),
                None => self.arena.slot_slice(slot, flight.got as usize),
            }
        };
        let locator = &self.locators[group];
        let entries = flight.first_entry as usize..(flight.first_entry + flight.entries) as usize;
        let mut checked_row = None;
        for place in entries {
            let entry = active.part.entries[place];
            let outcome = match (&failed, locator.locate(entry.row)) {
                (Some(kind), _) => Err(kind.clone()),
                (None, Err(_)) => Err(FaultKind::Offsets),
                (None, Ok(extent)) if extent.bytes == 0 => Ok(()),
                (None, Ok(extent)) => {
                    let from = (extent.offset - flight.offset) as usize;
                    match bytes.get(from..from + extent.bytes as usize) {
                        None => Err(FaultKind::CutShort),
                        Some(stored) => {
                            let checked = if checked_row == Some(entry.row) {
                                Checked::Yes
                            } else {
                                Checked::No
                            };
                            let delivered = deliver(
                                self.context,
                                active,
                                flight.group as usize,
                                locator,
                                place,
                                stored,
                                checked,
                            );
                            if delivered.is_ok() {
                                checked_row = Some(entry.row);
                                if let (Some(cache), Checked::No) = (&mut self.cache, checked) {
                                    cache.keep(
                                        locator,
                                        group,
                                        entry.row,
                                        extent,
                                        bytes,
                                        flight.offset,
                                        active.asks,
                                    );
                                }
                            }
                            delivered
                        }
                    }
                }
            };
            if let Err(kind) = outcome {
                fault(self.context, active, group, file, entry.row, kind);
            }
        }
        self.context.counters.rows.add(u64::from(flight.entries));
    }

    fn finish_if_done(&mut self, id: u32) {
        let done = self.actives[id as usize].as_ref().is_some_and(|active| {
            active.in_flight == 0 && active.group == active.part.projection.groups().len()
        });
        if done && let Some(active) = self.actives[id as usize].take() {
            self.active_free.push(id);
            active.part.finish();
        }
    }
}

/// How many rows beforehand the memory of one in the cache is asked for. Fewer leave the copy
/// waiting, more push each other out before their turn.
const AHEAD: usize = 4;

/// What the cache has of an entry.
#[derive(Clone, Copy)]
enum Hit {
    Row(Found),
    /// The row takes no bytes.
    Empty,
    Miss,
}

/// Delivers entries from the cache until one is not there.
fn deliver_hits(
    context: &ShardContext,
    active: &mut Active,
    locator: &Locator<'_>,
    cache: &mut PageCache,
) {
    let group = active.part.projection.groups()[active.group].group;
    let look = |cache: &PageCache, entries: &[Entry], place: usize| {
        let Some(entry) = entries.get(place) else {
            return Hit::Miss;
        };
        match locator.locate(entry.row) {
            Ok(extent) if extent.bytes == 0 => Hit::Empty,
            Ok(extent) => cache
                .find(locator, group, entry.row, extent)
                .map_or(Hit::Miss, Hit::Row),
            Err(_) => Hit::Miss,
        }
    };
    let mut hits = 0;
    let mut ahead = [Hit::Miss; AHEAD];
    // Where the cache has little, nothing is asked for beforehand.
    let first = look(cache, &active.part.entries, active.next);
    let mut looked_at = active.next + 1;
    ahead[active.next % AHEAD] = first;
    loop {
        let hit = ahead[active.next % AHEAD];
        if matches!(hit, Hit::Miss) {
            break;
        }
        while looked_at < active.next + AHEAD {
            let hit = look(cache, &active.part.entries, looked_at);
            if let Hit::Row(found) = hit {
                cache.prefetch(found);
            }
            ahead[looked_at % AHEAD] = hit;
            looked_at += 1;
        }
        if let Hit::Row(found) = hit {
            let (stored, right) = cache.get(found, active.asks);
            let checked = if right { Checked::Yes } else { Checked::No };
            let place = active.next;
            let delivered = deliver(
                context,
                active,
                active.group,
                locator,
                place,
                stored,
                checked,
            );
            match delivered {
                Ok(()) if !right => cache.mark(found),
                Ok(()) => {}
                Err(_) if cache.refuse(found) == Refused::Evicted => break,
                Err(kind) => {
                    let row = active.part.entries[place].row;
                    let dir = locator.locate(row).map_or(0, |extent| extent.dir);
                    let file = context.files.index(group, dir);
                    fault(context, active, group, file, row, kind);
                }
            }
            hits += 1;
        }
        active.next += 1;
    }
    context.counters.cache_hits.add(hits);
    context.counters.rows.add(hits);
}

#[inline]
fn deliver(
    context: &ShardContext,
    active: &Active,
    group_place: usize,
    locator: &Locator<'_>,
    place: usize,
    stored: &[u8],
    checked: Checked,
) -> Result<(), FaultKind> {
    let Some(outputs) = active.part.outputs() else {
        unreachable!("a part has its outputs until it is finished");
    };
    let decoder = Decoder {
        locator,
        wanted: &active.part.projection.groups()[group_place],
        outputs,
        base: active.part.base,
        checksums: context.checksums,
    };
    decoder.deliver(active.part.entries[place], stored, checked)
}

#[cold]
fn fault(
    context: &ShardContext,
    active: &Active,
    group: usize,
    file: u32,
    row: u64,
    kind: FaultKind,
) {
    context.counters.faults.add(1);
    let page = context
        .dataset
        .locator(group)
        .locate(row)
        .map_or(0, |extent| extent.page());
    if let Some(progress) = active.part.progress() {
        progress.fault(RowFault {
            row,
            path: context.files.files[file as usize].path.clone(),
            page,
            group,
            kind,
        });
    }
}

/// How often a shard that ends waits for reads in flight before it gives their memory up.
const DRAIN_ATTEMPTS: u32 = 100;

impl Drop for Engine<'_> {
    /// The kernel may write into the slots until the last completion has come.
    fn drop(&mut self) {
        // Takes that are not done fail now, not after the wait.
        self.actives.clear();
        for _ in 0..DRAIN_ATTEMPTS {
            if self.lent == 0 {
                return;
            }
            self.completions.clear();
            let wait = Wait::For {
                completions: self.lent,
                timeout: IN_FLIGHT_WAIT,
            };
            let turned = self.path.turn(wait, &mut self.completions);
            self.lent -= self.completions.len() as u32;
            if turned.is_err() {
                break;
            }
        }
        if self.lent > 0 {
            let (shard, reads) = (self.context.shard.0, self.lent);
            tracing::error!(shard, reads, "reads do not end; their memory is given up");
            self.arena.region().give_up();
            for region in self
                .flights
                .iter()
                .filter_map(|flight| flight.oversize.as_ref())
            {
                region.give_up();
            }
        }
    }
}
