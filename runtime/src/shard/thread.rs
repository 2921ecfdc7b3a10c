//! A shard's thread: how it starts, where it is pinned, and the executor that runs the shard's loop.
//!
//! The loop is one long-lived task of a glommio executor, so that a caller's code
//! (`Store::run_on`) shares the thread. Where io_uring is forbidden glommio cannot run, and a
//! plain executor takes its place.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use futures_lite::FutureExt as _;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use crate::config::ReadPathChoice;
use crate::device::control::dma_file::Reads;
use crate::error::Error;
use crate::error::shortage::{Asked, shortage, shortage_in_panic, shortage_of_glommio};
use crate::shard::context::ShardContext;
use crate::shard::engine;
use crate::shard::executor::Executor;
use crate::shard::inbox::Messages;
#[cfg(test)]
use crate::shard::local::LocalFuture;
use crate::shard::local::panic_message;
use crate::shard::own_thread;
use crate::shard::shard_loop::run;
use crate::shard::start::StartReport;

/// Glommio reads this to pin a thread to a CPU, and panics where it is missing.
const CPU_TOPOLOGY: &str = "/sys/devices/system/cpu/online";
/// How often glommio's timers may be late while a shard is busy.
const PREEMPT_TIMER: Duration = Duration::from_millis(5);
/// Glommio's own rings serve its timers and callers' sockets only.
const GLOMMIO_RING_DEPTH: usize = 32;
/// Where glommio's files are the read path, memory that it registers with each of its three
/// rings; what it needs beyond comes from the heap.
const GLOMMIO_IO_MEMORY_MAX: usize = 16 << 20;

#[cfg(test)]
thread_local! {
    /// Takes over the shards that this thread starts: a simulation polls them itself.
    pub(crate) static TAKE_OVER: Cell<Option<fn(LocalFuture)>> = const { Cell::new(None) };
}

/// Starts a shard's thread, which reports through `started` how it has started.
pub(crate) fn spawn(
    context: ShardContext,
    messages: Messages,
    under_glommio: bool,
    started: Sender<StartReport>,
) -> Result<JoinHandle<()>, Error> {
    let shard = context.shard.0;
    #[cfg(test)]
    if let Some(take_over) = TAKE_OVER.get() {
        let executor = Rc::new(async_executor::LocalExecutor::new());
        let simulated = Executor::Simulated(executor.clone());
        take_over(Box::pin(async move {
            executor
                .run(run(context, messages, simulated, started))
                .await;
        }));
        return start_thread(shard, || ());
    }
    start_thread(shard, move || {
        own_thread::mark(&context.dataset);
        if under_glommio {
            on_glommio(context, messages, started);
        } else {
            on_plain(context, messages, started);
        }
    })
}

fn start_thread(
    shard: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name(shard))
        .spawn(body)
        .map_err(|error| Error::ShardStart {
            shard,
            reason: shortage(&error, Asked::Thread),
        })
}

/// The name of a shard's thread.
fn name(shard: usize) -> String {
    format!("rt-shard-{shard}")
}

/// Runs a shard with a plain executor.
fn on_plain(context: ShardContext, messages: Messages, started: Sender<StartReport>) {
    if let Some(cpu) = context.cpu() {
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    }
    let executor = Rc::new(async_executor::LocalExecutor::new());
    let plain = Executor::Plain(executor.clone());
    futures_lite::future::block_on(executor.run(run(context, messages, plain, started)));
}

/// Runs a shard with a glommio executor. Glommio's handle does not say whether its thread has ended,
/// so the thread is ours and the executor is made on it.
fn on_glommio(context: ShardContext, messages: Messages, started: Sender<StartReport>) {
    match executor_of(&context) {
        Ok(executor) => run_under(executor, context, messages, started),
        Err(reason) => {
            let _ = started.send(Err(reason));
        }
    }
}

/// An executor with rings and memory for its own files, where those are the read path. The error is
/// the reason in words.
fn executor_of(context: &ShardContext) -> Result<LocalExecutor, String> {
    let (ring_depth, io_memory) = match context.config.read_path {
        ReadPathChoice::Glommio => {
            let depth = (context.config.queue_depth as usize).next_power_of_two();
            let slots = depth * engine::slots(context).small_bytes as usize;
            (
                depth.max(GLOMMIO_RING_DEPTH),
                slots.min(GLOMMIO_IO_MEMORY_MAX),
            )
        }
        _ => (GLOMMIO_RING_DEPTH, 0),
    };
    let placement = match context.cpu() {
        Some(cpu) if Path::new(CPU_TOPOLOGY).exists() => Placement::Fixed(cpu),
        Some(cpu) => {
            core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
            Placement::Unbound
        }
        None => Placement::Unbound,
    };
    let builder = LocalExecutorBuilder::new(placement)
        .name(&name(context.shard.0))
        .io_memory(io_memory)
        .ring_depth(ring_depth)
        .preempt_timer(PREEMPT_TIMER);
    // Glommio panics where it gets no thread.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.make())) {
        Ok(made) => made.map_err(|error| shortage_of_glommio(&error)),
        Err(panic) => Err(shortage_in_panic(panic_message(&*panic))),
    }
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

/// Runs the shard's loop under `executor`, and waits for the reads of glommio's files to end.
fn run_under(
    executor: LocalExecutor,
    context: ShardContext,
    messages: Messages,
    started: Sender<StartReport>,
) {
    let (ended, settled) = executor.run(async {
        let is_over = Rc::new(Cell::new(false));
        let awake = keep_awake(is_over.clone());
        let reads = Rc::new(Reads::default());
        let life = run(context, messages, Executor::Glommio(reads.clone()), started);
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
