//! A meter without a shard: marks and sleeps of known length.

use super::*;
use crate::metrics::ShardTime;
use crate::metrics::stats::ShardCounters;

#[test]
fn time_has_no_gaps_and_the_longest_stall_is_named() {
    let shared = ShardMeter::new(true, false);
    let meter = Meter::new(&shared);
    let since = meter.now();
    let counters = ShardCounters::default();
    std::thread::sleep(Duration::from_millis(2));
    meter.mark(Stage::Idle);
    meter.looked();
    std::thread::sleep(Duration::from_millis(5));
    meter.mark(Stage::Callers);
    meter.mark(Stage::Plan);
    meter.looked();
    meter.end(Stage::Idle);
    let seen = shared.look(&counters, ShardMeter::patience());
    assert_eq!(seen.time.total(), seen.at_ns - since);
    assert!(seen.time.idle >= 2_000_000 && seen.time.callers >= 5_000_000);
    assert_eq!(seen.longest_stall.stage, "callers");
    let stall = seen.longest_stall.duration_ns;
    assert_eq!(stall, seen.time.callers + seen.time.plan);
}

/// The shares of a phase that was watched closely divide those that were not.
#[test]
fn phase_is_divided_as_when_it_was_watched_closely() {
    let shared = ShardMeter::new(true, false);
    let meter = Meter::new(&shared);
    let since = meter.now();
    let visit = |checksum: u64, reply: u64| {
        meter.mark(Stage::Idle);
        meter.enter(Phase::Deliver);
        std::thread::sleep(Duration::from_millis(checksum));
        meter.detail(Stage::Checksum);
        std::thread::sleep(Duration::from_millis(reply));
        meter.leave(Phase::Deliver);
    };
    visit(9, 3);
    let close = shared.read(&ShardCounters::default()).time;
    assert!(close.checksum >= 9_000_000 && close.reply >= 3_000_000);
    // Not watched closely: what is said of it is not looked at.
    visit(0, 20);
    let (at, seen) = shared.time();
    let (checksum, reply) = (seen.checksum - close.checksum, seen.reply - close.reply);
    let share = |time: ShardTime| time.checksum as f64 / (time.checksum + time.reply) as f64;
    assert!(checksum + reply >= 20_000_000);
    assert!(
        (share(seen) - share(close)).abs() < 1e-3,
        "{seen:?} {close:?}"
    );
    assert_eq!(seen.total() + since, at);
    // A sample of them is.
    for _ in 2..CLOSE_EVERY {
        visit(0, 0);
    }
    let pieces = |stage: Stage| {
        let pieces = &shared.read(&ShardCounters::default()).pieces[stage as usize];
        pieces.latencies.count()
    };
    assert_eq!(pieces(Stage::Checksum), 1);
    visit(0, 0);
    assert_eq!(pieces(Stage::Checksum), 2);
}

/// A wait is divided into what the thread ran and what it slept.
#[test]
fn sleep_in_a_wait_is_the_device_and_running_is_the_kernel() {
    let shared = ShardMeter::new(true, false);
    let meter = Meter::new(&shared);
    let since = meter.now();
    meter.mark(Stage::Idle);
    meter.enter(Phase::Wait);
    let before = meter.thread_time();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    std::thread::sleep(Duration::from_millis(10));
    meter.detail_running(Stage::Submit, before);
    meter.leave(Phase::Wait);
    meter.mark(Stage::Plan);
    let (at, seen) = shared.time();
    // The machine may have taken the thread's CPU away, not given it more.
    assert!(
        seen.submit > 0 && seen.device >= 10_000_000 - seen.submit,
        "{seen:?}"
    );
    assert_eq!(seen.total() + since, at);
}

#[test]
fn samples_are_kept_in_order_and_the_oldest_go() {
    let shared = ShardMeter::new(true, false);
    let meter = Meter::new(&shared);
    let counters = ShardCounters::default();
    for number in 0..SAMPLES as u32 + 3 {
        meter.now.set(u64::from(number) * 20_000_000);
        let sample = QueueSample {
            in_flight: number,
            ..QueueSample::default()
        };
        meter.sample(|| sample);
        // Not due yet.
        meter.sample(|| unreachable!("10 ms have not passed"));
    }
    let queues = shared.look(&counters, ShardMeter::patience()).queues;
    assert_eq!(queues.len(), SAMPLES);
    assert_eq!(queues[0].in_flight, 3);
    assert!(queues.is_sorted_by_key(|sample| sample.at_ns));
}

/// Two numbers that the writer keeps equal are equal to every reader.
#[test]
fn reader_sees_no_half_of_a_round() {
    let shared = ShardMeter::new(true, false);
    let counters = ShardCounters::default();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let meter = Meter::new(&shared);
            for _ in 0..2_000 {
                meter.begin();
                counters.reads.add(1);
                meter.read_done(0, 0);
                // Another thread that looks here sees half of it.
                std::thread::yield_now();
                counters.completions.add(1);
                meter.end(Stage::Idle);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        while !writer.is_finished() {
            let seen = shared.look(&counters, ShardMeter::patience());
            assert_eq!(seen.stats.reads, seen.stats.completions);
            assert_eq!(seen.stats.reads, seen.read_latency.count());
        }
    });
}

#[test]
fn nothing_is_written_where_it_is_off() {
    let shared = ShardMeter::new(false, true);
    let meter = Meter::new(&shared);
    meter.mark(Stage::Plan);
    meter.looked();
    meter.read_done(0, 0);
    meter.received(Some(Instant::now()));
    meter.sample(|| unreachable!("it is off"));
    meter.enter(Phase::Plan);
    meter.detail(Stage::Decode);
    assert_eq!(meter.thread_time(), None);
    meter.leave(Phase::Plan);
    let seen = shared.look(&ShardCounters::default(), ShardMeter::patience());
    assert_eq!(seen.time, ShardTime::default());
    assert_eq!(seen.read_latency.count() + seen.inbox_wait.count(), 0);
    assert_eq!(shared.version.load(Ordering::Relaxed), 0);
}

/// A shard that works from memory goes from round to round.
#[test]
fn reader_of_a_shard_that_never_rests_sees_no_half_of_a_round() {
    let shared = ShardMeter::new(true, false);
    let counters = ShardCounters::default();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let meter = Meter::new(&shared);
            while !done.load(Ordering::Relaxed) {
                meter.begin();
                counters.reads.add(1);
                meter.mark(Stage::Plan);
                counters.completions.add(1);
                meter.end(Stage::Idle);
            }
        });
        // A reader that gave up would see what it finds.
        let never = Instant::now() + Duration::from_secs(3600);
        for _ in 0..50 {
            let seen = shared.look(&counters, never);
            assert_eq!(seen.stats.reads, seen.stats.completions);
        }
        done.store(true, Ordering::Relaxed);
    });
}
