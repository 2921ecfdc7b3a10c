//! The limits that a store is held against: loops that do the least that can be done to read
//! given places of files.
//!
//! [`read_on_ring`] is a bare ring with nothing above it, the limit of cold reads;
//! [`MappedFiles`] and [`BufferedFiles`] copy out of the page cache, the limit of warm ones.
//! They know nothing of rows: a program that measures plans the reads beforehand and says
//! them one by one. They are here and not in that program because they need unsafe code.
//!
//! Invariant, as in `shard/engine/flights.rs`: a slot lent to the kernel is looked at only after its
//! completion, and the arena is freed only when nothing is in flight; `BareRing` sees to it when a
//! caller's closure panics, too.
//!
//! The feature `yardstick` turns this module on, and the read path `mmap` with it. They are for
//! programs that measure: a mapped file that another process cuts short ends the process by SIGBUS,
//! and one that it changes has no defined content.

mod direct;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use memmap2::Mmap;
use ringtake_storage::layout::PAGE_BYTES;

use crate::device::read_path::FULL_QUEUE_SHARE;
use crate::device::ring::{RingFeatures, build_ring};
use crate::host::cpus::allowed_cpus;
use crate::memory::arena::{Arena, Slots};
use crate::shard::engine::LARGE_SLOT_BYTES;
pub use direct::DirectFiles;

/// Bytes up to which the store reads neighbouring rows together.
pub const MERGED_READ_BYTES_MAX: u32 = LARGE_SLOT_BYTES;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// Which of the files, counted from 0.
    pub file: u32,
    /// Bytes, above 0.
    pub bytes: u32,
    /// First byte.
    pub offset: u64,
    /// Returned with the bytes.
    pub tag: u32,
}

/// Counts of a loop on a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingCounts {
    /// Reads completed.
    pub reads: u64,
    /// Bytes asked for.
    pub read_bytes: u64,
    /// Calls of `io_uring_enter`.
    pub system_calls: u64,
    /// The features of the ring.
    pub features: RingFeatures,
}

/// How a loop on a ring is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingShape {
    /// Reads in flight: at least 1, at most as many as a store's queue depth may be.
    pub queue_depth: u32,
    /// The most bytes of a read.
    pub bytes_max: u32,
}

/// Keeps a ring full of the reads that `next` says until it says none, and gives what came to
/// `done`. `ready` is called when the ring stands and before the first read. The ring is the
/// calling thread's.
///
/// # Errors
/// No ring, or a read that failed; reads in flight are waited for.
///
/// # Panics
/// If a read is longer than `shape.bytes_max`, or names a file that is not there.
pub fn read_on_ring(
    files: &DirectFiles,
    shape: RingShape,
    ready: impl FnOnce(),
    mut next: impl FnMut() -> Option<ReadAt>,
    mut done: impl FnMut(ReadAt, &[u8]),
) -> io::Result<RingCounts> {
    let arena = Arena::new(Slots {
        small: shape.queue_depth,
        small_bytes: shape.bytes_max.max(1).next_multiple_of(PAGE_BYTES as u32),
        large: 0,
        large_bytes: 0,
    })?;
    let mut bare = BareRing::new(files, arena, shape.queue_depth)?;
    ready();
    let mut failed = None;
    loop {
        while failed.is_none()
            && let Some(slot) = bare.free.pop()
        {
            let Some(read) = next() else {
                bare.free.push(slot);
                break;
            };
            if let Err(error) = bare.queue(slot, read) {
                bare.free.push(slot);
                failed = Some(error);
            }
        }
        if bare.in_flight == 0 {
            break;
        }
        bare.enter()?;
        if let Err(error) = bare.reap(&mut done) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(bare.counts), Err)
}

struct BareRing<'a> {
    /// Dropped before the arena, which is registered with it.
    ring: IoUring,
    files: &'a DirectFiles,
    arena: Arena,
    free: Vec<u32>,
    reads: Vec<ReadAt>,
    in_flight: u32,
    batch: u32,
    counts: RingCounts,
}

impl<'a> BareRing<'a> {
    fn new(files: &'a DirectFiles, arena: Arena, queue_depth: u32) -> io::Result<BareRing<'a>> {
        let (ring, rung) = build_ring(queue_depth)?;
        let submitter = ring.submitter();
        let registered_files = submitter.register_files(&files.descriptors()).is_ok();
        let iovec = libc::iovec {
            iov_base: arena.region().start().as_ptr().cast(),
            iov_len: arena.region().bytes(),
        };
        // SAFETY: the arena outlives the ring, which is the field before it.
        let registered_buffers = unsafe { submitter.register_buffers(&[iovec]) }.is_ok();
        let mut submitter = ring.submitter();
        let registered_ring = submitter.register_ring_fd().is_ok();
        let nowhere = ReadAt {
            file: 0,
            bytes: 0,
            offset: 0,
            tag: 0,
        };
        Ok(BareRing {
            files,
            arena,
            free: (0..queue_depth).rev().collect(),
            reads: vec![nowhere; queue_depth as usize],
            in_flight: 0,
            batch: (queue_depth / FULL_QUEUE_SHARE).max(1),
            counts: RingCounts {
                reads: 0,
                read_bytes: 0,
                system_calls: 0,
                features: RingFeatures {
                    rung,
                    registered_files,
                    registered_buffers,
                    registered_results: false,
                    registered_ring,
                },
            },
            ring,
        })
    }

    fn queue(&mut self, slot: u32, read: ReadAt) -> io::Result<()> {
        assert!(read.bytes <= self.arena.slots().small_bytes, "{read:?}");
        let entry = self.entry(slot, read);
        // SAFETY: the slot was free, so nothing else is in flight into it, and it is not looked
        // at before its completion; the arena is not freed while anything is in flight.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // Only where the kernel has clamped the ring below the depth.
            self.counts.system_calls += 1;
            self.ring.submit()?;
        }
        self.reads[slot as usize] = read;
        self.in_flight += 1;
        self.counts.read_bytes += u64::from(read.bytes);
        Ok(())
    }

    fn entry(&self, slot: u32, read: ReadAt) -> squeue::Entry {
        let buffer = self.arena.slot(slot).as_ptr();
        let features = &self.counts.features;
        macro_rules! read_from {
            ($fd:expr) => {
                if features.registered_buffers {
                    opcode::ReadFixed::new($fd, buffer, read.bytes, 0)
                        .offset(read.offset)
                        .build()
                } else {
                    opcode::Read::new($fd, buffer, read.bytes)
                        .offset(read.offset)
                        .build()
                }
            };
        }
        if features.registered_files {
            assert!((read.file as usize) < self.files.len(), "{read:?}");
            read_from!(types::Fixed(read.file))
        } else {
            read_from!(types::Fd(self.files.descriptor(read.file)))
        }
        .user_data(u64::from(slot))
    }

    fn enter(&mut self) -> io::Result<()> {
        self.counts.system_calls += 1;
        let wanted = self.batch.min(self.in_flight);
        match self.ring.submit_and_wait(wanted as usize) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal came, or completions must be taken first.
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Waits for every read in flight; whether that could be done.
    fn drain(&mut self) -> bool {
        while self.in_flight > 0 {
            if self.enter().is_err() {
                return false;
            }
            self.in_flight -= self.ring.completion().count() as u32;
        }
        true
    }

    /// The first failed read of those that have completed is the error.
    fn reap(&mut self, done: &mut impl FnMut(ReadAt, &[u8])) -> io::Result<()> {
        let mut failed = Ok(());
        for completion in self.ring.completion() {
            let slot = completion.user_data() as u32;
            let read = self.reads[slot as usize];
            self.in_flight -= 1;
            self.counts.reads += 1;
            match came(&completion) {
                Ok(bytes) => {
                    // SAFETY: its completion has come, so the kernel no longer writes the slot.
                    let bytes = unsafe { self.arena.slot_slice(slot, bytes) };
                    done(read, bytes);
                }
                Err(error) => failed = failed.and(Err(error)),
            }
            self.free.push(slot);
        }
        failed
    }
}

impl Drop for BareRing<'_> {
    /// Waits for the reads that a failure or a panic has left in flight. Where that fails, too,
    /// their memory is never freed.
    fn drop(&mut self) {
        if !self.drain() {
            self.arena.region().give_up();
        }
    }
}

/// The bytes read: fewer than asked for at the end of a file only.
fn came(completion: &cqueue::Entry) -> io::Result<usize> {
    usize::try_from(completion.result())
        .map_err(|_| io::Error::from_raw_os_error(-completion.result()))
}

/// Files mapped into memory.
#[derive(Debug)]
pub struct MappedFiles {
    maps: Vec<Mmap>,
}

impl MappedFiles {
    /// Maps files. No process may change them or cut them short while they are mapped, as no process
    /// does with the data files of a dataset.
    ///
    /// # Errors
    /// Files that cannot be opened or mapped.
    pub fn open(paths: &[PathBuf]) -> io::Result<MappedFiles> {
        let map = |path: &PathBuf| {
            let file = File::open(path)?;
            // SAFETY: data files of a committed generation are not changed (FORMAT.md). That
            // others keep to it cannot be enforced, which is why the feature `yardstick` guards
            // this module.
            unsafe { Mmap::map(&file) }
        };
        Ok(MappedFiles {
            maps: paths.iter().map(map).collect::<io::Result<_>>()?,
        })
    }

    /// The bytes at `at`.
    ///
    /// # Panics
    /// If they leave the file.
    #[inline]
    pub fn bytes(&self, at: ReadAt) -> &[u8] {
        let (start, bytes) = (at.offset as usize, at.bytes as usize);
        &self.maps[at.file as usize][start..start + bytes]
    }

    /// Copies the bytes at `at` to the start of `out`.
    ///
    /// # Panics
    /// If they leave the file or do not fit.
    #[inline]
    pub fn copy(&self, at: ReadAt, out: &mut [u8]) {
        out[..at.bytes as usize].copy_from_slice(self.bytes(at));
    }
}

/// Files read through the page cache, a system call for each read.
#[derive(Debug)]
pub struct BufferedFiles {
    files: Vec<File>,
}

impl BufferedFiles {
    /// Opens files for reading.
    ///
    /// # Errors
    /// Files that cannot be opened.
    pub fn open(paths: &[PathBuf]) -> io::Result<BufferedFiles> {
        Ok(BufferedFiles {
            files: paths.iter().map(File::open).collect::<io::Result<_>>()?,
        })
    }

    /// Copies the bytes at `at` to the start of `out`.
    ///
    /// # Errors
    /// A read that failed, or ended before the last byte.
    ///
    /// # Panics
    /// If they do not fit.
    #[inline]
    pub fn copy(&self, at: ReadAt, out: &mut [u8]) -> io::Result<()> {
        self.files[at.file as usize].read_exact_at(&mut out[..at.bytes as usize], at.offset)
    }
}

/// Pins the calling thread to one of the allowed CPUs, going round; whether it could be done.
pub fn pin_this_thread(index: usize) -> bool {
    let cpus = allowed_cpus().cpus;
    cpus.get(index % cpus.len().max(1))
        .is_some_and(|id| core_affinity::set_for_current(core_affinity::CoreId { id: *id }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const PAGES: u64 = 64;

    /// Files in which each page begins with its number, counted on from file to file.
    fn numbered(place: &tempfile::TempDir, files: u64) -> Vec<PathBuf> {
        (0..files)
            .map(|file| {
                let path = place.path().join(format!("{file}"));
                let mut out = File::create(&path).unwrap();
                for page in 0..PAGES {
                    let mut bytes = vec![0; 4096];
                    bytes[..8].copy_from_slice(&(file * PAGES + page).to_le_bytes());
                    out.write_all(&bytes).unwrap();
                }
                out.sync_all().unwrap();
                path
            })
            .collect()
    }

    fn place() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
    }

    fn every_page(files: u64) -> Vec<ReadAt> {
        (0..files * PAGES)
            .rev()
            .map(|page| ReadAt {
                file: (page / PAGES) as u32,
                bytes: 4096,
                offset: page % PAGES * 4096,
                tag: page as u32,
            })
            .collect()
    }

    fn number(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(*bytes.first_chunk().unwrap())
    }

    #[test]
    fn every_read_on_the_ring_comes_back_once_with_its_own_bytes() {
        let place = place();
        let files = DirectFiles::open(&numbered(&place, 2)).unwrap();
        for queue_depth in [1, 3, 32, 500] {
            let mut reads = every_page(2).into_iter();
            let mut seen = Vec::new();
            let shape = RingShape {
                queue_depth,
                bytes_max: 4096,
            };
            let mut ready = false;
            let counts = read_on_ring(
                &files,
                shape,
                || ready = true,
                || reads.next(),
                |read, bytes| {
                    assert_eq!(number(bytes), u64::from(read.tag));
                    seen.push(read.tag);
                },
            );
            let counts = counts.unwrap();
            assert!(ready);
            assert_eq!(counts.reads, 2 * PAGES);
            assert_eq!(counts.read_bytes, 2 * PAGES * 4096);
            assert!(counts.system_calls >= 2 * PAGES / u64::from(queue_depth));
            seen.sort_unstable();
            assert_eq!(seen, (0..2 * PAGES as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn failed_read_is_the_error_after_the_others_have_come() {
        let place = place();
        let files = DirectFiles::open(&numbered(&place, 1)).unwrap();
        let mut reads = every_page(1);
        // Not aligned to anything: the kernel refuses it.
        reads[5].offset = 1;
        let mut reads = reads.into_iter();
        let mut came = 0;
        let shape = RingShape {
            queue_depth: 16,
            bytes_max: 4096,
        };
        let failed = read_on_ring(&files, shape, || (), || reads.next(), |_, _| came += 1);
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(came >= 5, "{came}");
    }

    #[test]
    fn reads_in_flight_are_waited_for_before_their_memory_is_freed() {
        let place = place();
        let files = DirectFiles::open(&numbered(&place, 1)).unwrap();
        let slots = Slots {
            small: 32,
            small_bytes: 4096,
            large: 0,
            large_bytes: 0,
        };
        let mut bare = BareRing::new(&files, Arena::new(slots).unwrap(), 32).unwrap();
        for read in every_page(1).into_iter().take(32) {
            let slot = bare.free.pop().unwrap();
            bare.queue(slot, read).unwrap();
        }
        assert!(bare.drain());
        assert_eq!(bare.in_flight, 0);
        // Their bytes lie in the arena: it was the completions that were waited for.
        for slot in 0..32 {
            // SAFETY: nothing is in flight.
            let bytes = unsafe { bare.arena.slot_slice(slot, 4096) };
            assert_eq!(number(bytes), u64::from(bare.reads[slot as usize].tag));
        }
    }

    #[test]
    fn panic_of_a_caller_passes_with_reads_in_flight() {
        let place = place();
        let files = DirectFiles::open(&numbered(&place, 1)).unwrap();
        let mut reads = every_page(1).into_iter();
        let shape = RingShape {
            queue_depth: 32,
            bytes_max: 4096,
        };
        let panics = std::panic::AssertUnwindSafe(|| {
            let done = |_: ReadAt, _: &[u8]| panic!("of a caller");
            read_on_ring(&files, shape, || (), || reads.next(), done)
        });
        let panic = std::panic::catch_unwind(panics).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"of a caller"));
    }

    #[test]
    fn maps_and_buffered_files_copy_the_place_that_was_named() {
        let place = place();
        let paths = numbered(&place, 2);
        let (mapped, buffered) = (
            MappedFiles::open(&paths).unwrap(),
            BufferedFiles::open(&paths).unwrap(),
        );
        let mut out = vec![0; 4096];
        for read in every_page(2) {
            mapped.copy(read, &mut out);
            assert_eq!(number(&out), u64::from(read.tag));
            out.fill(0xFF);
            buffered.copy(read, &mut out).unwrap();
            assert_eq!(number(&out), u64::from(read.tag));
        }
    }
}
