//! A shard: one thread, one executor, one ring, and the rows it alone reads.
//!
//! This file starts the thread and runs the loop; `shard/engine.rs` is what one round of the
//! loop does with rows. The loop is one long-lived task of a glommio executor, so that a
//! caller's code (`Store::run_on`) shares the thread; where io_uring is forbidden glommio cannot
//! run, and a plain executor takes its place.

mod decode;
mod engine;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_executor::LocalExecutor;
use crossbeam_channel::Sender;
use glommio::{LocalExecutorBuilder, Placement};
use ringtake_storage::dataset::Dataset;
use serde::Serialize;

use crate::Error;
use crate::arena::Arena;
use crate::config::{CacheChoice, Checksums, ReadPathChoice};
use crate::doorbell::Doorbell;
use crate::files::Files;
use crate::inbox::{LocalFuture, Message, Messages};
use crate::local::{LocalQueue, LocalShard};
use crate::probe::RingFeatures;
use crate::read_path::ReadPath;
use crate::read_path::page_cache_first::page_cache_first;
use crate::read_path::ring_per_shard::{RingPerShard, build_ring};
use crate::read_path::thread_pool::ThreadPool;
use crate::route::{Ownership, ShardId};
use crate::stats::ShardCounters;
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
    pub(crate) queue_depth: u32,
    /// This shard's own share.
    pub(crate) cache: CacheChoice,
    pub(crate) checksums: Checksums,
    pub(crate) align_bytes: u32,
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
    /// What its pinned cache lacks or has wrong, in sentences.
    pub warnings: Vec<String>,
}

/// Which executor runs the shard.
#[derive(Clone)]
enum Host {
    Glommio,
    Plain(Rc<LocalExecutor<'static>>),
}

impl Host {
    fn name(&self) -> &'static str {
        match self {
            Host::Glommio => "glommio",
            Host::Plain(_) => "plain",
        }
    }

    fn spawn(&self, task: LocalFuture) {
        match self {
            Host::Glommio => {
                glommio::spawn_local(task).detach();
            }
            Host::Plain(executor) => executor.spawn(task).detach(),
        }
    }

    async fn yield_if_needed(&self) {
        if matches!(self, Host::Glommio) {
            glommio::yield_if_needed().await;
        }
    }
}

/// How often glommio's timers may be late while a shard is busy.
const PREEMPT_TIMER: Duration = Duration::from_millis(5);
/// The longest sleep while code of callers may wait for something other than rows.
const SLEEP_WITH_TASKS: Duration = Duration::from_millis(1);
/// The longest sleep otherwise: the doorbell ends it.
const SLEEP_IDLE: Duration = Duration::from_secs(1);
/// Glommio's own rings serve its timers and callers' sockets only.
const GLOMMIO_RING_DEPTH: usize = 32;

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
    if !under_glommio {
        let body = move || {
            if let Some(cpu) = context.cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
            }
            let executor = Rc::new(LocalExecutor::new());
            let host = Host::Plain(executor.clone());
            futures_lite::future::block_on(executor.run(run(context, messages, host, started)));
        };
        return std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(|error| failed(error.to_string()));
    }
    // Glommio's handle cannot tell whether its thread has ended, so the thread is ours and the
    // executor is made on it.
    let body = move || {
        let placement = context.cpu.map_or(Placement::Unbound, Placement::Fixed);
        let executor = LocalExecutorBuilder::new(placement)
            .name(&format!("rt-shard-{shard}"))
            .io_memory(0)
            .ring_depth(GLOMMIO_RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .make();
        match executor {
            Ok(executor) => executor.run(run(context, messages, Host::Glommio, started)),
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
            }
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| failed(error.to_string()))
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
    let arena = match Arena::new(parts.queue_depth, engine::slot_bytes(&parts)) {
        Ok(arena) => arena,
        Err(error) => {
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    let mut ring;
    let made: Result<(Box<dyn ReadPath + '_>, Option<RingFeatures>), String> = match parts.read_path
    {
        ReadPathChoice::ThreadPool { threads } => {
            let descriptors = parts.files.descriptors();
            let (doorbell, counters) = (parts.doorbell.clone(), parts.counters.clone());
            // SAFETY: `parts.files` outlives the engine, and the pool with it.
            let pool = unsafe {
                ThreadPool::new(
                    parts.shard.0,
                    threads,
                    parts.queue_depth,
                    descriptors,
                    doorbell,
                    counters,
                )
            };
            pool.map(|pool| (Box::new(pool) as Box<dyn ReadPath + '_>, None))
                .map_err(|error| error.to_string())
        }
        // One entry more than reads, for the doorbell.
        ReadPathChoice::Auto | ReadPathChoice::RingPerShard => {
            match build_ring(parts.queue_depth + 1) {
                Ok((made, rung)) => {
                    ring = made;
                    let descriptors = parts.files.descriptors();
                    let (doorbell, counters) = (parts.doorbell.clone(), parts.counters.clone());
                    // SAFETY: `arena`, `parts.files` and `ring` outlive the path, which borrows the ring.
                    let (path, features) = unsafe {
                        RingPerShard::new(
                            &mut ring,
                            rung,
                            descriptors,
                            arena.region(),
                            doorbell,
                            counters,
                        )
                    };
                    Ok((Box::new(path) as Box<dyn ReadPath + '_>, Some(features)))
                }
                Err(error) => Err(error.to_string()),
            }
        }
    };
    let engine = made.and_then(|(path, features)| {
        // SAFETY: `parts.files` outlives the engine, which owns the path.
        let path = unsafe { page_cache_first(path, &parts.files, &parts.counters) };
        Engine::new(&parts, &arena, path)
            .map(|engine| (engine, features))
            .map_err(|bad| bad.to_string())
    });
    let (mut engine, features) = match engine {
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
        warnings,
    };
    let _ = started.send(Ok(info));
    drop(started);
    let local = Rc::new(LocalQueue::default());
    let mut stopping = false;
    loop {
        let mut worked = false;
        for message in messages.try_iter() {
            worked = true;
            match message {
                Message::Take(part) => engine.accept(part),
                Message::Run(make) => {
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
        if stopping && engine.is_idle() && local.tasks() == 0 {
            return;
        }
        worked |= engine.round();
        if local.tasks() > 0 {
            // Code of callers runs now; rows it has just got may make it ask for more.
            futures_lite::future::yield_now().await;
        } else {
            host.yield_if_needed().await;
        }
        if worked || engine.can_plan() || !local.is_empty() {
            continue;
        }
        context.doorbell.lie_down();
        if messages.is_empty() {
            engine.sleep(if local.tasks() > 0 {
                SLEEP_WITH_TASKS
            } else {
                SLEEP_IDLE
            });
        }
        context.doorbell.get_up();
    }
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
