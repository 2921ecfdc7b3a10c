//! Wakes waiting futures at their deadlines.
//!
//! A thread of the store's own, started by the first take that has to wait with a deadline:
//! takes are polled by executors that this crate does not know, so none of their timers can be
//! used, and a reactor with a thread behind it would be the same thread with a poller inside.

use std::collections::BTreeMap;

use crate::host::fork::Origin;
use crate::host::lock::lock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Instant;

/// When, and for whom.
pub(super) type Key = (Instant, u64);

#[derive(Default)]
struct Alarms {
    set: BTreeMap<Key, Waker>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

/// The alarms of waiting futures, and the thread that rings them.
#[derive(Default)]
pub(super) struct Timer {
    shared: Arc<Shared>,
    thread: Mutex<Option<(Origin, JoinHandle<()>)>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Alarms> {
        lock(&self.alarms)
    }

    fn run(&self) {
        let mut alarms = self.lock();
        while !alarms.ended {
            let now = Instant::now();
            let Some((&(when, _), _)) = alarms.set.first_key_value() else {
                alarms = self
                    .changed
                    .wait(alarms)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if when > now {
                alarms = self
                    .changed
                    .wait_timeout(alarms, when - now)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            }
            let due = alarms.set.pop_first();
            // Waking may run code of the waiter's, which may set or unset an alarm.
            drop(alarms);
            if let Some((_, waker)) = due {
                waker.wake();
            }
            alarms = self.lock();
        }
    }
}

impl Timer {
    /// Wakes `waker` at the key's time, in place of what was set for that key before.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn set(&self, key: Key, waker: Waker) -> std::io::Result<()> {
        #[cfg(test)]
        if crate::host::clock::virtual_time::set(key, &waker) {
            return Ok(());
        }
        {
            let mut thread = lock(&self.thread);
            if thread.is_none() {
                let shared = self.shared.clone();
                let spawned = std::thread::Builder::new()
                    .name("rt-deadlines".to_owned())
                    .spawn(move || shared.run())?;
                *thread = Some((Origin::here(), spawned));
            }
        }
        let mut alarms = self.shared.lock();
        let replaced = alarms.set.insert(key, waker);
        let is_first = alarms
            .set
            .first_key_value()
            .is_some_and(|(first, _)| *first == key);
        drop(alarms);
        drop(replaced);
        if is_first {
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    pub(super) fn unset(&self, key: Key) {
        let removed = self.shared.lock().set.remove(&key);
        // A waker may run code when it is dropped.
        drop(removed);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The last handle of a store may be dropped by a task that the timer woke.
        if let Some((origin, thread)) = thread
            && !origin.is_elsewhere()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
