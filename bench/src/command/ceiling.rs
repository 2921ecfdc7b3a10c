//! `bench ceiling`: how fast the reads of a workload can be made when nothing else is done.
//!
//! The queries are those of `bench file-read`, and the reads those of the store for the largest
//! column group. One thread per CPU goes over a plan that was made beforehand; on a bare ring,
//! or by copying the rows out of the page cache into one output after another in the same
//! memory. What comes is touched and not decoded.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use ringtake_runtime::ShardStats;
use ringtake_runtime::yardstick::{
    BufferedFiles, DirectFiles, MappedFiles, ReadAt, RingShape, pin_this_thread, read_on_ring,
};

use crate::command::args::{BoundArgs, PartArgs, RowsArgs, RunArgs};
use crate::count::device::Devices;
use crate::count::environment::Environment;
use crate::count::perf_window;
use crate::count::process::{self, Spent};
use crate::count::system_calls::SystemCalls;
use crate::drive::latency::{latency_histogram, nanoseconds};
use crate::drive::load::{Bound, ClientPlace};
use crate::drive::run::Run;
use crate::error::Error;
use crate::measure::session::CHECKSUM_QUERIES;
use crate::record::Record;
use crate::record::activity::Activity;
use crate::record::advice::advice;
use crate::record::configuration::{Configuration, seconds_or_queries};
use crate::record::measurement::Measurement;
use crate::record::proof::Cache;
use crate::workload::Workload;
use crate::workload::read_plan::{Cut, LargestGroup, ReadPlan};
use crate::workload::row_checksum::{RowBytes, RowsChecksum};

/// How a yardstick reads rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A bare io_uring, past the page cache
    Ring,
    /// Copies out of a map of the files, in the page cache
    Mmap,
    /// A system call for each row, from the page cache
    Pread,
}

impl Source {
    /// The read path in the record.
    fn read_path(self) -> &'static str {
        match self {
            Source::Ring => "bare-ring",
            Source::Mmap => "mmap-loop",
            Source::Pread => "pread-loop",
        }
    }
}

/// Flags of `bench ceiling`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CeilingArgs {
    /// The rows, whose largest column group is read.
    #[command(flatten)]
    rows: RowsArgs,
    /// The part of the dataset.
    #[command(flatten)]
    part: PartArgs,
    /// How rows are read
    #[arg(long, value_enum, default_value_t = Source::Ring)]
    by: Source,
    /// The end of the run.
    #[command(flatten)]
    bound: BoundArgs,
    /// Threads, each with a ring of its own and on a CPU of its own
    #[arg(long, value_name = "T", default_value = "1")]
    threads: NonZeroUsize,
    /// Reads that each ring keeps in flight
    #[arg(long, value_name = "D", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    queue_depth: u32,
    /// The run.
    #[command(flatten)]
    run: RunArgs,
}

/// Measures and prints the record.
pub(crate) fn run(args: &CeilingArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    args.run.output.emit(&measure(args, interrupted)?)
}

fn measure(args: &CeilingArgs, interrupted: &AtomicBool) -> Result<Record, Error> {
    let places = LargestGroup::of(&args.rows.dataset, &args.rows.columns)?;
    let rows = args.part.rows_used(places.rows());
    let workload = Workload::new(rows, args.rows.rows_per_query.get(), args.run.seed)?;
    let mut system_calls = SystemCalls::open();
    let source = Files::open(args, &places)?;
    let plan = places.plan(&workload, &source.cut())?;
    if let Files::Mapped(_) | Files::Buffered(_) = source {
        source.touch_all(&plan, interrupted)?;
    }
    let devices = Devices::holding(&places.paths);
    let loops = Loops {
        args,
        plan: &plan,
        source: &source,
        interrupted,
    };
    let mut attempt = 1;
    let mut measurement = loop {
        let measurement = Measurement {
            attempt,
            row_bytes: places.row_bytes(),
            ..loops.run(&devices, &mut system_calls)?
        };
        match measurement.prove() {
            Err(reason) if reason.is_disturbance() && attempt < args.run.attempts => {
                eprintln!("measuring again: {reason}");
                attempt += 1;
            }
            _ => break measurement,
        }
    };
    measurement.checksum = source.checksum(&places, &workload, &plan)?;
    let environment = Environment::observe(devices.map(|d| d.describe()).unwrap_or_default());
    let mut record = Record::new(
        &measurement,
        "ceiling",
        args.by.read_path().to_owned(),
        environment,
        configuration(args, &places, rows),
    );
    record.warnings = advice(&record, None);
    if measurement.checksum.rows() == 0 {
        record.notes.push(
            "there is no checksum over rows: they are not stored as Arrow has them; \
             choose one column without nulls with --columns"
                .to_owned(),
        );
    }
    Ok(record)
}

fn configuration(args: &CeilingArgs, places: &LargestGroup, rows: u64) -> Configuration {
    let (seconds, queries) = seconds_or_queries(args.bound.bound());
    Configuration {
        dataset: args.rows.dataset.clone(),
        dataset_rows: places.rows(),
        rows_used: rows,
        columns: places.columns.clone(),
        row_bytes: places.row_bytes(),
        memory_bytes: None,
        seconds,
        queries,
        rows_per_query: args.rows.rows_per_query.get(),
        distribution: "uniform".to_owned(),
        clients: ClientPlace::Threads,
        threads: args.threads.get(),
        in_flight: 1,
        seed: args.run.seed,
        store: serde_json::json!({ "by": args.by.read_path(), "queue_depth": args.queue_depth }),
        store_info: serde_json::Value::Null,
    }
}

/// The data files, opened for a source.
enum Files {
    Ring(DirectFiles),
    Mapped(MappedFiles),
    Buffered(BufferedFiles),
}

impl Files {
    fn open(args: &CeilingArgs, places: &LargestGroup) -> Result<Files, Error> {
        let paths = &places.paths;
        let opened = match args.by {
            Source::Ring => DirectFiles::open(paths).map(Files::Ring),
            Source::Mmap => MappedFiles::open(paths).map(Files::Mapped),
            Source::Pread => BufferedFiles::open(paths).map(Files::Buffered),
        };
        opened.map_err(Error::io("open the data files of", &args.rows.dataset))
    }

    fn cut(&self) -> Cut {
        match self {
            Files::Ring(files) => Cut::Reads {
                align_bytes: files.align_bytes(),
            },
            Files::Mapped(_) | Files::Buffered(_) => Cut::Rows,
        }
    }

    fn cache(&self) -> Cache {
        match self {
            Files::Ring(_) => Cache::Cold,
            Files::Mapped(_) | Files::Buffered(_) => Cache::Warm,
        }
    }

    /// Copies out of the page cache; a system call for each row, or none.
    fn copy(&self, at: ReadAt, out: &mut [u8]) -> std::io::Result<u64> {
        match self {
            Files::Ring(_) => unreachable!("a ring does not copy"),
            Files::Mapped(files) => {
                files.copy(at, out);
                Ok(0)
            }
            Files::Buffered(files) => files.copy(at, out).map(|()| 1),
        }
    }

    /// Brings every row of the plan into the page cache.
    fn touch_all(&self, plan: &ReadPlan, interrupted: &AtomicBool) -> Result<(), Error> {
        let mut out = vec![0; plan.bytes_max as usize];
        for query in 0..plan.queries() {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            for at in plan.query(query) {
                self.copy(*at, &mut out).map_err(Error::subject)?;
            }
        }
        Ok(())
    }

    /// The first queries again, each row found in the bytes that came for it.
    fn checksum(
        &self,
        places: &LargestGroup,
        workload: &Workload,
        plan: &ReadPlan,
    ) -> Result<RowsChecksum, Error> {
        let mut row_ids = Vec::new();
        let mut checksum = RowsChecksum::default();
        let mut row_bytes = RowBytes::default();
        for query in 0..plan.queries().min(CHECKSUM_QUERIES) {
            workload.query(query, &mut row_ids);
            for (at, bytes) in self.bytes_of(plan, query)? {
                row_ids.retain(|row| {
                    let found = places.checksum_bytes(*row, at.offset, &bytes, &mut row_bytes);
                    // Without this, a row at the same place of another file would do.
                    let here = found.is_some() && places.file_of(*row) == Some(at.file);
                    if here {
                        checksum.add_row(&row_bytes);
                    }
                    !here
                });
            }
            if !row_ids.is_empty() {
                return Ok(RowsChecksum::default());
            }
        }
        Ok(checksum)
    }

    fn bytes_of(&self, plan: &ReadPlan, query: u64) -> Result<Vec<(ReadAt, Vec<u8>)>, Error> {
        let reads = plan.query(query);
        if let Files::Ring(files) = self {
            let mut came = Vec::with_capacity(reads.len());
            let shape = RingShape {
                queue_depth: 64,
                bytes_max: plan.bytes_max,
            };
            let mut rest = reads.iter().copied();
            let done = |at: ReadAt, bytes: &[u8]| came.push((at, bytes.to_vec()));
            read_on_ring(files, shape, || (), || rest.next(), done).map_err(Error::subject)?;
            return Ok(came);
        }
        reads
            .iter()
            .map(|at| {
                let mut out = vec![0; at.bytes as usize];
                self.copy(*at, &mut out).map_err(Error::subject)?;
                Ok((*at, out))
            })
            .collect()
    }
}

/// The loops of all threads.
struct Loops<'a> {
    args: &'a CeilingArgs,
    plan: &'a ReadPlan,
    source: &'a Files,
    interrupted: &'a AtomicBool,
}

impl Loops<'_> {
    fn run(
        &self,
        devices: &Result<Devices, crate::count::device::NoDevice>,
        system_calls: &mut Result<SystemCalls, String>,
    ) -> Result<Measurement, Error> {
        let threads = self.args.threads.get();
        let (ready, go) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
        let reads = || devices.clone().and_then(|devices| devices.reads());
        let mut calls = || match &mut *system_calls {
            Ok(calls) => calls.count(),
            Err(reason) => Err(reason.clone()),
        };
        let (before, started, loops, after) = std::thread::scope(|scope| {
            let spawned: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn({
                        let (ready, go) = (&ready, &go);
                        move || self.one_thread(thread, ready, go)
                    })
                })
                .collect();
            ready.wait();
            perf_window::begin();
            let before = (Spent::by_process(), reads(), calls(), process::read_bytes());
            let started = Instant::now();
            go.wait();
            let loops: Vec<_> = spawned.into_iter().map(|thread| thread.join()).collect();
            let after = (Spent::by_process(), reads(), calls(), process::read_bytes());
            perf_window::end();
            (before, started, loops, after)
        });
        let (spent, device, after_calls, process_bytes) = after;
        let mut sum = Loop::new();
        for one in loops {
            match one {
                Ok(one) => sum.absorb(one?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let rows = sum.queries * self.args.rows.rows_per_query.get();
        Ok(Measurement {
            cache: self.source.cache(),
            attempt: 1,
            unique_rows: Some(rows.min(self.plan.queries() * self.args.rows.rows_per_query.get())),
            unique_queries: None,
            observed: Activity::default(),
            row_bytes: None,
            memory_bytes: None,
            checksum: RowsChecksum::default(),
            spent: spent.since(before.0),
            store: Some(ShardStats {
                rows,
                ..sum.counted
            }),
            device: device.and_then(|after| Ok(after.since(before.1?))),
            process_bytes: process_bytes
                .zip(before.3)
                .map(|(after, before)| after - before),
            system_calls: after_calls.and_then(|after| Ok(after - before.2?)),
            run: Run {
                duration: sum
                    .ended
                    .map_or(Duration::ZERO, |ended| ended.duration_since(started)),
                queries: sum.queries,
                rows,
                latency_ns: sum.latency_ns,
                clients: sum.spent,
                interrupted: false,
                touched: sum.touched,
                arrivals: None,
            },
        })
    }

    fn one_thread(&self, thread: usize, ready: &Barrier, go: &Barrier) -> Result<Loop, Error> {
        pin_this_thread(thread);
        let queries = Queries {
            next: thread as u64,
            step: self.args.threads.get() as u64,
            bound: self.args.bound.bound(),
            deadline: None,
        };
        let wait = || {
            ready.wait();
            go.wait();
        };
        match self.source {
            Files::Ring(files) => self.on_ring(files, queries, wait),
            Files::Mapped(_) | Files::Buffered(_) => self.by_copies(queries, wait),
        }
    }

    fn by_copies(&self, mut queries: Queries, wait: impl FnOnce()) -> Result<Loop, Error> {
        let out_bytes = (0..self.plan.queries())
            .map(|query| {
                self.plan
                    .query(query)
                    .iter()
                    .map(|at| at.bytes as usize)
                    .sum()
            })
            .max()
            .unwrap_or(0);
        let mut out = vec![0_u8; out_bytes];
        let mut done = Loop::new();
        wait();
        let before = Spent::by_this_thread();
        queries.start();
        let mut failed = None;
        while let Some((query, asked)) = queries.next(self.interrupted) {
            let mut free = out.as_mut_slice();
            for at in self.plan.query(query) {
                match self.source.copy(*at, free) {
                    Ok(calls) => done.counted.system_calls += calls,
                    Err(error) => failed = Some(error),
                }
                done.touched = done
                    .touched
                    .wrapping_add(u64::from(std::hint::black_box(free[0])));
                free = &mut free[at.bytes as usize..];
            }
            if failed.is_some() {
                break;
            }
            done.answered(asked, Instant::now());
        }
        done.spent = Spent::by_this_thread().since(before);
        failed.map_or(Ok(done), |error| Err(Error::subject(error)))
    }

    fn on_ring(
        &self,
        files: &DirectFiles,
        queries: Queries,
        wait: impl FnOnce(),
    ) -> Result<Loop, Error> {
        let shape = RingShape {
            queue_depth: self.args.queue_depth,
            bytes_max: self.plan.bytes_max,
        };
        let state = RefCell::new(InFlight::new(queries, self.args.queue_depth));
        let before = RefCell::new(Spent::default());
        let ready = || {
            wait();
            *before.borrow_mut() = Spent::by_this_thread();
            state.borrow_mut().queries.start();
        };
        let counts = read_on_ring(
            files,
            shape,
            ready,
            || state.borrow_mut().next(self.plan, self.interrupted),
            |at, bytes| state.borrow_mut().came(at, bytes),
        )
        .map_err(Error::subject)?;
        let mut done = state.into_inner().done;
        done.spent = Spent::by_this_thread().since(before.into_inner());
        done.counted = ShardStats {
            reads: counts.reads,
            completions: counts.reads,
            read_bytes: counts.read_bytes,
            system_calls: counts.system_calls,
            ..ShardStats::default()
        };
        Ok(done)
    }
}

/// The queries of one thread: every so many of the workload.
struct Queries {
    next: u64,
    step: u64,
    bound: Bound,
    deadline: Option<Instant>,
}

impl Queries {
    fn start(&mut self) {
        if let Bound::Time(time) = self.bound {
            self.deadline = Instant::now().checked_add(time);
        }
    }

    /// The next query and the time at which it is asked.
    fn next(&mut self, interrupted: &AtomicBool) -> Option<(u64, Instant)> {
        let query = self.next;
        let asked = Instant::now();
        let over = match self.bound {
            Bound::Queries(queries) => query >= queries,
            Bound::Time(_) => self.deadline.is_some_and(|end| asked >= end),
        };
        if over || interrupted.load(Ordering::Relaxed) {
            return None;
        }
        self.next += self.step;
        Some((query, asked))
    }
}

/// The queries of which reads are in flight: at most one for each read, and the one begun.
struct InFlight<'a> {
    queries: Queries,
    rest: &'a [ReadAt],
    place: u32,
    places: Vec<(u32, Instant)>,
    free: Vec<u32>,
    done: Loop,
}

impl<'a> InFlight<'a> {
    fn new(queries: Queries, queue_depth: u32) -> InFlight<'a> {
        InFlight {
            queries,
            rest: &[],
            place: 0,
            places: vec![(0, Instant::now()); queue_depth as usize + 1],
            free: (0..=queue_depth).collect(),
            done: Loop::new(),
        }
    }

    fn next(&mut self, plan: &'a ReadPlan, interrupted: &AtomicBool) -> Option<ReadAt> {
        while self.rest.is_empty() {
            let (query, asked) = self.queries.next(interrupted)?;
            self.rest = plan.query(query);
            if self.rest.is_empty() {
                self.done.answered(asked, asked);
                continue;
            }
            // There is one more than reads, so one is free whenever a read can be made.
            self.place = self.free.pop()?;
            self.places[self.place as usize] = (self.rest.len() as u32, asked);
        }
        let (read, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(ReadAt {
            tag: self.place,
            ..*read
        })
    }

    fn came(&mut self, at: ReadAt, bytes: &[u8]) {
        let first = bytes.first().copied().unwrap_or_default();
        self.done.touched = self
            .done
            .touched
            .wrapping_add(u64::from(std::hint::black_box(first)));
        let (left, asked) = &mut self.places[at.tag as usize];
        *left -= 1;
        if *left == 0 {
            let asked = *asked;
            self.free.push(at.tag);
            self.done.answered(asked, Instant::now());
        }
    }
}

/// What one thread did.
struct Loop {
    queries: u64,
    latency_ns: Histogram<u64>,
    ended: Option<Instant>,
    spent: Spent,
    counted: ShardStats,
    touched: u64,
}

impl Loop {
    fn new() -> Loop {
        Loop {
            queries: 0,
            latency_ns: latency_histogram(),
            ended: None,
            spent: Spent::default(),
            counted: ShardStats::default(),
            touched: 0,
        }
    }

    fn answered(&mut self, asked: Instant, now: Instant) {
        self.latency_ns.saturating_record(nanoseconds(now - asked));
        self.queries += 1;
        self.ended = Some(now);
    }

    fn absorb(&mut self, other: Loop) {
        self.queries += other.queries;
        self.latency_ns += other.latency_ns;
        self.ended = self.ended.max(other.ended);
        self.spent = self.spent.plus(other.spent);
        self.counted = self.counted + other.counted;
        self.touched = self.touched.wrapping_add(other.touched);
    }
}
