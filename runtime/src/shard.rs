//! A shard: one thread, one executor, one ring, and the rows it alone reads.
//!
//! This file starts the thread and runs the loop; `shard/engine.rs` is what one round of the
//! loop does with rows. The loop is one long-lived task of a glommio executor, so that a
//! caller's code (`Store::run_on`) shares the thread; where io_uring is forbidden glommio cannot
//! run, and a plain executor takes its place.

pub(crate) mod cache;
pub(crate) mod engine;
pub(crate) mod inbox;
pub(crate) mod part;

use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use futures_lite::FutureExt as _;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};
use ringtake_storage::dataset::Dataset;
use serde::Serialize;

use crate::Error;
use crate::admission::Admission;
use crate::client::local::{LocalQueue, LocalShard};
use crate::config::{CacheChoice, Checksums, DepthControl, ReadPathChoice, Scheduler};
use crate::device::control::dma_file::Reads;
use crate::device::control::shared_rings::SharedRings;
use crate::device::files::Files;
use crate::device::page_cache_first::page_cache_first;
use crate::device::parts::Parts;
use crate::device::probe::RingFeatures;
use crate::device::read_path::ReadPath;
use crate::doorbell::Doorbell;
use crate::error::shortage;
use crate::index::codes::ShardCodes;
use crate::index::opened::OpenIndex;
use crate::memory::arena::Arena;
use crate::memory::results::ResultMemory;
use crate::metrics::stats::ShardCounters;
use crate::metrics::{Meter, ShardMeter, Stage};
use crate::ownership::{Ownership, ShardId};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::inbox::{LocalFuture, Message, Messages};
use engine::Engine;

/// What a shard is made from; also what code that runs on it may see.
#[derive(Debug)]
pub(crate) struct ShardContext {
    pub(crate) shard: ShardId,
    pub(crate) cpu: Option<usize>,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) files: Arc<Files>,
    pub(crate) ownership: Ownership,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) read_path: ReadPathChoice,
    pub(crate) scheduler: Scheduler,
    /// The rings of the store, where that is the read path.
    pub(crate) rings: Option<Arc<SharedRings>>,
    pub(crate) queue_depth: u32,
    pub(crate) depth_control: DepthControl,
    /// This shard's own share.
    pub(crate) cache: CacheChoice,
    /// What it holds, once it is loaded, if it is pinned.
    pub(crate) pinned: Arc<OnceLock<PinnedPages>>,
    pub(crate) checksums: Checksums,
    pub(crate) align_bytes: u32,
    pub(crate) merge_gap_bytes: u32,
    pub(crate) spin_before_park: Duration,
    pub(crate) results: Option<Arc<ResultMemory>>,
    pub(crate) indexes: Arc<[Arc<OpenIndex>]>,
    pub(crate) meter: Arc<ShardMeter>,
    /// What code on this shard may have at work: limits of its own, so that no other shard is
    /// waited for.
    pub(crate) local_admission: Arc<Admission>,
}

/// What became of a shard when it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardInfo {
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// The kernel's name for its thread.
    pub thread: String,
    /// The executor that runs it: `glommio`, or `plain` where io_uring is missing.
    pub executor: &'static str,
    /// Its ring, if it has one.
    pub ring: Option<RingFeatures>,
    /// Bytes of the codes of its rows, by index.
    pub codes_bytes: Vec<u64>,
    /// What its pinned cache lacks or has wrong, in sentences.
    pub warnings: Vec<String>,
}

/// Which executor runs the shard.
#[derive(Clone)]
enum Host {
    /// With the reads of its own files, where that is the read path.
    Glommio(Rc<Reads>),
    Plain(Rc<async_executor::LocalExecutor<'static>>),
    /// A simulation, which polls whatever can go on.
    #[cfg(test)]
    Simulated(Rc<async_executor::LocalExecutor<'static>>),
}

impl Host {
    fn name(&self) -> &'static str {
        match self {
            Host::Glommio(_) => "glommio",
            Host::Plain(_) => "plain",
            #[cfg(test)]
            Host::Simulated(_) => "simulated",
        }
    }

    fn spawn(&self, task: LocalFuture) {
        match self {
            Host::Glommio(_) => {
                glommio::spawn_local(task).detach();
            }
            Host::Plain(executor) => executor.spawn(task).detach(),
            #[cfg(test)]
            Host::Simulated(executor) => executor.spawn(task).detach(),
        }
    }

    /// Whether others have work for this thread from the beginning.
    fn is_shared(&self, read_path: ReadPathChoice) -> bool {
        match self {
            Host::Glommio(_) => read_path == ReadPathChoice::Glommio,
            Host::Plain(_) => false,
            #[cfg(test)]
            Host::Simulated(_) => true,
        }
    }

    async fn yield_if_needed(&self) {
        match self {
            Host::Glommio(_) => glommio::yield_if_needed().await,
            Host::Plain(_) => {}
            #[cfg(test)]
            Host::Simulated(_) => futures_lite::future::yield_now().await,
        }
    }
}

/// What glommio reads of each CPU that it pins a thread to; without it it panics.
const CPU_TOPOLOGY: &str = "/sys/devices/system/cpu/online";
/// How often glommio's timers may be late while a shard is busy.
const PREEMPT_TIMER: Duration = Duration::from_millis(5);
/// The longest sleep while code of callers may wait for something other than rows.
const SLEEP_WITH_TASKS: Duration = Duration::from_millis(1);
/// The longest sleep otherwise: the doorbell ends it.
const SLEEP_IDLE: Duration = Duration::from_secs(1);
/// Glommio's own rings serve its timers and callers' sockets only.
const GLOMMIO_RING_DEPTH: usize = 32;
/// Where glommio's files are the read path, memory that it registers with each of its three
/// rings; what it needs beyond comes from the heap.
const GLOMMIO_IO_MEMORY_MAX: usize = 16 << 20;

/// Starts a shard's thread. Its report, or the reason why it did not start, comes through `started`.
pub(crate) fn spawn(
    context: ShardContext,
    messages: Messages,
    under_glommio: bool,
    started: Sender<Result<ShardInfo, String>>,
) -> Result<JoinHandle<()>, Error> {
    let shard = context.shard.0;
    let failed = move |reason: String| Error::ShardStart { shard, reason };
    let name = format!("rt-shard-{shard}");
    #[cfg(test)]
    if crate::simulation::is_on() {
        let executor = Rc::new(async_executor::LocalExecutor::new());
        let host = Host::Simulated(executor.clone());
        crate::simulation::start(Box::pin(async move {
            executor.run(run(context, messages, host, started)).await;
        }));
        return std::thread::Builder::new()
            .name(name)
            .spawn(|| ())
            .map_err(|error| failed(shortage(&error)));
    }
    if !under_glommio {
        let body = move || {
            if let Some(cpu) = context.cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
            }
            let executor = Rc::new(async_executor::LocalExecutor::new());
            let host = Host::Plain(executor.clone());
            futures_lite::future::block_on(executor.run(run(context, messages, host, started)));
        };
        return std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(|error| failed(shortage(&error)));
    }
    // Glommio's handle cannot tell whether its thread has ended, so the thread is ours and the
    // executor is made on it.
    let body = move || match executor_of(&context) {
        Ok(executor) => run_under(executor, context, messages, started),
        Err(error) => {
            let mut reason = error.to_string();
            // Glommio's own words for less than its rings need.
            if reason.contains("MemLockLimit") {
                reason += "; raise the limit of locked memory (`ulimit -l`) to 512 or more";
            }
            let _ = started.send(Err(reason));
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| failed(shortage(&error)))
}

/// An executor with rings and memory for its own files, where those are the read path.
fn executor_of(context: &ShardContext) -> Result<LocalExecutor, GlommioError<()>> {
    let (ring_depth, io_memory) = match context.read_path {
        ReadPathChoice::Glommio => {
            let depth = (context.queue_depth as usize).next_power_of_two();
            let slots = depth * engine::slots(context).small_bytes as usize;
            (
                depth.max(GLOMMIO_RING_DEPTH),
                slots.min(GLOMMIO_IO_MEMORY_MAX),
            )
        }
        _ => (GLOMMIO_RING_DEPTH, 0),
    };
    let placement = match context.cpu {
        Some(cpu) if Path::new(CPU_TOPOLOGY).exists() => Placement::Fixed(cpu),
        Some(cpu) => {
            core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
            Placement::Unbound
        }
        None => Placement::Unbound,
    };
    LocalExecutorBuilder::new(placement)
        .name(&format!("rt-shard-{}", context.shard.0))
        .io_memory(io_memory)
        .ring_depth(ring_depth)
        .preempt_timer(PREEMPT_TIMER)
        .make()
}

/// Timers that are always set. Glommio parks, with tasks to run, if its preempt timer fires
/// between being set and being looked at, as it does on a thread that loses its CPU just then;
/// without a timer of a task's nothing would end that sleep. The later ones are for a thread
/// that loses its CPU there again when it has just been woken.
///
/// The task ends once `ended` is set. It is not cancelled, since glommio never frees a task that
/// is cancelled while it waits: cancelling counts one reference more than running it takes back.
fn keep_awake(ended: Rc<Cell<bool>>) -> glommio::Task<()> {
    use glommio::timer::sleep;
    glommio::spawn_local(async move {
        while !ended.get() {
            let later = sleep(PREEMPT_TIMER * 200).or(sleep(PREEMPT_TIMER * 2000));
            let soon = sleep(PREEMPT_TIMER).or(sleep(PREEMPT_TIMER * 20));
            soon.or(later).await;
        }
    })
}

/// The life of a shard with a glommio executor.
fn run_under(
    executor: LocalExecutor,
    context: ShardContext,
    messages: Messages,
    started: Sender<Result<ShardInfo, String>>,
) {
    let (ended, settled) = executor.run(async {
        let is_over = Rc::new(Cell::new(false));
        let awake = keep_awake(is_over.clone());
        let reads = Rc::new(Reads::default());
        let life = run(context, messages, Host::Glommio(reads.clone()), started);
        let ended = std::panic::AssertUnwindSafe(life).catch_unwind().await;
        let settled = reads.settle().await;
        is_over.set(true);
        awake.await;
        (ended, settled)
    });
    if !settled {
        tracing::error!("reads of glommio's do not end; its memory is given up");
        std::mem::forget(executor);
    }
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// The life of a shard.
async fn run(
    context: ShardContext,
    messages: Messages,
    host: Host,
    started: Sender<Result<ShardInfo, String>>,
) {
    let context = Arc::new(context);
    let parts = Arc::clone(&context);
    // Everything the kernel may write into, or borrows from, is declared before the engine, and
    // so dropped after it; the engine drains its reads when it is dropped.
    let arena = match Arena::new(engine::slots(&parts)) {
        Ok(arena) => arena,
        Err(error) => {
            let _ = started.send(Err(shortage(&error)));
            return;
        }
    };
    let meter = Meter::new(&parts.meter);
    let mut ring = None;
    let made = match (&host, parts.read_path) {
        (Host::Glommio(reads), ReadPathChoice::Glommio) => reads
            .open(&parts.files, parts.queue_depth, &parts.doorbell)
            .await
            .map(|path| (Box::new(path) as Box<dyn ReadPath>, None))
            .map_err(|error| error.to_string()),
        _ => {
            let made_from = Parts {
                shard: parts.shard.0,
                read_path: parts.read_path,
                queue_depth: parts.queue_depth,
                files: parts.files.clone(),
                memory: std::iter::once(arena.region().span())
                    .chain(parts.results.iter().map(|results| results.span()))
                    .collect(),
                doorbell: parts.doorbell.clone(),
                counters: parts.counters.clone(),
                rings: parts.rings.clone(),
            };
            // SAFETY: `arena`, and the results and files that `parts` keeps, outlive the engine,
            // which owns the path.
            unsafe { made_from.scheduled(parts.scheduler, &mut ring) }
                .map_err(|error| shortage(&error))
        }
    };
    let engine = made.and_then(|(path, features)| {
        // SAFETY: `parts.files` outlives the engine, which owns the path.
        let path = unsafe { page_cache_first(path, &parts.files, &parts.counters) };
        let codes = codes(&parts).map_err(|error| error.to_string())?;
        let codes_bytes = codes.iter().map(ShardCodes::bytes).collect();
        Engine::new(&parts, &arena, &meter, path, codes)
            .map(|engine| (engine, features, codes_bytes))
            .map_err(|bad| bad.to_string())
    });
    let (mut engine, features, codes_bytes) = match engine {
        Ok(made) => made,
        Err(reason) => {
            let _ = started.send(Err(reason));
            return;
        }
    };
    let warnings = match engine.load().await {
        Ok(warnings) => warnings,
        Err(error) => {
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    let info = ShardInfo {
        cpu: context.cpu,
        thread: std::thread::current().name().unwrap_or_default().to_owned(),
        executor: host.name(),
        ring: features,
        codes_bytes,
        warnings,
    };
    let _ = started.send(Ok(info));
    drop(started);
    // Starting is no stall.
    meter.mark(Stage::Idle);
    meter.looked();
    let local = Rc::new(LocalQueue::default());
    // Dropped before the engine, which may wait for its drive: who asks meanwhile hears at once that
    // this shard has ended.
    let messages = messages;
    // Whether the executor may have something to do beside this loop. If it never had, the loop
    // does not go back to it.
    let mut shares_executor = host.is_shared(parts.read_path);
    let mut stopping = false;
    let mut idle_since: Option<Instant> = None;
    loop {
        let mut worked = false;
        for message in messages.try_iter() {
            worked = true;
            match message {
                Message::Take(part) => engine.accept(part),
                Message::Run(make) => {
                    shares_executor = true;
                    let shard = LocalShard::new(context.clone(), local.clone());
                    host.spawn(local.clone().counted(make(shard)));
                }
                Message::Stop => stopping = true,
            }
        }
        while let Some(part) = local.pop() {
            worked = true;
            engine.accept(part);
        }
        if worked {
            meter.mark(Stage::Accept);
        }
        if stopping && local.tasks() == 0 && (engine.is_idle() || engine.is_abandoned()) {
            return;
        }
        let patience = match local.tasks() {
            0 => engine::IN_FLIGHT_WAIT,
            _ => SLEEP_WITH_TASKS,
        };
        worked |= engine.round(patience);
        engine.sample(|| messages.len());
        if local.tasks() > 0 {
            meter.end(Stage::Callers);
            // Code of callers runs now; rows it has just got may make it ask for more.
            futures_lite::future::yield_now().await;
            meter.mark(Stage::Callers);
        } else if shares_executor {
            meter.end(Stage::Callers);
            host.yield_if_needed().await;
            meter.mark(Stage::Callers);
        }
        if worked || engine.can_go_on() || !local.is_empty() {
            idle_since = None;
            continue;
        }
        // Awake, it hears of messages and completions without a system call of theirs. (Glommio's
        // own reads move only while the loop rests.)
        if !context.spin_before_park.is_zero() && parts.read_path != ReadPathChoice::Glommio {
            let since = *idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() < context.spin_before_park {
                std::hint::spin_loop();
                continue;
            }
            idle_since = None;
        }
        context.doorbell.lie_down();
        // Another shard may just have brought what a search here waits for, and rung.
        if messages.is_empty() && !engine.can_go_on() {
            let with_tasks = local.tasks() > 0;
            match &host {
                // The executor runs these reads and the callers' code meanwhile, so nothing but
                // rows that such code asks for needs a look from time to time.
                Host::Glommio(reads) if parts.read_path == ReadPathChoice::Glommio => {
                    context.counters.sleeps.add(1);
                    let stage = match engine.is_idle() {
                        true => Stage::Idle,
                        false => Stage::Device,
                    };
                    meter.end(stage);
                    let with_tasks = with_tasks.then_some(SLEEP_WITH_TASKS);
                    let longest = with_tasks.into_iter().chain(engine.overdue_in()).min();
                    reads.rest(longest).await;
                    meter.mark(stage);
                    meter.looked();
                }
                _ if with_tasks => engine.sleep(SLEEP_WITH_TASKS),
                _ => engine.sleep(SLEEP_IDLE),
            }
        }
        context.doorbell.get_up();
    }
}

/// The codes of this shard's rows, in memory that its own thread is the first to touch.
fn codes(context: &ShardContext) -> ringtake_storage::Result<Vec<ShardCodes>> {
    let shard = context.shard.0;
    let of = |open: &Arc<OpenIndex>| {
        let file = open.file();
        ShardCodes::of(
            &open.index,
            file.as_ref().as_ref(),
            context.ownership,
            shard,
        )
    };
    context.indexes.iter().map(of).collect()
}

/// Runs `future` and hands a panic over as its message.
pub(crate) async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, String> {
    use futures_lite::FutureExt;
    std::panic::AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|panic| panic_message(&*panic))
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
