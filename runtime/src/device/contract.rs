//! The contract of [`ReadPath`], tried on every path without a shard above it: the bytes, the end
//! of the file, memory outside the arena, and the end of a path with reads in flight.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use glommio::LocalExecutorBuilder;
use ringtake_storage::dataset::TableCheck;
use ringtake_storage::layout::{GroupOptions, LayoutPolicy};
use ringtake_storage::write::{Overwrite, WriteOptions, Writer};

use crate::config::{IoMode, ReadPathChoice, Scheduler};
use crate::device::control::dma_file::Reads;
use crate::device::control::shared_rings::SharedRings;
use crate::device::files::{self, Files};
use crate::device::path_spec::PathSpec;
use crate::device::read_path::{Completion, Memory, Read, ReadPath, Wait};
use crate::doorbell::Doorbell;
use crate::memory::arena::Region;
use crate::metrics::stats::ShardCounters;

const SLOT_BYTES: u32 = 64 << 10;

fn ways() -> Vec<(ReadPathChoice, Scheduler)> {
    let ring = ReadPathChoice::RingPerShard;
    let shared = ReadPathChoice::SharedRings { rings: 2 };
    let pool = ReadPathChoice::ThreadPool { threads: 2 };
    vec![
        (ring, Scheduler::Batched),
        (shared, Scheduler::Batched),
        (pool, Scheduler::Batched),
        (ReadPathChoice::Mmap, Scheduler::Batched),
        (ring, Scheduler::PerRead),
        (shared, Scheduler::PerRead),
        (pool, Scheduler::PerRead),
    ]
}

pub(crate) const ROWS: u64 = 1_000;

/// Rows of a few bytes to many pages, so that reads of all sizes are made.
pub(crate) fn rows(ids: &[u64]) -> RecordBatch {
    let id = Int64Array::from_iter_values(ids.iter().map(|&id| id as i64));
    let blob = BinaryArray::from_iter_values(ids.iter().map(|&id| {
        let bytes = [17, 5_000, 40_000, 300_000][if id % 50 == 7 { 3 } else { id as usize % 3 }];
        (0..bytes)
            .map(|at| (id as usize + at / 7) as u8)
            .collect::<Vec<u8>>()
    }));
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(id)), ("blob", Arc::new(blob))];
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(crate) fn written(path: &Path) {
    let options = WriteOptions {
        block_rows: Some(256),
        grouping: GroupOptions {
            policy: LayoutPolicy::Packed,
            ..GroupOptions::default()
        },
        data_dirs: Vec::new(),
        overwrite: Overwrite::Refuse,
    };
    let mut writer = Writer::create(path, &rows(&[0]).schema(), options).unwrap();
    let all: Vec<u64> = (0..ROWS).collect();
    for ids in all.chunks(250) {
        writer.write(&rows(ids)).unwrap();
    }
    writer.finish().unwrap();
}

struct World {
    _dir: tempfile::TempDir,
    files: Arc<Files>,
    /// The bytes of the first data file.
    bytes: Vec<u8>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    written(&path);
    let (_, files, _) = files::open(&path, TableCheck::Verify, IoMode::Direct).unwrap();
    let data = files.files[0].path.clone();
    // An end in the middle of a page.
    let bytes = std::fs::read(&data).unwrap();
    let bytes = bytes[..bytes.len() - 4096 + 700].to_vec();
    let file = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.sync_all().unwrap();
    World {
        _dir: dir,
        files: Arc::new(files),
        bytes,
    }
}

impl World {
    /// Reads of all sorts: whole, one over the end, one past it, one of nothing but the end.
    fn places(&self) -> Vec<(u64, u32)> {
        let length = self.bytes.len() as u64;
        let last_page = length / 4096 * 4096;
        let mut places: Vec<(u64, u32)> = (0..24)
            .map(|at| (at * 7 % 16 * 4096, 4096 << (at % 5)))
            .collect();
        places.extend([
            (last_page, 4096),
            (last_page - 8192, SLOT_BYTES),
            (last_page + 4096, 4096),
            (last_page + (1 << 30), SLOT_BYTES),
        ]);
        places
    }

    fn expected(&self, offset: u64, bytes: u32) -> &[u8] {
        let from = (offset as usize).min(self.bytes.len());
        let to = (from + bytes as usize).min(self.bytes.len());
        &self.bytes[from..to]
    }
}

/// Memory for `slots` reads; `skew` moves every buffer from its page, as memory of the caller's
/// may lie.
struct Buffers {
    region: Region,
    skew: usize,
}

impl Buffers {
    fn new(slots: usize, skew: usize) -> Buffers {
        Buffers {
            region: Region::new(slots * SLOT_BYTES as usize + skew).unwrap(),
            skew,
        }
    }

    fn read(&self, token: u32, (offset, bytes): (u64, u32)) -> Read {
        let at = token as usize * SLOT_BYTES as usize + self.skew;
        Read {
            token,
            file: 0,
            offset,
            bytes,
            // SAFETY: inside the region.
            buffer: unsafe { self.region.start().add(at) },
            memory: if self.skew == 0 {
                Memory::Arena
            } else {
                Memory::Own
            },
        }
    }

    fn check(&self, world: &World, place: (u64, u32), completion: Completion, way: &str) {
        let expected = world.expected(place.0, place.1);
        let Completion { token, result } = completion;
        assert_eq!(result, Ok(expected.len() as u32), "{way} {place:?}");
        let at = token as usize * SLOT_BYTES as usize + self.skew;
        // SAFETY: the read is complete.
        let got = unsafe { self.region.slice(at, expected.len()) };
        assert!(got == expected, "{way} {place:?} has other bytes");
    }
}

fn spec(world: &World, way: ReadPathChoice, queue_depth: u32, buffers: &Buffers) -> PathSpec {
    let rings = match way {
        ReadPathChoice::SharedRings { rings } => {
            let rings = SharedRings::start(rings, 1, queue_depth, &world.files).unwrap();
            Some(Arc::new(rings))
        }
        _ => None,
    };
    PathSpec {
        shard: 0,
        read_path: way,
        queue_depth,
        files: world.files.clone(),
        memory: vec![buffers.region.span()],
        doorbell: Arc::new(Doorbell::new().unwrap()),
        counters: Arc::new(ShardCounters::default()),
        rings,
    }
}

const WAIT: Wait = Wait::For {
    completions: 1,
    timeout: Duration::from_millis(100),
};

/// Pieces of longer reads come one by one, as the engine asks for them; here they are put
/// together the same way.
struct Driven<'w> {
    world: &'w World,
    buffers: Buffers,
    got: Vec<u32>,
    left: usize,
    way: String,
}

impl<'w> Driven<'w> {
    fn new(world: &'w World, skew: usize, way: String) -> Driven<'w> {
        let places = world.places().len();
        Driven {
            world,
            buffers: Buffers::new(places, skew),
            got: vec![0; places],
            left: places,
            way,
        }
    }

    fn queue_all(&self, path: &mut dyn ReadPath) {
        for (token, &place) in self.world.places().iter().enumerate() {
            // SAFETY: the buffer is looked at when the completion has come.
            unsafe { path.queue(self.buffers.read(token as u32, place)) };
        }
    }

    fn take(&mut self, completions: &mut Vec<Completion>) {
        for completion in completions.drain(..) {
            let token = completion.token as usize;
            assert_eq!(self.got[token], 0, "{}: one completion per read", self.way);
            self.got[token] = 1;
            let place = self.world.places()[token];
            self.buffers.check(self.world, place, completion, &self.way);
            self.left -= 1;
        }
    }
}

#[test]
fn every_path_brings_the_bytes_and_ends_where_the_file_does() {
    let world = world();
    let skews = [0, world.files.align_bytes as usize];
    for (way, scheduler) in ways() {
        for skew in skews {
            let mut driven = Driven::new(&world, skew, format!("{way} {scheduler} {skew}"));
            let depth = world.places().len() as u32;
            let spec = spec(&world, way, depth, &driven.buffers);
            let mut ring = None;
            // SAFETY: buffers and files outlive the path.
            let (mut path, _) = unsafe { spec.scheduled(scheduler, &mut ring) }.unwrap();
            driven.queue_all(path.as_mut());
            let mut completions = Vec::new();
            while driven.left > 0 {
                path.turn(WAIT, &mut completions).unwrap();
                driven.take(&mut completions);
            }
            path.turn(Wait::No, &mut completions).unwrap();
            assert!(completions.is_empty(), "{}", driven.way);
        }
    }
}

/// Glommio's files, direct and buffered.
#[test]
fn glommios_files_bring_the_same_bytes() {
    let mut world = world();
    for direct in [true, false] {
        Arc::get_mut(&mut world.files).unwrap().direct = direct;
        let world = &world;
        let executor = LocalExecutorBuilder::default().make().unwrap();
        executor.run(async {
            let mut driven = Driven::new(world, 512, format!("glommio {direct}"));
            let doorbell = Arc::new(Doorbell::new().unwrap());
            let reads = Rc::new(Reads::default());
            let depth = world.places().len() as u32;
            let mut path = reads.open(&world.files, depth, &doorbell).await.unwrap();
            driven.queue_all(&mut path);
            let mut completions = Vec::new();
            while driven.left > 0 {
                path.turn(WAIT, &mut completions).unwrap();
                driven.take(&mut completions);
                if driven.left > 0 {
                    reads.rest(None).await;
                }
            }
            drop(path);
            assert!(reads.settle().await);
        });
    }
}

#[test]
fn cancelled_reads_of_glommios_come_back_at_once_and_write_nothing() {
    let world = world();
    let executor = LocalExecutorBuilder::default().make().unwrap();
    executor.run(async {
        let driven = Driven::new(&world, 0, "glommio".to_owned());
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let reads = Rc::new(Reads::default());
        let depth = world.places().len() as u32;
        let mut path = reads.open(&world.files, depth, &doorbell).await.unwrap();
        driven.queue_all(&mut path);
        path.cancel();
        let mut completions = Vec::new();
        path.turn(Wait::No, &mut completions).unwrap();
        assert_eq!(completions.len(), world.places().len());
        for completion in completions {
            assert_eq!(completion.result, Err(libc::ECANCELED));
        }
        drop(path);
        assert!(reads.settle().await);
        let all = driven.buffers.region.bytes();
        // SAFETY: no read is in flight.
        let memory = unsafe { driven.buffers.region.slice(0, all) };
        assert!(memory.iter().all(|&byte| byte == 0));
    });
}

#[test]
fn glommios_rest_ends_when_the_doorbell_rings() {
    let world = world();
    let executor = LocalExecutorBuilder::default().make().unwrap();
    executor.run(async {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let reads = Rc::new(Reads::default());
        let path = reads.open(&world.files, 1, &doorbell).await.unwrap();
        for _ in 0..3 {
            doorbell.lie_down();
            let producer = doorbell.clone();
            let ring = std::thread::spawn(move || assert!(producer.ring()));
            reads.rest(None).await;
            doorbell.get_up();
            ring.join().unwrap();
        }
        drop(path);
        assert!(reads.settle().await);
    });
}

#[test]
fn a_path_may_end_with_reads_in_flight_whose_memory_is_given_up() {
    let world = world();
    for (way, scheduler) in ways() {
        for _ in 0..8 {
            let driven = Driven::new(&world, 0, String::new());
            let depth = world.places().len() as u32;
            let spec = spec(&world, way, depth, &driven.buffers);
            let mut ring = None;
            // SAFETY: the files outlive the path, and the memory is never freed.
            let (mut path, _) = unsafe { spec.scheduled(scheduler, &mut ring) }.unwrap();
            driven.queue_all(path.as_mut());
            path.turn(Wait::No, &mut Vec::new()).unwrap();
            driven.buffers.region.give_up();
            drop(path);
        }
    }
}
