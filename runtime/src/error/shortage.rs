//! Remedies for errors of the operating system: the limit that was reached and the command that
//! raises it.
//!
//! `ringtake_storage::error::remedy` explains files and memory. This module adds threads, rings and
//! locked memory, and reads the errors of glommio and the messages of panics, which carry the
//! error number in their text.

use std::io;

use glommio::GlommioError;
use rustix::process::{Resource, getrlimit};

/// The least limit of threads to recommend.
const THREADS_WANTED: u64 = 4096;
/// The least limit of locked memory to recommend: the kernel's default since Linux 5.16.
const LOCKED_KIB_WANTED: u64 = 8192;

/// A request that the operating system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A descriptor, or a mapping of memory.
    Memory,
    /// A thread.
    Thread,
    /// A ring, with the threads and the memory that a read path starts beside it.
    Ring,
}

/// The error with its remedy, if there is one.
pub(crate) fn shortage(error: &io::Error, asked: Asked) -> String {
    with_remedy(error.to_string(), remedy(error, asked))
}

/// The remedy for `error`, if one is known.
pub(crate) fn remedy(error: &io::Error, asked: Asked) -> Option<String> {
    // A library may have wrapped the error of the operating system.
    let wrapped = error
        .raw_os_error()
        .or_else(|| errno_in(&error.to_string()));
    let limits = Limits::of_this_process();
    wrapped.and_then(|errno| limits.remedy(errno, asked))
}

/// The message of a panic with its remedy, where the panic was about a thread or a ring.
pub(crate) fn shortage_in_panic(message: String) -> String {
    let limits = Limits::of_this_process();
    let remedy = errno_in(&message).and_then(|errno| limits.remedy(errno, Asked::Ring));
    with_remedy(message, remedy)
}

/// Glommio's error with its remedy.
pub(crate) fn shortage_of_glommio(error: &GlommioError<()>) -> String {
    let message = error.to_string();
    let limits = Limits::of_this_process();
    // Where an executor is made, this kind has become the text of an error of input and output.
    let remedy = if message.contains("MemLockLimit") || message.contains("memlock") {
        limits.locked_memory()
    } else {
        let errno = error.raw_os_error().or_else(|| errno_in(&message));
        // Glommio's word for operations that the kernel cancels.
        let errno = errno.map(|errno| match errno {
            libc::ETIMEDOUT => libc::ECANCELED,
            errno => errno,
        });
        errno.and_then(|errno| limits.remedy(errno, Asked::Ring))
    };
    with_remedy(message, remedy)
}

fn with_remedy(message: String, remedy: Option<String>) -> String {
    match remedy {
        Some(remedy) => format!("{message}; {remedy}"),
        None => message,
    }
}

/// The error number that std writes into its messages: `(os error 24)`, or `code: 24` in the debug
/// form of an error.
fn errno_in(text: &str) -> Option<i32> {
    ["os error ", "code: "].iter().find_map(|before| {
        let (_, after) = text.split_once(before)?;
        let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

/// The limits that threads and rings run into; `None` is no limit.
#[derive(Debug, Clone, Copy)]
struct Limits {
    threads: Option<u64>,
    locked_bytes: Option<u64>,
    address_space_bytes: Option<u64>,
    io_uring_disabled: bool,
}

impl Limits {
    fn of_this_process() -> Limits {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        Limits {
            threads: getrlimit(Resource::Nproc).current,
            locked_bytes: getrlimit(Resource::Memlock).current,
            address_space_bytes: getrlimit(Resource::As).current,
            io_uring_disabled: disabled.is_ok_and(|level| level.trim() != "0"),
        }
    }

    fn remedy(self, errno: i32, asked: Asked) -> Option<String> {
        let of_storage =
            |errno| ringtake_storage::error::remedy(&io::Error::from_raw_os_error(errno));
        match (errno, asked) {
            // The C library reports a stack that could not be mapped like a thread too many, and
            // io_uring cancels an operation for which it gets no thread.
            (libc::EAGAIN, Asked::Thread) | (libc::EAGAIN | libc::ECANCELED, Asked::Ring) => either(
                Some(self.threads()),
                self.address_space_bytes
                    .and_then(|_| of_storage(libc::ENOMEM)),
            ),
            (libc::ENOMEM, Asked::Ring) => either(self.locked_memory(), of_storage(errno)),
            (libc::ENOSYS, Asked::Ring) => Some(
                "use Linux 5.1 or later, and allow io_uring in the container's seccomp profile"
                    .to_owned(),
            ),
            (libc::EPERM, Asked::Ring) if self.io_uring_disabled => {
                Some("run `sysctl kernel.io_uring_disabled=0` as root".to_owned())
            }
            (libc::EPERM | libc::EACCES | libc::EOPNOTSUPP, Asked::Ring) => Some(
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
                    .to_owned(),
            ),
            _ => of_storage(errno),
        }
    }

    fn threads(self) -> String {
        match self.threads {
            Some(threads) => format!(
                "raise the limit of threads, which is {threads}, with `ulimit -u {}`, or pids.max of the control group",
                threads.saturating_mul(2).max(THREADS_WANTED)
            ),
            None => {
                "raise pids.max of the control group, or `sysctl kernel.threads-max`".to_owned()
            }
        }
    }

    fn locked_memory(self) -> Option<String> {
        let kib = self.locked_bytes? >> 10;
        let wanted = kib.saturating_mul(2).max(LOCKED_KIB_WANTED);
        Some(format!(
            "raise the limit of locked memory, which is {kib} KiB, with `ulimit -l {wanted}`"
        ))
    }
}

fn either(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}; or {other}")),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use glommio::ReactorErrorKind;

    use super::*;

    const LOW: Limits = Limits {
        threads: Some(6),
        locked_bytes: Some(64 << 10),
        address_space_bytes: Some(1 << 30),
        io_uring_disabled: false,
    };
    const NONE: Limits = Limits {
        threads: None,
        locked_bytes: None,
        address_space_bytes: None,
        io_uring_disabled: true,
    };

    #[test]
    fn each_shortage_names_its_limit_and_the_command() {
        use Asked::{Memory, Ring, Thread};
        for (limits, errno, asked, words) in [
            (LOW, libc::EMFILE, Memory, "`ulimit -n "),
            (LOW, libc::EMFILE, Thread, "`ulimit -n "),
            (LOW, libc::EMFILE, Ring, "`ulimit -n "),
            (LOW, libc::ENFILE, Ring, "`sysctl fs.file-max`"),
            (LOW, libc::EAGAIN, Thread, "is 6, with `ulimit -u 4096`"),
            (LOW, libc::EAGAIN, Ring, "is 6, with `ulimit -u 4096`"),
            (LOW, libc::ECANCELED, Ring, "is 6, with `ulimit -u 4096`"),
            (NONE, libc::EAGAIN, Thread, "pids.max"),
            (LOW, libc::ENOMEM, Ring, "is 64 KiB, with `ulimit -l 8192`"),
            (LOW, libc::ENOMEM, Memory, "memory"),
            (NONE, libc::ENOMEM, Ring, "memory"),
            (LOW, libc::ENOSYS, Ring, "Linux 5.1"),
            (LOW, libc::EPERM, Ring, "seccomp profile"),
            (NONE, libc::EPERM, Ring, "kernel.io_uring_disabled=0"),
            (NONE, libc::EACCES, Ring, "seccomp profile"),
            (LOW, libc::EOPNOTSUPP, Ring, "seccomp profile"),
        ] {
            let remedy = limits.remedy(errno, asked).unwrap();
            assert!(remedy.contains(words), "{errno} of {asked:?}: {remedy}");
        }
        assert_eq!(LOW.remedy(libc::EINVAL, Ring), None);
        assert_eq!(LOW.remedy(libc::EAGAIN, Memory), None);
    }

    #[test]
    fn a_limit_is_named_whichever_library_reports_it() {
        let too_many = || io::Error::from_raw_os_error(libc::EMFILE);
        let enhanced: GlommioError<()> = GlommioError::EnhancedIoError {
            source: too_many(),
            op: "opening",
            path: None,
            fd: None,
        };
        let locked: GlommioError<()> =
            GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(1, 2));
        let cancelled: GlommioError<()> = io::Error::from_raw_os_error(libc::ETIMEDOUT).into();
        let panic = format!("failed to spawn thread: {:?}", too_many());
        let wrapped = io::Error::new(io::ErrorKind::Unsupported, too_many().to_string());
        for (message, words) in [
            (shortage(&too_many(), Asked::Memory), "`ulimit -n "),
            (
                shortage(&io::Error::other(too_many()), Asked::Ring),
                "`ulimit -n ",
            ),
            (shortage(&wrapped, Asked::Ring), "`ulimit -n "),
            (
                shortage_of_glommio(&GlommioError::IoError(too_many())),
                "`ulimit -n ",
            ),
            (
                shortage_of_glommio(&GlommioError::IoError(wrapped)),
                "`ulimit -n ",
            ),
            (shortage_of_glommio(&enhanced), "`ulimit -n "),
            (shortage_in_panic(panic), "`ulimit -n "),
            (shortage_of_glommio(&cancelled), "pids.max"),
        ] {
            assert!(message.contains(words), "{message}");
        }
        let locked_in_text: GlommioError<()> = io::Error::other("MemLockLimit(1/2)").into();
        for locked in [locked, locked_in_text] {
            let remedy = Limits::of_this_process().locked_memory();
            let remedy = remedy.unwrap_or_default();
            assert!(shortage_of_glommio(&locked).ends_with(&remedy));
        }
        assert_eq!(shortage_in_panic("no number".to_owned()), "no number");
    }
}
