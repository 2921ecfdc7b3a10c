//! Places where something is missing, small or moving: each ends in service or in a sentence that
//! says what to do.

use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use ringtake_runtime::{
    Config, CpuChoice, Error, IndexOptions, Limits, ReadPathChoice, ShardId, Store,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::dataset::{self, COLUMNS, Shape};
use crate::opened::{assert_child_ended_well, in_child, told_by_parent, without_hanging};
use crate::places::{
    DONE, NotHere, Place, ROWS, STRANGER, assert_serves, become_user, in_a_place, not_here,
    permitted,
};

/// A mount namespace of this process's own.
fn leave_mounts() -> Place {
    // SAFETY: no memory is involved.
    permitted(unsafe { libc::unshare(libc::CLONE_NEWNS) }, "unshare")?;
    mount(
        "none",
        Path::new("/"),
        "none",
        libc::MS_REC | libc::MS_PRIVATE,
        "",
    )
}

fn mount(from: &str, to: &Path, kind: &str, flags: u64, options: &str) -> Place {
    let text = |text: &str| CString::new(text).unwrap();
    let (from, to, kind) = (text(from), text(to.to_str().unwrap()), text(kind));
    let options = text(options);
    // SAFETY: all strings end in zero and live through the call.
    let mounted = unsafe {
        let (from, to, kind) = (from.as_ptr(), to.as_ptr(), kind.as_ptr());
        libc::mount(from, to, kind, flags, options.as_ptr().cast())
    };
    permitted(mounted, "mount")
}

#[test]
fn a_ring_denied_after_start_up_fails_takes_at_once_and_the_next_store_does_without() {
    in_a_place(
        "hard_places::a_ring_denied_after_start_up_fails_takes_at_once_and_the_next_store_does_without",
        |path| {
            let config = || Config {
                shards: Some(2),
                ..Config::default()
            };
            let store = Store::open(path, config()).unwrap();
            if store.info().read_path != ReadPathChoice::RingPerShard {
                return Err(NotHere("there is no io_uring".to_owned()));
            }
            assert_serves(&store);
            let denied = [libc::SYS_io_uring_enter, libc::SYS_io_uring_setup];
            let filter = SeccompFilter::new(
                denied.map(|call| (call, Vec::new())).into(),
                SeccompAction::Allow,
                SeccompAction::Errno(libc::EPERM as u32),
                std::env::consts::ARCH.try_into().unwrap(),
            );
            let program: BpfProgram = filter.unwrap().try_into().unwrap();
            seccompiler::apply_filter_all_threads(&program).unwrap();
            let all: Vec<u64> = (0..ROWS).collect();
            let (asked, columns) = (store.clone(), store.all_columns());
            let failed = without_hanging(move || asked.take(&all, &columns).wait());
            assert!(
                matches!(failed, Err(Error::ShardEnded { .. })),
                "{:?}",
                failed.map(|rows| rows.num_rows())
            );
            without_hanging(move || store.close());
            let again = Store::open(path, config()).unwrap();
            assert!(!again.info().warnings.is_empty());
            assert_serves(&again);
            Ok(())
        },
    );
}

#[test]
fn one_allowed_cpu_has_one_shard_and_any_number_if_they_are_asked_for() {
    in_a_place(
        "hard_places::one_allowed_cpu_has_one_shard_and_any_number_if_they_are_asked_for",
        |path| {
            let mut cpus = rustix::thread::CpuSet::new();
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            let first = (0..1024).find(|&cpu| allowed.is_set(cpu)).unwrap();
            cpus.set(first);
            rustix::thread::sched_setaffinity(None, &cpus).unwrap();
            let store = Store::open(path, Config::default()).unwrap();
            assert_eq!(store.config().shards, 1);
            assert_serves(&store);
            let many = Config {
                shards: Some(9),
                cpus: CpuChoice::Unpinned,
                ..Config::default()
            };
            let store = Store::open(path, many).unwrap();
            assert_eq!(store.info().shards.len(), 9);
            assert_serves(&store);
            let pinned = Config {
                shards: Some(9),
                ..Config::default()
            };
            match Store::open(path, pinned) {
                Ok(store) => assert_serves(&store),
                Err(error) => assert!(error.to_string().contains("shards"), "{error}"),
            }
            Ok(())
        },
    );
}

#[test]
fn half_a_cpu_of_a_control_group_is_served_by_one_shard() {
    in_a_place(
        "hard_places::half_a_cpu_of_a_control_group_is_served_by_one_shard",
        |path| {
            let name = format!("ringtake-test-{}", std::process::id());
            let not_here = |error: std::io::Error| NotHere(format!("control groups: {error}"));
            // Version 2, or the controller of version 1.
            let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
            let group = match unified {
                true => Path::new("/sys/fs/cgroup").join(&name),
                false => Path::new("/sys/fs/cgroup/cpu").join(&name),
            };
            std::fs::create_dir(&group).map_err(not_here)?;
            let write = |file: &str, text: &str| std::fs::write(group.join(file), text);
            let limited = match unified {
                true => write("cpu.max", "50000 100000"),
                false => write("cpu.cfs_period_us", "100000")
                    .and_then(|()| write("cpu.cfs_quota_us", "50000")),
            };
            let joined = limited.and_then(|()| write("cgroup.procs", "0"));
            let served = joined.map(|()| {
                let store = Store::open(path, Config::default()).unwrap();
                assert_serves(&store);
                store.config().shards
            });
            // Left before it is removed.
            let _ = std::fs::write(group.parent().unwrap().join("cgroup.procs"), "0");
            let _ = std::fs::remove_dir(&group);
            assert_eq!(served.map_err(not_here)?, 1);
            Ok(())
        },
    );
}

#[test]
fn without_proc_and_sys_rows_come() {
    in_a_place("hard_places::without_proc_and_sys_rows_come", |path| {
        leave_mounts()?;
        mount("none", Path::new("/proc"), "tmpfs", 0, "")?;
        mount("none", Path::new("/sys"), "tmpfs", 0, "")?;
        assert!(!Path::new("/proc/self").exists());
        let store = Store::open(path, Config::default()).unwrap();
        assert_serves(&store);
        assert!(store.metrics_text().contains("ringtake_"));
        Ok(())
    });
}

#[test]
fn a_file_system_that_cannot_be_written_serves_rows_and_refuses_an_index() {
    in_a_place(
        "hard_places::a_file_system_that_cannot_be_written_serves_rows_and_refuses_an_index",
        |path| {
            leave_mounts()?;
            let text = path.to_str().unwrap();
            mount(text, path, "none", libc::MS_BIND, "")?;
            let read_only = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
            mount("none", path, "none", read_only, "")?;
            let store = Store::open(path, Config::default()).unwrap();
            assert_serves(&store);
            let go_on = &mut |_| std::ops::ControlFlow::Continue(());
            let built = store.build_index("vector", &IndexOptions::default(), go_on);
            let message = built.unwrap_err().to_string();
            assert!(message.contains("can be written"), "{message}");
            Ok(())
        },
    );
}

#[test]
fn a_directory_of_somebody_elses_is_refused_by_name() {
    in_a_place(
        "hard_places::a_directory_of_somebody_elses_is_refused_by_name",
        |path| {
            use std::os::unix::fs::PermissionsExt as _;
            become_user(path, STRANGER)?;
            // Given to all, but not to be written.
            let store = Store::open(path, Config::default()).unwrap();
            assert_serves(&store);
            let go_on = &mut |_| std::ops::ControlFlow::Continue(());
            let built = store.build_index("vector", &IndexOptions::default(), go_on);
            let message = built.unwrap_err().to_string();
            assert!(message.contains("who owns it"), "{message}");
            let closed = std::fs::metadata("/root").map(|root| root.permissions().mode() & 0o777);
            if closed.is_ok_and(|mode| mode & 0o007 == 0) {
                let message = Store::open("/root/dataset", Config::default()).unwrap_err();
                let message = message.to_string();
                assert!(message.contains("/root/dataset"), "{message}");
            }
            Ok(())
        },
    );
}

#[test]
fn overlays_and_devices_of_large_sectors_are_served() {
    in_a_place(
        "hard_places::overlays_and_devices_of_large_sectors_are_served",
        |path| {
            leave_mounts()?;
            let root = path.parent().unwrap();
            let made = |name: &str| {
                let dir = root.join(name);
                std::fs::create_dir(&dir).unwrap();
                dir
            };
            let (upper, work, merged) = (made("upper"), made("work"), made("merged"));
            let text_of = |dir: &Path| dir.to_str().unwrap().to_owned();
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                text_of(path),
                text_of(&upper),
                text_of(&work)
            );
            // Not over every file system, and not in every container.
            match mount("overlay", &merged, "overlay", 0, &options) {
                Ok(()) => assert_serves(&Store::open(&merged, Config::default()).unwrap()),
                Err(NotHere(why)) => not_here(&format!("overlay: {why}")),
            }
            let image = root.join("image");
            std::fs::File::create(&image)
                .and_then(|file| file.set_len(64 << 20))
                .unwrap();
            let run = |program: &str, arguments: &[&str]| {
                let output = std::process::Command::new(program).args(arguments).output();
                let output = output.map_err(|error| NotHere(format!("{program}: {error}")))?;
                match output.status.success() {
                    true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
                    false => Err(NotHere(format!(
                        "{program}: {}",
                        String::from_utf8_lossy(&output.stderr)
                    ))),
                }
            };
            let image = text_of(&image);
            let device = run(
                "losetup",
                &[
                    "--find",
                    "--show",
                    "--direct-io=on",
                    "--sector-size",
                    "4096",
                    &image,
                ],
            )?;
            let mounted = made("loop");
            let served = run("mkfs.ext4", &["-q", &device])
                .and_then(|_| mount(&device, &mounted, "ext4", 0, ""))
                .map(|()| {
                    let on_device = mounted.join("dataset");
                    dataset::write(&on_device, &Shape::of(ROWS));
                    let store = Store::open(&on_device, Config::default()).unwrap();
                    assert_serves(&store);
                    if store.info().direct {
                        assert_eq!(store.config().align_bytes, 4096);
                    }
                    drop(store);
                });
            let _ = run("umount", &[&text_of(&mounted)]);
            let _ = run("losetup", &["--detach", &device]);
            served
        },
    );
}

#[test]
fn a_fork_is_told_to_open_again_and_its_parent_goes_on() {
    in_a_place(
        "hard_places::a_fork_is_told_to_open_again_and_its_parent_goes_on",
        |path| {
            let config = Config {
                limits: Limits {
                    takes_in_flight_max: 1,
                    ..Limits::default()
                },
                ..Config::default()
            };
            let store = Store::open(path, config).unwrap();
            assert_serves(&store);
            let columns = store.all_columns();
            // Code on a shard has the only permit until it is let go; so both of these wait, and the
            // one with a deadline has started the thread of deadlines.
            let (let_go, held) = std::sync::mpsc::channel::<()>();
            let (runs, running) = std::sync::mpsc::channel();
            let holds = store.run_on(ShardId(0), move |_| async move {
                runs.send(()).unwrap();
                let _ = held.recv();
            });
            let holds = std::thread::spawn(move || block_on(holds));
            running.recv().unwrap();
            let deadline = Instant::now() + Duration::from_secs(3600);
            let take = store.take(&[1, 2], &columns).deadline(deadline);
            let mut waiting = Box::pin(take.into_future());
            assert!(block_on(poll_once(&mut waiting)).is_none());
            // SAFETY: the child uses what a fork leaves whole, and ends without unwinding.
            match unsafe { libc::fork() } {
                0 => {
                    let refused = store.take(&[1], &columns).wait();
                    let refused = matches!(refused, Err(Error::Forked));
                    let rejected = matches!(block_on(waiting), Err(Error::Forked));
                    let closed = store.clone();
                    closed.close();
                    drop((closed, store));
                    let again = Store::open(path, Config::default());
                    let again = again
                        .is_ok_and(|store| store.take(&[1], &store.all_columns()).wait().is_ok());
                    let code = i32::from(!(refused && rejected && again));
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(code) }
                }
                child => {
                    assert!(child > 0);
                    let status = without_hanging(move || {
                        let mut status = 0;
                        // SAFETY: the status lives through the call.
                        unsafe { libc::waitpid(child, &mut status, 0) };
                        status
                    });
                    assert!(
                        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                        "{status}"
                    );
                    let_go.send(()).unwrap();
                    holds.join().unwrap().unwrap();
                    assert!(block_on(waiting).is_ok());
                    assert_serves(&store);
                }
            }
            Ok(())
        },
    );
}

#[test]
fn stopped_and_continued_takes_are_right() {
    in_a_place(
        "hard_places::stopped_and_continued_takes_are_right",
        |path| {
            let store = Store::open(path, Config::default()).unwrap();
            let process = std::process::id();
            // A stopped process cannot wake itself.
            let script =
                "for i in 1 2 3 4 5; do kill -STOP $0; sleep 0.1; kill -CONT $0; sleep 0.05; done";
            let mut stopper = std::process::Command::new("sh")
                .args(["-c", script, &process.to_string()])
                .spawn()
                .unwrap();
            let columns = store.all_columns();
            let mut takes = 0;
            while stopper.try_wait().unwrap().is_none() {
                let ids = [takes % ROWS, (takes * 7) % ROWS];
                let deadline = Instant::now() + Duration::from_millis(50);
                match store.take(&ids, &columns).deadline(deadline).wait() {
                    Ok(taken) => assert_eq!(taken, dataset::expected(&ids, &COLUMNS)),
                    Err(error) => {
                        assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error}")
                    }
                }
                takes += 1;
            }
            assert_serves(&store);
            assert!(takes > 10, "{takes}");
            Ok(())
        },
    );
}

#[test]
fn ten_thousand_threads_at_once_are_answered() {
    in_a_place(
        "hard_places::ten_thousand_threads_at_once_are_answered",
        |path| {
            let store = Store::open(path, Config::default()).unwrap();
            let columns = store.projection(&["id"]).unwrap();
            let gate = std::sync::Barrier::new(2);
            let gate = std::sync::RwLock::new(gate);
            let held = gate.write().unwrap();
            let started = std::thread::scope(|scope| {
                let mut started = 0;
                for caller in 0..10_000_u64 {
                    let (store, columns, gate) = (&store, &columns, &gate);
                    let call = move || {
                        drop(gate.read());
                        let id = caller * 7 % ROWS;
                        let taken = store.take(&[id], columns).wait().unwrap();
                        assert_eq!(taken, dataset::expected(&[id], &["id"]));
                    };
                    let thread = std::thread::Builder::new().stack_size(128 << 10);
                    match thread.spawn_scoped(scope, call) {
                        Ok(_) => started += 1,
                        Err(_) => break,
                    }
                }
                drop(held);
                started
            });
            if started < 10_000 {
                return Err(NotHere(format!("threads are limited to {started}")));
            }
            assert_eq!(store.permits().windows, 0);
            Ok(())
        },
    );
}

#[test]
fn answers_that_nobody_collects_are_in_nobodys_way() {
    in_a_place(
        "hard_places::answers_that_nobody_collects_are_in_nobodys_way",
        |path| {
            let config = Config {
                limits: Limits {
                    takes_in_flight_max: 8,
                    ..Limits::default()
                },
                ..Config::default()
            };
            let store = Store::open(path, config).unwrap();
            let columns = store.all_columns();
            let mut never_collected = Vec::new();
            for round in 0..64 {
                // As many as there are permits, each asked for and then left alone.
                for take in 0..8 {
                    let (store, columns) = (&store, &columns);
                    let ids = [round * 8 + take];
                    let mut take = Box::pin(async move { store.take(&ids, columns).await });
                    let polled = futures_lite::future::poll_once(&mut take);
                    drop(futures_lite::future::block_on(polled));
                    never_collected.push(take);
                }
                let store = store.clone();
                without_hanging(move || assert_serves(&store));
            }
            assert_eq!(store.permits().windows, 0);
            assert_eq!(never_collected.len(), 512);
            Ok(())
        },
    );
}

/// Two processes read while a third, this one, replaces the dataset again and again.
#[test]
fn two_processes_see_whole_versions_while_an_import_replaces_the_dataset() {
    const SELF: &str =
        "hard_places::two_processes_see_whole_versions_while_an_import_replaces_the_dataset";
    if let Some(path) = told_by_parent() {
        let until = Instant::now() + Duration::from_secs(2);
        let mut opened = 0;
        while Instant::now() < until || opened < 5 {
            let config = Config {
                shards: Some(1),
                cpus: CpuChoice::Unpinned,
                ..Config::default()
            };
            let store = Store::open(&path, config).unwrap();
            let rows = store.row_count();
            assert!((ROWS..ROWS + 10).contains(&rows), "{rows}");
            let ids: Vec<u64> = (0..rows).collect();
            let taken = store.take(&ids, &store.projection(&["id"]).unwrap()).wait();
            assert_eq!(taken.unwrap(), dataset::expected(&ids, &["id"]));
            opened += 1;
        }
        println!("{DONE}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(ROWS));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| in_child(SELF, path.to_str().unwrap())))
            .collect();
        let mut version = 0;
        while !readers.iter().all(|reader| reader.is_finished()) {
            version += 1;
            let shape = Shape {
                overwrite: ringtake_storage::write::Overwrite::Replace,
                ..Shape::of(ROWS + version % 10)
            };
            dataset::write(&path, &shape);
        }
        assert!(version > 3, "{version}");
        for reader in readers {
            assert_child_ended_well(&reader.join().unwrap(), DONE);
        }
    });
}
