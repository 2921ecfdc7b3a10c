//! Files opened past the page cache.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::device::files::direct_align_bytes;

/// Files opened with O_DIRECT.
#[derive(Debug)]
pub struct DirectFiles {
    files: Vec<OwnedFd>,
    align_bytes: u32,
}

impl DirectFiles {
    /// Opens files for direct reads.
    ///
    /// # Errors
    /// Files that cannot be opened, or a file system without direct reads.
    pub fn open(paths: &[PathBuf]) -> io::Result<DirectFiles> {
        let mut opened = DirectFiles {
            files: Vec::with_capacity(paths.len()),
            align_bytes: 512,
        };
        for path in paths {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECT;
            let file =
                rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
                    rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP => {
                        cannot_be_direct(path)
                    }
                    errno => errno.into(),
                })?;
            let align_bytes = direct_align_bytes(&file, path)
                .map_err(io::Error::other)?
                .ok_or_else(|| cannot_be_direct(path))?;
            opened.align_bytes = opened.align_bytes.max(align_bytes);
            opened.files.push(file);
        }
        Ok(opened)
    }

    /// Offsets and lengths of reads must be multiples of this.
    pub fn align_bytes(&self) -> u32 {
        self.align_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn descriptor(&self, file: u32) -> RawFd {
        self.files[file as usize].as_raw_fd()
    }

    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        self.files.iter().map(|file| file.as_raw_fd()).collect()
    }
}

fn cannot_be_direct(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "{} is on a file system that refuses O_DIRECT; put it on one of a local drive",
            path.display()
        ),
    )
}
