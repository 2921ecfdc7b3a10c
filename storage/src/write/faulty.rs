//! A file system that fails at the operation a test chooses, for tests only.
//!
//! It works in a real directory and counts operations. After a crash, [`lose_unsynced`] removes
//! from the directory everything that a power loss may remove: bytes that were not synced, and, in
//! the stricter case, names whose directory was not synced. Removals are durable at once, which is
//! the worse case for a writer that removes too early.
//!
//! [`lose_unsynced`]: FaultyFileSystem::lose_unsynced

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::file_system::{AppendFile, DirectoryId, FileLock, FileSystem, RealFileSystem};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with `EIO` and has no effect; later ones work.
    InputOutput,
    /// From the operation on, operations that take space fail with `ENOSPC`; a write stores half.
    DiskFull,
    /// From the operation on every operation fails, as if the process had been killed; a write
    /// stores half.
    Crash,
}

/// Extent of a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Bytes of files that were not synced.
    Bytes,
    /// Bytes of files that were not synced, and names in directories that were not synced.
    BytesAndNames,
}

/// A file system with a fault.
#[derive(Debug, Clone)]
pub struct FaultyFileSystem(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fault: Option<(u64, Fault)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    operations: u64,
    /// Synced bytes of each file made here.
    synced_bytes: HashMap<PathBuf, u64>,
    /// Changes of directories that were not synced, in order.
    names: Vec<NameChange>,
}

#[derive(Debug)]
enum NameChange {
    Created(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<Vec<u8>>,
    },
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            NameChange::Created(path) => path,
            NameChange::Renamed { to, .. } => to,
        }
    }
}

/// Whether an operation needs room on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Takes,
    Frees,
}

impl FaultyFileSystem {
    /// A file system whose operation number `operation`, counted from 0, fails.
    pub fn failing_at(operation: u64, fault: Fault) -> FaultyFileSystem {
        FaultyFileSystem(Arc::new(Shared {
            fault: Some((operation, fault)),
            state: Mutex::default(),
        }))
    }

    /// A file system without a fault, to count operations.
    pub fn sound() -> FaultyFileSystem {
        FaultyFileSystem(Arc::new(Shared {
            fault: None,
            state: Mutex::default(),
        }))
    }

    /// Number of operations so far.
    pub fn operations(&self) -> u64 {
        self.0.state().operations
    }

    /// Removes everything that a power loss at this moment may remove. Names are lost only within
    /// the directory `within`, because each drive has its own journal.
    pub fn lose_unsynced(&self, lost: Lost, within: &Path) -> io::Result<()> {
        let mut state = self.0.state();
        for (path, &bytes) in &state.synced_bytes {
            match OpenOptions::new().write(true).open(path) {
                Ok(file) => file.set_len(bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let names = std::mem::take(&mut state.names);
        if lost == Lost::Bytes {
            return Ok(());
        }
        for change in names.into_iter().rev() {
            if !change.path().starts_with(within) {
                continue;
            }
            match change {
                NameChange::Created(path) if path.is_dir() => fs::remove_dir_all(path)?,
                NameChange::Created(path) if path.exists() => fs::remove_file(path)?,
                NameChange::Created(_) => {}
                NameChange::Renamed { from, to, replaced } => {
                    fs::rename(&to, from)?;
                    if let Some(bytes) = replaced {
                        fs::write(to, bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn created(&self, path: &Path) {
        let mut state = self.0.state();
        state.names.push(NameChange::Created(path.to_owned()));
    }

    fn file(&self, path: &Path, inner: Box<dyn AppendFile>) -> Box<dyn AppendFile> {
        Box::new(FaultyFile {
            file_system: self.clone(),
            path: path.to_owned(),
            inner,
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and fails it if it is its turn.
    fn step(&self, space: Space) -> io::Result<()> {
        let mut state = self.state();
        let operation = state.operations;
        state.operations += 1;
        let Some((at, fault)) = self.fault else {
            return Ok(());
        };
        match fault {
            Fault::InputOutput if operation == at => Err(Errno::IO.into()),
            Fault::DiskFull if operation >= at && space == Space::Takes => Err(Errno::NOSPC.into()),
            Fault::Crash if operation >= at => Err(Errno::IO.into()),
            _ => Ok(()),
        }
    }

    /// Whether the fault begins at the operation counted last.
    fn begins(&self) -> bool {
        self.fault.is_some_and(|(at, fault)| {
            fault != Fault::InputOutput && self.state().operations == at + 1
        })
    }
}

impl FileSystem for FaultyFileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step(Space::Takes)?;
        RealFileSystem.create_dir(path)?;
        self.created(path);
        Ok(())
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.0.step(Space::Takes)?;
        let inner = RealFileSystem.create_file(path)?;
        self.created(path);
        self.0.state().synced_bytes.insert(path.to_owned(), 0);
        Ok(self.file(path, inner))
    }

    fn append_file(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.0.step(Space::Frees)?;
        Ok(self.file(path, RealFileSystem.append_file(path)?))
    }

    fn read_file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.0.step(Space::Frees)?;
        RealFileSystem.read_file(path, bytes_max)
    }

    fn directory(&self, path: &Path) -> io::Result<Option<DirectoryId>> {
        self.0.step(Space::Frees)?;
        RealFileSystem.directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.step(Space::Frees)?;
        RealFileSystem.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step(Space::Frees)?;
        let replaced = fs::read(to).ok();
        RealFileSystem.rename(from, to)?;
        let mut state = self.0.state();
        let bytes = state.synced_bytes.remove(from).unwrap_or(0);
        state.synced_bytes.insert(to.to_owned(), bytes);
        let (from, to) = (from.to_owned(), to.to_owned());
        state.names.push(NameChange::Renamed { from, to, replaced });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.step(Space::Frees)?;
        RealFileSystem.remove_file(path)?;
        self.0.state().synced_bytes.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step(Space::Frees)?;
        RealFileSystem.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step(Space::Frees)?;
        // Without a real sync, which would take long: tests count calls, thousands of them.
        let mut state = self.0.state();
        state
            .names
            .retain(|change| change.path().parent() != Some(path));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<FileLock> {
        self.0.step(Space::Takes)?;
        let lock = RealFileSystem.lock(path)?;
        if lock.created {
            self.created(path);
        }
        Ok(lock)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file_system: FaultyFileSystem,
    path: PathBuf,
    inner: Box<dyn AppendFile>,
}

impl AppendFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shared = &self.file_system.0;
        if let Err(error) = shared.step(Space::Takes) {
            if shared.begins() {
                self.inner.append(&bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file_system.0.step(Space::Frees)?;
        let bytes = fs::metadata(&self.path)?.len();
        let mut state = self.file_system.0.state();
        state.synced_bytes.insert(self.path.clone(), bytes);
        Ok(())
    }

    fn release_cache(&mut self) {}
}
