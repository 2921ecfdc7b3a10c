//! The file-system seam: each operation the writer asks of the operating system, so that a test
//! can make any one of them fail.
//!
//! Only writing goes through it. Paths are whole; nothing depends on the working directory.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

/// The file-system operations that a writer needs.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Makes a directory whose parent exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that must not exist, open for appending.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;
    /// Opens a file that exists for appending.
    fn append_file(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;
    /// Reads a file of at most `bytes_max` bytes.
    fn read_file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;
    /// Identity of the directory at `path`; `None` for anything else, such as a symbolic link to a
    /// directory.
    fn directory(&self, path: &Path) -> io::Result<Option<DirectoryId>>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Renames a file, replacing the one at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Locks the file at `path`, making it if need be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process or handle holds the lock.
    fn lock(&self, path: &Path) -> io::Result<FileLock>;
}

/// A file that only grows.
pub trait AppendFile: fmt::Debug + Send {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the contents durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Advises the kernel to start writing back appended bytes, and to drop those already written
    /// back from the page cache. Does not fail.
    fn release_cache(&mut self);
}

/// Identity of a directory on this machine. A moved directory keeps it; a copy has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryId {
    /// Number of the device, which may change when the machine restarts.
    pub device: u64,
    /// Number of the inode.
    pub inode: u64,
}

/// A lock held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
    /// Whether the lock file was made by this call.
    pub created: bool,
}

/// The operating system's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        Ok(Box::new(RealAppendFile { file }))
    }

    fn append_file(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Box::new(RealAppendFile { file }))
    }

    fn read_file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        crate::file::read(path, bytes_max)
    }

    fn directory(&self, path: &Path) -> io::Result<Option<DirectoryId>> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(metadata.is_dir().then(|| DirectoryId {
            device: metadata.dev(),
            inode: metadata.ino(),
        }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<FileLock> {
        loop {
            let (file, created) = match OpenOptions::new().write(true).create_new(true).open(path) {
                Ok(file) => (file, true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // A dangling link would be found and not found for ever, and a pipe
                    // would wait for a reader.
                    let found = fs::symlink_metadata(path);
                    if found.is_ok_and(|found| !found.is_file()) {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidInput,
                            "it is not a regular file; remove it if no writer is at work",
                        ));
                    }
                    match OpenOptions::new()
                        .write(true)
                        .custom_flags(OFlags::NONBLOCK.bits() as i32)
                        .open(path)
                    {
                        Ok(file) => (file, false),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            };
            if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                if created && error != rustix::io::Errno::WOULDBLOCK {
                    let _ = fs::remove_file(path);
                }
                return Err(error.into());
            }
            // A writer that gives up removes the lock file it made. A process that opened the file
            // before that holds a lock on a file without a name, which excludes no other process.
            let held = file.metadata()?;
            match fs::metadata(path) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                    return Ok(FileLock {
                        _file: file,
                        created,
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[derive(Debug)]
struct RealAppendFile {
    file: File,
}

impl AppendFile for RealAppendFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn release_cache(&mut self) {
        // Linux begins to write back the dirty pages of the range without waiting, and drops
        // those that are clean: what the last call began is clean by now.
        let whole_file: Option<NonZeroU64> = None;
        let _ = rustix::fs::fadvise(&self.file, 0, whole_file, Advice::DontNeed);
    }
}
