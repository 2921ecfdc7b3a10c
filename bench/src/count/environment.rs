//! The machine, the system and the build that a number belongs to.

use std::fs;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::count::clocks::Clocks;
use crate::count::device::DeviceDescription;

/// Everything outside the program that can move a number.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Environment {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Architecture of the machine.
    pub(crate) architecture: String,
    /// Model of the CPU.
    pub(crate) cpu_model: Option<String>,
    /// CPUs the machine has online, as the kernel lists them.
    pub(crate) cpus_online: Option<String>,
    /// CPUs this process may run on, as the kernel lists them.
    pub(crate) cpus_allowed: Option<String>,
    /// Threads that can run at once: allowed CPUs, less what a CPU quota takes.
    pub(crate) parallelism: Option<usize>,
    /// Allowed CPUs on which the clock moves on in leaps, so that latencies found there are wrong.
    pub(crate) coarse_clock_cpus: Vec<usize>,
    /// Memory of the machine.
    pub(crate) memory_bytes: Option<u64>,
    /// How much this process may pin; `null` where there is no limit.
    pub(crate) memlock_bytes_max: Option<u64>,
    /// The devices that hold the dataset.
    pub(crate) devices: Vec<DeviceDescription>,
    /// The build of the bench.
    pub(crate) build: Build,
}

/// How the program was built.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Build {
    /// Version of the package.
    pub(crate) version: &'static str,
    /// Commit the build was made from; `unknown` outside of a repository.
    pub(crate) commit: &'static str,
    /// Cargo profile: `release` or `debug`.
    pub(crate) profile: &'static str,
    /// Optimisation level.
    pub(crate) optimisation: &'static str,
    /// Whether debug assertions are compiled in.
    pub(crate) debug_assertions: bool,
}

/// The build this program is.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("BENCH_COMMIT"),
    profile: env!("BENCH_PROFILE"),
    optimisation: env!("BENCH_OPT_LEVEL"),
    debug_assertions: cfg!(debug_assertions),
};

impl Environment {
    /// Looks at the machine.
    pub(crate) fn observe(devices: Vec<DeviceDescription>) -> Environment {
        let system = rustix::system::uname();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Environment {
            kernel: system.release().to_string_lossy().into_owned(),
            architecture: system.machine().to_string_lossy().into_owned(),
            cpu_model: field(&cpuinfo, "model name"),
            cpus_online: fs::read_to_string("/sys/devices/system/cpu/online")
                .ok()
                .map(|list| list.trim().to_owned()),
            cpus_allowed: field(&status, "Cpus_allowed_list"),
            parallelism: std::thread::available_parallelism()
                .ok()
                .map(std::num::NonZeroUsize::get),
            coarse_clock_cpus: Clocks::of_this_machine().coarse.clone(),
            memory_bytes: memory_field("MemTotal"),
            memlock_bytes_max: getrlimit(Resource::Memlock).current,
            devices,
            build: BUILD,
        }
    }
}

/// Memory that can be had without swapping, as the kernel estimates it.
pub(crate) fn memory_available_bytes() -> Option<u64> {
    memory_field("MemAvailable")
}

fn memory_field(name: &str) -> Option<u64> {
    memory_in(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// `/proc/meminfo` counts in units of 1,024 bytes that it calls kB.
fn memory_in(meminfo: &str, name: &str) -> Option<u64> {
    let value = field(meminfo, name)?;
    let kib: u64 = value.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The value of the first `name: value` line.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files_are_found_by_their_whole_name() {
        let text = "MemTotal:       16 kB\nMem:  3 kB\nmodel name\t: Some CPU @ 3: fast\n";
        assert_eq!(memory_in(text, "MemTotal"), Some(16 * 1024));
        assert_eq!(memory_in(text, "Mem"), Some(3 * 1024));
        assert_eq!(memory_in(text, "MemFree"), None);
        assert_eq!(memory_in("Mem: x kB", "Mem"), None);
        assert_eq!(memory_in("Mem: 5", "Mem"), None);
        assert_eq!(
            field(text, "model name").as_deref(),
            Some("Some CPU @ 3: fast")
        );
    }

    #[test]
    fn this_machine_says_what_it_is() {
        let environment = Environment::observe(Vec::new());
        assert!(!environment.kernel.is_empty());
        assert!(environment.cpus_allowed.is_some());
        assert!(environment.memory_bytes.is_some());
        assert!(!environment.build.commit.is_empty());
    }
}
