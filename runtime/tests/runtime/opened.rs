//! Stores as the tests open them, ids as they draw them, and what keeps a test from hanging.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{Config, CpuChoice, ReadPathChoice, Scheduler, Store};

/// All of them.
pub(crate) const READ_PATHS: [ReadPathChoice; 5] = [
    ReadPathChoice::RingPerShard,
    ReadPathChoice::Glommio,
    ReadPathChoice::SharedRings { rings: 2 },
    ReadPathChoice::ThreadPool { threads: 3 },
    ReadPathChoice::Mmap,
];

/// All ways from a shard to the device and back: each read path, with each scheduler that it
/// goes with.
pub(crate) fn ways() -> impl Iterator<Item = (ReadPathChoice, Scheduler)> {
    let batched = READ_PATHS.map(|read_path| (read_path, Scheduler::Batched));
    let per_read = [
        ReadPathChoice::RingPerShard,
        ReadPathChoice::SharedRings { rings: 1 },
        ReadPathChoice::ThreadPool { threads: 3 },
    ];
    let per_read = per_read.map(|read_path| (read_path, Scheduler::PerRead));
    batched.into_iter().chain(per_read)
}

/// A shallow queue, so that a take of a few hundred rows fills it.
pub(crate) fn config(shards: usize, read_path: ReadPathChoice) -> Config {
    Config {
        shards: Some(shards),
        cpus: CpuChoice::Unpinned,
        read_path,
        queue_depth: 16,
        ..Config::default()
    }
}

pub(crate) fn open(path: &Path, shards: usize, read_path: ReadPathChoice) -> Store {
    Store::open(path, config(shards, read_path)).unwrap()
}

/// Random numbers that a failed test can repeat.
pub(crate) fn seeded(seed: u64) -> ChaCha8Rng {
    println!("seed {seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// Draws with duplicates and neighbours.
pub(crate) fn draw(rng: &mut ChaCha8Rng, rows: u64, count: usize) -> Vec<u64> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let id = rng.random_range(0..rows);
        ids.push(id);
        if rng.random_bool(0.3) {
            ids.extend((id..rows).take(5));
        }
        if rng.random_bool(0.2) {
            ids.push(id);
        }
    }
    ids.truncate(count);
    ids.shuffle(rng);
    ids
}

/// Fails if `work` hangs. The bound is far beyond the time that it can take.
pub(crate) fn without_hanging<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(done.send(work())));
    match ended.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
    }
}

/// The variable that tells a test that it is the child, and what to do.
const CHILD: &str = "RINGTAKE_TEST_CHILD";

/// The task that the parent gave this process, if it is a child.
pub(crate) fn told_by_parent() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Runs the test named `test` alone in a process of its own.
pub(crate) fn in_child(test: &str, what: &str) -> Output {
    in_child_with(test, what, &[])
}

/// `in_child` with more variables in the environment.
pub(crate) fn in_child_with(test: &str, what: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, what)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Fails with all that the child said unless it ended well after it said `last_word`.
pub(crate) fn assert_child_ended_well(output: &Output, last_word: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains(last_word) && !complained.contains("panicked"),
        "{:?}\n{said}\n{complained}",
        output.status
    );
}
