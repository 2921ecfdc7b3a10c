//! CPU time of searches by stage, where [`Config::stage_times`](crate::Config::stage_times) asks
//! for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
    /// Finding rows in memory, or planning and submitting their reads.
    Plan plan,
    /// Asking the kernel for completions, which takes the time of the reads themselves where the
    /// device is memory.
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
        let nanoseconds = begin.elapsed().as_nanos() as u64;
        self.nanoseconds[stage as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        done
    }
}
