//! Copies from memory maps of the data files: a yardstick for measurements, not a way to serve.
//!
//! A page that is not in memory is a page fault, which blocks the shard and all its other rows. The length of each file is taken when it is mapped, and
//! nothing is read past it. If a file is cut short while the store is open, the kernel
//! ends the process with SIGBUS (mmap(2)). A device error does the same.

use std::io;
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions};

use crate::device::completion_channel::CompletionChannel;
use crate::device::files::Files;
use crate::device::read_path::{Completion, Read, ReadPath, Wait};
use crate::doorbell::Doorbell;
use crate::metrics::stats::ShardCounters;

/// A read path that copies from maps of the files.
pub(crate) struct Mapped {
    /// `None` for an empty file, which cannot be mapped.
    maps: Vec<Option<Mmap>>,
    done: Vec<Completion>,
    /// Never has a completion: the shard sleeps on it.
    returns: CompletionChannel<Completion>,
}

impl Mapped {
    /// Maps all of `files`.
    ///
    /// # Safety
    /// No process changes the files while the maps live.
    pub(crate) unsafe fn new(
        files: &Files,
        doorbell: Arc<Doorbell>,
        counters: Arc<ShardCounters>,
    ) -> io::Result<Mapped> {
        let mut maps = Vec::new();
        for file in files.borrowed() {
            let bytes = rustix::fs::fstat(file)?.st_size as usize;
            let map = match bytes {
                0 => None,
                bytes => {
                    // SAFETY: passed on to the caller.
                    let map = unsafe { MmapOptions::new().len(bytes).map(&file) }?;
                    // Rows are read at random, so reading ahead would only waste the drive.
                    map.advise(Advice::Random)?;
                    Some(map)
                }
            };
            maps.push(map);
        }
        Ok(Mapped {
            maps,
            done: Vec::new(),
            returns: CompletionChannel::new(crossbeam_channel::never(), doorbell, counters),
        })
    }
}

// SAFETY: `queue` has written the buffer, with at most the bytes asked for, when it makes the one
// completion.
unsafe impl ReadPath for Mapped {
    unsafe fn queue(&mut self, read: Read) {
        let file = self.maps[read.file as usize].as_deref().unwrap_or_default();
        let from = usize::try_from(read.offset).map_or(file.len(), |at| at.min(file.len()));
        let to = from.saturating_add(read.bytes as usize).min(file.len());
        let bytes = &file[from..to];
        // SAFETY: the buffer has room for what was asked for, of which `bytes` is at most all,
        // and is the read's alone until its completion.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), read.buffer.as_ptr(), bytes.len());
        }
        self.done.push(Completion {
            token: read.token,
            result: Ok(bytes.len() as u32),
        });
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if !self.done.is_empty() {
            completions.append(&mut self.done);
            return Ok(());
        }
        self.returns.turn(wait, completions)
    }
}
