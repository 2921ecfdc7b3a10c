//! Opening a dataset: its manifest, its tables (in memory), its data files (for direct reads).

use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::MmapMut;
use ringtake_storage::dataset::{Dataset, Table, TableCheck, TableOwner};
use ringtake_storage::file::open_regular;
use ringtake_storage::layout::{PAGE_BYTES, TableEntry};
use ringtake_storage::manifest::{DataFileHeader, Manifest};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use crate::config::IoMode;
use crate::error::Result;
use ringtake_storage::Error as StorageError;

/// Where the kernel takes the bytes of a file from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// The drive, always, in reads of this alignment.
    Drive(u32),
    /// Its page cache, and the drive for the rest.
    PageCache,
    /// A file system in memory.
    Memory,
}

/// A data file of a column group in one data directory.
#[derive(Debug)]
pub(crate) struct DataFile {
    descriptor: OwnedFd,
    pub(crate) served: Served,
    pub(crate) path: PathBuf,
    /// Why its rows are not read, whatever their checksums.
    pub(crate) wrong: Option<String>,
}

/// The data files of a dataset, numbered `group * directories + directory`.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) files: Vec<DataFile>,
    dirs: usize,
    /// The strictest alignment of all files.
    pub(crate) align_bytes: u32,
    /// Whether all files bypass the page cache.
    pub(crate) direct: bool,
}

impl Files {
    pub(crate) fn index(&self, group: usize, dir: u32) -> u32 {
        (group * self.dirs + dir as usize) as u32
    }

    pub(crate) fn borrowed(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(|file| file.descriptor.as_fd())
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.files
            .iter()
            .map(|file| file.descriptor.as_raw_fd())
            .collect()
    }
}

/// Attempts to open a dataset whose files a writer replaces meanwhile.
const OPEN_ATTEMPTS: usize = 8;

/// Opens the dataset at `path`. The last value has a sentence for each fault of a data file that
/// does not prevent opening.
pub(crate) fn open(
    path: &Path,
    check: TableCheck,
    io: IoMode,
) -> Result<(Dataset, Files, Vec<String>)> {
    let mut attempt = 1;
    loop {
        let manifest = Manifest::read(path)?;
        let generation = manifest.layout.generation;
        let opened = open_version(path, manifest, check, io);
        let gone = matches!(&opened, Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound);
        let replaced = || Manifest::read(path).is_ok_and(|now| now.layout.generation != generation);
        if gone && attempt < OPEN_ATTEMPTS && replaced() {
            attempt += 1;
            continue;
        }
        return Ok(opened?);
    }
}

fn open_version(
    path: &Path,
    manifest: Manifest,
    check: TableCheck,
    io: IoMode,
) -> Result<(Dataset, Files, Vec<String>), StorageError> {
    let dataset = Dataset::new(path, manifest, check, load_table)?;
    let layout = dataset.layout();
    let dirs = layout.dirs.len();
    let mut files = Vec::with_capacity(layout.groups.len() * dirs);
    let mut warnings = Vec::new();
    let (mut align_bytes, mut direct) = (512, true);
    for (group, stored) in layout.groups.iter().enumerate() {
        for dir in 0..dirs {
            let file = dataset.file_path(group, dir);
            let header = DataFileHeader::expected(layout, group, dir);
            let wrong = check_data_file(&file, &header, stored.file_bytes()[dir], &mut warnings)?;
            let (descriptor, served) = open_for_reads(&file, io)?;
            match served {
                Served::Drive(bytes) => align_bytes = align_bytes.max(bytes),
                Served::PageCache | Served::Memory => direct = false,
            }
            if io == IoMode::Direct {
                let shown = file.display();
                match served {
                    Served::Drive(_) => {}
                    Served::PageCache => warnings.push(format!("{shown} is on a file system that refuses O_DIRECT; it is read through the page cache")),
                    Served::Memory => warnings.push(format!("{shown} is on a file system in memory, which has no direct reads; it is read through the page cache")),
                }
            }
            files.push(DataFile {
                descriptor,
                served,
                path: file,
                wrong,
            });
        }
    }
    let files = Files {
        files,
        dirs,
        align_bytes,
        direct,
    };
    Ok((dataset, files, warnings))
}

/// Checks the header and the length of a data file. A file with a wrong header is not read at all,
/// and the reason is returned; one that is too short still serves its rows.
fn check_data_file(
    path: &Path,
    header: &DataFileHeader,
    bytes: u64,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, StorageError> {
    let file = open_regular(path)?;
    let mut page = Vec::with_capacity(PAGE_BYTES as usize);
    (&file)
        .take(PAGE_BYTES)
        .read_to_end(&mut page)
        .map_err(StorageError::io("read", path))?;
    let wrong = header.check(&page).err();
    if let Some(wrong) = &wrong {
        warnings.push(format!(
            "{}: {wrong}; its rows will not be read",
            path.display()
        ));
    }
    let length = file
        .metadata()
        .map_err(StorageError::io("inspect", path))?
        .len();
    if length < bytes {
        warnings.push(format!(
            "{} has {length} bytes instead of {bytes}; the rows past its end cannot be read",
            path.display()
        ));
    }
    Ok(wrong)
}

/// Opens a file for direct reads, or for buffered ones where `io` asks for them or the file system
/// has no direct reads.
fn open_for_reads(path: &Path, io: IoMode) -> Result<(OwnedFd, Served), StorageError> {
    // Without the time of each access, which costs CPU with each read. Only the owner of a file
    // may leave it out (open(2), O_NOATIME).
    let open = |flags| {
        // Not blocking: a pipe may have taken the file's place meanwhile.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | flags;
        match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
            opened => opened,
        }
    };
    let failed = |errno: rustix::io::Errno| StorageError::io("open", path)(errno.into());
    if io == IoMode::Direct {
        match open(OFlags::DIRECT) {
            // Linux since 6.6 takes the flag on tmpfs, and ignores it.
            Ok(descriptor) if is_memory(&descriptor) => {}
            Ok(descriptor) => {
                if let Some(align) = direct_align_bytes(&descriptor, path)? {
                    return Ok((descriptor, Served::Drive(align)));
                }
            }
            // File systems without direct I/O return these.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    let descriptor = open(OFlags::empty()).map_err(failed)?;
    if is_memory(&descriptor) {
        return Ok((descriptor, Served::Memory));
    }
    // Rows are read at random, so reading ahead would only waste the drive.
    let _ = rustix::fs::fadvise(&descriptor, 0, None, rustix::fs::Advice::Random);
    Ok((descriptor, Served::PageCache))
}

/// Whether the file is on tmpfs or ramfs (statfs(2)).
fn is_memory(file: &OwnedFd) -> bool {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    const RAMFS_MAGIC: u32 = 0x8584_58f6;
    rustix::fs::fstatfs(file)
        .is_ok_and(|stat| matches!(stat.f_type as u32, TMPFS_MAGIC | RAMFS_MAGIC))
}

/// The alignment that direct reads of this file need; `None` where they cannot be done
/// (statx(2), STATX_DIOALIGN).
pub(crate) fn direct_align_bytes(file: &OwnedFd, path: &Path) -> Result<Option<u32>, StorageError> {
    let asked = StatxFlags::DIOALIGN | StatxFlags::BASIC_STATS;
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, asked)
        .map_err(|errno| StorageError::io("inspect", path)(errno.into()))?;
    if stat.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        // A kernel before 6.1, or a file system that does not say: a page suits all devices.
        return Ok(Some(PAGE_BYTES as u32));
    }
    let align = stat.stx_dio_offset_align.max(stat.stx_dio_mem_align);
    Ok((align > 0 && u64::from(align) <= PAGE_BYTES).then_some(align.next_power_of_two().max(512)))
}

fn load_table(path: &Path, entry: &TableEntry) -> Result<Table, StorageError> {
    load(path, |length| match length == entry.bytes {
        true => Ok(()),
        false => Err(StorageError::damaged(
            path,
            format!("it has {length} bytes instead of {}", entry.bytes),
        )),
    })
    .map(Table::new)
}

/// Reads a whole file into read-only memory of this process.
///
/// A map of the file would be unsafe: a file that is cut short ends a process that reads its map
/// (mmap(2), SIGBUS). `fits` checks the length first, since a file with holes can have any length.
pub(crate) fn load(
    path: &Path,
    fits: impl FnOnce(u64) -> Result<(), StorageError>,
) -> Result<TableOwner, StorageError> {
    let mut file = open_regular(path)?;
    let bytes = file
        .metadata()
        .map_err(StorageError::io("inspect", path))?
        .len();
    fits(bytes)?;
    if bytes == 0 {
        return Ok(Arc::new(Vec::new()));
    }
    let memory = usize::try_from(bytes)
        .map_err(|_| io::ErrorKind::OutOfMemory.into())
        .and_then(MmapMut::map_anon);
    let mut memory = memory.map_err(StorageError::io("find memory for", path))?;
    file.read_exact(&mut memory)
        .map_err(StorageError::io("read", path))?;
    let memory = memory
        .make_read_only()
        .map_err(StorageError::io("keep", path))?;
    Ok(Arc::new(memory))
}
