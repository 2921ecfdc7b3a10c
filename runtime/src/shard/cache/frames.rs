//! The memory of cached pages: one mapping, in huge pages where the kernel gives them, because
//! what a hit on a random row waits for first is the translation of its address.

use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use memmap2::{Advice, MmapMut};
use ringtake_storage::layout::PAGE_BYTES;

pub(super) const PAGE: usize = PAGE_BYTES as usize;

/// Frames of one page each. Memory is taken as frames are first written.
#[derive(Debug)]
pub(super) struct Frames {
    map: ManuallyDrop<MmapMut>,
    given_up: bool,
}

impl Frames {
    pub(super) fn new(frames: usize) -> io::Result<Frames> {
        let map = MmapMut::map_anon(frames * PAGE)?;
        // Kernels without huge pages refuse, and small ones do.
        let _ = map.advise(Advice::HugePage);
        Ok(Frames {
            map: ManuallyDrop::new(map),
            given_up: false,
        })
    }

    /// Where the first frame begins, for the kernel to write to.
    pub(super) fn start(&mut self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    /// Never frees the memory: the kernel may still write it.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// The bytes of `frame` from `from` on.
    #[inline]
    pub(super) fn bytes(&self, frame: u32, from: usize, bytes: usize) -> &[u8] {
        &self.map[frame as usize * PAGE + from..][..bytes]
    }

    pub(super) fn bytes_mut(&mut self, frame: u32, from: usize, bytes: usize) -> &mut [u8] {
        &mut self.map[frame as usize * PAGE + from..][..bytes]
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if !self.given_up {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}
