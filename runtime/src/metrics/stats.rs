//! Counters of a shard: plain memory that only the shard writes and every thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters as the shard keeps them. Each is written by the shard's thread only, so an
        /// increment is a load and a store, not a locked instruction.
        #[derive(Debug, Default)]
        pub(crate) struct ShardCounters {
            $(pub(crate) $name: Counter,)+
        }

        /// Counts of one shard's work since the store was opened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        pub struct ShardStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl ShardCounters {
            pub(crate) fn snapshot(&self) -> ShardStats {
                ShardStats { $($name: self.$name.get(),)+ }
            }
        }

        impl ShardStats {
            /// Each counter by its name, with what it counts.
            pub(crate) fn by_name(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name)),+]
            }
        }

        impl std::ops::Add for ShardStats {
            type Output = ShardStats;

            fn add(self, other: ShardStats) -> ShardStats {
                ShardStats { $($name: self.$name + other.$name,)+ }
            }
        }

        impl std::ops::Sub for ShardStats {
            type Output = ShardStats;

            fn sub(self, earlier: ShardStats) -> ShardStats {
                ShardStats { $($name: self.$name - earlier.$name,)+ }
            }
        }
    };
}

counters! {
    /// Parts of takes received: one message each.
    parts,
    /// Rows decoded, counted once per column group.
    rows,
    /// Reads submitted to the device.
    reads,
    /// Submitted reads for urgent takes.
    urgent_reads,
    /// Sum of the reads in flight at each submission, the submitted one included: divided by `reads`,
    /// it is the mean queue depth at the drive.
    in_flight_sum,
    /// Bytes of all reads.
    read_bytes,
    /// Reads saved because a read in flight covered the same bytes.
    reads_shared,
    /// Submitted reads that the drive wrote straight into the result.
    reads_placed,
    /// Reads completed.
    completions,
    /// Rows served from the shard's cache, counted once per column group.
    cache_hits,
    /// Cache hits that the calling thread copied from pinned pages itself. All rows of a take count at
    /// the shard of its first row.
    rows_in_place,
    /// Submitted reads that the kernel's page cache served at once.
    page_cache_hits,
    /// System calls made to submit reads, to fetch completions and to sleep.
    system_calls,
    /// Times the shard slept.
    sleeps,
    /// Rows that could not be read.
    faults,
    /// Rows not read because their take's deadline had passed, or would have passed before they came.
    rows_expired,
    /// Rows not read because their take was dropped.
    rows_cancelled,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`; only the owning shard may call it.
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(by),
            Ordering::Relaxed,
        );
    }

    /// Replaces it; only the owning shard may call it.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
