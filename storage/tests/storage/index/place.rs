//! A dataset in a directory of its own, with or without an index.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringtake_storage::Result;
use ringtake_storage::dataset::{Dataset, Table, TableCheck};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::index::{Index, IndexedColumn};
use ringtake_storage::verify::{Finding, verify_index};
use ringtake_storage::write::faulty::FaultyFileSystem;
use ringtake_storage::write::{Overwrite, WriteOptions, Writer};

use super::parts::{Parts, vectors};

/// A file system that works and does not wait for the drive.
pub(super) fn quick() -> Arc<FaultyFileSystem> {
    Arc::new(FaultyFileSystem::sound())
}

pub(super) fn write_rows(path: &Path, overwrite: Overwrite) {
    let options = WriteOptions {
        overwrite,
        ..WriteOptions::default()
    };
    let mut writer = Writer::create_in(quick(), path, &vectors().schema(), options).unwrap();
    writer.write(&vectors()).unwrap();
    writer.finish().unwrap();
}

/// The dataset at `path`.
pub(crate) fn open_dataset(path: &Path) -> Dataset {
    let load = |path: &Path, _: &_| Ok(Table::new(Arc::new(fs::read(path).unwrap())));
    Dataset::new(path, manifest(path), TableCheck::Verify, load).unwrap()
}

pub(super) fn manifest(path: &Path) -> Manifest {
    Manifest::decode(path, &fs::read(path.join("MANIFEST")).unwrap()).unwrap()
}

/// A dataset in a directory of its own.
pub(super) struct Place {
    _root: tempfile::TempDir,
    pub(super) dataset: Dataset,
    pub(super) manifest: Manifest,
}

impl Place {
    pub(super) fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("dataset");
        write_rows(&path, Overwrite::Refuse);
        Place {
            dataset: open_dataset(&path),
            manifest: manifest(&path),
            _root: root,
        }
    }

    /// A dataset with an index of these parts, and the bytes of the index.
    pub(super) fn indexed(parts: &Parts) -> (Place, Vec<u8>) {
        let place = Place::new();
        parts.write(quick(), &place.dataset).unwrap();
        let bytes = fs::read(place.index()).unwrap();
        (place, bytes)
    }

    pub(super) fn index(&self) -> PathBuf {
        self.dataset.path().join("c1.index")
    }

    pub(super) fn open(&self, bytes: &[u8], check: TableCheck) -> Result<Index> {
        let of = IndexedColumn::of(&self.dataset, 1);
        Index::open(Path::new("c1.index"), bytes, &of, check)
    }

    pub(super) fn findings(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut findings = Vec::new();
        verify_index(&self.manifest, 1, bytes, &mut findings);
        findings
    }

    /// Asserts that opening refuses these bytes, and that a finding has all `needles`.
    #[track_caller]
    pub(super) fn refuses(&self, bytes: &[u8], needles: &[&str]) {
        let error = self
            .open(bytes, TableCheck::Verify)
            .unwrap_err()
            .to_string();
        let findings = self.findings(bytes);
        let found = findings.iter().any(|finding| {
            let finding = finding.to_string();
            needles.iter().all(|needle| finding.contains(needle))
        });
        assert!(found, "{needles:?} in {findings:?}");
        for needle in needles {
            assert!(error.contains(needle), "{needle} in {error}");
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dataset.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}
