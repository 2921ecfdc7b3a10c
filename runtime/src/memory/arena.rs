//! Memory that the kernel writes into: one mapping per shard, cut into slots.
//!
//! There are as many small slots as the queue is deep, each with room for any single row of fixed
//! width, and a few large ones for neighbours that are read together. Small slots keep what is in
//! flight within the processor's caches: at the same depth, slots that are all large lie so far
//! apart that their first pages compete for the same lines.
//!
//! A slot lent to the kernel is not looked at, and the arena is not freed, until the read's
//! completion has come. `shard/engine/flights.rs` keeps that: it knows which slots are in flight,
//! and it is drained before the arena is dropped.

use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{Advice, MmapMut};

/// Where memory lies that is lent to reads over and over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
}

// SAFETY: an address and a length; each access to the memory has its own argument.
unsafe impl Send for Span {}

/// From here on it pays to ask for huge pages, which are this large.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Page-aligned memory that is only reached through raw pointers.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    bytes: usize,
    /// Owns the memory; never turned into a slice while the kernel may write.
    map: ManuallyDrop<MmapMut>,
    given_up: AtomicBool,
}

// SAFETY: the region is an address and a length; each access to the memory, from any thread, has
// its own argument.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Zeroed memory of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> io::Result<Region> {
        let mut map = MmapMut::map_anon(bytes)?;
        if bytes >= HUGE_PAGE_BYTES {
            // Without them it is only slower.
            let _ = map.advise(Advice::HugePage);
        }
        let start = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region {
            start,
            bytes,
            map: ManuallyDrop::new(map),
            given_up: AtomicBool::new(false),
        })
    }

    /// Never frees the memory: the kernel may still write it.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn span(&self) -> Span {
        Span {
            start: self.start,
            bytes: self.bytes,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first `bytes` bytes after `offset`.
    ///
    /// # Safety
    /// The kernel has no read in flight into that range, and no thread writes it while the slice
    /// lives.
    ///
    /// # Panics
    /// If the range leaves the region.
    pub(crate) unsafe fn slice(&self, offset: usize, bytes: usize) -> &[u8] {
        assert!(
            offset
                .checked_add(bytes)
                .is_some_and(|end| end <= self.bytes),
            "{bytes} bytes at {offset} leave the region of {} bytes",
            self.bytes
        );
        // SAFETY: the range is inside the mapping (checked above), initialised (anonymous maps
        // are zero), and the caller vouches that no thread writes it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if !*self.given_up.get_mut() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

/// How an arena is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    /// Their number: the queue depth.
    pub(crate) small: u32,
    pub(crate) small_bytes: u32,
    /// Their number.
    pub(crate) large: u32,
    pub(crate) large_bytes: u32,
}

impl Slots {
    fn bytes(self) -> usize {
        self.large_start() + self.large as usize * self.large_bytes as usize
    }

    /// Where the large ones begin.
    fn large_start(self) -> usize {
        self.small as usize * self.small_bytes as usize
    }
}

/// Slots in one region: first the small ones, then the large ones.
#[derive(Debug)]
pub(crate) struct Arena {
    region: Region,
    slots: Slots,
}

impl Arena {
    pub(crate) fn new(slots: Slots) -> io::Result<Arena> {
        Ok(Arena {
            region: Region::new(slots.bytes())?,
            slots,
        })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn slots(&self) -> Slots {
        self.slots
    }

    fn place(&self, slot: u32) -> (usize, usize) {
        let Slots {
            small,
            small_bytes,
            large,
            large_bytes,
        } = self.slots;
        match slot.checked_sub(small) {
            None => (slot as usize * small_bytes as usize, small_bytes as usize),
            Some(place) => {
                assert!(place < large, "slot {slot}");
                let start = self.slots.large_start() + place as usize * large_bytes as usize;
                (start, large_bytes as usize)
            }
        }
    }

    /// Where `slot` begins.
    pub(crate) fn slot(&self, slot: u32) -> NonNull<u8> {
        // SAFETY: the offset is inside the mapping.
        unsafe { self.region.start().add(self.place(slot).0) }
    }

    /// The first `bytes` bytes of `slot`.
    ///
    /// # Safety
    /// The kernel has no read in flight into the slot.
    pub(crate) unsafe fn slot_slice(&self, slot: u32, bytes: usize) -> &[u8] {
        let (start, room) = self.place(slot);
        assert!(bytes <= room, "{bytes} bytes of a slot");
        // SAFETY: passed on to the caller.
        unsafe { self.region.slice(start, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_both_sizes_lie_side_by_side() {
        let slots = Slots {
            small: 3,
            small_bytes: 4096,
            large: 2,
            large_bytes: 16_384,
        };
        let arena = Arena::new(slots).unwrap();
        let mut end = arena.region().start();
        for slot in 0..5 {
            assert_eq!(arena.slot(slot), end);
            let room = if slot < 3 { 4096 } else { 16_384 };
            // SAFETY: no read into it is in flight, and no thread writes it.
            assert_eq!(unsafe { arena.slot_slice(slot, room) }.len(), room);
            // SAFETY: the end of a slot is inside or at the end of the region.
            end = unsafe { end.add(room) };
        }
        assert_eq!(arena.region().bytes(), 3 * 4096 + 2 * 16_384);
    }
}
