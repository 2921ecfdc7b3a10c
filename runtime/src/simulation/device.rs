//! A device that answers in virtual time, and not always with the truth.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_storage::layout::PAGE_BYTES;

use super::world;
use crate::device::files::Files;
use crate::device::read_path::{Completion, Errno, Read, ReadPath, Wait};
use crate::device::thread_pool::read_whole;
use crate::host::clock;

/// A fault that a device makes of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fails it with EIO.
    Error,
    /// Asks for it again: EAGAIN or EINTR.
    Again,
    /// Brings only its beginning.
    Short,
    /// Brings as many bytes from another place.
    Misdirected,
    /// Flips a bit.
    Flipped,
    /// Never completes it.
    Never,
    /// Takes a hundred times as long.
    Slow,
}

impl Kind {
    pub(super) const COUNT: usize = 7;
    pub(super) const ALL: [Kind; Kind::COUNT] = [
        Kind::Error,
        Kind::Again,
        Kind::Short,
        Kind::Misdirected,
        Kind::Flipped,
        Kind::Never,
        Kind::Slow,
    ];
}

/// A fault and what it hit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Injected {
    pub(super) kind: Kind,
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

struct Flight {
    read: Read,
    /// `None` for one that is never complete.
    due: Option<Instant>,
    fault: Option<Kind>,
}

/// A simulated device, which may be slow, wrong, silent or dead.
pub(crate) struct Device {
    random: ChaCha8Rng,
    files: Arc<Files>,
    flights: Vec<Flight>,
    reads: u32,
    dies_after: Option<u32>,
    cancelled: bool,
}

/// Short reads end here, as they do on a block device.
const SECTOR_BYTES: u32 = 4096;

impl Device {
    pub(crate) fn new(seed: u64, shard: usize, files: Arc<Files>) -> Device {
        let dies = world(|world| world.plan.dies);
        Device {
            random: ChaCha8Rng::seed_from_u64(seed << 8 | shard as u64),
            files,
            flights: Vec::new(),
            reads: 0,
            dies_after: dies
                .filter(|(dying, _)| *dying == shard)
                .map(|(_, reads)| reads),
            cancelled: false,
        }
    }

    fn draw(&mut self) -> Option<Kind> {
        let faults = world(|world| world.plan.faults);
        let mut left = self.random.random_range(0..1000);
        for (kind, share) in faults {
            if left < share {
                return Some(kind);
            }
            left -= share;
        }
        // Drives have a long tail whatever else they do.
        self.random.random_ratio(1, 100).then_some(Kind::Slow)
    }

    fn perform(&mut self, read: Read, fault: Option<Kind>) -> Result<u32, Errno> {
        let mut from = read;
        match fault {
            _ if self.cancelled => return Err(libc::ECANCELED),
            Some(Kind::Error) => return Err(libc::EIO),
            Some(Kind::Again) if self.random.random_bool(0.5) => return Err(libc::EAGAIN),
            Some(Kind::Again) => return Err(libc::EINTR),
            Some(Kind::Short) if read.bytes > SECTOR_BYTES => {
                let sectors = self.random.random_range(1..=read.bytes / SECTOR_BYTES);
                from.bytes = (sectors * SECTOR_BYTES).min(read.bytes);
            }
            Some(Kind::Misdirected) => {
                let pages = self.random.random_range(1..9);
                from.offset = match read.offset.checked_sub(pages * PAGE_BYTES) {
                    Some(offset) => offset,
                    None => read.offset + pages * PAGE_BYTES,
                };
            }
            _ => {}
        }
        let Some(file) = self.files.borrowed().nth(read.file as usize) else {
            return Err(libc::EBADF);
        };
        // SAFETY: the buffer is the read's until its completion, and no shorter than what is read.
        let came = unsafe { read_whole(file, from) }?;
        if fault == Some(Kind::Flipped) && came > 0 {
            let at = self.random.random_range(0..came as usize);
            // SAFETY: within what has just been read.
            unsafe { *read.buffer.as_ptr().add(at) ^= 1 << self.random.random_range(0..8) };
        }
        Ok(came)
    }
}

// SAFETY: buffers are written in `queue` and `turn` only, before the one completion of each read.
unsafe impl ReadPath for Device {
    unsafe fn queue(&mut self, read: Read) {
        self.reads += 1;
        // SAFETY: the buffer is the read's until its completion. A look at memory that is lent shall
        // not go unnoticed.
        unsafe { read.buffer.as_ptr().write_bytes(0xee, read.bytes as usize) };
        let fault = self.draw();
        let mut takes = Duration::from_micros(self.random.random_range(20..300));
        if fault == Some(Kind::Slow) {
            takes *= 100;
        }
        if let Some(kind) = fault {
            let (file, offset, bytes) = (read.file, read.offset, read.bytes.into());
            world(|world| {
                world.injected.push(Injected {
                    kind,
                    file,
                    offset,
                    bytes,
                });
            });
        }
        let due = (fault != Some(Kind::Never)).then(|| clock::now() + takes);
        self.flights.push(Flight { read, due, fault });
    }

    fn turn(&mut self, _: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.dies_after.is_some_and(|reads| self.reads > reads) && !self.cancelled {
            return Err(io::Error::other("made up"));
        }
        let (now, released) = (clock::now(), world(|world| world.released));
        let (cancelled, stands) = (self.cancelled, world(|world| world.stands));
        let is_due = move |flight: &mut Flight| match flight.due {
            Some(due) => due <= now || stands || cancelled,
            None => released || cancelled,
        };
        let mut due: Vec<Flight> = self.flights.extract_if(.., is_due).collect();
        due.sort_by_key(|flight| flight.due);
        for Flight { read, fault, .. } in due {
            let result = self.perform(read, fault);
            let token = read.token;
            completions.push(Completion { token, result });
        }
        Ok(())
    }

    fn cancel(&mut self) {
        self.cancelled = true;
    }
}
