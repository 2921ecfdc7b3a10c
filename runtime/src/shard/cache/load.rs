//! Filling a pinned cache: the shard's blocks come in through its own read path in large reads,
//! straight into their frames, and then every row is checked.
//!
//! What cannot be read is left out; a take asks the drive for it again and so gets the drive's
//! own error. A row that does not match its checksum stays unmarked: a take checks it, and
//! reports it without a read.

use std::io;

use ringtake_storage::dataset::Locator;
use ringtake_storage::layout::PAGE_BYTES;

use super::{PAGE, PageCache, Use};
use crate::config::Checksums;
use crate::device::read_path::{Completion, IN_FLIGHT_WAIT_MAX, Memory, Read, ReadPath, Wait};
use crate::shard::context::ShardContext;

/// Bytes of a read. Drives reach their rate with less; more keeps a frame waiting.
const READ_BYTES_MAX: u64 = 256 << 10;
/// After this many places that cannot be read, a run that fails is given up whole: the drive is
/// dying, and each attempt may take seconds.
const UNREAD_MAX: usize = 64;
/// Reads in flight, if the queue is that deep.
const READS_MAX: u32 = 16;

/// A run of pages still to be read.
#[derive(Debug, Clone, Copy)]
struct Run {
    file: u32,
    offset: u64,
    /// As the shard numbers them.
    page: u64,
    pages: u64,
}

impl Run {
    fn halves(self) -> [Run; 2] {
        let first = self.pages / 2;
        let second = Run {
            offset: self.offset + first * PAGE_BYTES,
            page: self.page + first,
            pages: self.pages - first,
            ..self
        };
        // On a stack the first one comes off first.
        [
            second,
            Run {
                pages: first,
                ..self
            },
        ]
    }
}

/// A load under way. However it ends, the kernel may still write the frames of reads in flight.
struct Load<'c> {
    cache: &'c mut PageCache,
    context: &'c ShardContext,
    /// Runs not read yet.
    runs: std::vec::IntoIter<Run>,
    /// Runs to read again: the rest of a short read, or pieces of a read that failed.
    again: Vec<Run>,
    /// Runs that cannot be read, and why.
    unread: Vec<(Run, String)>,
    /// By token.
    reads: Vec<Option<Run>>,
    in_flight: usize,
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            self.cache.frames.give_up();
        }
    }
}

impl Load<'_> {
    /// Queues reads until as many as may be are in flight.
    fn queue_reads(&mut self, path: &mut dyn ReadPath) {
        let start = self.cache.frames.start();
        let (counters, runs) = (&self.context.counters, &mut self.runs);
        let free = self.reads.iter_mut().enumerate();
        for (token, place) in free.filter(|(_, read)| read.is_none()) {
            let Some(run) = self.again.pop().or_else(|| runs.next()) else {
                return;
            };
            *place = Some(run);
            self.in_flight += 1;
            let bytes = run.pages * PAGE_BYTES;
            counters.reads.add(1);
            counters.read_bytes.add(bytes);
            // SAFETY: a pinned cache has a frame for each page, at the page's number.
            let buffer = unsafe { start.add(run.page as usize * PAGE) };
            let read = Read {
                token: token as u32,
                file: run.file,
                offset: run.offset,
                bytes: bytes as u32,
                buffer,
                memory: Memory::Own,
            };
            // SAFETY: no code looks at frames before the load is done; its drop keeps their memory
            // if it ends earlier; each run has frames of its own.
            unsafe { path.queue(read) };
        }
    }

    /// Takes the end of a read in.
    fn complete(&mut self, completion: Completion) {
        let Some(run) = self.reads[completion.token as usize].take() else {
            unreachable!("each read ends once");
        };
        self.in_flight -= 1;
        self.context.counters.completions.add(1);
        match completion.result {
            Err(libc::EAGAIN | libc::EINTR) => self.again.push(run),
            // One bad sector costs its own page, and none that fails once.
            Err(_) if run.pages > 1 && self.unread.len() < UNREAD_MAX => {
                self.again.extend(run.halves());
            }
            Err(errno) => {
                let reason = io::Error::from_raw_os_error(errno).to_string();
                self.unread.push((run, reason));
            }
            Ok(bytes) => {
                let got = u64::from(bytes) / PAGE_BYTES;
                assert!(got <= run.pages, "a read brings what it asks for");
                for page in run.page..run.page + got {
                    self.cache.policy.settle(page);
                }
                let rest = Run {
                    offset: run.offset + got * PAGE_BYTES,
                    page: run.page + got,
                    pages: run.pages - got,
                    ..run
                };
                match (rest.pages, got) {
                    (0, _) => {}
                    (_, 0) => {
                        let reason = "the file has been cut short".to_owned();
                        self.unread.push((rest, reason));
                    }
                    _ => self.again.push(rest),
                }
            }
        }
    }
}

/// The outcome of a load.
pub(crate) struct Loaded {
    /// Every row is in the cache and matches its checksum.
    pub(crate) sound: bool,
    /// Missing pages and damaged rows, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// Fills `cache`.
///
/// # Errors
/// The path itself is broken.
pub(crate) async fn load(
    cache: &mut PageCache,
    context: &ShardContext,
    locators: &[Locator<'_>],
    path: &mut dyn ReadPath,
) -> io::Result<Loaded> {
    let mut load = Load {
        runs: runs(cache, context, locators).into_iter(),
        cache,
        context,
        again: Vec::new(),
        unread: Vec::new(),
        reads: vec![None; READS_MAX.min(context.config.queue_depth) as usize],
        in_flight: 0,
    };
    let mut completions: Vec<Completion> = Vec::new();
    loop {
        load.queue_reads(path);
        if load.in_flight == 0 {
            break;
        }
        let wait = Wait::For {
            completions: 1,
            timeout: IN_FLIGHT_WAIT_MAX,
        };
        path.turn(wait, &mut completions)?;
        for completion in completions.drain(..) {
            load.complete(completion);
        }
        // Paths whose reads the executor performs move only while it runs.
        futures_lite::future::yield_now().await;
    }
    let unread = std::mem::take(&mut load.unread);
    drop(load);
    let mut warnings = Vec::new();
    let first = unread.iter().min_by_key(|(run, _)| (run.file, run.offset));
    if let Some((run, reason)) = first {
        let pages: u64 = unread.iter().map(|(run, _)| run.pages).sum();
        warnings.push(format!(
            "{pages} pages are not in the cache, the first of them at byte {} of {}: {reason}",
            run.offset,
            context.files.files[run.file as usize].path.display()
        ));
    }
    let sound = context.config.lab.checksums == Checksums::Verify
        && check(cache, context, locators, &mut warnings);
    Ok(Loaded { sound, warnings })
}

/// The runs of pages that hold the shard's rows. Files that must not be believed have none.
fn runs(cache: &PageCache, context: &ShardContext, locators: &[Locator<'_>]) -> Vec<Run> {
    let layout = context.dataset.layout();
    let dirs = layout.dirs.len() as u64;
    let mut runs = Vec::new();
    for (group, locator) in locators.iter().enumerate() {
        let blocks = context
            .ownership
            .blocks_in_order(context.shard.0, layout.blocks());
        for block in blocks {
            let dir = (block % dirs) as u32;
            let file = context.files.index(group, dir);
            let (Ok((start, pages)), Some(first)) =
                (locator.block_pages(block), cache.first_page(group, block))
            else {
                continue;
            };
            if context.files.files[file as usize].wrong.is_some() {
                continue;
            }
            let file_bytes = layout.groups[group].file_bytes()[dir as usize];
            let pages = pages.min(file_bytes.saturating_sub(start).div_ceil(PAGE_BYTES));
            let mut done = 0;
            while done < pages {
                let run_pages = (pages - done).min(READ_BYTES_MAX / PAGE_BYTES);
                runs.push(Run {
                    file,
                    offset: start + done * PAGE_BYTES,
                    page: first + done,
                    pages: run_pages,
                });
                done += run_pages;
            }
        }
    }
    runs
}

/// Marks every row that is right. Returns whether all are there and are.
fn check(
    cache: &mut PageCache,
    context: &ShardContext,
    locators: &[Locator<'_>],
    warnings: &mut Vec<String>,
) -> bool {
    let layout = context.dataset.layout();
    let mut sound = true;
    for (group, locator) in locators.iter().enumerate() {
        let (mut wrong, mut first) = (0_u64, None);
        for block in context
            .ownership
            .blocks_in_order(context.shard.0, layout.blocks())
        {
            let from = block * u64::from(layout.block_rows);
            for row in from..layout.rows.min(from + u64::from(layout.block_rows)) {
                let checked = check_row(cache, locator, group, row);
                sound &= checked == Row::Right;
                if checked == Row::Wrong {
                    wrong += 1;
                    first = first.or(Some(row));
                }
            }
        }
        if let Some(first) = first {
            warnings.push(format!(
                "{wrong} rows of column group {group} are damaged, row {first} first; takes of them fail until the dataset is restored from a copy and opened again"
            ));
        }
    }
    sound
}

/// A row in the cache, compared with its checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Right,
    Wrong,
    /// It could not be read, which a warning has said.
    NotHere,
}

fn check_row(cache: &mut PageCache, locator: &Locator<'_>, group: usize, row: u64) -> Row {
    let Ok(extent) = locator.locate(row) else {
        return Row::Wrong;
    };
    if extent.bytes == 0 {
        return Row::Right;
    }
    let Some(found) = cache.find(locator, group, row, extent) else {
        return Row::NotHere;
    };
    let (stored, _) = cache.get(found, Use::Bulk);
    if locator.matches(row, stored) {
        cache.mark(found);
        Row::Right
    } else {
        Row::Wrong
    }
}
