//! CPU time of searches by stage, where [`Config::stage_times`](crate::Config::stage_times) asks
//! for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $stage:ident $name:ident,)+) => {
        /// Where the time of a search goes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Stage {
            $($(#[doc = $doc])+ $stage,)+
        }

        const STAGES: usize = [$(Stage::$stage),+].len();

        /// Nanoseconds of all threads in each stage of searches, since the store was opened. Zero
        /// while [`Config::stage_times`](crate::Config::stage_times) is not set.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        pub struct SearchStages {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl StageTimes {
            /// What has been counted.
            pub(crate) fn snapshot(&self) -> SearchStages {
                let of = |stage: Stage| self.nanoseconds[stage as usize].load(Ordering::Relaxed);
                SearchStages { $($name: of(Stage::$stage),)+ }
            }
        }

        impl std::ops::Add for SearchStages {
            type Output = SearchStages;

            fn add(self, other: SearchStages) -> SearchStages {
                SearchStages { $($name: self.$name + other.$name,)+ }
            }
        }

        impl std::ops::Sub for SearchStages {
            type Output = SearchStages;

            fn sub(self, earlier: SearchStages) -> SearchStages {
                SearchStages { $($name: self.$name - earlier.$name,)+ }
            }
        }
    };
}

stages! {
    /// Distances to all centroids, and their order.
    Rank rank,
    /// Tables of distances for each partition that is looked at.
    Tables tables,
    /// Sums of codes.
    Scan scan,
    /// Choosing candidates among the rows scanned.
    Select select,
    /// Finding rows in memory, or planning their reads. Of all that the shards read, not only for
    /// searches.
    Plan plan,
    /// Submitting reads and asking the kernel for completions, which takes the time of the reads
    /// themselves where the device is memory; waiting takes none. Of all that the shards read.
    Read read,
    /// Comparing rows with their checksums.
    Checksum checksum,
    /// Exact distances.
    Refine refine,
    /// Merging what the shards have found.
    Merge merge,
}

/// Times of one shard, or of all callers.
#[derive(Debug, Default)]
pub(crate) struct StageTimes {
    on: bool,
    nanoseconds: [AtomicU64; STAGES],
}

impl StageTimes {
    pub(crate) fn new(on: bool) -> StageTimes {
        StageTimes {
            on,
            ..StageTimes::default()
        }
    }

    /// Runs `work` and counts its time.
    #[inline]
    pub(crate) fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        if !self.on {
            return work();
        }
        let begin = Instant::now();
        let done = work();
        self.add(stage, begin.elapsed());
        done
    }

    /// The same for work that counts stages of its own, whose time is theirs alone. Only one
    /// thread may count here then.
    #[inline]
    pub(crate) fn time_around<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        if !self.on {
            return work();
        }
        let (counted, begin) = (self.counted(), Instant::now());
        let done = work();
        let time = begin.elapsed();
        self.add(stage, time.saturating_sub(self.counted() - counted));
        done
    }

    /// The same for work that may sleep: only the time that the thread runs counts.
    #[inline]
    pub(crate) fn time_running<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        if !self.on {
            return work();
        }
        let begin = thread_time();
        let done = work();
        self.add(stage, thread_time().saturating_sub(begin));
        done
    }

    fn add(&self, stage: Stage, time: Duration) {
        let nanoseconds = time.as_nanos() as u64;
        self.nanoseconds[stage as usize].fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What is in all stages.
    fn counted(&self) -> Duration {
        let stages = self.nanoseconds.iter();
        Duration::from_nanos(stages.map(|stage| stage.load(Ordering::Relaxed)).sum())
    }
}

/// CPU time of this thread so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_stage_inside_another_is_counted_once() {
        let times = StageTimes::new(true);
        let begin = Instant::now();
        times.time_around(Stage::Plan, || {
            times.time(Stage::Refine, || {
                std::thread::sleep(Duration::from_millis(20));
            });
        });
        let all = begin.elapsed().as_nanos() as u64;
        let spent = times.snapshot();
        assert!(spent.refine >= 20_000_000, "{spent:?}");
        assert!(spent.plan + spent.refine <= all, "{spent:?} of {all}");
    }

    #[test]
    fn sleep_is_no_running_time_and_nothing_is_counted_unasked() {
        let times = StageTimes::new(true);
        let sleep = || std::thread::sleep(Duration::from_millis(20));
        times.time_running(Stage::Read, sleep);
        let spent = times.snapshot().read;
        assert!(spent > 0 && spent < 20_000_000, "{spent}");
        let off = StageTimes::new(false);
        off.time_running(Stage::Read, sleep);
        off.time_around(Stage::Plan, || off.time(Stage::Refine, sleep));
        assert_eq!(off.snapshot(), SearchStages::default());
    }
}
