//! The dataset's directory while it is written: the lock, what an earlier writer left behind,
//! the generation's directories, and the rename that makes the new version the dataset.
//!
//! Invariants: a writer removes only files that provably belong to this dataset, and none that
//! `MANIFEST` names. Unless [`commit`] reached the rename, the writer removes its own files.
//!
//! [`commit`]: DatasetDirectory::commit

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file_system::{DirectoryId, FileLock, FileSystem};
use super::options::Overwrite;
use crate::layout::DIRS_MAX;
use crate::manifest::{FILE_BYTES_MAX, LOCK_NAME, MANIFEST_NAME, MANIFEST_NEW_NAME, Manifest};
use crate::vector::index::indexed_column;
use crate::{Error, Result};

/// Name of the file in `data-<generation>` that lists the generation's directories elsewhere.
const DIRS_NAME: &str = "dirs";
/// Largest manifest or list of directories, in bytes.
pub(crate) const SMALL_FILE_BYTES_MAX: u64 = FILE_BYTES_MAX;
const MANIFEST_MAGIC: &[u8] = b"RINGTAKE";

/// A locked dataset directory with the empty directories of a new generation.
#[derive(Debug)]
pub(super) struct DatasetDirectory {
    file_system: Arc<dyn FileSystem>,
    path: PathBuf,
    lock: FileLock,
    created: bool,
    /// The generation's directories as the manifest will name them.
    dirs: Vec<String>,
    /// `data-<generation>`, first, and the directories elsewhere.
    generation_dirs: Vec<PathBuf>,
    /// The generations before this one.
    older: Vec<Generation>,
    committed: bool,
}

/// A generation on disk.
#[derive(Debug)]
struct Generation {
    home: PathBuf,
    elsewhere: Vec<PathBuf>,
}

/// Contents of `dirs`: the directories elsewhere, and the directory they belong to. A copy of the
/// dataset has the list too, and may not remove those directories.
#[derive(Debug, Serialize, Deserialize)]
struct Elsewhere {
    home: PathBuf,
    id: DirectoryId,
    dirs: Vec<PathBuf>,
}

impl Elsewhere {
    /// Whether the directory at `home` is the one that the list was written in, and not a copy. It
    /// may have been moved, or the devices may have been renumbered.
    fn belongs_to(&self, home: &Path, id: DirectoryId) -> bool {
        let same_device = self.id.device == id.device;
        self.id.inode == id.inode && (same_device || self.home == home)
    }
}

impl DatasetDirectory {
    /// Locks the directory at `path`, making it if need be, removes leftovers and makes the
    /// directories of `generation`.
    pub(super) fn open(
        file_system: Arc<dyn FileSystem>,
        path: &Path,
        generation: u64,
        data_dirs: &[PathBuf],
        overwrite: Overwrite,
    ) -> Result<DatasetDirectory> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        let placed = place(&path, generation, data_dirs)?;
        let created = match file_system.create_dir(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io("create", &path)(error)),
        };
        let opened = open_locked(&*file_system, &path, overwrite, created);
        let (lock, older) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                if created {
                    let _ = file_system.remove_dir(&path);
                }
                return Err(error);
            }
        };
        let mut directory = DatasetDirectory {
            file_system,
            path,
            lock,
            created,
            dirs: placed.dirs,
            generation_dirs: Vec::new(),
            older,
            committed: false,
        };
        // Dropped on an error, it removes what it has made.
        directory.make_generation(&placed.home, placed.elsewhere)?;
        Ok(directory)
    }

    /// Path of the dataset.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The data directories as the manifest names them.
    pub(super) fn dirs(&self) -> &[String] {
        &self.dirs
    }

    /// Path of data directory `dir`.
    pub(super) fn dir_path(&self, dir: usize) -> PathBuf {
        self.path.join(&self.dirs[dir])
    }

    fn make_generation(&mut self, home: &Path, elsewhere: Vec<PathBuf>) -> Result<()> {
        if self.older.is_empty() {
            // Even if the directory was there: a writer that was stopped may have made it.
            self.sync_dir(parent(&self.path))?;
        }
        self.make_dir(home)?;
        if !elsewhere.is_empty() {
            // On disk before the directories it names, so that none is ever without an owner.
            let list = Elsewhere {
                home: home.to_owned(),
                id: own_directory(&*self.file_system, home)?,
                dirs: elsewhere.clone(),
            };
            let list = serde_json::to_vec(&list).map_err(|error| Error::Option {
                option: "a data directory",
                value: error.to_string(),
                allowed: "a path in UTF-8".to_owned(),
            })?;
            self.write_file(&home.join(DIRS_NAME), &list)?;
            self.sync_dir(home)?;
            self.sync_dir(&self.path)?;
        }
        for dir in &elsewhere {
            self.make_dir(dir)?;
        }
        Ok(())
    }

    fn make_dir(&mut self, path: &Path) -> Result<()> {
        self.file_system
            .create_dir(path)
            .map_err(Error::io("create", path))?;
        self.generation_dirs.push(path.to_owned());
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self
            .file_system
            .create_file(path)
            .map_err(Error::io("create", path))?;
        file.append(bytes).map_err(Error::io("write", path))?;
        file.sync().map_err(Error::io("sync", path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.file_system
            .sync_dir(path)
            .map_err(Error::io("sync", path))
    }

    /// Makes the generation, whose files are all synced, the dataset; then removes the ones
    /// before it.
    pub(super) fn commit(&mut self, manifest: &[u8]) -> Result<()> {
        for dir in &self.generation_dirs {
            self.sync_dir(dir)?;
            self.sync_dir(parent(dir))?;
        }
        let prepared = self.path.join(MANIFEST_NEW_NAME);
        self.write_file(&prepared, manifest)?;
        let named = self.path.join(MANIFEST_NAME);
        self.file_system
            .rename(&prepared, &named)
            .map_err(Error::io("rename", &prepared))?;
        self.committed = true;
        // If this fails, a power loss may leave either version. Both stay whole, and the next
        // writer removes the unused one.
        self.sync_dir(&self.path)?;
        for generation in &self.older {
            // The dataset is complete; files that cannot be removed now are left for the next
            // writer.
            let _ = remove_generation(&*self.file_system, generation);
        }
        self.remove_indexes();
        Ok(())
    }

    /// Removes the indexes of earlier versions, which no reader accepts now.
    fn remove_indexes(&self) {
        for name in list(&*self.file_system, &self.path).unwrap_or_default() {
            if is_index(&name) {
                let _ = self.file_system.remove_file(&self.path.join(name));
            }
        }
    }
}

impl Drop for DatasetDirectory {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let file_system = &*self.file_system;
        let _ = file_system.remove_file(&self.path.join(MANIFEST_NEW_NAME));
        if let Some((home, elsewhere)) = self.generation_dirs.split_first() {
            let generation = Generation {
                home: home.clone(),
                elsewhere: elsewhere.to_vec(),
            };
            let _ = remove_generation(file_system, &generation);
        }
        if self.lock.created {
            let _ = file_system.remove_file(&self.path.join(LOCK_NAME));
        }
        if self.created {
            let _ = file_system.remove_dir(&self.path);
        }
    }
}

/// Directories of a generation that is about to be made.
struct GenerationDirs {
    dirs: Vec<String>,
    home: PathBuf,
    elsewhere: Vec<PathBuf>,
}

fn place(path: &Path, generation: u64, data_dirs: &[PathBuf]) -> Result<GenerationDirs> {
    let refused = |value: &Path, allowed: &str| Error::Option {
        option: "a data directory",
        value: value.display().to_string(),
        allowed: allowed.to_owned(),
    };
    let home_name = format!("data-{generation:016x}");
    let mut placed = GenerationDirs {
        dirs: Vec::new(),
        home: path.join(&home_name),
        elsewhere: Vec::new(),
    };
    if data_dirs.len() > DIRS_MAX {
        return Err(Error::Option {
            option: "the number of data directories",
            value: data_dirs.len().to_string(),
            allowed: format!("at most {DIRS_MAX}"),
        });
    }
    for given in data_dirs {
        let data_dir = std::path::absolute(given).map_err(Error::io("find", given))?;
        let dir = if data_dir == path {
            home_name.clone()
        } else {
            let dir = data_dir.join(format!("ringtake-{generation:016x}"));
            let name = dir.to_str().map(str::to_owned);
            placed.elsewhere.push(dir);
            name.ok_or_else(|| refused(given, "a path in UTF-8"))?
        };
        if placed.dirs.contains(&dir) {
            return Err(refused(given, "named once"));
        }
        placed.dirs.push(dir);
    }
    if placed.dirs.is_empty() {
        placed.dirs.push(home_name);
    }
    Ok(placed)
}

/// Locks the directory, decides whether it may be written, and removes leftovers. Returns the lock
/// and the generations that the new one will replace.
fn open_locked(
    file_system: &dyn FileSystem,
    path: &Path,
    overwrite: Overwrite,
    created: bool,
) -> Result<(FileLock, Vec<Generation>)> {
    if !created {
        // Looked at first so that no lock file is left in a directory that is not ours.
        admit(file_system, path, overwrite)?;
    }
    let lock_path = path.join(LOCK_NAME);
    let lock = file_system
        .lock(&lock_path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked {
                path: path.to_owned(),
            },
            _ => Error::io("lock", &lock_path)(error),
        })?;
    let prepared = admit(file_system, path, overwrite)
        .and_then(|current| remove_leftovers(file_system, path, current));
    match prepared {
        Ok(older) => Ok((lock, older)),
        Err(error) => {
            if lock.created {
                let _ = file_system.remove_file(&lock_path);
            }
            Err(error)
        }
    }
}

/// The dataset in a directory that may be written.
enum CurrentDataset {
    /// No dataset.
    Nothing,
    /// A dataset whose manifest names this generation.
    Generation(u64),
    /// A dataset with an unreadable manifest: each generation may be the current one.
    Damaged,
}

fn admit(
    file_system: &dyn FileSystem,
    path: &Path,
    overwrite: Overwrite,
) -> Result<CurrentDataset> {
    let names = list(file_system, path)?;
    let not_empty = || Error::NotEmpty {
        path: path.to_owned(),
    };
    if names.contains(MANIFEST_NAME) {
        let manifest_path = path.join(MANIFEST_NAME);
        let bytes = file_system
            .read_file(&manifest_path, SMALL_FILE_BYTES_MAX)
            .map_err(Error::io("read", &manifest_path))?;
        if !bytes.starts_with(MANIFEST_MAGIC) {
            return Err(not_empty());
        }
        if overwrite == Overwrite::Refuse {
            return Err(Error::AlreadyExists {
                path: path.to_owned(),
            });
        }
        return match Manifest::decode(&manifest_path, &bytes) {
            Ok(manifest) => Ok(CurrentDataset::Generation(manifest.layout.generation)),
            Err(newer @ Error::NewerVersion { .. }) => Err(newer),
            Err(_) => Ok(CurrentDataset::Damaged),
        };
    }
    // A writer locks before it makes anything else, and removes its lock file last.
    let locked = names.contains(LOCK_NAME);
    for name in &names {
        let leftover = locked
            && (name == MANIFEST_NEW_NAME
                || generation_of(name, "data-").is_some()
                || is_index(name));
        if !leftover && name != LOCK_NAME && name != "lost+found" {
            return Err(not_empty());
        }
    }
    Ok(CurrentDataset::Nothing)
}

/// Removes the files of stopped writers. Returns the generations that must stay for now.
fn remove_leftovers(
    file_system: &dyn FileSystem,
    path: &Path,
    current: CurrentDataset,
) -> Result<Vec<Generation>> {
    let names = list(file_system, path)?;
    if names.contains(MANIFEST_NEW_NAME) {
        let prepared = path.join(MANIFEST_NEW_NAME);
        file_system
            .remove_file(&prepared)
            .map_err(Error::io("remove", &prepared))?;
    }
    let mut older = Vec::new();
    for name in &names {
        if matches!(current, CurrentDataset::Nothing) && is_index(name) {
            let index = path.join(name);
            file_system
                .remove_file(&index)
                .map_err(Error::io("remove", &index))?;
        }
        let Some(generation) = generation_of(name, "data-") else {
            continue;
        };
        let home = path.join(name);
        let is_ours = file_system.directory(&home);
        if is_ours.map_err(Error::io("look at", &home))?.is_none() {
            // A link, or a file. Beside a dataset it does no harm.
            match current {
                CurrentDataset::Nothing => return Err(Error::NotEmpty { path: home }),
                _ => continue,
            }
        }
        let found = find_generation(file_system, home, generation)?;
        let stays = match current {
            CurrentDataset::Nothing => false,
            CurrentDataset::Generation(named) => named == generation,
            CurrentDataset::Damaged => true,
        };
        if stays {
            older.push(found);
            continue;
        }
        match (remove_generation(file_system, &found), &current) {
            // It holds a foreign file. Beside a dataset that does no harm.
            (Err(Error::NotEmpty { .. }), CurrentDataset::Generation(_)) | (Ok(()), _) => {}
            (Err(error), _) => return Err(error),
        }
    }
    Ok(older)
}

fn find_generation(
    file_system: &dyn FileSystem,
    home: PathBuf,
    generation: u64,
) -> Result<Generation> {
    let list_path = home.join(DIRS_NAME);
    let bytes = match file_system.read_file(&list_path, SMALL_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read", &list_path)(error)),
    };
    // A list cut short is one that was never synced, and nothing it names was made.
    let listed: Option<Elsewhere> = serde_json::from_slice(&bytes).ok();
    let name = format!("ringtake-{generation:016x}");
    let elsewhere = match listed {
        Some(listed) if listed.belongs_to(&home, own_directory(file_system, &home)?) => listed.dirs,
        _ => Vec::new(),
    };
    let elsewhere = elsewhere
        .into_iter()
        .filter(|dir| dir.file_name().is_some_and(|last| last == name.as_str()))
        .collect();
    Ok(Generation { home, elsewhere })
}

/// Removes a generation, the list of its directories last.
fn remove_generation(file_system: &dyn FileSystem, generation: &Generation) -> Result<()> {
    for dir in &generation.elsewhere {
        remove_generation_dir(file_system, dir)?;
        // Gone for good before the list that names it is.
        match file_system.sync_dir(parent(dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("sync", parent(dir))(error));
            }
            _ => {}
        }
    }
    remove_generation_dir(file_system, &generation.home)
}

/// Identity of the directory at `path`, which must exist.
fn own_directory(file_system: &dyn FileSystem, path: &Path) -> Result<DirectoryId> {
    let found = file_system.directory(path);
    found
        .map_err(Error::io("look at", path))?
        .ok_or_else(|| Error::NotEmpty {
            path: path.to_owned(),
        })
}

/// Removes a directory of a generation and the files in it that a writer could have made.
/// A missing directory is fine; a link to a directory is foreign and stays.
fn remove_generation_dir(file_system: &dyn FileSystem, path: &Path) -> Result<()> {
    match own_directory(file_system, path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        looked => looked?,
    };
    let names = match file_system.list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", path)(error)),
    };
    let ours = |name: &str| name == DIRS_NAME || is_generation_file(name);
    if !names.iter().all(|name| name.to_str().is_some_and(ours)) {
        // A foreign file or directory lies here.
        return Err(Error::NotEmpty {
            path: path.to_owned(),
        });
    }
    for name in names {
        let file = path.join(name);
        file_system
            .remove_file(&file)
            .map_err(Error::io("remove", &file))?;
    }
    file_system
        .remove_dir(path)
        .map_err(Error::io("remove", path))
}

/// Whether `name` is the name of a data file or a table.
fn is_generation_file(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else {
        return false;
    };
    let kind = match extension {
        "rows" | "values" | "sums" | "starts" | "ends" => "g",
        "valid" | "items" => "c",
        _ => return false,
    };
    stem.strip_prefix(kind)
        .is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether `name` is the name of an index, or of an index being written.
fn is_index(name: &str) -> bool {
    indexed_column(name.strip_suffix(".new").unwrap_or(name)).is_some()
}

/// The generation in a directory's name.
fn generation_of(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 16 || !digits.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// The names in a directory. A name that is not UTF-8 is returned inexactly, which is enough to see
/// that it is foreign.
fn list(file_system: &dyn FileSystem, path: &Path) -> Result<BTreeSet<String>> {
    let names = file_system.list(path).map_err(Error::io("list", path))?;
    Ok(names
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
