//! A device made up for tests: seeded latencies, so completions come in any order; short reads;
//! EAGAIN; failures. Between queue and completion it scribbles over the buffer, so that a look
//! at memory that is still lent does not go unnoticed.

use std::io;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ringtake_storage::layout::PAGE_BYTES;

use crate::config::{CustomPath, ReadPathChoice};
use crate::device::files::Files;
use crate::device::read_path::{Completion, Errno, Read, ReadPath, Wait};
use crate::device::thread_pool::read_whole;

/// Faults of a device, beside slow and short reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    /// Nothing.
    None,
    /// Fail one read in sixteen with EIO.
    Io,
    /// Fail every read that touches this page of this file.
    Page {
        /// The file, as the store counts them.
        file: u32,
        /// The page.
        page: u64,
    },
    /// Report in each turn that it is broken, from this many reads on.
    BreaksAfter(u32),
    /// Once this many reads are queued on a shard, report that it is broken, but complete nothing
    /// before that nor before `HELD` is false.
    BreaksAndHolds(u32),
    /// Complete nothing, ever.
    Silent,
}

/// Whether devices that hold their reads do so.
static HELD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);

struct Flight {
    read: Read,
    turns_left: u32,
}

/// A device with seeded latencies, short reads and faults.
struct Unreliable {
    rng: ChaCha8Rng,
    faults: Faults,
    files: Arc<Files>,
    flights: Vec<Flight>,
    queued: u32,
    broken: bool,
}

/// The choice of such a device for each shard.
fn choice(seed: u64, faults: Faults) -> ReadPathChoice {
    ReadPathChoice::Custom(CustomPath::new(move |_, files| {
        Box::new(Unreliable::new(seed, faults, files))
    }))
}

/// Short reads end here, as they do on a block device.
const SECTOR_BYTES: u32 = 4096;

impl Unreliable {
    fn new(seed: u64, faults: Faults, files: Arc<Files>) -> Unreliable {
        Unreliable {
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults,
            files,
            flights: Vec::new(),
            queued: 0,
            broken: false,
        }
    }

    fn perform(&mut self, read: Read) -> Result<u32, Errno> {
        if self.faults == Faults::Io && self.rng.random_ratio(1, 16) {
            return Err(libc::EIO);
        }
        if let Faults::Page { file, page } = self.faults
            && read.file == file
            && (read.offset / PAGE_BYTES
                ..(read.offset + u64::from(read.bytes)).div_ceil(PAGE_BYTES))
                .contains(&page)
        {
            return Err(libc::EIO);
        }
        let bytes = match self.rng.random_range(0..8) {
            0 => return Err(libc::EAGAIN),
            1 => return Err(libc::EINTR),
            2 | 3 if read.bytes > SECTOR_BYTES => {
                SECTOR_BYTES * self.rng.random_range(1..=read.bytes / SECTOR_BYTES)
            }
            _ => read.bytes,
        };
        let Some(file) = self.files.borrowed().nth(read.file as usize) else {
            return Err(libc::EBADF);
        };
        // SAFETY: the buffer is the read's until its completion, and longer than `bytes`.
        unsafe { read_whole(file, Read { bytes, ..read }) }
    }
}

// SAFETY: buffers are written in `queue` and `turn` only, before the one completion of each read.
unsafe impl ReadPath for Unreliable {
    unsafe fn queue(&mut self, read: Read) {
        self.queued += 1;
        // SAFETY: the buffer is the read's until its completion.
        unsafe { read.buffer.as_ptr().write_bytes(0xee, read.bytes as usize) };
        let turns_left = self.rng.random_range(0..40);
        self.flights.push(Flight { read, turns_left });
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if matches!(self.faults, Faults::BreaksAfter(reads) if self.queued >= reads) {
            return Err(io::Error::other("made up"));
        }
        if let Faults::BreaksAndHolds(reads) = self.faults {
            if self.queued >= reads && !std::mem::replace(&mut self.broken, true) {
                return Err(io::Error::other("made up"));
            }
            if self.broken && HELD.load(std::sync::atomic::Ordering::Acquire) {
                std::thread::sleep(std::time::Duration::from_millis(1));
                return Ok(());
            }
        }
        if self.faults == Faults::Silent {
            if let Wait::For { timeout, .. } = wait {
                std::thread::sleep(timeout);
            }
            return Ok(());
        }
        // A turn may return early: nothing here takes real time but an idle sleep.
        if self.flights.is_empty() && wait != Wait::No {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for flight in &mut self.flights {
            flight.turns_left = flight.turns_left.saturating_sub(1);
        }
        let due: Vec<Flight> = self
            .flights
            .extract_if(.., |flight| flight.turns_left == 0)
            .collect();
        for Flight { read, .. } in due {
            let result = self.perform(read);
            completions.push(Completion {
                token: read.token,
                result,
            });
        }
        Ok(())
    }
}

mod tests {
    use std::path::Path;

    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use futures_lite::future::{block_on, poll_once};

    use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch};
    use ringtake_storage::write::{WriteOptions, Writer};

    use super::{Faults, HELD, choice};
    use crate::config::{Config, CpuChoice, Lab, Scheduler};
    use crate::device::contract::{ROWS, rows, written};
    use crate::device::read_path::DRAIN_TIME_MAX;
    use crate::{Error, FaultKind, Store};

    fn open(path: &Path, seed: u64, faults: Faults, scheduler: Scheduler) -> Store {
        println!("seed {seed}");
        let config = Config {
            shards: Some(2),
            cpus: CpuChoice::Unpinned,
            queue_depth: 8 << (seed % 3),
            cache: crate::CacheChoice::Bytes((seed % 2) << 20),
            read_path: choice(seed, faults),
            lab: Lab {
                scheduler,
                ..Lab::default()
            },
            ..Config::default()
        };
        Store::open(path, config).unwrap()
    }

    fn ids(seed: u64) -> Vec<u64> {
        (0..300)
            .map(|at| (at * 7 + seed * 131) * 37 % ROWS)
            .collect()
    }

    #[test]
    fn rows_survive_short_reads_retries_and_any_order_of_completions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        written(&path);
        for seed in 0..12 {
            for scheduler in [Scheduler::Batched, Scheduler::PerRead] {
                let store = open(&path, seed, Faults::None, scheduler);
                for round in 0..2 {
                    let ids = ids(seed + round);
                    let taken = store.take(&ids, &store.all_columns()).wait().unwrap();
                    assert!(taken == rows(&ids), "seed {seed} {scheduler} {round}");
                }
            }
        }
    }

    #[test]
    fn a_read_that_fails_is_reported_for_its_rows_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        written(&path);
        for seed in 0..4 {
            let store = open(&path, seed, Faults::Io, Scheduler::Batched);
            let (mut failed, mut came) = (0, 0);
            for id in ids(seed) {
                match store.take(&[id], &store.all_columns()).wait() {
                    Ok(taken) => {
                        came += 1;
                        assert!(taken == rows(&[id]), "seed {seed} row {id}");
                    }
                    Err(Error::Rows { faults, .. }) => {
                        failed += 1;
                        for fault in faults {
                            let expected = FaultKind::Io { errno: libc::EIO };
                            assert_eq!((fault.row, fault.kind), (id, expected));
                        }
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(failed > 0 && came > 0, "seed {seed}: {failed} {came}");
        }
    }

    #[test]
    fn a_bad_page_fails_the_rows_that_need_it_and_none_read_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        written(&path);
        let blobs = 1;
        for seed in 0..6 {
            let page = 5 + 31 * seed;
            let faults = Faults::Page {
                file: blobs as u32,
                page,
            };
            let store = open(&path, seed, faults, Scheduler::Batched);
            let locator = store.dataset().locator(blobs);
            let needs_it = |&row: &u64| {
                let extent = locator.locate(row).unwrap();
                let last = (extent.offset + u64::from(extent.bytes) - 1) / 4096;
                (extent.offset / 4096..=last).contains(&page)
            };
            // Neighbours, so that many rows share a read, and some of them twice.
            let ids: Vec<u64> = (0..ROWS).chain(200..260).collect();
            let Err(Error::Rows { faults, .. }) = store.take(&ids, &store.all_columns()).wait()
            else {
                panic!("seed {seed}: page {page} is not bad");
            };
            let mut failed: Vec<u64> = faults.iter().map(|fault| fault.row).collect();
            failed.dedup();
            let expected: Vec<u64> = (0..ROWS).filter(needs_it).collect();
            assert_eq!(failed, expected, "seed {seed}");
            let others: Vec<u64> = (0..ROWS).filter(|row| !needs_it(row)).collect();
            let taken = store.take(&others, &store.all_columns()).wait().unwrap();
            assert!(taken == rows(&others), "seed {seed}");
        }
    }

    #[test]
    fn a_shard_that_dies_gives_no_memory_back_that_a_drive_may_still_write() {
        const PAGE: usize = 4096;
        const READS: u32 = 30;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let page_of = |id: u64| vec![id as u8; PAGE];
        let pages = FixedSizeBinaryArray::try_from_iter((0..512).map(page_of));
        let batch =
            RecordBatch::try_from_iter([("page", Arc::new(pages.unwrap()) as ArrayRef)]).unwrap();
        let options = WriteOptions {
            block_rows: Some(256),
            ..WriteOptions::default()
        };
        let mut writer = Writer::create(&path, &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let config = Config {
            shards: Some(2),
            cpus: CpuChoice::Unpinned,
            read_path: choice(1, Faults::BreaksAndHolds(READS)),
            ..Config::default()
        };
        let store = Store::open(&path, config).unwrap();
        let columns = store.all_columns();
        // No neighbours, which would be read together. All of these are placed, and none has come,
        // when the first shard breaks.
        let lost: Vec<u64> = (0..u64::from(READS)).map(|nth| nth * 3).collect();
        assert_eq!(store.shard_of(lost[0]).0, 0);
        let ended = store.take(&lost, &columns).wait();
        assert!(
            matches!(ended, Err(Error::ShardEnded { shard: 0 })),
            "{ended:?}"
        );
        assert_eq!(store.stats()[0].reads_placed, u64::from(READS));
        // While the shard waits for its drive, no caller waits for the shard.
        let asked = Instant::now();
        let ended = store.take(&lost, &columns).wait();
        assert!(matches!(ended, Err(Error::ShardEnded { shard: 0 })));
        assert!(asked.elapsed() < DRAIN_TIME_MAX / 2);
        // The other shard has fewer, even with those it tries again, so it works. Its result must
        // have other memory.
        let kept: Vec<u64> = (0..10).map(|nth| 300 + nth * 3).collect();
        let taken = store.take(&kept, &columns).wait().unwrap();
        assert_eq!(store.stats()[1].reads_placed, kept.len() as u64);
        HELD.store(false, Ordering::Release);
        store.close();
        let column = taken.column(0).as_fixed_size_binary();
        for (place, &id) in kept.iter().enumerate() {
            assert!(column.value(place) == page_of(id), "row {id}");
        }
    }

    #[test]
    fn a_store_on_a_silent_drive_can_be_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        written(&path);
        let store = open(&path, 2, Faults::Silent, Scheduler::Batched);
        let columns = store.all_columns();
        let deadline = Instant::now() + Duration::from_millis(20);
        let taken = store.take(&[1], &columns).deadline(deadline).wait();
        assert!(matches!(taken, Err(Error::DeadlineExceeded { .. })));
        let dropped = store.take(&[2], &columns).into_future();
        assert!(block_on(poll_once(Box::pin(dropped))).is_none());
        store.close();
    }

    #[test]
    fn a_path_that_breaks_fails_its_takes_and_the_store_still_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        written(&path);
        for scheduler in [Scheduler::Batched, Scheduler::PerRead] {
            let store = open(&path, 3, Faults::BreaksAfter(5), scheduler);
            let taken = store.take(&ids(3), &store.all_columns()).wait();
            assert!(
                matches!(taken, Err(Error::ShardEnded { .. })),
                "{scheduler} {taken:?}"
            );
            store.close();
            let taken = store.take(&ids(3), &store.all_columns()).wait();
            assert!(matches!(taken, Err(Error::Closed)), "{taken:?}");
        }
    }
}
