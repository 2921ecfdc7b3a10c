//! Client threads against subjects that are closures.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;
use crate::drive::live::Live;
use crate::drive::load::Load;
use crate::drive::subject::tests::{Fake, echo};
use crate::workload::Workload;

fn run<S: Subject>(load: Load, pace: Pace, workload: &Workload, subject: &S) -> Result<Run, Error> {
    let never = AtomicBool::new(false);
    run_until(load, pace, workload, &never, subject, || ())
}

fn run_until<S: Subject>(
    load: Load,
    pace: Pace,
    workload: &Workload,
    interrupted: &AtomicBool,
    subject: &S,
    mut at_start: impl FnMut(),
) -> Result<Run, Error> {
    let work = Work {
        load,
        pace,
        workload,
        interrupted,
        live: &Live::default(),
    };
    Threads(subject).run(work, &mut at_start)
}

fn load(threads: usize, in_flight: usize, bound: Bound) -> Load {
    Load {
        threads: NonZeroUsize::new(threads).unwrap(),
        in_flight: NonZeroUsize::new(in_flight).unwrap(),
        bound,
    }
}

#[test]
fn every_query_is_asked_once_whatever_the_threads() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let asked_by = |threads, in_flight| {
        let asked = Mutex::new(Vec::new());
        let run = run(
            load(threads, in_flight, Bound::Queries(60)),
            Pace::Closed,
            &workload,
            &Fake(|rows: &[u64]| {
                asked.lock().unwrap().extend_from_slice(rows);
                let batch = echo(rows);
                async move {
                    futures_lite::future::yield_now().await;
                    Ok(batch)
                }
            }),
        )
        .unwrap();
        assert_eq!((run.queries, run.rows), (60, 600));
        assert_eq!(run.latency_ns.len(), 60);
        let mut asked = asked.into_inner().unwrap();
        asked.sort_unstable();
        (asked, run.touched)
    };
    let one = asked_by(1, 1);
    assert_eq!(one.0.len(), 600);
    assert_eq!(one, asked_by(3, 4));
}

#[test]
fn each_thread_keeps_its_queries_in_flight_and_no_more() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (now, most) = (&now, &most);
    run(
        load(1, 5, Bound::Queries(50)),
        Pace::Closed,
        &workload,
        &Fake(|rows: &[u64]| {
            let batch = echo(rows);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Long enough for every other client to come by.
                for _ in 0..20 {
                    futures_lite::future::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(batch)
            }
        }),
    )
    .unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 5);
}

#[test]
fn first_error_ends_the_run_and_is_returned() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let refused = run(
        load(2, 2, Bound::Time(Duration::from_secs(3600))),
        Pace::Closed,
        &workload,
        &Fake(|_: &[u64]| async { Err(Error::Interrupted) }),
    );
    assert!(matches!(refused, Err(Error::Interrupted)));
}

#[test]
fn answer_with_rows_missing_is_an_error() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let refused = run(
        load(1, 1, Bound::Queries(5)),
        Pace::Closed,
        &workload,
        &Fake(|rows: &[u64]| {
            let batch = echo(&rows[1..]);
            async move { Ok(batch) }
        }),
    );
    assert!(matches!(
        refused,
        Err(Error::RowsLost {
            asked: 10,
            returned: 9
        })
    ));
}

#[test]
fn signal_ends_a_run_without_end_and_keeps_what_it_has_measured() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let interrupted = AtomicBool::new(false);
    let part = run_until(
        load(1, 1, Bound::Time(Duration::from_secs(3600))),
        Pace::Closed,
        &workload,
        &interrupted,
        &Fake(|rows: &[u64]| {
            interrupted.store(true, Ordering::Relaxed);
            let batch = echo(rows);
            async move { Ok(batch) }
        }),
        || (),
    )
    .unwrap();
    assert_eq!((part.queries, part.interrupted), (1, true));
    assert!(matches!(part.whole(), Err(Error::Interrupted)));
}

#[test]
fn signal_before_the_first_answer_leaves_nothing_to_keep() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let refused = run_until(
        load(1, 1, Bound::Time(Duration::from_secs(3600))),
        Pace::Closed,
        &workload,
        &AtomicBool::new(true),
        &Fake(|rows: &[u64]| {
            let batch = echo(rows);
            async move { Ok(batch) }
        }),
        || (),
    );
    assert!(matches!(refused, Err(Error::Interrupted)));
}

#[test]
fn counters_are_read_before_the_first_query() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let asked = AtomicUsize::new(0);
    let at_start = AtomicUsize::new(usize::MAX);
    run_until(
        load(2, 2, Bound::Queries(8)),
        Pace::Closed,
        &workload,
        &AtomicBool::new(false),
        &Fake(|rows: &[u64]| {
            asked.fetch_add(1, Ordering::SeqCst);
            let batch = echo(rows);
            async move { Ok(batch) }
        }),
        || at_start.store(asked.load(Ordering::SeqCst), Ordering::SeqCst),
    )
    .unwrap();
    assert_eq!(at_start.load(Ordering::SeqCst), 0);
    assert_eq!(asked.load(Ordering::SeqCst), 8);
}

const FAST: Pace = Pace::Open {
    rate_per_s: 2_000.0,
    seed: 1,
};

#[test]
fn standstill_of_the_subject_is_charged_to_every_query_that_was_due_in_it() {
    let workload = Workload::new(10_000, 10, 1).unwrap();
    let standstill = Duration::from_millis(200);
    let taken = AtomicU64::new(0);
    let run = run(
        load(1, 1, Bound::Queries(1_000)),
        FAST,
        &workload,
        &Fake(|rows: &[u64]| {
            // One query stops the thread, and with it the generator.
            if taken.fetch_add(1, Ordering::Relaxed) == 100 {
                std::thread::sleep(standstill);
            }
            let batch = echo(rows);
            async move { Ok(batch) }
        }),
    )
    .unwrap();
    assert_eq!(run.queries, 1_000);
    // At 2,000 per second about 400 queries were due in the standstill, half of them in its
    // first half. Counted from their start, one would have been slow.
    let half = standstill.as_nanos() as u64 / 2;
    let slow = run.latency_ns.count_between(half, u64::MAX);
    assert!(slow >= 120, "{slow}");
    let arrivals = run.arrivals.unwrap();
    assert_eq!((arrivals.planned, arrivals.never_started), (1_000, 0));
    assert!(arrivals.late >= 240, "{}", arrivals.late);
}

#[test]
fn queries_start_although_those_before_have_not_come_back() {
    let workload = Workload::new(10_000, 10, 1).unwrap();
    let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let (now, most) = (&now, &most);
    let all = 40;
    let subject = Fake(|rows: &[u64]| {
        let batch = echo(rows);
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // No query comes back before the last has started.
            while now.load(Ordering::SeqCst) < all {
                futures_lite::future::yield_now().await;
            }
            Ok(batch)
        }
    });
    let bound = load(1, 1, Bound::Queries(all));
    let run = run(bound, FAST, &workload, &subject).unwrap();
    assert_eq!((run.queries, most.load(Ordering::SeqCst)), (all, all));
}

#[test]
fn queries_that_an_overload_kept_from_starting_are_counted() {
    let workload = Workload::new(100_000, 10_000, 1).unwrap();
    let subject = Fake(|rows: &[u64]| {
        std::thread::sleep(Duration::from_millis(30));
        let batch = echo(rows);
        async move { Ok(batch) }
    });
    let bound = load(1, 1, Bound::Time(Duration::from_millis(100)));
    let run = run(bound, FAST, &workload, &subject).unwrap();
    let arrivals = run.arrivals.unwrap();
    assert!(arrivals.never_started > 0, "{arrivals:?}");
    assert_eq!(arrivals.planned, run.queries + arrivals.never_started);
}

#[test]
fn first_error_ends_an_open_loop_and_is_returned() {
    let workload = Workload::new(1_000, 10, 1).unwrap();
    let subject = Fake(|_: &[u64]| async { Err(Error::Interrupted) });
    let bound = load(1, 1, Bound::Time(Duration::from_secs(3600)));
    let refused = run(bound, FAST, &workload, &subject);
    assert!(matches!(refused, Err(Error::Interrupted)));
}

#[test]
fn queries_that_are_shed_are_counted_and_end_nothing() {
    let workload = Workload::new(10_000, 10, 1).unwrap();
    let asked = AtomicU64::new(0);
    let subject = Fake(|rows: &[u64]| {
        let batch = echo(rows);
        let nth = asked.fetch_add(1, Ordering::Relaxed);
        async move {
            match nth % 4 {
                0 => Err(Error::Store(ringtake_runtime::Error::Overloaded)),
                1 => Err(Error::Store(ringtake_runtime::Error::DeadlineExceeded {
                    rows_unread: 1,
                    rows: 10,
                })),
                _ => Ok(batch),
            }
        }
    });
    let bound = load(1, 1, Bound::Queries(40));
    let run = run(bound, FAST, &workload, &subject).unwrap();
    let arrivals = run.arrivals.unwrap();
    assert_eq!(
        (arrivals.refused, arrivals.expired, run.queries),
        (10, 10, 20)
    );
}
