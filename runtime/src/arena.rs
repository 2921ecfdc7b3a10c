//! Memory that the kernel writes into: one mapping per shard, cut into slots of one size.
//!
//! A slot lent to the kernel is not looked at, and the arena is not freed, until the read's
//! completion has come. `shard.rs` keeps that: it alone knows which slots are in flight, and it
//! drains them before it drops the arena.

use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use memmap2::MmapMut;

use crate::read_path::Span;

/// Page-aligned memory that is only reached through raw pointers.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    bytes: usize,
    /// Owns the memory; never turned into a slice while the kernel may write.
    map: ManuallyDrop<MmapMut>,
    given_up: Cell<bool>,
}

impl Region {
    /// Zeroed memory of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> io::Result<Region> {
        let mut map = MmapMut::map_anon(bytes)?;
        let start = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region {
            start,
            bytes,
            map: ManuallyDrop::new(map),
            given_up: Cell::new(false),
        })
    }

    /// Never frees the memory: the kernel may still write it.
    pub(crate) fn give_up(&self) {
        self.given_up.set(true);
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
    /// The kernel has no read in flight into that range.
    ///
    /// # Panics
    /// If the range leaves the region.
    pub(crate) unsafe fn slice(&self, offset: usize, bytes: usize) -> &[u8] {
        assert!(
            offset + bytes <= self.bytes,
            "{offset} + {bytes} is past {}",
            self.bytes
        );
        // SAFETY: the range is inside the mapping (checked above), initialised (anonymous maps
        // are zero), and the caller vouches that nobody writes it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if !self.given_up.get() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

/// Slots of one size.
#[derive(Debug)]
pub(crate) struct Arena {
    region: Region,
    slot_bytes: usize,
}

impl Arena {
    pub(crate) fn new(slots: u32, slot_bytes: u32) -> io::Result<Arena> {
        let slot_bytes = slot_bytes as usize;
        Ok(Arena {
            region: Region::new(slots as usize * slot_bytes)?,
            slot_bytes,
        })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn slot_bytes(&self) -> u32 {
        self.slot_bytes as u32
    }

    /// Where `slot` begins.
    pub(crate) fn slot(&self, slot: u32) -> NonNull<u8> {
        let offset = slot as usize * self.slot_bytes;
        assert!(offset < self.region.bytes(), "slot {slot}");
        // SAFETY: the offset is inside the mapping.
        unsafe { self.region.start().add(offset) }
    }

    /// The first `bytes` bytes of `slot`.
    ///
    /// # Safety
    /// The kernel has no read in flight into the slot.
    pub(crate) unsafe fn slot_slice(&self, slot: u32, bytes: usize) -> &[u8] {
        assert!(bytes <= self.slot_bytes, "{bytes} bytes of a slot");
        // SAFETY: passed on to the caller.
        unsafe { self.region.slice(slot as usize * self.slot_bytes, bytes) }
    }
}
