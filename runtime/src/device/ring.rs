//! Building an io_uring: the flags that this kernel offers, and what a shard's ring then uses.
//!
//! Source: io_uring_setup(2).

use std::io;

use io_uring::IoUring;
use serde::Serialize;

/// The set of flags that a ring was set up with, by the kernel that introduced them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RingRung {
    /// SINGLE_ISSUER, DEFER_TASKRUN and TASKRUN_FLAG: Linux 6.1.
    DeferTaskrun,
    /// COOP_TASKRUN and TASKRUN_FLAG: Linux 5.19.
    CoopTaskrun,
    /// No flags: Linux 5.1.
    Plain,
}

impl RingRung {
    /// All rungs, the best first.
    pub(crate) const LADDER: [RingRung; 3] = [
        RingRung::DeferTaskrun,
        RingRung::CoopTaskrun,
        RingRung::Plain,
    ];
}

/// Features that a shard's ring uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RingFeatures {
    /// The flags that the ring was set up with.
    pub rung: RingRung,
    /// Data files are registered.
    pub registered_files: bool,
    /// The arena is registered; needs memlock.
    pub registered_buffers: bool,
    /// The memory for results is registered, which makes reads into it as cheap as others; needs
    /// memlock.
    pub registered_results: bool,
    /// The ring itself is registered: Linux 5.18.
    pub registered_ring: bool,
}

/// Builds the best ring that this kernel offers, and returns its rung with it.
///
/// With deferred task work completions appear only when the owner enters the kernel, which the
/// TASKRUN flag asks for; that keeps the kernel from interrupting a decode.
pub(crate) fn build_ring(entries: u32) -> io::Result<(IoUring, RingRung)> {
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for rung in RingRung::LADDER {
        let mut builder = IoUring::builder();
        builder.setup_clamp();
        match rung {
            RingRung::DeferTaskrun => {
                builder
                    .setup_single_issuer()
                    .setup_defer_taskrun()
                    .setup_taskrun_flag();
            }
            RingRung::CoopTaskrun => {
                builder.setup_coop_taskrun().setup_taskrun_flag();
            }
            RingRung::Plain => {}
        }
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, rung)),
            // Flags that a kernel does not know are EINVAL; other errors are final.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
