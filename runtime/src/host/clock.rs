//! The time that deadlines are held against. Tests that simulate a store bring their own.

use std::time::Instant;

/// Now.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = virtual_time::now() {
        return now;
    }
    Instant::now()
}

/// A clock of the thread's own that moves only when it is told to.
#[cfg(test)]
pub(crate) mod virtual_time {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::task::Waker;
    use std::time::{Duration, Instant};

    struct Virtual {
        now: Instant,
        alarms: BTreeMap<(Instant, u64), Waker>,
    }

    thread_local! {
        static CLOCK: RefCell<Option<Virtual>> = const { RefCell::new(None) };
    }

    /// Time stands still on this thread until the guard is dropped, but for [`Stopped::advance`].
    pub(crate) struct Stopped(());

    impl Stopped {
        pub(crate) fn new() -> Stopped {
            CLOCK.with_borrow_mut(|clock| {
                *clock = Some(Virtual {
                    now: Instant::now(),
                    alarms: BTreeMap::new(),
                });
            });
            Stopped(())
        }

        /// Time passes; whoever waits for it is woken.
        pub(crate) fn advance(&self, by: Duration) {
            let due = CLOCK.with_borrow_mut(|clock| {
                let clock = clock.as_mut()?;
                clock.now += by;
                let later = clock.alarms.split_off(&(clock.now, u64::MAX));
                Some(std::mem::replace(&mut clock.alarms, later))
            });
            due.into_iter()
                .flatten()
                .for_each(|(_, waker)| waker.wake());
        }
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            CLOCK.with_borrow_mut(Option::take);
        }
    }

    pub(super) fn now() -> Option<Instant> {
        CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock.now))
    }

    /// Sets an alarm of this clock, if the thread has one.
    pub(crate) fn set(key: (Instant, u64), waker: &Waker) -> bool {
        CLOCK.with_borrow_mut(|clock| match clock {
            Some(clock) => {
                clock.alarms.insert(key, waker.clone());
                true
            }
            None => false,
        })
    }
}
