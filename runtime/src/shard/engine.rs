//! What a shard does with rows: plan reads from the parts it holds, keep the queue full, decode
//! what comes back.
//!
//! Nothing here allocates per row or per read, once the vectors have reached their size; the
//! exception is a row larger than a slot, which gets a buffer of its own for one read.

mod depth;
mod forecast;
mod hits;
mod scan;
mod sharing;

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringtake_storage::dataset::{BadOffsets, Extent, Locator};
use ringtake_storage::layout::{Group, PAGE_BYTES};
use ringtake_storage::plan::{Entry, PlannedRead, ReadLimits, next_read};

use crate::admission::LatencyClass;
use crate::config::Checksums;
use crate::device::read_path::{Completion, Memory, Read, ReadPath, Wait};
use crate::error::{FaultKind, RowFault};
use crate::host::clock;
use crate::host::prefetch;
use crate::index::codes::ShardCodes;
use crate::memory::arena::{Arena, Region, Slots};
use crate::memory::decode::{Checked, Decoder};
use crate::memory::outputs::Outputs;
use crate::metrics::stats::ShardCounters;
use crate::metrics::{Meter, Phase, QueueSample, Stage};
use crate::shard::cache::load::{Loaded, load};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::cache::{CacheError, PageCache, Use};
use crate::shard::context::ShardContext;
use crate::shard::part::{Part, Progress};
use depth::Depth;
use forecast::{Forecast, Margin, Waits};
use hits::{HITS_IN_TURN_MAX, deliver_hits};
use scan::Scans;
use sharing::{InFlightPages, Waiter};

/// Room for a value of variable width, wherever in its pages it begins.
const VALUE_SLOT_BYTES: u32 = 8 << 10;
const SMALL_SLOT_BYTES_MAX: u32 = 64 << 10;
/// Neighbours are read together up to this.
pub(crate) const LARGE_SLOT_BYTES: u32 = 128 << 10;
/// Large slots, one to so many of the queue depth, and their bounds. Few of them keep a drive busy.
const LARGE_SLOTS_SHARE: u32 = 8;
const LARGE_SLOTS_RANGE: (u32, u32) = (2, 32);
/// Bytes of rows larger than a slot in flight at once; a single larger row is read alone.
const OVERSIZE_BYTES_MAX: usize = 32 << 20;
/// With a full queue the shard waits until this share of it is complete: one system call then
/// brings and sends several reads, while the device keeps the rest to work on.
pub(crate) const FULL_QUEUE_SHARE: u32 = 16;
/// So many reads keep a drive busy: a deeper queue that is full to the last token is fetched and
/// replaced down to them in one go, at most half of it, so that the shard sleeps and wakes less
/// often for each read.
const BUSY_DRIVE_READS: u32 = 128;
/// The longest wait for more than the usual share.
const SURPLUS_WAIT: Duration = Duration::from_millis(3);
/// Reads planned before they are handed over. A device that answers at once, such as one in
/// memory, then finds its reads decoded while they are in the processor's cache; one that does not
/// has its queue filled in a few rounds.
const PLANNED_IN_ROUND_MAX: u32 = 32;
/// Of the queue depth, the share that bulk reads leave to urgent ones, one slot in this many: an
/// urgent read then starts at once, and behind no more reads than it would at full depth.
const URGENT_SLOTS_SHARE: u32 = 8;
/// While urgent reads come, bulk ones have one slot in this many: an urgent read waits in the
/// device behind all that is there, and a drive is busy with far fewer. The wait for a share of
/// a full queue, which nothing ends early, is short then too.
const BULK_SLOTS_BESIDE_URGENT_SHARE: u32 = 8;
/// Urgent reads are over when so many bulk ones have been planned since the last.
const BULK_READS_SINCE_URGENT: u32 = 4096;
/// Urgent reads planned while bulk ones wait, before one of those has its turn: bulk work keeps
/// its share of the reads however much urgent work there is.
const URGENT_READS_IN_TURN_MAX: u32 = 16;
/// The shortest time between two looks for takes that are overdue.
const OVERDUE_LOOK: Duration = Duration::from_millis(1);
/// The longest wait with reads in flight, so that a broken device does not silence the loop.
pub(super) const IN_FLIGHT_WAIT: Duration = Duration::from_millis(100);

/// How the arena is cut: a small slot has room for any single row of fixed width, within bounds.
pub(super) fn slots(context: &ShardContext) -> Slots {
    let dataset = &context.dataset;
    let page = context.config.align_bytes.max(PAGE_BYTES as u32);
    let small_bytes = (0..dataset.layout().groups.len())
        .map(|group| match &dataset.layout().groups[group] {
            Group::Fixed(fixed) => fixed.read_bytes_max(context.config.align_bytes),
            Group::Variable(_) => VALUE_SLOT_BYTES,
        })
        .max()
        .unwrap_or(0)
        .clamp(page, SMALL_SLOT_BYTES_MAX.max(page))
        .next_multiple_of(page);
    let (least, most) = LARGE_SLOTS_RANGE;
    Slots {
        small: context.config.queue_depth,
        small_bytes,
        large: (context.config.queue_depth / LARGE_SLOTS_SHARE).clamp(least, most),
        large_bytes: LARGE_SLOT_BYTES.max(small_bytes),
    }
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
    /// Whether its caller has been told not to wait for it.
    overdue: bool,
    /// Where it has a deadline and no read of it has been planned yet.
    waits: Option<Waits>,
    /// Where it was begun after a wait.
    forecast: Option<Forecast>,
}

impl Active {
    /// Plans no more of its reads. Returns how many rows that leaves unread in some group.
    fn give_up(&mut self) -> u64 {
        let groups = self.part.projection.groups().len();
        let rows = match groups - self.group {
            0 => 0,
            1 => self.part.entries().len() - self.next,
            _ => self.part.entries().len(),
        };
        self.group = groups;
        // How long it would have taken is not known.
        self.forecast = None;
        rows as u64
    }

    /// Whether its first read is about to be planned in vain, since the part would come too late.
    fn is_hopeless(&mut self, reads_before: u32, counters: &ShardCounters, margin: Margin) -> bool {
        let (Some(waits), Some(deadline)) = (self.waits.take(), self.part.deadline()) else {
            return false;
        };
        let now = clock::now();
        let Some(takes) = waits
            .seen(now, counters)
            .takes(self.rows_left(), reads_before)
        else {
            return false;
        };
        self.forecast = Some(Forecast::of(now, takes));
        margin.forbids(takes, deadline.saturating_duration_since(now))
    }

    /// The same before the cache is asked, where all that was served meanwhile came from there:
    /// the rate is the memory's then.
    fn is_hopeless_in_memory(&self, counters: &ShardCounters) -> bool {
        let (Some(waits), Some(deadline)) = (self.waits, self.part.deadline()) else {
            return false;
        };
        let now = clock::now();
        let seen = waits.seen(now, counters);
        let left = deadline.saturating_duration_since(now);
        seen.is_all_from_memory()
            && seen
                .takes(self.rows_left(), 0)
                .is_some_and(|takes| Margin::default().forbids(takes, left))
    }

    /// Of all groups that are not planned.
    fn rows_left(&self) -> u64 {
        let groups_left = self.part.projection.groups().len() - self.group;
        (self.part.entries().len() * groups_left - self.next) as u64
    }
}

/// The earlier of two deadlines, of which there may be one only.
fn earlier(next: Option<Instant>, deadline: Instant) -> Instant {
    next.map_or(deadline, |next| next.min(deadline))
}

/// Notes rows that are not read since they would come too late.
fn note_late(context: &ShardContext, active: &Active, rows: u64) {
    context.counters.rows_expired.add(rows);
    if let Some(progress) = active.part.progress() {
        progress.expire(rows);
    }
}

/// How a part has used its turn to plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Short,
    /// It has delivered so many rows from memory that the shard should look around.
    Long,
}

/// A read in flight, at the place of its token.
#[derive(Default)]
struct Flight {
    of: Waiter,
    file: u32,
    dir: u32,
    offset: u64,
    bytes: u32,
    /// When it was planned, as the meter counts.
    planned_at: u64,
    /// When it was handed over first.
    submitted_at: Option<u64>,
    /// Bytes that came with completions before; a short read is continued.
    got: u32,
    target: Target,
    /// Rows of other parts, or of other groups of the same part, that it brings too.
    waiters: Vec<Waiter>,
    /// It reads again one row of a read that failed.
    alone: bool,
}

/// Where a read goes.
#[derive(Default)]
enum Target {
    /// Nowhere: there is no such read.
    #[default]
    None,
    /// The small slot of its token.
    Small,
    /// A large slot.
    Large(u32),
    /// The buffer of a row larger than a slot.
    Oversize(Region),
    /// The row's place in the result of the part it is read for.
    Output(NonNull<u8>),
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
    /// Searches whose rows are not known yet.
    scans: Scans,
    actives: Vec<Option<Active>>,
    active_free: Vec<u32>,
    /// Actives with entries to plan, by class, the oldest first.
    to_plan: [VecDeque<u32>; LatencyClass::COUNT],
    /// Reads of bulk parts in flight.
    bulk_in_flight: u32,
    /// Bulk reads planned since the last urgent one, up to `BULK_READS_SINCE_URGENT`.
    bulk_since_urgent: u32,
    /// Urgent reads planned while bulk ones waited, since the last of those.
    urgent_in_turn: u32,
    /// No deadline of a part with entries to plan is before it; `None` if there is no deadline.
    next_deadline: Option<Instant>,
    /// The same of parts with reads in flight whose callers still wait.
    next_overdue: Option<Instant>,
    /// What forecasts are worth.
    margin: Margin,
    /// Rows of reads that failed, to be read again each by itself. Their parts count them as in
    /// flight.
    alone: Vec<Waiter>,
    /// The next of them waits for large or oversize reads to complete.
    alone_held_back: bool,
    /// How many reads to keep in flight now.
    depth: Depth,
    /// Rows have been waiting for a read ever since the last completions.
    saturated: bool,
    /// By token.
    flights: Vec<Flight>,
    tokens_free: Vec<u32>,
    large_free: Vec<u32>,
    pages: InFlightPages,
    oversize_bytes: usize,
    /// By class: the next planned read waits for large or oversize ones to complete.
    held_back: [bool; LatencyClass::COUNT],
    completions: Vec<Completion>,
    /// Reads whose memory the path holds: queued, and not come back from a turn.
    lent: u32,
    /// Tokens of reads queued since the last turn.
    queued: Vec<u32>,
    meter: &'a Meter<'a>,
    /// Reads that came with the last look at the ring.
    came: u32,
    /// The thread of the shard.
    #[cfg(debug_assertions)]
    thread: std::thread::ThreadId,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        context: &'a ShardContext,
        arena: &'a Arena,
        meter: &'a Meter<'a>,
        path: Box<dyn ReadPath + 'a>,
        codes: Vec<ShardCodes>,
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
            context.config.cache.share(context.config.shards),
        )?;
        let depth = context.config.queue_depth;
        Ok(Engine {
            context,
            arena,
            path,
            locators,
            cache,
            parts_seen: 0,
            limits: ReadLimits {
                align_bytes: context.config.align_bytes,
                bytes_max: arena.slots().large_bytes,
                gap_bytes: context.config.merge_gap_bytes,
            },
            scans: Scans::new(codes),
            actives: Vec::new(),
            active_free: Vec::new(),
            to_plan: [VecDeque::new(), VecDeque::new()],
            bulk_in_flight: 0,
            bulk_since_urgent: BULK_READS_SINCE_URGENT,
            urgent_in_turn: 0,
            next_deadline: None,
            next_overdue: None,
            margin: Margin::default(),
            alone: Vec::new(),
            alone_held_back: false,
            depth: Depth::new(context.config.depth_control, depth),
            saturated: false,
            flights: (0..depth).map(|_| Flight::default()).collect(),
            tokens_free: (0..depth).rev().collect(),
            large_free: (depth..depth + arena.slots().large).rev().collect(),
            pages: InFlightPages::new(depth),
            oversize_bytes: 0,
            held_back: [false; LatencyClass::COUNT],
            completions: Vec::with_capacity(depth as usize),
            lent: 0,
            queued: Vec::with_capacity(depth as usize),
            meter,
            came: 0,
            #[cfg(debug_assertions)]
            thread: std::thread::current().id(),
        })
    }

    /// Fills the cache if it is a pinned one. Returns what is missing or wrong, in sentences.
    ///
    /// # Errors
    /// The read path is broken.
    pub(super) async fn load(&mut self) -> std::io::Result<Vec<String>> {
        let Some(mut cache) = self.cache.take_if(|cache| cache.is_pinned()) else {
            return Ok(Vec::new());
        };
        let Loaded { sound, warnings } =
            load(&mut cache, self.context, &self.locators, &mut *self.path).await?;
        let _ = self.context.pinned.set(PinnedPages::of(cache, sound));
        Ok(warnings)
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

    /// Takes a part on.
    #[inline(never)]
    pub(super) fn accept(&mut self, mut part: Part) {
        self.meter.begin();
        self.meter.received(part.sent_at());
        self.context.counters.parts.add(1);
        if let Some(deadline) = part.deadline() {
            self.next_overdue = Some(earlier(self.next_overdue, deadline));
        }
        match part.nearest() {
            Some(_) => self.scans.accept(part),
            None => self.begin(part),
        }
    }

    /// Puts a part whose rows are known in line. They are read in ascending order, which brings
    /// neighbours together.
    fn begin(&mut self, mut part: Part) {
        part.sort();
        let class = part.class();
        if let Some(deadline) = part.deadline() {
            self.next_deadline = Some(earlier(self.next_deadline, deadline));
        }
        self.parts_seen = self.parts_seen.wrapping_add(1);
        let asks = match part.base() {
            0 => Use::By(self.parts_seen),
            _ => Use::Bulk,
        };
        // Of a take's later windows something has been read already.
        let waits = part
            .deadline()
            .filter(|_| part.base() == 0)
            .map(|_| Waits::begin(&self.context.counters));
        let active = Active {
            waits,
            forecast: None,
            part,
            group: 0,
            next: 0,
            in_flight: 0,
            asks,
            overdue: false,
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
        self.to_plan[class.index()].push_back(id);
    }

    fn site(&self) -> Site<'a> {
        Site {
            context: self.context,
            meter: self.meter,
        }
    }

    fn in_flight(&self) -> u32 {
        self.context.config.queue_depth - self.tokens_free.len() as u32
    }

    /// Whether no part is at work.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_entries()
            && self.alone.is_empty()
            && self.in_flight() == 0
            && self.scans.is_empty()
    }

    /// Whether nobody waits for what is at work any more: the drive keeps reads beyond their
    /// deadlines, or of takes that were dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        let unwanted = |active: &Active| {
            let progress = active.part.progress();
            active.overdue || progress.is_none_or(Progress::is_cancelled)
        };
        self.scans.is_empty() && self.actives.iter().flatten().all(unwanted)
    }

    /// How long it is until a take would be overdue; `None` where none has a deadline.
    pub(super) fn overdue_in(&self) -> Option<Duration> {
        let next = self.next_overdue?;
        Some(next.saturating_duration_since(clock::now()))
    }

    fn has_entries(&self) -> bool {
        self.to_plan.iter().any(|queue| !queue.is_empty())
    }

    /// How many bulk reads may be in flight now.
    fn bulk_in_flight_max(&self) -> u32 {
        let depth = self.depth.now();
        let slots = if self.bulk_since_urgent < BULK_READS_SINCE_URGENT {
            depth / BULK_SLOTS_BESIDE_URGENT_SHARE
        } else {
            // A queue too shallow for a share leaves none: one slot less would keep the search for
            // the right depth from ever seeing what a slot more brings.
            depth - depth / URGENT_SLOTS_SHARE
        };
        slots.max(1)
    }

    /// The class whose oldest part may plan a read now.
    fn next_class(&self) -> Option<LatencyClass> {
        if self.in_flight() >= self.depth.now() {
            return None;
        }
        let waits = |class: LatencyClass| {
            !self.to_plan[class.index()].is_empty() && !self.held_back[class.index()]
        };
        let bulk_may = waits(LatencyClass::Bulk) && self.bulk_in_flight < self.bulk_in_flight_max();
        let bulk_is_due = bulk_may && self.urgent_in_turn >= URGENT_READS_IN_TURN_MAX;
        if waits(LatencyClass::Urgent) && !bulk_is_due {
            Some(LatencyClass::Urgent)
        } else {
            bulk_may.then_some(LatencyClass::Bulk)
        }
    }

    /// Whether another round would do something, whatever comes.
    pub(super) fn can_go_on(&mut self) -> bool {
        self.can_plan() || self.scans.can_go_on()
    }

    /// Whether another round would plan something.
    fn can_plan(&self) -> bool {
        let alone = !self.alone.is_empty() && !self.alone_held_back;
        !self.tokens_free.is_empty() && (self.next_class().is_some() || alone)
    }

    /// One round: fill the queue, hand it over, decode what is complete, waiting for it no longer
    /// than `patience`. Returns whether anything moved.
    pub(super) fn round(&mut self, patience: Duration) -> bool {
        self.meter.round();
        let mut moved = false;
        // The clock is read once per round, and only while a part has a deadline.
        if self.next_deadline.is_some() || self.next_overdue.is_some() {
            let now = clock::now();
            moved = self.expire(now);
            self.tell_overdue(now);
        }
        if !self.scans.is_empty() {
            self.meter.enter(Phase::Scan);
        }
        while let Some(part) = self.scans.chosen(self.context) {
            moved = true;
            self.begin(part);
        }
        moved |= self.scans.scan_turn(self.site());
        if moved {
            self.meter.leave(Phase::Scan);
        }
        while !self.tokens_free.is_empty()
            && !self.alone_held_back
            && let Some(rows) = self.alone.pop()
        {
            moved = true;
            if !self.read_alone(rows) {
                break;
            }
        }
        if self.next_class().is_some() {
            self.meter.enter(Phase::Plan);
            moved |= self.plan_round();
            self.meter.leave(Phase::Plan);
        }
        // Nothing but completions and the time ends this wait, so it is for a queue that is full of
        // reads; whoever has fewer lies down and can be woken.
        let full = self.has_entries()
            && self.in_flight() >= FULL_QUEUE_SHARE
            && !self.can_plan()
            && !self.scans.is_scanning();
        // Where tokens are left, they are for urgent reads that may come any time, and a deadline
        // may be about to pass.
        let calm = |deadline: Instant| deadline > clock::now() + SURPLUS_WAIT;
        let deep = self.tokens_free.is_empty() && self.next_deadline.is_none_or(calm);
        let surplus = match deep {
            true => self.in_flight().saturating_sub(BUSY_DRIVE_READS),
            false => 0,
        };
        let surplus = surplus.min(self.in_flight() / 2);
        let share = self.in_flight() / FULL_QUEUE_SHARE;
        let wait = if full {
            Wait::For {
                completions: share.max(surplus),
                timeout: self.until_overdue(match surplus > share {
                    true => patience.min(SURPLUS_WAIT),
                    false => patience,
                }),
            }
        } else {
            Wait::No
        };
        self.turn(wait, moved) || moved
    }

    /// Plans the reads of a round. Returns whether there was anything to plan.
    #[inline(never)]
    fn plan_round(&mut self) -> bool {
        let mut moved = false;
        for _ in 0..PLANNED_IN_ROUND_MAX {
            if self.tokens_free.is_empty() {
                break;
            }
            let Some(class) = self.next_class() else {
                break;
            };
            moved = true;
            if self.plan(class) == Turn::Long {
                break;
            }
        }
        moved
    }

    /// `timeout`, or less where a take would be overdue before.
    fn until_overdue(&self, timeout: Duration) -> Duration {
        self.overdue_in().map_or(timeout, |left| timeout.min(left))
    }

    /// Waits for completions or the doorbell.
    pub(super) fn sleep(&mut self, timeout: Duration) {
        self.context.counters.sleeps.add(1);
        // One completion is enough to end it, since the doorbell counts as one too.
        let timeout = match self.in_flight() {
            0 => timeout,
            _ => timeout.min(IN_FLIGHT_WAIT),
        };
        let timeout = self.until_overdue(timeout);
        let wait = Wait::For {
            completions: 1,
            timeout,
        };
        self.turn(wait, false);
    }

    /// Hands reads over and takes completions in; `busy` where the shard had something to do before.
    fn turn(&mut self, wait: Wait, busy: bool) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        // What has been done is seen while the shard waits.
        self.meter.end(match self.in_flight() {
            0 => Stage::Idle,
            _ => Stage::Device,
        });
        // With nothing to hand over or to fetch this takes no time worth a look at the clock, of
        // which a search that scans would need one for each piece.
        let is_empty = self.lent == 0 && busy && matches!(wait, Wait::No);
        let submitted_at = Some(self.meter.now());
        for token in self.queued.drain(..) {
            let flight = &mut self.flights[token as usize];
            flight.submitted_at = flight.submitted_at.or(submitted_at);
        }
        if !matches!(wait, Wait::No) {
            self.meter.enter(Phase::Wait);
        }
        let run_before = self.meter.thread_time();
        if let Err(error) = ring_turn(&mut *self.path, wait, &mut completions) {
            // Nothing in flight can be told finished any more; its buffers must stay. The
            // thread ends here, and every take it holds fails with `Closed`.
            tracing::error!(shard = self.context.shard.0, %error, "the read path is broken");
            panic!(
                "the read path of shard {} is broken: {error}",
                self.context.shard
            );
        }
        let busy = matches!(wait, Wait::No) && (busy || !completions.is_empty());
        match self.in_flight() {
            _ if is_empty => {}
            _ if busy => self.meter.mark(Stage::Submit),
            0 => self.meter.mark(Stage::Idle),
            _ => {
                self.meter.detail_running(Stage::Submit, run_before);
                self.meter.leave(Phase::Wait);
            }
        }
        self.meter.looked();
        if !completions.is_empty() {
            self.meter.begin();
        }
        self.came = completions.len() as u32;
        self.lent -= completions.len() as u32;
        let moved = !completions.is_empty();
        if moved {
            self.saturated &= self.has_entries();
            self.depth
                .completed(completions.len() as u64, self.saturated, clock::now);
            self.saturated = self.has_entries();
        }
        if moved {
            self.deliver_completions(&mut completions);
        }
        self.completions = completions;
        moved
    }

    #[inline(never)]
    fn deliver_completions(&mut self, completions: &mut Vec<Completion>) {
        self.meter.enter(Phase::Deliver);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.meter.leave(Phase::Deliver);
    }

    /// Takes a sample of the queues if one is due; `inbox` is the number of messages that wait.
    pub(super) fn sample(&self, inbox: impl FnOnce() -> usize) {
        self.meter.sample(|| QueueSample {
            at: 0,
            inbox: inbox() as u32,
            waiting_parts: self.to_plan.iter().map(|queue| queue.len() as u32).sum(),
            in_flight: self.in_flight(),
            completions: self.came,
        });
    }

    /// Gives up what has expired before it was read.
    fn expire(&mut self, now: Instant) -> bool {
        let Some(next) = self.next_deadline else {
            return false;
        };
        if !self.has_entries() {
            self.next_deadline = None;
            return false;
        }
        if now < next {
            return false;
        }
        self.next_deadline = None;
        for class in 0..LatencyClass::COUNT {
            let mut queue = std::mem::take(&mut self.to_plan[class]);
            queue.retain(|&id| {
                let Some(active) = self.actives[id as usize].as_mut() else {
                    return false;
                };
                match active.part.deadline() {
                    Some(deadline) if deadline <= now => {
                        if let Some(forecast) = active.forecast {
                            self.margin.learn(forecast, now, deadline);
                        }
                        self.give_up_late(id);
                        self.finish_if_done(id);
                        false
                    }
                    Some(deadline) => {
                        self.next_deadline = Some(earlier(self.next_deadline, deadline));
                        true
                    }
                    None => true,
                }
            });
            self.to_plan[class] = queue;
        }
        self.held_back = [false; LatencyClass::COUNT];
        self.alone_held_back = false;
        true
    }

    /// Tells the callers of parts whose deadline has passed that their reads have not come: a drive
    /// may keep one for seconds, or for ever.
    fn tell_overdue(&mut self, now: Instant) {
        let Some(next) = self.next_overdue else {
            return;
        };
        if self.actives.len() == self.active_free.len() && self.scans.is_empty() {
            self.next_overdue = None;
            return;
        }
        if now < next {
            return;
        }
        self.next_overdue = self.scans.expire(now);
        for active in self.actives.iter_mut().flatten() {
            match active.part.deadline() {
                Some(deadline) if deadline > now => {
                    self.next_overdue = Some(earlier(self.next_overdue, deadline));
                }
                Some(_) if !active.overdue => {
                    active.overdue = true;
                    if let Some(progress) = active.part.progress() {
                        progress.overdue(u64::from(active.in_flight.max(1)));
                    }
                }
                _ => {}
            }
        }
        // Parts that come and go in time are looked at no more often than this.
        self.next_overdue = self.next_overdue.map(|next| next.max(now + OVERDUE_LOOK));
    }

    /// Plans no more reads of a part that comes too late.
    fn give_up_late(&mut self, id: u32) {
        let Some(active) = self.actives[id as usize].as_mut() else {
            return;
        };
        let rows = active.give_up();
        note_late(self.context, active, rows);
    }

    /// Plans up to one read of the oldest part of `class`: rows in the cache are delivered on the
    /// way.
    fn plan(&mut self, class: LatencyClass) -> Turn {
        let Some(&id) = self.to_plan[class.index()].front() else {
            return Turn::Short;
        };
        let Some(active) = self.actives[id as usize].as_mut() else {
            self.to_plan[class.index()].pop_front();
            return Turn::Short;
        };
        let groups = active.part.projection.groups().len();
        let cancelled = active
            .part
            .progress()
            .is_none_or(|progress| progress.is_cancelled());
        if cancelled {
            let rows = active.give_up();
            self.context.counters.rows_cancelled.add(rows);
        } else if active.part.progress().is_some_and(Progress::is_late)
            || active.is_hopeless_in_memory(&self.context.counters)
        {
            // It comes too late, or another part of the same take does.
            self.give_up_late(id);
        }
        let reads_before = self.in_flight();
        let site = self.site();
        let Some(active) = self.actives[id as usize].as_mut() else {
            return Turn::Short;
        };
        while active.group < groups {
            let group = active.part.projection.groups()[active.group].group;
            let locator = &self.locators[group];
            let mut hits = 0;
            self.meter.detail(Stage::Plan);
            if let Some(cache) = &mut self.cache {
                hits = deliver_hits(site, active, locator, cache);
            } else if let Some(mut pages) = self.context.pinned.get() {
                hits = deliver_hits(site, active, locator, &mut pages);
            }
            if hits > 0 {
                self.meter.detail(match active.part.nearest() {
                    Some(_) => Stage::Refine,
                    None => Stage::Decode,
                });
            }
            if hits == HITS_IN_TURN_MAX {
                return Turn::Long;
            }
            if active.next == active.part.entries().len() {
                active.group += 1;
                active.next = 0;
                continue;
            }
            if active.is_hopeless(reads_before, &self.context.counters, self.margin) {
                let rows = active.give_up();
                note_late(self.context, active, rows);
                continue;
            }
            let mut limits = self.limits;
            if self.large_free.is_empty() {
                limits.bytes_max = self.arena.slots().small_bytes;
            }
            let planned = match next_read(locator, &active.part.entries()[active.next..], limits) {
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
                let kind = FaultKind::WrongFile(wrong.clone());
                fault_all(self.context, active, locator, file, planned.entries, &kind);
                continue;
            }
            let rows = Waiter {
                active: id,
                group: active.group as u32,
                first_entry: first_entry as u32,
                entries: planned.entries as u32,
            };
            let shared = self.in_flight_with(file, planned);
            let target = match shared {
                Some(_) => Target::None,
                None => match self.target(rows, planned) {
                    Ok(Some(target)) => target,
                    Ok(None) => {
                        self.held_back[class.index()] = true;
                        return Turn::Short;
                    }
                    Err(kind) => {
                        if let Some(active) = self.actives[id as usize].as_mut() {
                            let locator = &self.locators[group];
                            fault_all(self.context, active, locator, file, planned.entries, &kind);
                        }
                        return Turn::Short;
                    }
                },
            };
            if let Some(active) = self.actives[id as usize].as_mut() {
                active.next += planned.entries;
                active.in_flight += 1;
                if active.group + 1 == groups && active.next == active.part.entries().len() {
                    // Its last completion ends it, without another turn of its class.
                    active.group = groups;
                    self.to_plan[class.index()].pop_front();
                }
            }
            if let Some(token) = shared {
                self.flights[token as usize].waiters.push(rows);
                self.context.counters.reads_shared.add(1);
                return Turn::Short;
            }
            self.count_turn(class);
            self.submit(rows, file, planned, target, false);
            return Turn::Short;
        }
        self.to_plan[class.index()].pop_front();
        self.meter.detail(Stage::Plan);
        self.finish_if_done(id);
        self.meter.detail(Stage::Reply);
        Turn::Short
    }

    /// Notes that a read of `class` is planned.
    fn count_turn(&mut self, class: LatencyClass) {
        match class {
            LatencyClass::Bulk => {
                self.bulk_in_flight += 1;
                self.bulk_since_urgent = (self.bulk_since_urgent + 1).min(BULK_READS_SINCE_URGENT);
                self.urgent_in_turn = 0;
            }
            LatencyClass::Urgent => {
                self.context.counters.urgent_reads.add(1);
                self.bulk_since_urgent = 0;
                if self.to_plan[LatencyClass::Bulk.index()].is_empty() {
                    self.urgent_in_turn = 0;
                } else {
                    self.urgent_in_turn += 1;
                }
            }
        }
    }

    /// A read in flight that brings all that is planned, and is no second try: if that fails, so do
    /// all its rows.
    fn in_flight_with(&self, file: u32, planned: PlannedRead) -> Option<u32> {
        let token = self.pages.find(file, planned.offset)?;
        let flight = &self.flights[token as usize];
        let brings = !matches!(flight.target, Target::None)
            && !flight.alone
            && flight.file == file
            && flight.offset <= planned.offset
            && flight.offset + u64::from(flight.bytes) >= planned.offset + u64::from(planned.bytes);
        brings.then_some(token)
    }

    /// Where a read goes; `None` if it has to wait for others to complete.
    fn target(&self, rows: Waiter, planned: PlannedRead) -> Result<Option<Target>, FaultKind> {
        if let Some(place) = self.place_in_output(rows, planned) {
            return Ok(Some(Target::Output(place)));
        }
        let slots = self.arena.slots();
        if planned.bytes <= slots.small_bytes {
            return Ok(Some(Target::Small));
        }
        if planned.bytes <= slots.large_bytes {
            return Ok(self.large_free.last().map(|&slot| Target::Large(slot)));
        }
        let bytes = planned.bytes as usize;
        if self.oversize_bytes > 0 && self.oversize_bytes + bytes > OVERSIZE_BYTES_MAX {
            return Ok(None);
        }
        match Region::new(bytes) {
            Ok(region) => Ok(Some(Target::Oversize(region))),
            Err(error) => Err(FaultKind::Io {
                errno: error.raw_os_error().unwrap_or(libc::ENOMEM),
            }),
        }
    }

    /// The place of the first row in the result, if the drive may write it there itself: the read
    /// brings that row and nothing else, the row is one value, and the place is aligned as
    /// offsets are. (Some devices need no such alignment of memory. But zram, which says that it
    /// needs 512 bytes and reads whole pages, writes beyond a buffer that is not.)
    fn place_in_output(&self, rows: Waiter, planned: PlannedRead) -> Option<NonNull<u8>> {
        let active = self.actives[rows.active as usize].as_ref()?;
        let [field] = active.part.projection.groups()[rows.group as usize].fields[..] else {
            return None;
        };
        // A cache keeps whole pages, which are copied from a slot.
        if self.cache.is_some()
            || field.offset_bytes != 0
            || field.width_bytes != Some(planned.bytes)
        {
            return None;
        }
        let place =
            active.part.base() + active.part.entries()[rows.first_entry as usize].position as usize;
        let start = active
            .part
            .outputs()?
            .lent(field.output, place, planned.bytes as usize)?;
        let aligned = start.addr().get() & (self.limits.align_bytes as usize - 1) == 0;
        aligned.then_some(start)
    }

    fn submit(
        &mut self,
        rows: Waiter,
        file: u32,
        planned: PlannedRead,
        target: Target,
        alone: bool,
    ) {
        let Some(token) = self.tokens_free.pop() else {
            unreachable!("a read is planned only when there is a token");
        };
        match &target {
            Target::Large(slot) => {
                let popped = self.large_free.pop();
                debug_assert_eq!(popped, Some(*slot));
            }
            Target::Oversize(region) => self.oversize_bytes += region.bytes(),
            Target::Output(_) => self.context.counters.reads_placed.add(1),
            Target::Small | Target::None => {}
        }
        let waiters = std::mem::take(&mut self.flights[token as usize].waiters);
        debug_assert!(waiters.is_empty());
        self.flights[token as usize] = Flight {
            of: rows,
            file,
            dir: planned.dir,
            offset: planned.offset,
            bytes: planned.bytes,
            planned_at: self.meter.now(),
            submitted_at: None,
            got: 0,
            target,
            waiters,
            alone,
        };
        self.pages.note(file, planned.offset, planned.bytes, token);
        self.fetch_checksum(rows);
        self.context.counters.reads.add(1);
        self.context
            .counters
            .in_flight_sum
            .add(u64::from(self.in_flight()));
        self.context
            .counters
            .read_bytes
            .add(u64::from(planned.bytes));
        self.queue(token);
    }

    /// Asks for the checksum of the first row, so that it is in the processor's cache when the row
    /// comes: the table is large and rows are asked for in no order.
    #[inline]
    fn fetch_checksum(&self, rows: Waiter) {
        if let Some(active) = self.actives[rows.active as usize].as_ref() {
            let group = active.part.projection.groups()[rows.group as usize].group;
            let row = active.part.entries()[rows.first_entry as usize].row;
            if let Some(checksums) = self.locators[group].checksums() {
                prefetch::element(checksums, row as usize);
            }
        }
    }

    /// Hands the rest of a read to the device.
    fn queue(&mut self, token: u32) {
        self.assert_own_thread();
        let flight = &self.flights[token as usize];
        let (start, memory) = match &flight.target {
            Target::Small => (self.arena.slot(token), Memory::Arena),
            Target::Large(slot) => (self.arena.slot(*slot), Memory::Arena),
            Target::Oversize(region) => (region.start(), Memory::Own),
            Target::Output(start) => (*start, Memory::Results),
            Target::None => unreachable!("a read in flight has a target"),
        };
        // SAFETY: `got` is less than `bytes`, which is what the buffer has room for.
        let buffer: NonNull<u8> = unsafe { start.add(flight.got as usize) };
        let read = Read {
            token,
            file: flight.file,
            offset: flight.offset + u64::from(flight.got),
            bytes: flight.bytes - flight.got,
            buffer,
            memory,
        };
        // SAFETY: the token is taken until `complete` sees its completion; nobody looks at the
        // memory or frees it before: the arena outlives the engine, whose drop waits for
        // completions, and results are kept by the part that the read is for, or by that drop.
        unsafe { self.path.queue(read) };
        self.lent += 1;
        self.queued.push(token);
    }

    fn complete(&mut self, completion: Completion) {
        self.assert_own_thread();
        let token = completion.token;
        let flight = &mut self.flights[token as usize];
        let failed = match completion.result {
            Ok(0) => None,
            Ok(bytes) => {
                flight.got += bytes;
                // What comes next reads that many bytes of the buffer.
                assert!(
                    flight.got <= flight.bytes,
                    "a read brought more than was asked for"
                );
                if flight.got < flight.bytes {
                    // A short read. Continue where the device can: at an aligned place.
                    let align_bytes = self.context.files.align_bytes;
                    let ends_here = !flight.got.is_multiple_of(align_bytes) || bytes < align_bytes;
                    if !ends_here {
                        self.queue(token);
                        return;
                    }
                }
                None
            }
            Err(libc::EAGAIN | libc::EINTR) => {
                self.queue(token);
                return;
            }
            Err(errno) => Some(FaultKind::Io { errno }),
        };
        self.context.counters.completions.add(1);
        let planned_at = self.flights[token as usize].planned_at;
        let submitted_at = self.flights[token as usize].submitted_at;
        let submitted_at = submitted_at.unwrap_or(planned_at);
        self.meter.read_done(planned_at, submitted_at);
        if failed.is_none() || !self.retry_alone(token) {
            self.decode(token, &failed);
        }
        let flight = &mut self.flights[token as usize];
        match std::mem::take(&mut flight.target) {
            Target::Large(slot) => {
                self.large_free.push(slot);
                self.held_back = [false; LatencyClass::COUNT];
                self.alone_held_back = false;
            }
            Target::Oversize(region) => {
                self.oversize_bytes -= region.bytes();
                self.held_back = [false; LatencyClass::COUNT];
                self.alone_held_back = false;
            }
            Target::Small | Target::Output(_) | Target::None => {}
        }
        let (of, mut waiters) = (flight.of, std::mem::take(&mut flight.waiters));
        self.tokens_free.push(token);
        if let Some(active) = self.actives[of.active as usize].as_mut()
            && active.part.class() == LatencyClass::Bulk
        {
            self.bulk_in_flight -= 1;
        }
        self.let_go(of);
        for waiter in waiters.drain(..) {
            self.let_go(waiter);
        }
        // For the capacity.
        self.flights[token as usize].waiters = waiters;
    }

    /// Has the rows of a read that failed read again one by one, since the device may have failed
    /// for bytes that not all of them need. Returns whether that makes sense.
    fn retry_alone(&mut self, token: u32) -> bool {
        let flight = &self.flights[token as usize];
        if flight.alone || (flight.of.entries == 1 && flight.waiters.is_empty()) {
            return false;
        }
        for rows in std::iter::once(&flight.of).chain(&flight.waiters) {
            if let Some(active) = self.actives[rows.active as usize].as_mut() {
                active.in_flight += rows.entries;
            }
            let entries = rows.first_entry..rows.first_entry + rows.entries;
            self.alone.extend(entries.map(|first_entry| Waiter {
                first_entry,
                entries: 1,
                ..*rows
            }));
        }
        true
    }

    /// Reads one row of a read that failed. Returns whether there was room for it.
    fn read_alone(&mut self, rows: Waiter) -> bool {
        let Some(active) = self.actives[rows.active as usize].as_mut() else {
            return true;
        };
        let class = active.part.class();
        let group = active.part.projection.groups()[rows.group as usize].group;
        let entry = active.part.entries()[rows.first_entry as usize];
        let planned = match next_read(&self.locators[group], &[entry], self.limits) {
            Ok(planned) => planned,
            Err(_) => {
                self.fail(rows, 0, FaultKind::Offsets);
                return true;
            }
        };
        if planned.bytes == 0 {
            // It stores nothing, so the read that failed was not for it.
            self.context.counters.rows.add(1);
            self.let_go(rows);
            return true;
        }
        let file = self.context.files.index(group, planned.dir);
        match self.target(rows, planned) {
            Ok(Some(target)) => {
                self.count_turn(class);
                self.submit(rows, file, planned, target, true);
            }
            Ok(None) => {
                self.alone.push(rows);
                self.alone_held_back = true;
                return false;
            }
            Err(kind) => self.fail(rows, planned.dir, kind),
        }
        true
    }

    /// Notes the one row of `rows` as a fault.
    fn fail(&mut self, rows: Waiter, dir: u32, kind: FaultKind) {
        if let Some(active) = self.actives[rows.active as usize].as_ref() {
            let group = active.part.projection.groups()[rows.group as usize].group;
            let row = active.part.entries()[rows.first_entry as usize].row;
            let file = self.context.files.index(group, dir);
            fault(self.context, active, group, file, row, kind);
        }
        self.let_go(rows);
    }

    /// The rows of a part have been delivered.
    fn let_go(&mut self, rows: Waiter) {
        if let Some(active) = self.actives[rows.active as usize].as_mut() {
            active.in_flight -= 1;
        }
        self.finish_if_done(rows.active);
    }

    /// Delivers the rows of a completed read.
    fn decode(&mut self, token: u32, failed: &Option<FaultKind>) {
        self.assert_own_thread();
        let flight = &self.flights[token as usize];
        let got = flight.got as usize;
        // SAFETY: the read is complete, and its memory is not lent again before the token is
        // freed. A result's place is written by this shard only, and by nobody after the drive.
        let (bytes, in_place) = unsafe {
            match &flight.target {
                Target::Small => (self.arena.slot_slice(token, got), InPlace::No),
                Target::Large(slot) => (self.arena.slot_slice(*slot, got), InPlace::No),
                Target::Oversize(region) => (region.slice(0, got), InPlace::No),
                Target::Output(start) => (
                    std::slice::from_raw_parts(start.as_ptr(), got),
                    InPlace::First,
                ),
                Target::None => return,
            }
        };
        self.meter.detail(Stage::Reply);
        let read = Arrived {
            site: self.site(),
            locators: &self.locators,
            bytes,
            offset: flight.offset,
            dir: flight.dir,
            failed,
        };
        read.deliver(&mut self.actives, &mut self.cache, flight.of, in_place);
        for &waiter in &flight.waiters {
            read.deliver(&mut self.actives, &mut self.cache, waiter, InPlace::No);
        }
    }

    fn finish_if_done(&mut self, id: u32) {
        let done = self.actives[id as usize].as_ref().is_some_and(|active| {
            active.in_flight == 0 && active.group == active.part.projection.groups().len()
        });
        if done && let Some(active) = self.actives[id as usize].take() {
            self.active_free.push(id);
            if let (Some(forecast), Some(deadline)) = (active.forecast, active.part.deadline()) {
                self.margin.learn(forecast, clock::now(), deadline);
            }
            active.part.finish();
        }
    }
}

/// A turn of the read path, as a function that profiles show.
#[inline(never)]
fn ring_turn(
    path: &mut dyn ReadPath,
    wait: Wait,
    completions: &mut Vec<Completion>,
) -> std::io::Result<()> {
    let turned = path.turn(wait, completions);
    // Something to come back for: a call in the last place leaves no frame to see.
    std::hint::black_box(turned)
}

/// Whether the drive has put the first row of a read into its place in the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InPlace {
    No,
    First,
}

/// What all work on a shard's thread sees.
#[derive(Clone, Copy)]
struct Site<'a> {
    context: &'a ShardContext,
    meter: &'a Meter<'a>,
}

/// A read that is complete.
struct Arrived<'r, 'a> {
    site: Site<'a>,
    locators: &'r [Locator<'a>],
    bytes: &'r [u8],
    /// Of the bytes in their file.
    offset: u64,
    dir: u32,
    failed: &'r Option<FaultKind>,
}

impl Arrived<'_, '_> {
    /// Delivers the rows of one part.
    fn deliver(
        &self,
        actives: &mut [Option<Active>],
        cache: &mut Option<PageCache>,
        rows: Waiter,
        in_place: InPlace,
    ) {
        let Some(active) = actives[rows.active as usize].as_mut() else {
            unreachable!("a part lives until its last read is complete");
        };
        let group = active.part.projection.groups()[rows.group as usize].group;
        let locator = &self.locators[group];
        let Site { context, meter } = self.site;
        let file = context.files.index(group, self.dir);
        let mut checked_row = None;
        let entries = rows.first_entry as usize..(rows.first_entry + rows.entries) as usize;
        for (nth, place) in entries.enumerate() {
            let row = active.part.entries()[place].row;
            let checked = if checked_row == Some(row) {
                Checked::Yes
            } else {
                Checked::No
            };
            let delivered = self.stored(locator, row).and_then(|stored| {
                let Some((stored, extent)) = stored else {
                    return Ok(());
                };
                let group_place = rows.group as usize;
                if in_place == InPlace::First && nth == 0 {
                    check_row(self.site, locator, row, stored)?;
                } else {
                    deliver_row(
                        self.site,
                        active,
                        group_place,
                        locator,
                        place,
                        stored,
                        checked,
                    )?;
                }
                if let (Some(cache), Checked::No) = (cache.as_mut(), checked) {
                    cache.keep(
                        locator,
                        group,
                        row,
                        extent,
                        self.bytes,
                        self.offset,
                        active.asks,
                    );
                }
                Ok(())
            });
            match delivered {
                Ok(()) => checked_row = Some(row),
                Err(kind) => fault(context, active, group, file, row, kind),
            }
            meter.detail(Stage::Decode);
        }
        context.counters.rows.add(u64::from(rows.entries));
    }

    /// The stored bytes of `row`, and where they are; `None` if it stores nothing.
    #[inline]
    fn stored(
        &self,
        locator: &Locator<'_>,
        row: u64,
    ) -> Result<Option<(&[u8], Extent)>, FaultKind> {
        let extent = locator.locate(row).map_err(|_| FaultKind::Offsets)?;
        if extent.bytes == 0 {
            return Ok(None);
        }
        if let Some(kind) = self.failed {
            return Err(kind.clone());
        }
        let from = (extent.offset - self.offset) as usize;
        match self.bytes.get(from..from + extent.bytes as usize) {
            Some(stored) => Ok(Some((stored, extent))),
            None => Err(FaultKind::CutShort),
        }
    }
}

/// Compares a row with its checksum.
#[inline]
fn check_row(
    site: Site<'_>,
    locator: &Locator<'_>,
    row: u64,
    stored: &[u8],
) -> Result<(), FaultKind> {
    if site.context.config.lab.checksums == Checksums::Skip {
        return Ok(());
    }
    let right = locator.matches(row, stored);
    site.meter.detail(Stage::Checksum);
    match right {
        true => Ok(()),
        false => Err(FaultKind::Checksum),
    }
}

#[inline]
fn deliver_row(
    site: Site<'_>,
    active: &mut Active,
    group_place: usize,
    locator: &Locator<'_>,
    place: usize,
    stored: &[u8],
    checked: Checked,
) -> Result<(), FaultKind> {
    let entry = active.part.entries()[place];
    let Some(outputs) = active.part.outputs() else {
        return measure_row(site, active, locator, entry, stored, checked);
    };
    let decoder = Decoder {
        locator,
        wanted: &active.part.projection.groups()[group_place],
        outputs,
    };
    let place = active.part.base() + entry.position as usize;
    if checked == Checked::No {
        if site.context.config.lab.checksums == Checksums::Verify {
            // The place is on its way into the processor's cache while the row is checked.
            decoder.prefetch(place);
        }
        check_row(site, locator, entry.row, stored)?;
    }
    // SAFETY: this shard owns the row, the take has one entry per place, and the entry is in a
    // part of this shard; so no other thread writes this place. The caller reads it only after
    // the part is finished.
    unsafe { decoder.deliver(place, stored) };
    Ok(())
}

/// Measures a row for the search that reads it, where it lies.
#[inline]
fn measure_row(
    site: Site<'_>,
    active: &mut Active,
    locator: &Locator<'_>,
    entry: Entry,
    stored: &[u8],
    checked: Checked,
) -> Result<(), FaultKind> {
    if checked == Checked::No {
        check_row(site, locator, entry.row, stored)?;
    }
    let [group] = active.part.projection.groups() else {
        unreachable!("a search reads one column");
    };
    let field = group.fields[0];
    let width = field.width_bytes.unwrap_or_default() as usize;
    let vector = &locator.payload(stored)[field.offset_bytes as usize..][..width];
    let Some(nearest) = active.part.nearest() else {
        unreachable!("a part has its sink until it is finished");
    };
    nearest.measure(entry.position, vector);
    // Rows in memory come many at once and are timed together: the clock takes a share of the
    // time of a row.
    if checked == Checked::No {
        site.meter.detail(Stage::Refine);
    }
    Ok(())
}

/// Notes the next `entries` entries as faults, but for those that store nothing.
#[cold]
fn fault_all(
    context: &ShardContext,
    active: &mut Active,
    locator: &Locator<'_>,
    file: u32,
    entries: usize,
    kind: &FaultKind,
) {
    let group = active.part.projection.groups()[active.group].group;
    for place in active.next..active.next + entries {
        let row = active.part.entries()[place].row;
        if locator.locate(row).is_ok_and(|extent| extent.bytes == 0) {
            continue;
        }
        fault(context, active, group, file, row, kind.clone());
    }
    active.next += entries;
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

/// How long a shard that ends waits for reads in flight before it gives their memory up.
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 10 });

impl Drop for Engine<'_> {
    /// The kernel may write into the slots, and into results, until the last completion has come.
    fn drop(&mut self) {
        let results: Vec<Arc<Outputs>> = self
            .flights
            .iter()
            .filter(|flight| matches!(flight.target, Target::Output(_)))
            .filter_map(|flight| self.actives[flight.of.active as usize].as_ref())
            .filter_map(|active| active.part.share_outputs())
            .collect();
        // Takes that are not done fail now, not after the wait.
        self.actives.clear();
        self.scans.clear();
        self.path.cancel();
        let until = clock::now() + DRAIN_TIME_MAX;
        while self.lent > 0 && clock::now() < until {
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
            for flight in &self.flights {
                if let Target::Oversize(region) = &flight.target {
                    region.give_up();
                }
            }
            std::mem::forget(results);
        }
    }
}
