//! Kernel, limits, hardware counters, CPUs.

use std::fs;
use std::path::Path;

use indicatif::HumanBytes;
use ringtake_runtime::allowed_cpus;
use rustix::process::{Resource, getrlimit};

use super::check::Check;

/// Kernel version with every ring feature in use (DEFER_TASKRUN).
const KERNEL_WANTED: (u32, u32) = (6, 1);
/// Oldest kernel version with a usable io_uring.
const KERNEL_NEEDED: (u32, u32) = (5, 8);
/// Locked memory that a shard's arena and rings fit into.
const MEMLOCK_WANTED_BYTES: u64 = 64 << 20;
/// Open files that a dataset on several drives with many columns may need.
const FILES_WANTED: u64 = 1_024;
/// Largest value of perf_event_paranoid that lets an ordinary user count its own events.
const PARANOID_MAX: i64 = 2;

/// The kernel's version.
pub(super) fn kernel() -> Check {
    const TOPIC: &str = "kernel";
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let Some(version) = version(&release) else {
        return Check::ok(TOPIC, format!("Linux {release}"));
    };
    if version < KERNEL_NEEDED {
        let fact = format!("Linux {release} has no usable io_uring; reads go through threads");
        return Check::warn(TOPIC, fact, "upgrade to Linux 6.1 or newer");
    }
    if version < KERNEL_WANTED {
        let fact = format!("Linux {release} lacks the ring features of 6.1");
        return Check::warn(TOPIC, fact, "upgrade to Linux 6.1 or newer");
    }
    Check::ok(TOPIC, format!("Linux {release}"))
}

/// Findings about limits, counters and CPUs.
pub(super) fn checks() -> Vec<Check> {
    vec![memlock(), open_files(), counters(), cpus()]
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn memlock() -> Check {
    const TOPIC: &str = "memlock";
    match getrlimit(Resource::Memlock).current {
        None => Check::ok(TOPIC, "locked memory is unlimited"),
        Some(_) if rustix::process::geteuid().is_root() => {
            Check::ok(TOPIC, "locked memory is not limited for root")
        }
        Some(bytes) if bytes >= MEMLOCK_WANTED_BYTES => {
            Check::ok(TOPIC, format!("{} may be locked", HumanBytes(bytes)))
        }
        Some(bytes) => Check::warn(
            TOPIC,
            format!(
                "only {} may be locked, buffers may go unregistered",
                HumanBytes(bytes)
            ),
            format!(
                "ulimit -l {} (or LimitMEMLOCK=infinity in the service's unit)",
                MEMLOCK_WANTED_BYTES >> 10
            ),
        ),
    }
}

fn open_files() -> Check {
    const TOPIC: &str = "open-files";
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < FILES_WANTED => Check::warn(
            TOPIC,
            format!("only {files} files may be open"),
            format!("ulimit -n {FILES_WANTED}"),
        ),
        Some(files) => Check::ok(TOPIC, format!("{files} files may be open")),
        None => Check::ok(TOPIC, "any number of files may be open"),
    }
}

fn counters() -> Check {
    const TOPIC: &str = "counters";
    // The names of core PMUs: most of x86, hybrid x86, Arm.
    let has_counters = fs::read_dir("/sys/bus/event_source/devices").is_ok_and(|devices| {
        devices.flatten().any(|device| {
            let name = device.file_name();
            let name = name.to_string_lossy();
            name == "cpu" || name == "cpu_core" || name.starts_with("armv")
        })
    });
    let paranoid = read_number(Path::new("/proc/sys/kernel/perf_event_paranoid"));
    match (paranoid, has_counters) {
        (None, _) => Check::warn(
            TOPIC,
            "this kernel has no perf events; the bench prints n/a for counters",
            "use a kernel with CONFIG_PERF_EVENTS",
        ),
        (Some(level), _) if level > PARANOID_MAX && !rustix::process::geteuid().is_root() => {
            Check::warn(
                TOPIC,
                format!("perf_event_paranoid is {level}; ordinary users may not count events"),
                format!("sudo sysctl kernel.perf_event_paranoid={PARANOID_MAX}"),
            )
        }
        (Some(level), true) => Check::ok(
            TOPIC,
            format!("hardware counters, perf_event_paranoid is {level}"),
        ),
        (Some(_), false) => Check::warn(
            TOPIC,
            "no hardware counters, as in most virtual machines; cycles and instructions are n/a",
            "measure on bare metal, or enable the virtual PMU of this machine",
        ),
    }
}

fn cpus() -> Check {
    const TOPIC: &str = "cpus";
    let allowed = allowed_cpus();
    let count = allowed.cpus.len();
    let list: Vec<String> = allowed.cpus.iter().map(usize::to_string).collect();
    let shards = allowed.usable();
    let fact = format!(
        "{count} allowed by affinity ({}), {shards} shards",
        list.join(",")
    );
    match allowed.quota_cpus {
        Some(quota) if shards < count => Check::warn(
            TOPIC,
            format!("{fact}; the cgroup's quota pays for {quota:.2}"),
            "raise cpu.max of the cgroup, or the CPU limit of the container",
        ),
        Some(quota) => Check::ok(TOPIC, format!("{fact}; the cgroup's quota is {quota:.2}")),
        None => Check::ok(TOPIC, format!("{fact}; no cgroup quota")),
    }
}

/// The number in a file of `/proc/sys`.
pub(super) fn read_number(file: &Path) -> Option<i64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read() {
        for (release, expected) in [
            ("6.18.44-generic", Some((6, 18))),
            ("5.4.0", Some((5, 4))),
            ("6.1-rc3", Some((6, 1))),
            ("unknown", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
