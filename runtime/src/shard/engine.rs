//! The engine of a shard: it plans reads from the parts that the shard holds, keeps the queue full
//! and delivers the rows that come back.
//!
//! One round goes through the nouns in order: `deadlines` that have passed, `scan` for searches whose
//! rows are not known, `retries` of failed reads, then `turns` says which of the `parts` plans a
//! read. Rows in memory are `hits`; other rows need a place among the `flights`, of which `depth`
//! says how many there are. `patience` says how long the round waits, `complete` takes completions
//! in, and `deliver` brings their rows to their places.
//!
//! Nothing here allocates per row or per read, once the vectors have reached their size; the
//! exception is a row larger than a slot, which gets a buffer of its own for one read.

mod complete;
mod deadlines;
mod deliver;
mod depth;
mod flights;
mod forecast;
mod hits;
mod parts;
mod patience;
mod retries;
mod scan;
mod sharing;
mod site;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use ringtake_storage::dataset::{BadOffsets, Locator};
use ringtake_storage::plan::{PlannedRead, ReadLimits, next_read};

use crate::admission::LatencyClass;
use crate::device::read_path::{Completion, IN_FLIGHT_WAIT_MAX, ReadPath, Wait};
use crate::error::FaultKind;
use crate::host::clock;
use crate::host::prefetch;
use crate::index::codes::ShardCodes;
use crate::memory::arena::Arena;
use crate::memory::outputs::Outputs;
use crate::metrics::{Meter, Phase, QueueSample, Stage};
use crate::shard::cache::load::{Loaded, load};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::cache::{CacheError, PageCache};
use crate::shard::context::ShardContext;
use crate::shard::part::Part;
use deadlines::Deadlines;
use deliver::{fault, fault_all};
use depth::Depth;
#[cfg(feature = "yardstick")]
pub(crate) use flights::LARGE_SLOT_BYTES;
pub(super) use flights::slots;
use flights::{Flights, NewRead, Target};
use hits::{HITS_IN_TURN_MAX, deliver_from_memory};
use parts::Parts;
use patience::Queue;
use retries::Retries;
use scan::Scans;
use sharing::PartRows;
use site::Site;
use turns::Turns;

/// Reads planned before they are handed over. A device that answers at once, such as one in
/// memory, then finds its reads decoded while they are in the processor's cache; one that does not
/// has its queue filled in a few rounds.
const PLANNED_IN_ROUND_MAX: u32 = 32;

/// How a part has used its turn to plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Short,
    /// It has delivered many rows from memory, and the shard should look around.
    Long,
}

/// The work of one shard, and the state it is in.
pub(super) struct Engine<'a> {
    site: Site<'a>,
    locators: Vec<Locator<'a>>,
    cache: Option<PageCache>,
    limits: ReadLimits,
    /// Searches whose rows are not known yet.
    scans: Scans,
    /// Parts whose rows are known.
    parts: Parts,
    /// Whose turn it is to plan a read.
    turns: Turns,
    deadlines: Deadlines,
    /// Rows of reads that failed.
    retries: Retries,
    /// How many reads to keep in flight now.
    depth: Depth,
    /// Rows have been waiting for a read ever since the last completions.
    saturated: bool,
    flights: Flights<'a>,
    completions: Vec<Completion>,
    completions_last_turn: u32,
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
        Ok(Engine {
            site: Site {
                context,
                meter,
                checksums: context.config.lab.checksums,
            },
            locators,
            cache,
            limits: ReadLimits {
                align_bytes: context.config.align_bytes,
                bytes_max: arena.slots().large_bytes,
                gap_bytes: context.config.merge_gap_bytes,
            },
            scans: Scans::new(codes),
            parts: Parts::default(),
            turns: Turns::new(),
            deadlines: Deadlines::default(),
            retries: Retries::default(),
            depth: Depth::new(context.config.depth_control, context.config.queue_depth),
            saturated: false,
            flights: Flights::new(arena, context.files.align_bytes, path),
            completions: Vec::with_capacity(context.config.queue_depth as usize),
            completions_last_turn: 0,
        })
    }

    /// Fills the cache if it is a pinned one. Returns what is missing or damaged, one sentence each.
    ///
    /// # Errors
    /// The read path is broken.
    pub(super) async fn load(&mut self) -> std::io::Result<Vec<String>> {
        let Some(mut cache) = self.cache.take_if(|cache| cache.is_pinned()) else {
            return Ok(Vec::new());
        };
        let context = self.site.context;
        let path = self.flights.idle_path();
        let Loaded { sound, warnings } = load(&mut cache, context, &self.locators, path).await?;
        let _ = context.pinned.set(PinnedPages::of(cache, sound));
        Ok(warnings)
    }

    /// Takes a part on.
    #[inline(never)]
    pub(super) fn accept(&mut self, mut part: Part) {
        self.site.meter.begin();
        self.site.meter.received(part.sent_at());
        self.site.context.counters.parts.add(1);
        self.deadlines.accepted(part.deadline());
        match part.nearest() {
            Some(_) => self.scans.accept(part),
            None => self.begin(part),
        }
    }

    /// Puts a part whose rows are known in line.
    fn begin(&mut self, part: Part) {
        let class = part.class();
        self.deadlines.begun(part.deadline());
        let id = self.parts.begin(part, &self.site.context.counters);
        self.turns.join(class, id);
    }

    /// Whether no part is at work.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty()
            && self.retries.is_empty()
            && self.flights.executing() == 0
            && self.scans.is_empty()
    }

    /// Whether no caller waits for the parts at work any more: the drive keeps reads beyond their
    /// deadlines, or of takes that were dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.scans.is_empty() && self.parts.iter().all(|work| work.is_abandoned())
    }

    /// How long it is until a take is overdue; `None` where none has a deadline.
    pub(super) fn overdue_in(&self) -> Option<Duration> {
        self.deadlines.overdue_in()
    }

    /// The class whose oldest part may plan a read now.
    fn next_class(&self) -> Option<LatencyClass> {
        self.turns.next(self.flights.executing(), self.depth.now())
    }

    /// Whether another round would do something, even if nothing comes.
    pub(super) fn can_go_on(&mut self) -> bool {
        self.can_plan() || self.scans.can_go_on()
    }

    /// Whether another round would plan something.
    fn can_plan(&self) -> bool {
        self.flights.available() > 0 && (self.next_class().is_some() || self.retries.can_go_on())
    }

    /// One round: fill the queue, hand it over, deliver the rows of completed reads, waiting for
    /// them no longer than `patience`. Returns whether anything moved.
    pub(super) fn round(&mut self, patience: Duration) -> bool {
        self.site.meter.round();
        let mut moved = self.look_at_deadlines();
        moved |= self.scan_round();
        moved |= self.retry_round();
        if self.next_class().is_some() {
            self.site.meter.enter(Phase::Plan);
            moved |= self.plan_round();
            self.site.meter.leave(Phase::Plan);
        }
        let queue = Queue {
            in_flight: self.flights.executing(),
            is_stuck: !self.turns.is_empty() && !self.can_plan() && !self.scans.is_scanning(),
            is_out_of_tokens: self.flights.available() == 0,
            patience,
        };
        let wait = patience::wait(queue, || self.deadlines.left());
        self.turn(wait, moved) || moved
    }

    /// Gives up rows that would come too late, and ends the waits of callers whose rows have not
    /// come in time. Returns whether the line may have changed.
    #[inline]
    fn look_at_deadlines(&mut self) -> bool {
        if !self.deadlines.are_set() {
            return false;
        }
        let now = clock::now();
        let counters = &self.site.context.counters;
        let moved = self
            .deadlines
            .expire(now, &mut self.turns, &mut self.parts, counters);
        if moved {
            self.make_room();
        }
        self.deadlines
            .end_overdue_waits(now, &mut self.parts, &mut self.scans);
        moved
    }

    /// Scans a piece, and puts searches in line whose rows are known. Returns whether it did any of
    /// that.
    #[inline]
    fn scan_round(&mut self) -> bool {
        if self.scans.is_empty() {
            return false;
        }
        self.site.meter.enter(Phase::Scan);
        let mut moved = false;
        while let Some(part) = self.scans.chosen(self.site.context) {
            moved = true;
            self.begin(part);
        }
        moved |= self.scans.scan_turn(self.site);
        if moved {
            self.site.meter.leave(Phase::Scan);
        }
        moved
    }

    /// Reads rows of failed reads again, as far as there is room. Returns whether there were any.
    #[inline]
    fn retry_round(&mut self) -> bool {
        let mut moved = false;
        while self.flights.available() > 0
            && let Some(row) = self.retries.next()
        {
            moved = true;
            self.read_again(row);
        }
        moved
    }

    /// Plans the reads of a round. Returns whether there was anything to plan.
    #[inline(never)]
    fn plan_round(&mut self) -> bool {
        let mut moved = false;
        for _ in 0..PLANNED_IN_ROUND_MAX {
            if self.flights.available() == 0 {
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

    /// Waits for completions or the doorbell.
    pub(super) fn sleep(&mut self, timeout: Duration) {
        self.site.context.counters.sleeps.add(1);
        let timeout = match self.flights.executing() {
            0 => timeout,
            _ => timeout.min(IN_FLIGHT_WAIT_MAX),
        };
        let overdue_in = self.overdue_in();
        let wait = Wait::For {
            // One completion is enough to end it, since the doorbell counts as one too.
            completions: 1,
            timeout: overdue_in.map_or(timeout, |left| timeout.min(left)),
        };
        self.turn(wait, false);
    }

    /// Hands reads over and takes completions in; `busy` where the shard had something to do before.
    fn turn(&mut self, wait: Wait, busy: bool) -> bool {
        let Site { context, meter, .. } = self.site;
        let mut completions = std::mem::take(&mut self.completions);
        // The work done so far is seen while the shard waits.
        meter.end(match self.flights.executing() {
            0 => Stage::Idle,
            _ => Stage::Device,
        });
        let waits = !matches!(wait, Wait::No);
        // With nothing to hand over or to fetch this takes no time worth a look at the clock, of
        // which a search that scans would need one for each piece.
        let is_empty = self.flights.is_path_empty() && busy && !waits;
        self.flights.submitted(meter.now());
        if waits {
            meter.enter(Phase::Wait);
        }
        let run_before = meter.thread_time();
        if let Err(error) = self.flights.turn(wait, &mut completions) {
            // No read in flight can be known to have ended any more; its buffers must stay. The
            // thread ends here, and every take it holds fails with `Closed`.
            tracing::error!(shard = context.shard.0, %error, "the read path is broken");
            panic!(
                "the read path of shard {} is broken: {error}",
                context.shard
            );
        }
        let moved = !completions.is_empty();
        match self.flights.executing() {
            _ if is_empty => {}
            _ if !waits && (busy || moved) => meter.mark(Stage::Submit),
            0 => meter.mark(Stage::Idle),
            _ => {
                meter.detail_running(Stage::Submit, run_before);
                meter.leave(Phase::Wait);
            }
        }
        meter.looked();
        self.completions_last_turn = completions.len() as u32;
        if moved {
            meter.begin();
            self.control_depth(completions.len() as u64);
            self.deliver_completions(&mut completions);
        }
        self.completions = completions;
        moved
    }

    /// Lets the search for the right depth know of `reads` completions.
    #[inline]
    fn control_depth(&mut self, reads: u64) {
        let rows_wait = !self.turns.is_empty();
        self.depth
            .completed(reads, self.saturated && rows_wait, clock::now);
        self.saturated = rows_wait;
    }

    /// Takes a sample of the queues if one is due; `inbox` is the number of messages that wait.
    pub(super) fn sample(&self, inbox: impl FnOnce() -> usize) {
        self.site.meter.sample(|| QueueSample {
            at_ns: 0,
            inbox: inbox() as u32,
            waiting_parts: self.turns.len() as u32,
            in_flight: self.flights.executing(),
            completions: self.completions_last_turn,
        });
    }

    /// Plans up to one read of the oldest part of `class`: rows in memory are delivered on the way.
    fn plan(&mut self, class: LatencyClass) -> Turn {
        let Some(id) = self.turns.first(class) else {
            unreachable!("a class has its turn with a part in line");
        };
        let counters = &self.site.context.counters;
        self.parts.get_mut(id).give_up_if_unwanted(counters);
        while !self.parts.get(id).is_planned() {
            if let Some(turn) = self.plan_in_group(class, id) {
                return turn;
            }
        }
        self.turns.leave(class);
        self.site.meter.detail(Stage::Plan);
        self.parts.finish_if_done(id, &mut self.deadlines.margin);
        self.site.meter.detail(Stage::Reply);
        Turn::Short
    }

    /// Goes on with the group at which the part is: rows in memory, the next read, or the next group.
    /// Returns how the turn was used, if that ends it.
    #[inline]
    fn plan_in_group(&mut self, class: LatencyClass, id: u32) -> Option<Turn> {
        let context = self.site.context;
        let work = self.parts.get_mut(id);
        let group = work.column_group(work.group);
        let locator = &self.locators[group];
        let hits = deliver_from_memory(self.site, work, locator, &mut self.cache);
        if hits == HITS_IN_TURN_MAX {
            return Some(Turn::Long);
        }
        if work.next == work.part.entries().len() {
            work.next_group();
            return None;
        }
        let reads_before = self.flights.executing();
        if work.is_hopeless(reads_before, &context.counters, self.deadlines.margin) {
            work.give_up_late(&context.counters);
            return None;
        }
        let limits = ReadLimits {
            bytes_max: self.flights.read_bytes_max(),
            ..self.limits
        };
        let planned = match next_read(locator, &work.part.entries()[work.next..], limits) {
            Ok(planned) => planned,
            Err(BadOffsets { row }) => {
                let file = context.files.index(group, 0);
                fault(context, work, group, file, row, FaultKind::Offsets);
                work.next += 1;
                return None;
            }
        };
        if planned.bytes == 0 {
            context.counters.rows.add(planned.entries as u64);
            work.next += planned.entries;
            return None;
        }
        let file = context.files.index(group, planned.dir);
        if let Some(wrong) = &context.files.files[file as usize].wrong {
            let kind = FaultKind::WrongFile(wrong.clone());
            fault_all(context, work, locator, file, planned.entries, &kind);
            return None;
        }
        self.plan_read(class, id, file, planned);
        Some(Turn::Short)
    }

    /// Has the next rows of a part read: with a read in flight that brings them too, or with one of
    /// their own. They stay where they are if there is no room for it now.
    #[inline]
    fn plan_read(&mut self, class: LatencyClass, id: u32, file: u32, planned: PlannedRead) {
        let context = self.site.context;
        let work = self.parts.get_mut(id);
        let rows = PartRows {
            part: id,
            group: work.group as u32,
            first_entry: work.next as u32,
            entries: planned.entries as u32,
        };
        if let Some(token) = self.flights.find(file, planned) {
            self.flights.share(token, rows);
            context.counters.reads_shared.add(1);
        } else {
            match self.target(rows, planned) {
                Ok(Some(target)) => self.submit(
                    class,
                    NewRead {
                        rows,
                        file,
                        planned,
                        target,
                        planned_at: self.site.meter.now(),
                        is_retry: false,
                    },
                ),
                Ok(None) => return self.turns.hold_back(class),
                Err(kind) => {
                    let work = self.parts.get_mut(id);
                    let locator = &self.locators[work.column_group(work.group)];
                    return fault_all(context, work, locator, file, planned.entries, &kind);
                }
            }
        }
        if self.parts.get_mut(id).plan(planned.entries) {
            // Its last completion ends it, without another turn of its class.
            self.turns.leave(class);
        }
    }

    /// The memory for a read; `None` if it has to wait for others to complete.
    #[inline]
    fn target(&self, rows: PartRows, planned: PlannedRead) -> Result<Option<Target>, FaultKind> {
        // A cache keeps whole pages, which are copied from a slot.
        if self.cache.is_none()
            && let Some(place) =
                self.parts
                    .get(rows.part)
                    .place_in_output(rows, planned, self.limits.align_bytes)
        {
            return Ok(Some(Target::Output(place)));
        }
        self.flights.room(planned.bytes)
    }

    /// Begins a read of a part of `class`.
    #[inline]
    fn submit(&mut self, class: LatencyClass, read: NewRead) {
        let counters = &self.site.context.counters;
        let bytes = read.planned.bytes;
        if let Target::Output(_) = read.target {
            counters.reads_placed.add(1);
        }
        if class == LatencyClass::Urgent {
            counters.urgent_reads.add(1);
        }
        self.turns.planned(class);
        self.prefetch_checksum(read.rows);
        self.flights.acquire(read);
        counters.reads.add(1);
        counters
            .in_flight_sum
            .add(u64::from(self.flights.executing()));
        counters.read_bytes.add(u64::from(bytes));
    }

    /// Asks for the checksum of the first row, so that it is in the processor's cache when the row
    /// comes: the table is large and rows are asked for in no order.
    #[inline]
    fn prefetch_checksum(&self, rows: PartRows) {
        let work = self.parts.get(rows.part);
        let locator = &self.locators[work.column_group(rows.group as usize)];
        if let Some(checksums) = locator.checksums() {
            let row = work.part.entries()[rows.first_entry as usize].row;
            prefetch::element(checksums, row as usize);
        }
    }

    /// Lets the reads be planned again that waited for room.
    fn make_room(&mut self) {
        self.turns.go_on();
        self.retries.go_on();
    }
}

impl Drop for Engine<'_> {
    /// The kernel may write into the slots, and into results, until the last completion has come.
    fn drop(&mut self) {
        let results: Vec<Arc<Outputs>> = self
            .flights
            .parts_written()
            .filter_map(|id| self.parts.get(id).part.share_outputs())
            .collect();
        // Takes that are not done fail now, not after the wait.
        self.parts.clear();
        self.scans.clear();
        self.flights.drain(self.site.context.shard.0, results);
    }
}
