//! Times of queries on the threads of their callers, and the slow queries.
//!
//! A short take costs little more than a few looks at the clock, so only a sample of the takes is
//! timed. All searches are.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::latencies::{Latencies, SharedBuckets};
use crate::host::lock::lock;

/// Each thread times one take of this many: a prime, so that repetitive work does not keep in step
/// with it.
const TAKES_UNTIMED: u32 = 17;
/// Slow queries kept.
const SLOW_KEPT: usize = 64;

macro_rules! caller_stages {
    ($($(#[doc = $doc:literal])+ $stage:ident $name:ident,)+) => {
        /// A stage of a query on the thread of its caller.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum CallerStage {
            $($(#[doc = $doc])+ $stage,)+
        }

        const NAMES: &[&str] = &[$(stringify!($name)),+];
        const STAGES: usize = NAMES.len();

        /// Times of queries by stage on the threads of their callers: of all searches, and of a sample
        /// of the takes, or of all takes if [`Observe::slow_query`](crate::Observe::slow_query) is
        /// set.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct CallerMetrics {
            $($(#[doc = $doc])+ pub $name: Latencies,)+
        }

        impl CallerMetrics {
            fn of(stages: &[SharedBuckets; STAGES]) -> CallerMetrics {
                CallerMetrics { $($name: stages[CallerStage::$stage as usize].snapshot(),)+ }
            }

            /// Each stage's name and times.
            pub fn by_name(&self) -> [(&'static str, &Latencies); STAGES] {
                [$((stringify!($name), &self.$name)),+]
            }

            /// The times recorded since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &CallerMetrics) -> CallerMetrics {
                CallerMetrics { $($name: self.$name.since(&earlier.$name),)+ }
            }
        }
    };
}

caller_stages! {
    /// Computing and sorting the distances of a search to all centroids.
    Rank rank,
    /// Computing the distance tables of each partition that a search scans.
    Tables tables,
    /// Waiting for permits.
    Admit admit,
    /// Dividing rows among shards and sending.
    Route route,
    /// Waiting for the shards.
    Shards shards,
    /// Merging the shards' results of a search.
    Merge merge,
    /// Making Arrow arrays of the rows, and copying pinned rows. For a search, taking the columns of
    /// its projection.
    Assemble assemble,
}

/// The kind of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryKind {
    /// A take by row ids.
    Take,
    /// A search by vector.
    Search,
}

/// A query that took at least [`Observe::slow_query`](crate::Observe::slow_query).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SlowQuery {
    /// Its kind.
    pub kind: QueryKind,
    /// Rows asked for.
    pub rows: usize,
    /// Time from the request to the answer, or until it was dropped, in nanoseconds.
    pub duration_ns: u64,
    /// Time by stage, by the names of [`CallerMetrics`]. Stages that took no time are left out.
    pub stages: Vec<(&'static str, u64)>,
}

/// Times of queries and slow queries, written by callers.
#[derive(Debug)]
pub(crate) struct CallerMeter {
    on: bool,
    slow_query: Option<Duration>,
    stages: [SharedBuckets; STAGES],
    /// The newest slow queries, the oldest first.
    slow: Mutex<VecDeque<SlowQuery>>,
    slow_seen: AtomicU64,
}

impl CallerMeter {
    pub(crate) fn new(on: bool, slow_query: Option<Duration>) -> CallerMeter {
        CallerMeter {
            on,
            slow_query,
            stages: std::array::from_fn(|_| SharedBuckets::new()),
            slow: Mutex::default(),
            slow_seen: AtomicU64::new(0),
        }
    }

    /// Watches a query of `rows` rows, which begins now.
    #[inline]
    pub(crate) fn watch(&self, kind: QueryKind, rows: usize) -> Watch<'_> {
        let timed =
            self.on && (kind == QueryKind::Search || self.slow_query.is_some() || is_next());
        Watch {
            seen: timed.then(|| Seen {
                meter: self,
                kind,
                rows,
                began: Instant::now(),
                marked: AtomicU64::new(0),
                stages: Default::default(),
            }),
        }
    }

    pub(crate) fn stages(&self) -> CallerMetrics {
        CallerMetrics::of(&self.stages)
    }

    /// The newest slow queries, and the number of all.
    pub(crate) fn slow(&self) -> (Vec<SlowQuery>, u64) {
        let kept = lock(&self.slow).iter().cloned().collect();
        (kept, self.slow_seen.load(Ordering::Relaxed))
    }

    fn keep_slow(&self, query: SlowQuery) {
        self.slow_seen.fetch_add(1, Ordering::Relaxed);
        let mut slow = lock(&self.slow);
        if slow.len() == SLOW_KEPT {
            slow.pop_front();
        }
        slow.push_back(query);
    }
}

/// Whether to time this take of this thread.
fn is_next() -> bool {
    thread_local! {
        static UNTIMED: Cell<u32> = const { Cell::new(0) };
    }
    UNTIMED.with(|untimed| {
        let left = untimed.get();
        untimed.set(left.checked_sub(1).unwrap_or(TAKES_UNTIMED - 1));
        left == 0
    })
}

/// The times of one query, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    /// `None` if it is not timed.
    seen: Option<Seen<'a>>,
}

#[derive(Debug)]
struct Seen<'a> {
    meter: &'a CallerMeter,
    kind: QueryKind,
    rows: usize,
    began: Instant,
    /// Nanoseconds until the last mark. Atomic since a future may move to another thread; it has one
    /// writer.
    marked: AtomicU64,
    stages: [AtomicU64; STAGES],
}

impl Watch<'_> {
    /// A query that is not timed.
    pub(crate) const NONE: Watch<'static> = Watch { seen: None };

    /// Counts the time since the last mark as `stage`.
    #[inline]
    pub(crate) fn mark(&self, stage: CallerStage) {
        if let Some(seen) = &self.seen {
            let now = seen.began.elapsed().as_nanos() as u64;
            let time = now.saturating_sub(seen.marked.swap(now, Ordering::Relaxed));
            seen.stages[stage as usize].fetch_add(time, Ordering::Relaxed);
        }
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        let meter = self.meter;
        let times = || self.stages.iter().map(|time| time.load(Ordering::Relaxed));
        for (stage, time) in meter.stages.iter().zip(times()) {
            if time > 0 {
                stage.record(time);
            }
        }
        let Some(threshold) = meter.slow_query else {
            return;
        };
        let took = self.began.elapsed();
        if took >= threshold {
            let stages = NAMES.iter().copied().zip(times());
            meter.keep_slow(SlowQuery {
                kind: self.kind,
                rows: self.rows,
                duration_ns: took.as_nanos() as u64,
                stages: stages.filter(|(_, time)| *time > 0).collect(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause() {
        std::thread::sleep(Duration::from_millis(2));
    }

    #[test]
    fn searches_are_all_timed_and_takes_one_in_so_many() {
        let meter = CallerMeter::new(true, None);
        for kind in [QueryKind::Search, QueryKind::Take] {
            for _ in 0..2 * TAKES_UNTIMED {
                let watch = meter.watch(kind, 1);
                watch.mark(match kind {
                    QueryKind::Search => CallerStage::Merge,
                    QueryKind::Take => CallerStage::Assemble,
                });
            }
        }
        let stages = meter.stages();
        assert_eq!(stages.merge.count(), 2 * u64::from(TAKES_UNTIMED));
        assert_eq!(stages.assemble.count(), 2);
        assert_eq!(stages.rank.count(), 0);
    }

    #[test]
    fn slow_query_is_kept_with_its_stages_and_quick_one_is_not() {
        let meter = CallerMeter::new(true, Some(Duration::from_millis(2)));
        let slow = meter.watch(QueryKind::Take, 7);
        pause();
        slow.mark(CallerStage::Admit);
        drop(slow);
        let unbounded = CallerMeter::new(true, Some(Duration::MAX));
        drop(unbounded.watch(QueryKind::Take, 1));
        assert_eq!(unbounded.slow(), (Vec::new(), 0));
        let (kept, seen) = meter.slow();
        let [query] = &kept[..] else {
            panic!("{kept:?}");
        };
        assert_eq!((query.kind, query.rows, seen), (QueryKind::Take, 7, 1));
        let [("admit", admit)] = query.stages[..] else {
            panic!("{query:?}");
        };
        assert!(admit >= 2_000_000 && admit <= query.duration_ns);
    }

    #[test]
    fn the_newest_slow_queries_are_kept() {
        let meter = CallerMeter::new(true, Some(Duration::ZERO));
        for rows in 0..SLOW_KEPT + 3 {
            drop(meter.watch(QueryKind::Search, rows));
        }
        let (kept, seen) = meter.slow();
        assert_eq!((kept.len(), kept[0].rows), (SLOW_KEPT, 3));
        assert_eq!(seen, SLOW_KEPT as u64 + 3);
    }

    #[test]
    fn nothing_is_timed_where_it_is_off() {
        let meter = CallerMeter::new(false, Some(Duration::ZERO));
        let watch = meter.watch(QueryKind::Search, 1);
        watch.mark(CallerStage::Rank);
        drop(watch);
        assert_eq!(meter.stages().rank.count(), 0);
        assert_eq!(meter.slow().1, 0);
    }
}
