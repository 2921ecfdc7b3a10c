//! Counters of a shard: plain memory that the shard alone writes and anyone may read.

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

        /// What a shard has done since the store was opened.
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
    /// Those of them for urgent takes.
    urgent_reads,
    /// Sum over those reads of how many were in flight when each was sent, itself included: divided
    /// by `reads`, the depth of the queue that the drive saw.
    in_flight_sum,
    /// Bytes of all reads.
    read_bytes,
    /// Reads saved because another one in flight brought the same bytes.
    reads_shared,
    /// Of the reads submitted, those that went straight to their row's place in the result.
    reads_placed,
    /// Reads completed.
    completions,
    /// Rows served from the shard's cache, counted once per column group.
    cache_hits,
    /// Those of them that a caller's own thread copied from pinned pages. A take's rows are
    /// counted at the shard of its first.
    rows_in_place,
    /// Reads, of those submitted, that the kernel's page cache served at once.
    page_cache_hits,
    /// System calls made to submit reads, to fetch completions and to sleep.
    system_calls,
    /// Times the shard slept.
    sleeps,
    /// Rows that could not be read.
    faults,
    /// Rows not read since their take's deadline had passed, or would have before they came.
    rows_expired,
    /// Rows not read since their take was dropped.
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
