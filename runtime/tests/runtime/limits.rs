//! Limits of the operating system that are too low: the store serves, or its message names the limit and
//! the command that raises it.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use ringtake_runtime::{
    Config, CpuChoice, Error, IndexOptions, Limits, ReadPathChoice, ShardId, Store,
};

use crate::places::{
    NotHere, Place, STRANGER, assert_serves, become_user, in_a_place, in_a_place_with, limit,
};

/// Beyond it every part of a store of two shards has started.
const STEPS: u64 = 48;

fn shards(shards: usize, read_path: ReadPathChoice) -> Config {
    Config {
        shards: Some(shards),
        cpus: CpuChoice::Unpinned,
        read_path,
        ..Config::default()
    }
}

/// Lowers a limit until the value returned is dropped. A process above the limit keeps its files and
/// threads.
fn lower(resource: libc::__rlimit_resource_t, to: u64) -> Lowered {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut before) }, 0);
    let lowered = Lowered { resource, before };
    lowered.set(to);
    lowered
}

struct Lowered {
    resource: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

impl Lowered {
    fn set(&self, to: u64) {
        let limit = libc::rlimit {
            rlim_cur: to,
            ..self.before
        };
        // SAFETY: the limit is a valid one, and lives through the call.
        assert_eq!(unsafe { libc::setrlimit(self.resource, &limit) }, 0);
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        self.set(self.before.rlim_cur);
    }
}

/// Opens a store under each limit from `from` on, until one serves as configured. Each store below
/// that serves with a warning, or fails with an error, and either names `command`.
fn assert_named_at_each_step(
    path: &Path,
    resource: libc::__rlimit_resource_t,
    from: u64,
    command: &str,
) {
    for read_path in [
        ReadPathChoice::Auto,
        ReadPathChoice::RingPerShard,
        ReadPathChoice::Glommio,
        ReadPathChoice::SharedRings { rings: 2 },
        ReadPathChoice::ThreadPool { threads: 4 },
    ] {
        // Glommio looks once in a process whether it can run, so the first look is at a good place.
        assert_serves(&Store::open(path, shards(2, read_path)).unwrap());
        let (mut refused, mut served) = (0, 0);
        for step in 0..STEPS {
            let lowered = lower(resource, from + step);
            let opened = Store::open(path, shards(2, read_path));
            match opened {
                Ok(store) => {
                    let taken = store.take(&[1, 2], &store.all_columns()).wait();
                    let taken = taken.map_err(|error| error.to_string());
                    let fell_back = read_path == ReadPathChoice::Auto
                        && store.info().read_path != ReadPathChoice::RingPerShard;
                    let warnings = store.info().warnings.join(" ");
                    drop(lowered);
                    assert!(!fell_back || warnings.contains(command), "{warnings}");
                    if let Err(message) = taken {
                        assert!(message.contains(command), "{read_path}, {step}: {message}");
                        refused += 1;
                        continue;
                    }
                    assert_serves(&store);
                    served += 1;
                    // The rest of the way is the same.
                    if !fell_back {
                        break;
                    }
                }
                Err(error) => {
                    let message = error.to_string();
                    drop(lowered);
                    assert!(message.contains(command), "{read_path}, {step}: {message}");
                    refused += 1;
                }
            }
        }
        assert!(
            refused > 0 && served > 0,
            "{read_path}: {refused}, {served}"
        );
    }
}

fn entries(directory: &str) -> Result<u64, NotHere> {
    let entries = std::fs::read_dir(directory);
    let entries = entries.map_err(|error| NotHere(format!("{directory}: {error}")))?;
    Ok(entries.count() as u64)
}

fn status_kib(field: &str) -> Result<u64, NotHere> {
    let status = std::fs::read_to_string("/proc/self/status");
    let status = status.map_err(|error| NotHere(format!("/proc/self/status: {error}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.ok_or_else(|| NotHere(format!("/proc/self/status has no {field}")))
}

/// The message of a build that gets no thread.
fn message_of_build(store: &Store) -> String {
    let built = ending_if_it_hangs(|| {
        let go_on = &mut |_| ControlFlow::Continue(());
        store.build_index("vector", &IndexOptions::default(), go_on)
    });
    let error = built.unwrap_err();
    assert!(matches!(error, Error::NoThread { .. }), "{error}");
    error.to_string()
}

/// `without_hanging` needs a thread, which these places do not give.
fn ending_if_it_hangs<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: no memory is involved; the signal ends a process that hangs.
    unsafe { libc::alarm(60) };
    let done = work();
    // SAFETY: as above.
    unsafe { libc::alarm(0) };
    done
}

#[test]
fn thirty_two_open_files_are_enough_or_the_limit_is_named() {
    in_a_place(
        "limits::thirty_two_open_files_are_enough_or_the_limit_is_named",
        |path| {
            limit(libc::RLIMIT_NOFILE, 32)?;
            let mut served = 0;
            for count in [1, 2, 16] {
                let message = match Store::open(path, shards(count, ReadPathChoice::Auto)) {
                    Ok(store) => {
                        assert_serves(&store);
                        served += 1;
                        store.info().warnings.join(" ")
                    }
                    Err(error) => error.to_string(),
                };
                // Each shard has a doorbell and rings of its own.
                if count == 16 {
                    assert!(
                        message.contains("is 32, with `ulimit -n 1024`"),
                        "{message}"
                    );
                }
            }
            assert!(served > 0);
            Ok(())
        },
    );
}

#[test]
fn every_limit_of_open_files_is_enough_or_named() {
    in_a_place(
        "limits::every_limit_of_open_files_is_enough_or_named",
        |path| {
            // The directory that is counted is itself open meanwhile.
            let open = entries("/proc/self/fd")? - 1;
            assert_named_at_each_step(path, libc::RLIMIT_NOFILE, open, "`ulimit -n 1024`");
            Ok(())
        },
    );
}

#[test]
fn every_limit_of_threads_is_enough_or_named() {
    in_a_place(
        "limits::every_limit_of_threads_is_enough_or_named",
        |path| {
            // A user of this process's own, since the limit counts the threads of all its processes.
            become_user(path, 1_000_000 + std::process::id())?;
            let store = Store::open(path, shards(1, ReadPathChoice::Auto)).unwrap();
            let threads = entries("/proc/self/task")?;
            let lowered = lower(libc::RLIMIT_NPROC, threads);
            if std::thread::Builder::new().spawn(|| ()).is_ok() {
                return Err(NotHere("threads are not limited".to_owned()));
            }
            let message = message_of_build(&store);
            assert!(message.contains("`ulimit -u 4096`"), "{message}");
            drop(lowered);
            drop(store);
            let threads = entries("/proc/self/task")?;
            assert_named_at_each_step(path, libc::RLIMIT_NPROC, threads, "`ulimit -u 4096`");
            Ok(())
        },
    );
}

#[test]
fn a_deadline_that_no_thread_can_watch_names_the_limit() {
    in_a_place(
        "limits::a_deadline_that_no_thread_can_watch_names_the_limit",
        |path| {
            become_user(path, 1_000_000 + std::process::id())?;
            let config = Config {
                limits: Limits {
                    takes_in_flight_max: 1,
                    ..Limits::default()
                },
                ..shards(1, ReadPathChoice::Auto)
            };
            let store = Store::open(path, config).unwrap();
            let columns = store.all_columns();
            let (let_go, held) = std::sync::mpsc::channel::<()>();
            let (runs, running) = std::sync::mpsc::channel();
            let holds = store.run_on(ShardId(0), move |_| async move {
                runs.send(()).unwrap();
                let _ = held.recv();
            });
            let holds = std::thread::spawn(move || block_on(holds));
            running.recv().unwrap();
            // The shard stands until it is let go, so this take keeps the only permit and the next
            // one has to wait.
            let mut waits = Box::pin(store.take(&[1], &columns).into_future());
            assert!(block_on(poll_once(&mut waits)).is_none());
            let lowered = lower(libc::RLIMIT_NPROC, entries("/proc/self/task")?);
            if std::thread::Builder::new().spawn(|| ()).is_ok() {
                return Err(NotHere("threads are not limited".to_owned()));
            }
            let deadline = Instant::now() + Duration::from_secs(3600);
            let refused = store.take(&[1], &columns).deadline(deadline);
            let refused = refused.wait().unwrap_err();
            drop(lowered);
            let_go.send(()).unwrap();
            holds.join().unwrap().unwrap();
            block_on(waits).unwrap();
            let message = refused.to_string();
            assert!(matches!(refused, Error::NoTimer { .. }), "{message}");
            assert!(message.contains("`ulimit -u 4096`"), "{message}");
            assert_serves(&store);
            Ok(())
        },
    );
}

#[test]
fn sixty_four_kilobytes_of_locked_memory_are_enough_and_named() {
    in_a_place(
        "limits::sixty_four_kilobytes_of_locked_memory_are_enough_and_named",
        |path| {
            limit(libc::RLIMIT_MEMLOCK, 64 << 10)?;
            become_user(path, STRANGER)?;
            let store = Store::open(path, Config::default()).unwrap();
            assert_serves(&store);
            let info = store.info();
            for shard in &info.shards {
                let ring = shard.ring.as_ref();
                assert!(ring.is_none_or(|ring| !ring.registered_results));
            }
            let warnings = info.warnings.join(" ");
            assert!(
                warnings.contains("is 64 KiB, with `ulimit -l 8192`"),
                "{warnings}"
            );
            for read_path in [ReadPathChoice::RingPerShard, ReadPathChoice::Glommio] {
                match Store::open(path, shards(1, read_path)) {
                    Ok(store) => assert_serves(&store),
                    Err(error) => {
                        let message = error.to_string();
                        assert!(message.contains("`ulimit -l 8192`"), "{message}");
                    }
                }
            }
            Ok(())
        },
    );
}

/// More than is left of the address space, for the stack of each thread.
const STACK_BYTES: &str = "1073741824";
const ADDRESS_SPACE_LEFT_BYTES: u64 = 512 << 20;

fn limit_address_space() -> Place {
    let used = status_kib("VmSize:")? << 10;
    limit(libc::RLIMIT_AS, used + ADDRESS_SPACE_LEFT_BYTES)
}

#[test]
fn stacks_beyond_the_address_space_name_its_limit() {
    in_a_place_with(
        "limits::stacks_beyond_the_address_space_name_its_limit",
        &[("RUST_MIN_STACK", STACK_BYTES)],
        |path| {
            let store = Store::open(path, shards(1, ReadPathChoice::Auto)).unwrap();
            limit_address_space()?;
            let message = message_of_build(&store);
            assert!(message.contains("`ulimit -v unlimited`"), "{message}");
            for read_path in [
                ReadPathChoice::Auto,
                ReadPathChoice::SharedRings { rings: 1 },
            ] {
                let message = Store::open(path, shards(1, read_path)).unwrap_err();
                let message = message.to_string();
                assert!(message.contains("`ulimit -v unlimited`"), "{message}");
            }
            assert_serves(&store);
            Ok(())
        },
    );
}

#[test]
fn result_memory_beyond_the_address_space_names_its_limit_and_rows_come() {
    in_a_place(
        "limits::result_memory_beyond_the_address_space_names_its_limit_and_rows_come",
        |path| {
            limit_address_space()?;
            let config = Config {
                result_memory_bytes: 2 * ADDRESS_SPACE_LEFT_BYTES,
                ..shards(1, ReadPathChoice::Auto)
            };
            let store = Store::open(path, config).unwrap();
            assert_serves(&store);
            let warnings = store.info().warnings.join(" ");
            assert!(warnings.contains("`ulimit -v unlimited`"), "{warnings}");
            Ok(())
        },
    );
}
