//! The writer of an index: beside the dataset, under another name until it is complete and synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    HEADER_BYTES, INDEX_VERSION, IndexLayout, LIST_ALIGN_BYTES, MAGIC, SECTION_ALIGN_BYTES,
    Section, TRAILER_BYTES, index_name,
};
use crate::checksum::{StreamingXxh3, xxh3};
use crate::dataset::Dataset;
use crate::manifest::{LOCK_NAME, MANIFEST_NAME, Manifest};
use crate::vector::kmeans::Centroids;
use crate::vector::quantiser::Quantiser;
use crate::vector::rotation::Rotation;
use crate::write::SMALL_FILE_BYTES_MAX;
use crate::write::file_system::{AppendFile, FileLock, FileSystem};
use crate::{Error, Result};

/// An index being written. Until [`IndexWriter::commit`] no reader sees it.
#[derive(Debug)]
pub struct IndexWriter {
    file_system: Arc<dyn FileSystem>,
    file: Box<dyn AppendFile>,
    dir: PathBuf,
    path_new: PathBuf,
    layout: IndexLayout,
    at: u64,
    counts: Vec<u32>,
    lists: StreamingXxh3,
    committed: bool,
    /// Keeps other writers from replacing the dataset.
    _lock: FileLock,
}

impl IndexWriter {
    /// Locks the dataset and begins its index. `layout` describes the index; its sections,
    /// `partitions`, `codes` and `rows_indexed` are filled in here. The centroids are along the
    /// axes of the quantiser.
    ///
    /// # Errors
    /// [`Error::Locked`] if the dataset is being written, [`Error::Replaced`] if it was replaced
    /// since it was opened, [`Error::Io`].
    pub fn create(
        file_system: Arc<dyn FileSystem>,
        dataset: &Dataset,
        layout: IndexLayout,
        centroids: &Centroids,
        quantiser: &Quantiser,
    ) -> Result<IndexWriter> {
        let dir = dataset.path().to_owned();
        let lock = lock(&*file_system, &dir)?;
        check_current(&*file_system, dataset)?;
        let path_new = dir.join(format!("{}.new", index_name(layout.column as usize)));
        match file_system.remove_file(&path_new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path_new)(error));
            }
            _ => {}
        }
        let file = file_system
            .create_file(&path_new)
            .map_err(Error::io("make", &path_new))?;
        let mut writer = IndexWriter {
            file_system,
            file,
            dir,
            path_new,
            at: 0,
            counts: Vec::with_capacity(centroids.len()),
            lists: StreamingXxh3::default(),
            committed: false,
            _lock: lock,
            layout: IndexLayout {
                partitions: centroids.len() as u32,
                codes: quantiser.codes() as u32,
                rows_indexed: 0,
                ..layout
            },
        };
        let axes = quantiser.rotation().map(Rotation::axes).unwrap_or_default();
        let parts = [
            axes,
            centroids.values(),
            quantiser.codebooks(),
            quantiser.errors(),
        ];
        if !parts.into_iter().flatten().all(|x| x.is_finite()) {
            return Err(Error::BeyondNumbers);
        }
        writer.append(&header(dataset))?;
        if let Some(rotation) = quantiser.rotation() {
            writer.layout.rotation = writer.section(&little_endian(rotation.axes()))?;
        }
        let ends: Vec<u8> = quantiser
            .ends()
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        writer.layout.centroids = writer.section(&little_endian(centroids.values()))?;
        writer.layout.ends = writer.section(&ends)?;
        writer.layout.codebooks = writer.section(&little_endian(quantiser.codebooks()))?;
        writer.layout.errors = writer.section(&little_endian(quantiser.errors()))?;
        writer.pad(SECTION_ALIGN_BYTES)?;
        writer.layout.lists.offset = writer.at;
        Ok(writer)
    }

    /// Appends the rows of the next partition, ascending, and their codes.
    ///
    /// # Panics
    /// If there are not as many codes as rows, or more lists than partitions.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn push_list(&mut self, rows: &[u32], codes: &[u8]) -> Result<()> {
        assert_eq!(codes.len(), rows.len() * self.layout.code_bytes());
        assert!(self.counts.len() < self.layout.partitions as usize);
        let mut bytes = Vec::with_capacity(self.layout.list_bytes(rows.len() as u32) as usize);
        bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
        bytes.extend_from_slice(codes);
        bytes.resize(bytes.len().next_multiple_of(LIST_ALIGN_BYTES as usize), 0);
        self.lists.update(&bytes);
        self.append(&bytes)?;
        self.counts.push(rows.len() as u32);
        self.layout.rows_indexed += rows.len() as u64;
        Ok(())
    }

    /// Completes and syncs the index, and puts it in the place of an older one.
    ///
    /// # Panics
    /// If there are fewer lists than partitions.
    ///
    /// # Errors
    /// [`Error::Io`]; the dataset then keeps the index that it had.
    pub fn commit(mut self) -> Result<IndexLayout> {
        assert_eq!(self.counts.len(), self.layout.partitions as usize);
        self.layout.lists.bytes = self.at - self.layout.lists.offset;
        self.layout.lists.xxh3 = self.lists.value();
        let counts: Vec<u8> = self.counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.layout.counts = self.section(&counts)?;
        let footer = serde_json::to_vec(&self.layout).map_err(|error| Error::Option {
            option: "the index",
            value: error.to_string(),
            allowed: "expressible as JSON".to_owned(),
        })?;
        let mut trailer = [0; TRAILER_BYTES];
        let file_bytes = self.at + footer.len() as u64 + TRAILER_BYTES as u64;
        trailer[..8].copy_from_slice(&(footer.len() as u64).to_le_bytes());
        trailer[8..16].copy_from_slice(&xxh3(&footer).to_le_bytes());
        trailer[16..24].copy_from_slice(&file_bytes.to_le_bytes());
        let hash = xxh3(&trailer[..24]);
        trailer[24..].copy_from_slice(&hash.to_le_bytes());
        self.append(&footer)?;
        self.append(&trailer)?;
        self.file
            .sync()
            .map_err(Error::io("sync", &self.path_new))?;
        let path = self.dir.join(index_name(self.layout.column as usize));
        self.file_system
            .rename(&self.path_new, &path)
            .map_err(Error::io("rename", &self.path_new))?;
        self.committed = true;
        self.file_system
            .sync_dir(&self.dir)
            .map_err(Error::io("sync", &self.dir))?;
        Ok(self.layout.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .append(bytes)
            .map_err(Error::io("write", &self.path_new))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, align_bytes: u64) -> Result<()> {
        let zeros = self.at.next_multiple_of(align_bytes) - self.at;
        self.append(&vec![0; zeros as usize])
    }

    fn section(&mut self, bytes: &[u8]) -> Result<Section> {
        self.pad(SECTION_ALIGN_BYTES)?;
        let section = Section {
            offset: self.at,
            bytes: bytes.len() as u64,
            xxh3: xxh3(bytes),
        };
        self.append(bytes)?;
        Ok(section)
    }
}

impl Drop for IndexWriter {
    /// Removes the file of an index that was not committed.
    fn drop(&mut self) {
        if !self.committed {
            let _ = self.file_system.remove_file(&self.path_new);
        }
    }
}

fn lock(file_system: &dyn FileSystem, dir: &Path) -> Result<FileLock> {
    let path = dir.join(LOCK_NAME);
    file_system.lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked {
            path: dir.to_owned(),
        },
        _ => Error::io("lock", &path)(error),
    })
}

/// Checks that the dataset was not replaced since it was opened, so that its index belongs to the
/// current rows. The lock must be held.
fn check_current(file_system: &dyn FileSystem, dataset: &Dataset) -> Result<()> {
    let path = dataset.path().join(MANIFEST_NAME);
    let bytes = file_system
        .read_file(&path, SMALL_FILE_BYTES_MAX)
        .map_err(Error::io("read", &path))?;
    let now = Manifest::decode(&path, &bytes)?.layout;
    let opened = dataset.layout();
    if (now.dataset, now.generation) == (opened.dataset, opened.generation) {
        Ok(())
    } else {
        Err(Error::Replaced {
            path: dataset.path().to_owned(),
        })
    }
}

fn header(dataset: &Dataset) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&INDEX_VERSION.to_le_bytes());
    header[16..32].copy_from_slice(&dataset.layout().dataset);
    header[32..40].copy_from_slice(&dataset.layout().generation.to_le_bytes());
    let hash = xxh3(&header[..56]);
    header[56..].copy_from_slice(&hash.to_le_bytes());
    header
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
