//! The loop of a shard: take in what has come, one round of the engine, let code of callers run,
//! and rest when there is nothing to do.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::ReadPathChoice;
use crate::device::control::dma_file::Reads;
use crate::device::read_path::IN_FLIGHT_WAIT_MAX;
use crate::error::shortage::{Asked, shortage};
use crate::memory::arena::Arena;
use crate::metrics::{Meter, Stage};
use crate::shard::context::ShardContext;
use crate::shard::engine::{self, Engine};
use crate::shard::executor::Executor;
use crate::shard::inbox::{Message, Messages};
use crate::shard::local::{LocalContext, LocalQueue};
use crate::shard::start::{Made, StartReport, make};

/// The longest sleep while code of callers may wait for something other than rows.
const SLEEP_WITH_TASKS: Duration = Duration::from_millis(1);
/// The longest sleep otherwise: the doorbell ends it.
const SLEEP_IDLE: Duration = Duration::from_secs(1);

/// Runs a shard from its start to its end.
pub(super) async fn run(
    context: ShardContext,
    messages: Messages,
    executor: Executor,
    started: Sender<StartReport>,
) {
    let context = Arc::new(context);
    // Everything the kernel may write into, or borrows from, is declared before the engine, and
    // so dropped after it; the engine drains its reads when it is dropped.
    let arena = match Arena::new(engine::slots(&context)) {
        Ok(arena) => arena,
        Err(error) => {
            let _ = started.send(Err(shortage(&error, Asked::Memory)));
            return;
        }
    };
    let meter = Meter::new(&context.meter);
    let mut ring = None;
    let engine = match make(&context, &executor, &arena, &meter, &mut ring).await {
        Ok(Made { engine, info }) => {
            let _ = started.send(Ok(info));
            engine
        }
        Err(reason) => {
            let _ = started.send(Err(reason));
            return;
        }
    };
    drop(started);
    // Starting is no stall.
    meter.mark(Stage::Idle);
    meter.looked();
    let shard = ShardLoop {
        messages,
        local: Rc::default(),
        shares_executor: executor.is_shared(context.config.read_path),
        stopping: false,
        idle_since: None,
        engine,
        executor,
        meter: &meter,
        context: &context,
    };
    shard.run().await;
}

/// A shard at work.
struct ShardLoop<'a> {
    /// Dropped before the engine, which may wait for its drive: senders learn at once that this
    /// shard has ended.
    messages: Messages,
    local: Rc<LocalQueue>,
    engine: Engine<'a>,
    executor: Executor,
    meter: &'a Meter<'a>,
    context: &'a Arc<ShardContext>,
    /// Whether the executor may have tasks beside this loop. If it never had, the loop does not go
    /// back to it.
    shares_executor: bool,
    stopping: bool,
    idle_since: Option<Instant>,
}

impl ShardLoop<'_> {
    /// Goes on until it has been stopped and nothing is wanted of it any more.
    async fn run(mut self) {
        loop {
            let mut worked = self.take_in();
            if self.is_over() {
                return;
            }
            worked |= self.round();
            self.let_callers_run().await;
            if worked || self.engine.can_go_on() || !self.local.is_empty() {
                self.idle_since = None;
            } else if !self.stays_awake() {
                self.rest().await;
            }
        }
    }

    /// Takes in messages, and parts of code that runs here. Returns whether there were any.
    fn take_in(&mut self) -> bool {
        let mut worked = false;
        for message in self.messages.try_iter() {
            worked = true;
            match message {
                Message::Take(part) => self.engine.accept(part),
                Message::Run(make) => {
                    self.shares_executor = true;
                    let task = make(LocalContext {
                        shard: self.context.clone(),
                        queue: self.local.clone(),
                    });
                    self.executor.spawn(self.local.clone().counted(task));
                }
                Message::Stop => self.stopping = true,
            }
        }
        while let Some(part) = self.local.pop() {
            worked = true;
            self.engine.accept(part);
        }
        if worked {
            self.meter.mark(Stage::Accept);
        }
        worked
    }

    /// Whether it has been stopped and no caller waits for what is at work.
    fn is_over(&self) -> bool {
        self.stopping
            && self.local.tasks() == 0
            && (self.engine.is_idle() || self.engine.is_abandoned())
    }

    /// One round of the engine. Returns whether anything moved.
    fn round(&mut self) -> bool {
        let patience = match self.local.tasks() {
            0 => IN_FLIGHT_WAIT_MAX,
            _ => SLEEP_WITH_TASKS,
        };
        let moved = self.engine.round(patience);
        self.engine.sample(|| self.messages.len());
        moved
    }

    /// Lets code of callers run, which may ask for more with the rows it has just got.
    async fn let_callers_run(&self) {
        if self.local.tasks() > 0 {
            self.meter.end(Stage::Callers);
            futures_lite::future::yield_now().await;
            self.meter.mark(Stage::Callers);
        } else if self.shares_executor {
            self.meter.end(Stage::Callers);
            self.executor.yield_if_needed().await;
            self.meter.mark(Stage::Callers);
        }
    }

    /// Whether it looks again instead of resting: awake, it learns of messages and completions
    /// without a system call of theirs. (Glommio's own reads move only while the loop rests.)
    fn stays_awake(&mut self) -> bool {
        let spin = self.context.config.spin_before_park;
        if spin.is_zero() || self.context.config.read_path == ReadPathChoice::Glommio {
            return false;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() < spin {
            std::hint::spin_loop();
            return true;
        }
        self.idle_since = None;
        false
    }

    /// Sleeps until the doorbell rings, a read is complete or there is reason to look.
    async fn rest(&mut self) {
        self.context.doorbell.lie_down();
        // Another shard may just have brought what a search here waits for, and rung.
        if self.messages.is_empty() && !self.engine.can_go_on() {
            let with_tasks = self.local.tasks() > 0;
            match &self.executor {
                // The executor runs these reads and the callers' code meanwhile, so nothing but
                // rows that such code asks for needs a look from time to time.
                Executor::Glommio(reads)
                    if self.context.config.read_path == ReadPathChoice::Glommio =>
                {
                    self.rest_in_executor(reads, with_tasks).await;
                }
                _ if with_tasks => self.engine.sleep(SLEEP_WITH_TASKS),
                _ => self.engine.sleep(SLEEP_IDLE),
            }
        }
        self.context.doorbell.get_up();
    }

    /// Rests while glommio performs reads of its own files.
    async fn rest_in_executor(&self, reads: &Reads, with_tasks: bool) {
        self.context.counters.sleeps.add(1);
        let stage = if self.engine.is_idle() {
            Stage::Idle
        } else {
            Stage::Device
        };
        self.meter.end(stage);
        let with_tasks = with_tasks.then_some(SLEEP_WITH_TASKS);
        let longest = with_tasks.into_iter().chain(self.engine.overdue_in()).min();
        reads.rest(longest).await;
        self.meter.mark(stage);
        self.meter.looked();
    }
}
