//! A dataset as the bench must know it before a store is opened: which files
//! hold its rows, and how many bytes the wanted columns have there.

use std::path::{Path, PathBuf};

use ringtake_storage::manifest::Manifest;

use crate::error::Error;

/// The files of a dataset that rows are read from.
#[derive(Debug, Clone)]
pub(crate) struct DatasetFiles {
    /// Rows of the dataset.
    pub(crate) rows: u64,
    /// Every data file of the wanted columns.
    pub(crate) paths: Vec<PathBuf>,
    /// Their bytes together.
    pub(crate) bytes: u64,
    /// The names of the wanted columns, all of them if none were named.
    pub(crate) columns: Vec<String>,
    /// Bytes of the wanted columns in one row, where every one is of fixed width.
    pub(crate) row_bytes: Option<u64>,
}

impl DatasetFiles {
    /// Reads the manifest at `dataset`; empty `columns` mean all.
    pub(crate) fn of(dataset: &Path, columns: &[String]) -> Result<DatasetFiles, Error> {
        let manifest = Manifest::read(dataset)?;
        let wanted = wanted_columns(&manifest, columns)?;
        let layout = &manifest.layout;
        let mut files = DatasetFiles {
            rows: layout.rows,
            paths: Vec::new(),
            bytes: 0,
            columns: wanted
                .iter()
                .map(|column| manifest.schema.field(*column).name().clone())
                .collect(),
            row_bytes: row_bytes(&manifest, &wanted),
        };
        for (ordinal, group) in layout.groups.iter().enumerate() {
            if !group
                .columns()
                .iter()
                .any(|column| wanted.contains(&(*column as usize)))
            {
                continue;
            }
            for (directory, bytes) in layout.dirs.iter().zip(group.file_bytes()) {
                let path = dataset.join(directory).join(group.file_name(ordinal));
                files.paths.push(path);
                files.bytes += bytes;
            }
        }
        Ok(files)
    }

    /// Asks the kernel to forget the files' pages; the proof shows whether it did.
    pub(crate) fn drop_from_page_cache(&self) {
        for path in &self.paths {
            if let Ok(file) = std::fs::File::open(path) {
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            }
        }
    }
}

fn wanted_columns(manifest: &Manifest, columns: &[String]) -> Result<Vec<usize>, Error> {
    if columns.is_empty() {
        return Ok((0..manifest.schema.fields().len()).collect());
    }
    columns
        .iter()
        .map(|name| {
            Ok(ringtake_storage::layout::column_index(
                &manifest.schema,
                name,
            )?)
        })
        .collect()
}

fn row_bytes(manifest: &Manifest, wanted: &[usize]) -> Option<u64> {
    wanted.iter().try_fold(0, |sum, column| {
        let shape =
            ringtake_storage::column::ColumnShape::of(manifest.schema.field(*column)).ok()?;
        Some(sum + u64::from(shape.width_bytes()?))
    })
}
