//! How long a round waits for completions, and for how many.
//!
//! Only completions and the time end this wait, so it is for a queue that is full of reads. A shard
//! with fewer in flight sleeps where the doorbell can wake it.

use std::time::Duration;

use crate::device::read_path::{FULL_QUEUE_SHARE, Wait};

/// Reads that keep a drive busy. A deeper queue that is full to the last token is fetched and
/// replaced down to them in one go, at most half of it, so that the shard sleeps and wakes less
/// often for each read.
const BUSY_DRIVE_READS: u32 = 128;
/// The longest wait for more than the usual share.
const SURPLUS_WAIT: Duration = Duration::from_millis(3);

/// A shard's queue at the end of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    pub(super) in_flight: u32,
    /// Rows wait that cannot be planned before a read completes, and nothing else is to be done.
    pub(super) is_stuck: bool,
    /// All tokens are in flight. Those left are for urgent reads, which may come any time.
    pub(super) is_out_of_tokens: bool,
    /// The longest wait, whatever the queue.
    pub(super) patience: Duration,
}

/// The time until the next deadlines; `None` where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeLeft {
    /// Until the first deadline of a part with rows to plan.
    pub(super) to_plan: Option<Duration>,
    /// Until the first deadline of a part whose caller waits.
    pub(super) to_finish: Option<Duration>,
}

/// How a round waits. The clock, behind `left`, is read only where that depends on it.
pub(super) fn wait(queue: Queue, left: impl FnOnce() -> TimeLeft) -> Wait {
    let in_flight = queue.in_flight;
    if !queue.is_stuck || in_flight < FULL_QUEUE_SHARE {
        return Wait::No;
    }
    let left = left();
    let share = in_flight / FULL_QUEUE_SHARE;
    let is_calm = left.to_plan.is_none_or(|left| left > SURPLUS_WAIT);
    let surplus = if queue.is_out_of_tokens && is_calm {
        in_flight
            .saturating_sub(BUSY_DRIVE_READS)
            .min(in_flight / 2)
    } else {
        0
    };
    let longest = if surplus > share {
        queue.patience.min(SURPLUS_WAIT)
    } else {
        queue.patience
    };
    Wait::For {
        completions: share.max(surplus),
        timeout: left.to_finish.map_or(longest, |left| longest.min(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);
    const SOON: Duration = Duration::from_millis(1);
    const LATER: Duration = Duration::from_secs(1);

    fn queue(in_flight: u32, is_out_of_tokens: bool) -> Queue {
        Queue {
            in_flight,
            is_stuck: true,
            is_out_of_tokens,
            patience: PATIENCE,
        }
    }

    fn wait_for(completions: u32, timeout: Duration) -> Wait {
        Wait::For {
            completions,
            timeout,
        }
    }

    #[test]
    fn a_full_queue_waits_for_a_share_and_a_deep_one_down_to_what_keeps_a_drive_busy() {
        let no_deadline = TimeLeft::default();
        let plan = |left| TimeLeft {
            to_plan: Some(left),
            to_finish: None,
        };
        let finish = |left| TimeLeft {
            to_plan: None,
            to_finish: Some(left),
        };
        let table = [
            // Few reads: the shard sleeps elsewhere.
            (queue(15, true), no_deadline, Wait::No),
            (queue(16, true), no_deadline, wait_for(1, PATIENCE)),
            (queue(128, true), no_deadline, wait_for(8, PATIENCE)),
            // The surplus is less than the share.
            (queue(136, true), no_deadline, wait_for(8, PATIENCE)),
            (queue(137, true), no_deadline, wait_for(9, SURPLUS_WAIT)),
            (queue(250, true), no_deadline, wait_for(122, SURPLUS_WAIT)),
            // Never more than half.
            (queue(1024, true), no_deadline, wait_for(512, SURPLUS_WAIT)),
            // Tokens are left for urgent reads.
            (queue(1024, false), no_deadline, wait_for(64, PATIENCE)),
            // A deadline is about to pass.
            (queue(1024, true), plan(SOON), wait_for(64, PATIENCE)),
            (
                queue(1024, true),
                plan(SURPLUS_WAIT),
                wait_for(64, PATIENCE),
            ),
            (queue(1024, true), plan(LATER), wait_for(512, SURPLUS_WAIT)),
            // A caller waits no longer than its deadline.
            (queue(64, true), finish(SOON), wait_for(4, SOON)),
            (queue(1024, true), finish(SOON), wait_for(512, SOON)),
            (queue(64, true), finish(LATER), wait_for(4, PATIENCE)),
        ];
        for (queue, left, expected) in table {
            assert_eq!(wait(queue, || left), expected, "{queue:?} {left:?}");
        }
    }

    #[test]
    fn a_shard_with_something_to_do_neither_waits_nor_reads_the_clock() {
        let queue = Queue {
            is_stuck: false,
            ..queue(1024, true)
        };
        assert_eq!(wait(queue, || unreachable!("the clock")), Wait::No);
    }
}
