//! Probing io_uring: whether this kernel lets the process use it, found by trying a tiny ring.
//!
//! It comes before glommio, which ends the process or panics where io_uring is missing.

use std::io;

use crate::device::ring::build_ring;
pub use crate::device::ring::{RingFeatures, RingRung};
use crate::error::shortage::{Asked, remedy};

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
            remedy: remedy(&error, Asked::Ring)
                .unwrap_or_else(|| "see `ringtake doctor`".to_owned()),
            reason: error.to_string(),
        }
    }
}
