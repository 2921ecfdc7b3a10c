//! Code of callers on a shard's thread: the parts it hands over without a message, how much of it
//! is alive, and how its panics become errors.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use ringtake_storage::layout::PAGE_BYTES;

use crate::shard::context::ShardContext;
use crate::shard::part::Part;

/// A future that stays on the shard where it was made.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The shard that runs a caller's code, as that code reaches it. Stays on the shard's thread.
#[derive(Clone)]
pub(crate) struct LocalContext {
    pub(crate) shard: Arc<ShardContext>,
    pub(crate) queue: Rc<LocalQueue>,
}

/// Parts handed over on the shard's own thread, and how much code of callers is alive there.
#[derive(Default)]
pub(crate) struct LocalQueue {
    parts: RefCell<VecDeque<Part>>,
    tasks: Cell<usize>,
    /// Rows, and pages of them, that such code has copied out of pinned memory since it last let
    /// others run.
    copied: Cell<u64>,
}

/// Rows and pages that code of callers may copy before it lets others run.
const COPIED_IN_TURN_MAX: u64 = 1024;

impl LocalQueue {
    pub(crate) fn push(&self, part: Part) {
        self.parts.borrow_mut().push_back(part);
    }

    pub(crate) fn pop(&self) -> Option<Part> {
        self.parts.borrow_mut().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.borrow().is_empty()
    }

    /// Whether code that has just copied `rows` rows of `bytes` bytes has kept the thread for long
    /// and should let others run.
    pub(crate) fn turn_is_over(&self, rows: u64, bytes: u64) -> bool {
        let copied = self.copied.get() + rows.max(1) + bytes / PAGE_BYTES;
        let over = copied >= COPIED_IN_TURN_MAX;
        self.copied.set(if over { 0 } else { copied });
        over
    }

    /// Tasks alive on this shard.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.get()
    }

    /// `task`, counted as alive until it ends or is dropped.
    pub(crate) fn counted(self: Rc<Self>, task: LocalFuture) -> LocalFuture {
        self.tasks.set(self.tasks.get() + 1);
        let alive = Alive(self);
        Box::pin(async move {
            let _alive = alive;
            task.await;
        })
    }
}

struct Alive(Rc<LocalQueue>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
    }
}

/// Runs `future` and returns a panic in it as its message.
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
