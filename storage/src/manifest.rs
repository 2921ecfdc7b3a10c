//! The manifest: the one file that a new version of a dataset replaces.
//!
//! [`Manifest::decode`] is the only way from bytes to a layout that the rest of the crate trusts:
//! it checks magic, version, hashes and every length.

use std::io::{self, Cursor};
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::checksum::xxh3;
use crate::file::read_regular;
use crate::layout::Layout;
use crate::{Error, Result};

/// Name of the manifest in a dataset's directory.
pub const MANIFEST_NAME: &str = "MANIFEST";
/// Name of the next manifest until it replaces the current one.
pub const MANIFEST_NEW_NAME: &str = "MANIFEST.new";
/// Name of the file that a writer locks.
pub const LOCK_NAME: &str = "LOCK";
/// The format version this crate writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"RINGTAKE";
const HEADER_BYTES: usize = 64;
/// Largest body of a manifest, in bytes. A header with a larger length is damaged.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Largest manifest file, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = HEADER_BYTES as u64 + 2 * BODY_BYTES_MAX;

/// The decoded and checked contents of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The layout: column groups, blocks, directories and tables.
    pub layout: Layout,
    /// The Arrow schema of the rows.
    pub schema: SchemaRef,
}

impl Manifest {
    /// Encodes the manifest as the bytes of its file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let layout = serde_json::to_vec(&self.layout).map_err(|error| Error::Option {
            option: "the layout",
            value: error.to_string(),
            allowed: "expressible as JSON".to_owned(),
        })?;
        let mut schema = Vec::new();
        StreamWriter::try_new(&mut schema, &self.schema)?.finish()?;
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        put_u32(&mut bytes, 8, FORMAT_VERSION);
        put_u64(&mut bytes, 16, layout.len() as u64);
        put_u64(&mut bytes, 24, schema.len() as u64);
        bytes.extend_from_slice(&layout);
        bytes.extend_from_slice(&schema);
        let body_hash = xxh3(&bytes[HEADER_BYTES..]);
        put_u64(&mut bytes, 32, body_hash);
        let header_hash = xxh3(&bytes[..56]);
        put_u64(&mut bytes, 56, header_hash);
        Ok(bytes)
    }

    /// Reads the manifest of the dataset at `dataset`.
    ///
    /// # Errors
    /// [`Error::NotADataset`] if there is no manifest; those of [`Manifest::decode`];
    /// [`Error::Io`].
    pub fn read(dataset: &Path) -> Result<Manifest> {
        let file = dataset.join(MANIFEST_NAME);
        let none = |reason: &str| Error::NotADataset {
            path: dataset.to_owned(),
            reason: reason.to_owned(),
        };
        let bytes = match read_regular(&file, FILE_BYTES_MAX) {
            Err(Error::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(match dataset.symlink_metadata() {
                    Err(_) => none(
                        "there is nothing at this path; check it, or make a dataset with `ringtake import`",
                    ),
                    Ok(found) if found.is_file() => {
                        none("it is a file; make a dataset of it with `ringtake import`")
                    }
                    Ok(_) => none(
                        "it has no MANIFEST; check the path, or make a dataset with `ringtake import`",
                    ),
                });
            }
            bytes => bytes?,
        };
        Manifest::decode(&file, &bytes)
    }

    /// Decodes and checks the bytes of a manifest; `path` is only named in errors.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Manifest> {
        let damaged = |what: String| Error::damaged(path, what);
        if bytes.len() < 12 || &bytes[..8] != MAGIC {
            return Err(damaged("it does not begin as a manifest does".to_owned()));
        }
        let version = get_u32(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(Error::NewerVersion {
                path: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        if bytes.len() < HEADER_BYTES {
            return Err(damaged(format!(
                "it ends after {} bytes, within its header",
                bytes.len()
            )));
        }
        if xxh3(&bytes[..56]) != get_u64(bytes, 56) {
            return Err(damaged("its header does not match its checksum".to_owned()));
        }
        if version == 0 || get_u32(bytes, 12) != 0 || bytes[40..56].iter().any(|&byte| byte != 0) {
            return Err(damaged(
                "its header has values that version 1 does not know".to_owned(),
            ));
        }
        let (layout_bytes, schema_bytes) = (get_u64(bytes, 16), get_u64(bytes, 24));
        let body = &bytes[HEADER_BYTES..];
        if layout_bytes > BODY_BYTES_MAX
            || schema_bytes > BODY_BYTES_MAX
            || layout_bytes + schema_bytes != body.len() as u64
        {
            return Err(damaged(format!(
                "its header names {layout_bytes} + {schema_bytes} bytes and {} follow",
                body.len()
            )));
        }
        if xxh3(body) != get_u64(bytes, 32) {
            return Err(damaged(
                "its contents do not match their checksum".to_owned(),
            ));
        }
        let (layout, schema) = body.split_at(layout_bytes as usize);
        let layout: Layout = serde_json::from_slice(layout)
            .map_err(|error| damaged(format!("its layout cannot be read ({error})")))?;
        let reader = StreamReader::try_new(Cursor::new(schema), None)
            .map_err(|error| damaged(format!("its schema cannot be read ({error})")))?;
        let schema = reader.schema();
        layout
            .validate(&schema)
            .map_err(|what| damaged(format!("its layout contradicts itself: {what}")))?;
        Ok(Manifest { layout, schema })
    }
}

/// The header page of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFileHeader {
    /// Ordinal of the column group.
    pub group: u32,
    /// Ordinal of the data directory.
    pub dir: u32,
    /// Identity of the dataset.
    pub dataset: [u8; 16],
    /// Identity of the version of the dataset.
    pub generation: u64,
}

const DATA_FILE_MAGIC: &[u8; 8] = b"RTGROUP1";

impl DataFileHeader {
    /// The header that the file of `group` in data directory `dir` must have.
    pub fn expected(layout: &Layout, group: usize, dir: usize) -> DataFileHeader {
        DataFileHeader {
            group: group as u32,
            dir: dir as u32,
            dataset: layout.dataset,
            generation: layout.generation,
        }
    }

    /// Encodes the header as one page.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; crate::layout::PAGE_BYTES as usize];
        page[..8].copy_from_slice(DATA_FILE_MAGIC);
        put_u32(&mut page, 8, self.group);
        put_u32(&mut page, 12, self.dir);
        page[16..32].copy_from_slice(&self.dataset);
        put_u64(&mut page, 32, self.generation);
        let hash = xxh3(&page[..56]);
        put_u64(&mut page, 56, hash);
        page
    }

    /// Checks that `page` is this header.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn check(&self, page: &[u8]) -> Result<(), String> {
        if page.len() < crate::layout::PAGE_BYTES as usize {
            return Err(format!(
                "it ends after {} bytes, within its header",
                page.len()
            ));
        }
        if page == self.encode() {
            return Ok(());
        }
        if &page[..8] != DATA_FILE_MAGIC || xxh3(&page[..56]) != get_u64(page, 56) {
            return Err("its header (page 0) is damaged".to_owned());
        }
        let (group, dir) = (get_u32(page, 8), get_u32(page, 12));
        if page[16..32] != self.dataset || get_u64(page, 32) != self.generation {
            return Err("it belongs to another dataset or another version of this one".to_owned());
        }
        if (group, dir) != (self.group, self.dir) {
            return Err(format!(
                "it holds column group {group} of data directory {dir} instead of group {} of directory {}",
                self.group, self.dir
            ));
        }
        Err("its header (page 0) is not followed by zeros".to_owned())
    }
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests;
