//! perf on this machine: whether it is installed, and which event it may record.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How far perf may look at most, for a process of no privileges: perf-security in the kernel's
/// documentation.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
/// Bytes of stack that are kept with each sample, from which its callers are found. A row is
/// delivered some twenty calls deep.
const STACK_BYTES: u32 = 16_384;

const PROBE_HZ: u32 = 99;

/// How to record here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Perf {
    /// Cycles where the processor counts them, the clock elsewhere.
    pub(super) event: &'static str,
}

impl Perf {
    /// Finds the event to record, or the reason why none can be recorded and its remedy.
    pub(super) fn probe() -> Result<Perf, String> {
        let version = Command::new("perf").arg("--version").output();
        if !version.is_ok_and(|output| output.status.success()) {
            return Err(
                "perf is not installed, so there are no flame graphs; install the package \
                 `linux-perf` (Debian), `linux-tools-generic` (Ubuntu), or `perf` (Fedora, Arch)"
                    .to_owned(),
            );
        }
        // All that the workload will be recorded with: an old perf lacks some of it.
        for event in ["cycles", "cpu-clock"] {
            let perf = Perf { event };
            let recorded = Fifos::make().and_then(|fifos| {
                perf.record(Path::new("/dev/null"), PROBE_HZ, &fifos)
                    .arg("true")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
            });
            if recorded.is_ok_and(|status| status.success()) {
                return Ok(perf);
            }
        }
        Err(not_permitted(fs::read_to_string(PARANOID).ok().as_deref()))
    }

    /// A command that records the program after it, while the FIFOs have it switched on.
    pub(super) fn record(self, data: &Path, frequency: u32, fifos: &Fifos) -> Command {
        let mut command = Command::new("perf");
        command
            .args(["record", "-q", "-e", self.event, "-F"])
            .arg(frequency.to_string())
            .args(["--call-graph", &format!("dwarf,{STACK_BYTES}"), "-D", "-1"])
            .arg("--control")
            .arg(format!(
                "fifo:{},{}",
                fifos.commands.display(),
                fifos.answers.display()
            ))
            .arg("-o")
            .arg(data)
            .arg("--");
        command
    }

    /// A command that prints the recorded samples, with inlined frames.
    pub(super) fn script(data: &Path) -> Command {
        let mut command = Command::new("perf");
        command
            .args(["script", "-F", "comm,pid,tid,time,event,ip,sym,dso", "-i"])
            .arg(data);
        command
    }
}

/// The message where this process may not record.
fn not_permitted(paranoid: Option<&str>) -> String {
    let level = paranoid.map_or("unknown", str::trim);
    format!(
        "perf cannot record here, so there are no flame graphs; it must be 5.10 or newer, and \
         kernel.perf_event_paranoid is {level}: \
         as root, `sysctl kernel.perf_event_paranoid=1` allows it, or give the process CAP_PERFMON; \
         in a container its seccomp profile must allow perf_event_open too"
    )
}

/// The message where the kernel's functions have no names.
pub(super) fn kernel_without_names() -> Option<String> {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let hidden = symbols
        .lines()
        .next()
        .is_none_or(|line| line.starts_with("0000000000000000"));
    hidden.then(|| {
        "the kernel's functions have no names in the flame graphs; as root, \
         `sysctl kernel.kptr_restrict=0` shows them"
            .to_owned()
    })
}

/// Two pipes with names: to perf, and back. Removed at the end.
pub(super) struct Fifos {
    pub(super) commands: PathBuf,
    pub(super) answers: PathBuf,
    _place: tempfile::TempDir,
}

impl Fifos {
    pub(super) fn make() -> std::io::Result<Fifos> {
        let place = tempfile::tempdir()?;
        let make = |name: &str| {
            let path = place.path().join(name);
            let (kind, mode) = (
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            );
            rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0)?;
            Ok::<PathBuf, std::io::Error>(path)
        };
        Ok(Fifos {
            commands: make("commands")?,
            answers: make("answers")?,
            _place: place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_record_is_told_the_level_and_the_remedy() {
        let words = not_permitted(Some("4\n"));
        for part in [
            "perf_event_paranoid is 4",
            "sysctl",
            "CAP_PERFMON",
            "seccomp",
        ] {
            assert!(words.contains(part), "{part} in {words}");
        }
        assert!(not_permitted(None).contains("is unknown"));
    }

    #[test]
    fn perf_is_there_or_the_remedy_is() {
        if let Err(reason) = Perf::probe() {
            assert!(
                reason.contains("install") || reason.contains("sysctl"),
                "{reason}"
            );
        }
    }
}
