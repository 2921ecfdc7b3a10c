//! The clock of deadlines. Simulations replace it by a virtual one.

use std::time::Instant;

/// The current time, or the virtual time of a thread that simulates.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = virtual_time::now() {
        return now;
    }
    Instant::now()
}

/// A clock of one thread that moves only by [`Stopped::advance`](virtual_time::Stopped::advance).
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

    /// Stops the time on this thread until it is dropped.
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

        /// Advances the clock and wakes those who wait for the time.
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
