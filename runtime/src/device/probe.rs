//! Probing io_uring: whether this kernel lets the process use it, found by trying a tiny ring.
//!
//! It comes before glommio, which ends the process or panics where io_uring is missing.

use std::fs;
use std::io;

use crate::device::ring::build_ring;
pub use crate::device::ring::{RingFeatures, RingRung};

/// The reason why io_uring cannot be used, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRing {
    /// The operating system's reason.
    pub reason: String,
    /// The command or change that makes it available.
    pub remedy: String,
}

/// Sets up a ring and runs a no-op through it. Returns the ring's flags.
///
/// # Errors
/// The kernel's error, with a remedy.
pub fn probe_ring() -> Result<RingRung, NoRing> {
    let attempt = || -> io::Result<RingRung> {
        let (mut ring, rung) = build_ring(4)?;
        let nop = io_uring::opcode::Nop::new().build();
        // SAFETY: a no-op has no buffer.
        let pushed = unsafe { ring.submission().push(&nop) };
        pushed.map_err(|_| io::ErrorKind::Other)?;
        ring.submit_and_wait(1)?;
        ring.completion().next().ok_or(io::ErrorKind::TimedOut)?;
        Ok(rung)
    };
    attempt().map_err(NoRing::from)
}

impl From<io::Error> for NoRing {
    fn from(error: io::Error) -> NoRing {
        NoRing {
            remedy: remedy(&error),
            reason: error.to_string(),
        }
    }
}

fn remedy(error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    match (error.raw_os_error(), disabled.as_deref().map(str::trim)) {
        (_, Ok("1" | "2")) => "run `sysctl kernel.io_uring_disabled=0` as root".to_owned(),
        (Some(libc::ENOMEM), _) => "raise the memlock limit (`ulimit -l`)".to_owned(),
        (Some(libc::ENOSYS), _) => {
            "use Linux 5.1 or later, and allow io_uring in the container's seccomp profile".to_owned()
        }
        (Some(libc::EPERM | libc::EACCES | libc::EOPNOTSUPP), _) => {
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile".to_owned()
        }
        _ => "see `ringtake doctor`".to_owned(),
    }
}
