//! A directory that a run makes for itself and removes.
//!
//! It has a fixed name, under a lock on the directory around it, so that the
//! next run finds and removes the rest of a killed one, and two runs never share it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Space left to other programs.
pub(crate) const SPARE_BYTES: u64 = 256 << 20;

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    /// Held until the directory is gone.
    _lock: File,
}

impl Scratch {
    /// Makes the directory `name` in `base`.
    pub(crate) fn prepare(base: &Path, name: &str) -> Result<Scratch, Error> {
        let lock = File::open(base).map_err(Error::io("open", base))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::ScratchBusy {
                    path: base.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", base)(error)),
        }
        let path = base.join(name);
        // The run that left it no longer holds the lock.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(error));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(Error::io("make", &path))?;
        Ok(Scratch { path, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!(
                "warning: cannot remove `{}`: {error}; remove it by hand",
                self.path.display()
            );
        }
    }
}

/// The default place of the directory: Cargo's directory is on a drive and ignored by version
/// control.
pub(crate) fn default_base() -> PathBuf {
    let target = PathBuf::from("target");
    if target.is_dir() {
        target
    } else {
        PathBuf::from(".")
    }
}

/// Bytes that may be written in `base`.
pub(crate) fn free_bytes(base: &Path) -> Result<u64, Error> {
    let space = rustix::fs::statvfs(base)
        .map_err(|errno| Error::io("ask for the free space of", base)(errno.into()))?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    Ok(free_bytes.saturating_sub(SPARE_BYTES))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directory_is_removed_when_it_is_dropped_and_taken_by_one_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::prepare(base.path(), "run").unwrap();
        fs::write(scratch.path.join("file"), "x").unwrap();
        assert!(matches!(
            Scratch::prepare(base.path(), "run"),
            Err(Error::ScratchBusy { .. })
        ));
        assert!(scratch.path.join("file").exists());
        let path = scratch.path.clone();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_run_has_left_is_removed_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let left = base.path().join("run").join("dataset");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("MANIFEST"), "old").unwrap();
        let scratch = Scratch::prepare(base.path(), "run").unwrap();
        assert!(!left.exists());
        assert!(scratch.path.exists());
    }
}
