//! Verdicts on runs made up, each with one thing wrong.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::record::tests::{measurement, record_of};

const LIMITS: SubjectLimits = SubjectLimits {
    shards: 2,
    queue_depth: 128,
};

fn stage(name: &str, kind: StageKind, share: f64) -> StageTime {
    StageTime {
        name: name.to_owned(),
        kind,
        seconds: share,
        share,
        times: 1,
        p50_us: None,
        p99_us: None,
        max_us: None,
    }
}

/// A shard that decodes, submits and waits for such shares of its time.
fn shard(shard: usize, decode: f64, submit: f64, waits: f64, in_flight: u32) -> ShardObserved {
    let idle = 1.0 - decode - submit - waits;
    ShardObserved {
        shard,
        stages: vec![
            stage("submit", StageKind::Busy, submit),
            stage("device", StageKind::Wait, waits),
            stage("decode", StageKind::Busy, decode),
            stage("idle", StageKind::Idle, idle),
        ],
        queues: vec![QueueSample {
            at_s: 0.1,
            inbox: 0,
            waiting_parts: 0,
            in_flight,
            completions: 8,
        }],
        ..ShardObserved::default()
    }
}

fn device(queue: f64) -> DeviceSample {
    DeviceSample {
        at_s: 0.1,
        reads_per_s: 25_000.0,
        bytes_per_read: Some(4096.0),
        merges_per_s: 0.0,
        queue,
        wait_us: Some(10_000.0),
        utilisation: 1.0,
    }
}

/// A cold run on a quiet machine, with such shards and such a queue of the device.
fn run(shards: [ShardObserved; 2], at_device: f64) -> Record {
    let mut record = record_of(&measurement());
    record.environment.parallelism = Some(64);
    record.observations.shards = shards.to_vec();
    record.observations.device = vec![device(at_device)];
    record
}

fn judged(record: &Record) -> Verdict {
    judge(record, Some(LIMITS)).unwrap()
}

fn expect(record: &Record, limit: Limit, parts: &[&str]) {
    let verdict = judged(record);
    assert_eq!(verdict.limit, limit, "{verdict:?}");
    for part in parts {
        assert!(verdict.words.contains(part), "{part} in {verdict:?}");
    }
}

#[test]
fn full_queue_at_the_device_is_the_device() {
    let shards = [shard(0, 0.1, 0.1, 0.8, 126), shard(1, 0.1, 0.1, 0.8, 126)];
    let record = run(shards, 240.0);
    let parts = [
        "the device is the limit",
        "252 of 256",
        "10.0 ms each",
        "80%",
    ];
    expect(&record, Limit::Device, &parts);
    let rests_on = judged(&record).rests_on.join("\n");
    for part in [
        "shard 1: 20% busy",
        "25,000 reads/s, 240 in its queue",
        "issued 50,000 reads and the device did 50,000; 5,000 rows came from the shards' caches",
        "0.0100 context switches per row",
    ] {
        assert!(rests_on.contains(part), "{part} in {rests_on}");
    }
}

#[test]
fn reads_in_flight_that_are_not_at_the_device_are_handed_over_or_held_back() {
    let shards = || [shard(0, 0.1, 0.0, 0.9, 126), shard(1, 0.1, 0.0, 0.9, 126)];
    let mut record = run(shards(), 30.0);
    record.per_row.context_switches_per_row = Some(1.5);
    record.read_path = "thread-pool:16 (per-read)".to_owned();
    let parts = [
        "of 252 reads in flight 30.0 are at",
        "thread-pool:16",
        "1.50",
    ];
    expect(&record, Limit::HandOver, &parts);
    // One thread for all reads switches seldom, and is waited for all the same.
    record.per_row.context_switches_per_row = Some(0.01);
    record.read_path = "shared-rings:1".to_owned();
    expect(&record, Limit::HandOver, &["shared-rings:1"]);
    record.read_path = "ring-per-shard".to_owned();
    record.per_row.context_switches_per_row = Some(1.5);
    expect(&record, Limit::HandOver, &["worker thread of the kernel's"]);
    record.per_row.context_switches_per_row = Some(0.01);
    expect(
        &record,
        Limit::HeldBack,
        &["held back in the kernel", "io.max"],
    );
}

/// A busy shard has not fetched what the device is done with.
#[test]
fn reads_that_a_busy_shard_has_not_fetched_are_not_handed_over() {
    let shards = || [shard(0, 0.9, 0.1, 0.0, 126), shard(1, 0.9, 0.1, 0.0, 126)];
    for read_path in ["ring-per-shard", "shared-rings:1"] {
        let mut record = run(shards(), 30.0);
        record.per_row.context_switches_per_row = Some(1.5);
        record.read_path = read_path.to_owned();
        expect(&record, Limit::Cpu, &["decode"]);
    }
}

/// Queues with little in them are sampled when reads have just been planned.
#[test]
fn few_reads_in_bursts_are_not_handed_over() {
    let shards = [shard(0, 0.1, 0.1, 0.7, 30), shard(1, 0.1, 0.1, 0.7, 30)];
    let mut record = run(shards, 20.0);
    record.per_row.context_switches_per_row = Some(0.5);
    expect(
        &record,
        Limit::Clients,
        &["60.0 reads in flight of the 256"],
    );
}

/// The store keeps fewer reads in flight than it could, as its depth control has found.
#[test]
fn clients_whose_reads_wait_for_slots_are_not_blamed() {
    let mut shards = [shard(0, 0.2, 0.1, 0.6, 20), shard(1, 0.2, 0.1, 0.6, 20)];
    for shard in &mut shards {
        shard.queues[0].waiting_parts = 3;
    }
    expect(&run(shards, 38.0), Limit::Unclear, &["60% of their time"]);
}

#[test]
fn busy_shards_are_the_processors_and_the_stage_is_named() {
    let shards = [shard(0, 0.3, 0.65, 0.0, 3), shard(1, 0.2, 0.7, 0.0, 3)];
    let parts = [
        "the CPU is the limit",
        "at least 90% busy",
        "73%, is submit",
    ];
    expect(&run(shards, 0.5), Limit::Cpu, &parts);
    // Shards that lose their CPUs to the clients.
    let shards = [shard(0, 0.6, 0.0, 0.0, 0), shard(1, 0.6, 0.0, 0.0, 0)];
    let mut record = run(shards, 0.0);
    (record.environment.parallelism, record.rates.cores_busy) = (Some(2), 1.9);
    let parts = [
        "1.90 CPUs are busy of 2",
        "10% of that with the clients",
        "decode",
    ];
    expect(&record, Limit::Cpu, &parts);
}

#[test]
fn one_busy_shard_beside_one_that_is_not_is_named() {
    let shards = [shard(0, 0.2, 0.1, 0.2, 20), shard(1, 0.6, 0.38, 0.0, 2)];
    let parts = [
        "shard 1 is the limit: 98% busy",
        "61% of that in decode",
        "shard 0 is 30%",
    ];
    expect(&run(shards, 20.0), Limit::Shard, &parts);
}

#[test]
fn shards_without_work_or_with_few_reads_wait_for_the_clients() {
    let shards = [shard(0, 0.1, 0.0, 0.0, 0), shard(1, 0.1, 0.0, 0.0, 0)];
    expect(
        &run(shards, 0.0),
        Limit::Clients,
        &["nothing to do 90%", "--in-flight"],
    );
    let shards = [shard(0, 0.1, 0.0, 0.9, 10), shard(1, 0.1, 0.0, 0.9, 10)];
    expect(
        &run(shards, 19.0),
        Limit::Clients,
        &["20.0 reads in flight of the 256"],
    );
}

#[test]
fn programs_that_take_the_processors_are_named() {
    let shards = [shard(0, 0.5, 0.0, 0.0, 0), shard(1, 0.5, 0.0, 0.0, 0)];
    let mut record = run(shards, 0.0);
    (record.environment.parallelism, record.rates.cores_busy) = (Some(2), 1.0);
    record.rates.machine_cores_busy = Some(1.9);
    let parts = ["other programs are the limit", "0.90 of 2 CPUs"];
    expect(&record, Limit::OtherPrograms, &parts);
    let rests_on = judged(&record).rests_on.join("\n");
    assert!(
        rests_on.contains("other programs kept 0.90 CPUs busy"),
        "{rests_on}"
    );
    record.rates.machine_cores_busy = Some(1.1);
    assert_ne!(judged(&record).limit, Limit::OtherPrograms);
}

/// Neither waits nor idles for half of its time, and could have many more reads in flight.
#[test]
fn shards_that_do_a_little_of_everything_wait_for_the_clients() {
    let shards = [shard(0, 0.2, 0.1, 0.4, 3), shard(1, 0.2, 0.1, 0.4, 3)];
    let parts = ["6.00 reads in flight of the 256", "--in-flight"];
    expect(&run(shards, 5.0), Limit::Clients, &parts);
    // With half of the queue full there is no single reason.
    let shards = [shard(0, 0.4, 0.1, 0.3, 70), shard(1, 0.4, 0.1, 0.3, 70)];
    expect(&run(shards, 130.0), Limit::Unclear, &["50% busy"]);
}

#[test]
fn run_that_is_not_proven_has_no_other_verdict() {
    let mut cached = measurement();
    cached.device = Ok(crate::count::device::DeviceReads::default());
    let mut record = record_of(&cached);
    record.observations.shards = vec![shard(0, 0.1, 0.1, 0.8, 126)];
    expect(&record, Limit::NotProven, &["page-cache trap"]);
}

#[test]
fn what_tells_nothing_of_its_time_has_no_verdict() {
    assert_eq!(judge(&record_of(&measurement()), Some(LIMITS)), None);
}

#[test]
fn long_stall_is_told_with_what_the_shard_did() {
    let mut stalled = shard(1, 0.1, 0.1, 0.8, 126);
    stalled.longest_stall_us = 30_000.0;
    stalled.longest_stall_stage = "callers".to_owned();
    let record = run([shard(0, 0.1, 0.1, 0.8, 126), stalled], 240.0);
    let rests_on = judged(&record).rests_on.join("\n");
    let expected = "shard 1 was once away from its ring for 30.0 ms, in callers";
    assert!(rests_on.contains(expected), "{rests_on}");
}
