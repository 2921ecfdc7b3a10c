//! Reads in flight: their tokens, the memory they are read into, and the read path that performs
//! them.
//!
//! A read acquires a token and a target, is in flight until its last completion, and releases both.
//! Its memory is the device's from [`Flights::acquire`] until [`Flights::advance`] says that it is
//! complete; only then can its bytes be seen, and only [`Flights::release`] lets the memory be used
//! again. A shard that ends drains its reads before it frees their memory, or never frees it.

use std::ptr::NonNull;
use std::sync::Arc;

use ringtake_storage::layout::{Group, PAGE_BYTES};
use ringtake_storage::plan::PlannedRead;

use super::sharing::{InFlightPages, PartRows};
use crate::device::read_path::{
    Completion, DRAIN_TIME_MAX, IN_FLIGHT_WAIT_MAX, Memory, Read, ReadPath, Wait,
};
use crate::error::FaultKind;
use crate::host::clock;
use crate::memory::arena::{Arena, Region, Slots};
use crate::memory::outputs::Outputs;
use crate::shard::context::ShardContext;

/// Room for a value of variable width, wherever in its pages it begins.
const VALUE_SLOT_BYTES: u32 = 8 << 10;
const SMALL_SLOT_BYTES_MAX: u32 = 64 << 10;
/// Neighbours are read together up to this.
pub(crate) const LARGE_SLOT_BYTES: u32 = 128 << 10;
/// There is a large slot for this many of the queue depth. Few of them keep a drive busy.
const LARGE_SLOTS_SHARE: u32 = 8;
/// The least and the most large slots.
const LARGE_SLOTS_RANGE: (u32, u32) = (2, 32);
/// Bytes of rows larger than a slot in flight at once; a single larger row is read alone.
const OVERSIZE_BYTES_MAX: usize = 32 << 20;

/// How the arena is cut: a small slot has room for any single row of fixed width, within bounds.
pub(in crate::shard) fn slots(context: &ShardContext) -> Slots {
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

/// The memory that a read is read into.
#[derive(Default)]
pub(super) enum Target {
    /// None: the token is free.
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

/// Whether the drive has put the first row of a read into its place in the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InPlace {
    No,
    First,
}

/// A read to be acquired.
pub(super) struct NewRead {
    pub(super) rows: PartRows,
    pub(super) file: u32,
    pub(super) planned: PlannedRead,
    pub(super) target: Target,
    /// When it was planned, as the meter counts.
    pub(super) planned_at: u64,
    /// It reads again one row of a read that failed.
    pub(super) is_retry: bool,
}

/// A read in flight, at the place of its token.
#[derive(Default)]
pub(super) struct Flight {
    /// The rows it was planned for.
    pub(super) rows: PartRows,
    /// Rows of other parts, or of other groups of the same part, that it brings too.
    pub(super) waiters: Vec<PartRows>,
    file: u32,
    pub(super) dir: u32,
    pub(super) offset: u64,
    bytes: u32,
    /// Bytes that have come; a short read is continued.
    got: u32,
    target: Target,
    planned_at: u64,
    /// When it was handed over first.
    submitted_at: Option<u64>,
    is_retry: bool,
    /// Its last completion has come, so that the device writes its memory no more.
    is_complete: bool,
}

impl Flight {
    /// When it was planned and when it was handed over, as the meter counts.
    pub(super) fn times(&self) -> (u64, u64) {
        (
            self.planned_at,
            self.submitted_at.unwrap_or(self.planned_at),
        )
    }

    /// Whether its rows may be right where they are read one by one.
    pub(super) fn is_worth_retries(&self) -> bool {
        !self.is_retry && (self.rows.entries > 1 || !self.waiters.is_empty())
    }

    /// Everything that it was to bring.
    pub(super) fn all_rows(&self) -> impl Iterator<Item = PartRows> {
        std::iter::once(self.rows).chain(self.waiters.iter().copied())
    }
}

/// How a completion leaves its read.
pub(super) enum Advance {
    /// The rest of the read has been queued.
    Continued,
    /// The read has ended, well or not.
    Complete(Option<FaultKind>),
}

/// A read that is over.
pub(super) struct Released {
    pub(super) rows: PartRows,
    pub(super) waiters: Vec<PartRows>,
    /// Whether it leaves room for a large or oversize read.
    pub(super) made_room: bool,
}

/// The reads of a shard in flight, with the memory and the path they need.
pub(super) struct Flights<'a> {
    arena: &'a Arena,
    path: Box<dyn ReadPath + 'a>,
    align_bytes: u32,
    /// By token.
    flights: Vec<Flight>,
    tokens_free: Vec<u32>,
    large_free: Vec<u32>,
    oversize_bytes: usize,
    pages: InFlightPages,
    /// Reads whose memory the path holds: queued, and not come back from a turn.
    reads_in_path: u32,
    /// Tokens of reads queued since the last turn.
    queued: Vec<u32>,
    /// The thread of the shard.
    #[cfg(debug_assertions)]
    thread: std::thread::ThreadId,
}

impl<'a> Flights<'a> {
    /// `align_bytes` is the alignment at which any file can be read.
    pub(super) fn new(
        arena: &'a Arena,
        align_bytes: u32,
        path: Box<dyn ReadPath + 'a>,
    ) -> Flights<'a> {
        let Slots { small, large, .. } = arena.slots();
        Flights {
            arena,
            path,
            align_bytes,
            flights: (0..small).map(|_| Flight::default()).collect(),
            tokens_free: (0..small).rev().collect(),
            large_free: (small..small + large).rev().collect(),
            oversize_bytes: 0,
            pages: InFlightPages::new(small),
            reads_in_path: 0,
            queued: Vec::with_capacity(small as usize),
            #[cfg(debug_assertions)]
            thread: std::thread::current().id(),
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

    /// The path, for reads of another owner before the first of these.
    pub(super) fn idle_path(&mut self) -> &mut dyn ReadPath {
        assert_eq!(self.reads_in_path, 0, "the path is idle");
        &mut *self.path
    }

    /// Reads in flight.
    #[inline]
    pub(super) fn executing(&self) -> u32 {
        (self.flights.len() - self.tokens_free.len()) as u32
    }

    /// Reads that could be acquired.
    #[inline]
    pub(super) fn available(&self) -> u32 {
        self.tokens_free.len() as u32
    }

    /// Whether the path holds no read.
    #[inline]
    pub(super) fn is_path_empty(&self) -> bool {
        self.reads_in_path == 0
    }

    /// The most bytes that a read should have now.
    #[inline]
    pub(super) fn read_bytes_max(&self) -> u32 {
        let slots = self.arena.slots();
        if self.large_free.is_empty() {
            slots.small_bytes
        } else {
            slots.large_bytes
        }
    }

    #[inline]
    pub(super) fn get(&self, token: u32) -> &Flight {
        &self.flights[token as usize]
    }

    /// A read in flight that brings everything planned, and is no retry: if that fails, so do all
    /// its rows.
    #[inline]
    pub(super) fn find(&self, file: u32, planned: PlannedRead) -> Option<u32> {
        let token = self.pages.find(file, planned.offset)?;
        let flight = &self.flights[token as usize];
        let brings = !matches!(flight.target, Target::None)
            && !flight.is_retry
            && flight.file == file
            && flight.offset <= planned.offset
            && flight.offset + u64::from(flight.bytes) >= planned.offset + u64::from(planned.bytes);
        brings.then_some(token)
    }

    /// Has the read `token` bring `rows` too.
    #[inline]
    pub(super) fn share(&mut self, token: u32, rows: PartRows) {
        let flight = &mut self.flights[token as usize];
        debug_assert!(!flight.is_complete, "a read in flight");
        flight.waiters.push(rows);
    }

    /// Memory for a read of `bytes` bytes; `None` if it has to wait for others to complete.
    #[inline]
    pub(super) fn room(&self, bytes: u32) -> Result<Option<Target>, FaultKind> {
        let slots = self.arena.slots();
        if bytes <= slots.small_bytes {
            return Ok(Some(Target::Small));
        }
        if bytes <= slots.large_bytes {
            return Ok(self.large_free.last().map(|&slot| Target::Large(slot)));
        }
        let bytes = bytes as usize;
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

    /// Takes a token, which has to be available, and queues the read.
    #[inline]
    pub(super) fn acquire(&mut self, read: NewRead) {
        let NewRead { planned, .. } = read;
        let Some(token) = self.tokens_free.pop() else {
            unreachable!("a read is planned only when there is a token");
        };
        match &read.target {
            Target::Large(slot) => {
                let popped = self.large_free.pop();
                assert_eq!(popped, Some(*slot), "a large slot serves one read");
            }
            Target::Oversize(region) => self.oversize_bytes += region.bytes(),
            Target::Small | Target::Output(_) => {}
            Target::None => unreachable!("a read has a target"),
        }
        let flight = &mut self.flights[token as usize];
        debug_assert!(matches!(flight.target, Target::None), "the token was free");
        let waiters = std::mem::take(&mut flight.waiters);
        debug_assert!(waiters.is_empty());
        *flight = Flight {
            rows: read.rows,
            waiters,
            file: read.file,
            dir: planned.dir,
            offset: planned.offset,
            bytes: planned.bytes,
            got: 0,
            target: read.target,
            planned_at: read.planned_at,
            submitted_at: None,
            is_retry: read.is_retry,
            is_complete: false,
        };
        self.pages
            .note(read.file, planned.offset, planned.bytes, token);
        self.queue(token);
    }

    /// Hands the rest of a read to the path.
    #[inline]
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
        assert!(flight.got < flight.bytes, "some of the read is left");
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
        // SAFETY: the token is taken until `advance` sees its completion; no code looks at the
        // memory or frees it before: the arena outlives this, whose owner drains it when it ends,
        // and results are kept by the part that the read is for, or by `drain`.
        unsafe { self.path.queue(read) };
        self.reads_in_path += 1;
        self.queued.push(token);
    }

    /// Notes that all reads queued since the last turn are handed over at `now`.
    #[inline]
    pub(super) fn submitted(&mut self, now: u64) {
        for token in self.queued.drain(..) {
            let flight = &mut self.flights[token as usize];
            flight.submitted_at = flight.submitted_at.or(Some(now));
        }
    }

    /// A turn of the read path.
    ///
    /// # Errors
    /// The path is broken; reads in flight may still write their memory.
    pub(super) fn turn(
        &mut self,
        wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        ring_turn(&mut *self.path, wait, completions)?;
        let came = completions.len() as u32;
        assert!(came <= self.reads_in_path, "each read completes once");
        self.reads_in_path -= came;
        Ok(())
    }

    /// Takes a completion in. A short read is continued where the device can: at an aligned place.
    #[inline]
    pub(super) fn advance(&mut self, completion: Completion) -> Advance {
        self.assert_own_thread();
        let token = completion.token;
        let flight = &mut self.flights[token as usize];
        assert!(
            !matches!(flight.target, Target::None) && !flight.is_complete,
            "a completion is that of a read in flight"
        );
        let failed = match completion.result {
            Ok(0) => None,
            Ok(bytes) => {
                flight.got += bytes;
                assert!(flight.got <= flight.bytes, "a read brings what it asks for");
                let ends_here =
                    !flight.got.is_multiple_of(self.align_bytes) || bytes < self.align_bytes;
                if flight.got < flight.bytes && !ends_here {
                    self.queue(token);
                    return Advance::Continued;
                }
                None
            }
            Err(libc::EAGAIN | libc::EINTR) => {
                self.queue(token);
                return Advance::Continued;
            }
            Err(errno) => Some(FaultKind::Io { errno }),
        };
        flight.is_complete = true;
        Advance::Complete(failed)
    }

    /// The bytes that a complete read has brought.
    #[inline]
    pub(super) fn bytes(&self, token: u32) -> (&[u8], InPlace) {
        self.assert_own_thread();
        let flight = &self.flights[token as usize];
        assert!(flight.is_complete, "the device still has the memory");
        let got = flight.got as usize;
        // SAFETY: the read is complete (asserted above), and its memory is not lent again before
        // `release`, which needs `self` alone. A result's place is written by this shard only, and
        // by no code after the drive.
        unsafe {
            match &flight.target {
                Target::Small => (self.arena.slot_slice(token, got), InPlace::No),
                Target::Large(slot) => (self.arena.slot_slice(*slot, got), InPlace::No),
                Target::Oversize(region) => (region.slice(0, got), InPlace::No),
                Target::Output(start) => {
                    let row = std::slice::from_raw_parts(start.as_ptr(), got);
                    (row, InPlace::First)
                }
                Target::None => unreachable!("a complete read has a target"),
            }
        }
    }

    /// Gives back the token and the memory of a complete read.
    #[inline]
    pub(super) fn release(&mut self, token: u32) -> Released {
        let flight = &mut self.flights[token as usize];
        assert!(flight.is_complete, "the device still has the memory");
        let made_room = match std::mem::take(&mut flight.target) {
            Target::Large(slot) => {
                self.large_free.push(slot);
                true
            }
            Target::Oversize(region) => {
                self.oversize_bytes -= region.bytes();
                true
            }
            Target::Small | Target::Output(_) => false,
            Target::None => unreachable!("a read is released once"),
        };
        self.tokens_free.push(token);
        Released {
            rows: flight.rows,
            waiters: std::mem::take(&mut flight.waiters),
            made_room,
        }
    }

    /// Takes back the empty list of `token`'s waiters, whose capacity its next read can use.
    #[inline]
    pub(super) fn reuse(&mut self, token: u32, waiters: Vec<PartRows>) {
        debug_assert!(waiters.is_empty(), "no row waits for a read that is over");
        self.flights[token as usize].waiters = waiters;
    }

    /// The parts into whose results reads in flight may write.
    pub(super) fn parts_written(&self) -> impl Iterator<Item = u32> {
        self.flights
            .iter()
            .filter(|flight| matches!(flight.target, Target::Output(_)))
            .map(|flight| flight.rows.part)
    }

    /// Waits until no read is in flight, or gives the memory up that one may still write. `results`
    /// are those of [`Flights::parts_written`].
    pub(super) fn drain(&mut self, shard: usize, results: Vec<Arc<Outputs>>) {
        self.path.cancel();
        let until = clock::now() + DRAIN_TIME_MAX;
        let mut completions = Vec::with_capacity(self.reads_in_path as usize);
        while self.reads_in_path > 0 && clock::now() < until {
            completions.clear();
            let wait = Wait::For {
                completions: self.reads_in_path,
                timeout: IN_FLIGHT_WAIT_MAX,
            };
            let turned = self.path.turn(wait, &mut completions);
            self.reads_in_path -= completions.len() as u32;
            if turned.is_err() {
                break;
            }
        }
        if self.reads_in_path > 0 {
            let reads = self.reads_in_path;
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

#[cfg(test)]
mod tests;
