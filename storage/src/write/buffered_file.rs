//! Files being written: data files at known offsets, tables with their hash.
//!
//! A file buffers up to `buffer_bytes` and appends whole pages, so that the kernel never rewrites a
//! page. The files stay open unless there are very many; then it is opened for each
//! append, and syncs it before closing it, because the kernel reports no writeback error of a
//! closed file.

use std::path::PathBuf;
use std::sync::Arc;

use super::file_system::{AppendFile, FileSystem};
use crate::checksum::StreamingXxh3;
use crate::layout::PAGE_BYTES;
use crate::{Error, Result};

/// Most bytes of all buffers together, unless there are very many files.
const BUFFERS_BYTES_MAX: usize = 16 << 20;
/// Fewest and most bytes of one buffer.
const BUFFER_BYTES_RANGE: (usize, usize) = (16 << 10, 1 << 20);
/// Most files kept open.
const OPEN_FILES_MAX: usize = 512;
/// Appended bytes between two hints to the kernel to write back.
const RELEASE_CACHE_BYTES: u64 = 8 << 20;

/// Buffer size and handling of files, decided once from the number of files.
#[derive(Debug, Clone)]
pub(super) struct BufferOptions {
    pub(super) file_system: Arc<dyn FileSystem>,
    pub(super) buffer_bytes: usize,
    keep_open: bool,
}

impl BufferOptions {
    /// Options for a writer of up to `files` files.
    pub(super) fn new(file_system: Arc<dyn FileSystem>, files: usize) -> BufferOptions {
        let (buffer_bytes_min, buffer_bytes_max) = BUFFER_BYTES_RANGE;
        BufferOptions {
            file_system,
            buffer_bytes: (BUFFERS_BYTES_MAX / files.max(1))
                .clamp(buffer_bytes_min, buffer_bytes_max)
                .next_multiple_of(PAGE_BYTES as usize),
            keep_open: files <= OPEN_FILES_MAX,
        }
    }
}

/// A file that grows, behind a buffer.
#[derive(Debug)]
pub(super) struct BufferedFile {
    path: PathBuf,
    options: BufferOptions,
    file: Option<Box<dyn AppendFile>>,
    buffer: Vec<u8>,
    appended_bytes: u64,
    released_bytes: u64,
    hash: Option<Box<StreamingXxh3>>,
}

impl BufferedFile {
    /// Makes the file at `path`, which must not exist.
    pub(super) fn create(path: PathBuf, options: &BufferOptions) -> Result<BufferedFile> {
        let mut file = options
            .file_system
            .create_file(&path)
            .map_err(Error::io("create", &path))?;
        if !options.keep_open {
            file.sync().map_err(Error::io("sync", &path))?;
        }
        Ok(BufferedFile {
            file: options.keep_open.then_some(file),
            path,
            options: options.clone(),
            buffer: Vec::new(),
            appended_bytes: 0,
            released_bytes: 0,
            hash: None,
        })
    }

    /// Like [`BufferedFile::create`], for a table: its bytes are hashed too.
    pub(super) fn create_table(path: PathBuf, options: &BufferOptions) -> Result<BufferedFile> {
        let mut table = BufferedFile::create(path, options)?;
        table.hash = Some(Box::default());
        Ok(table)
    }

    /// Bytes added so far.
    pub(super) fn bytes(&self) -> u64 {
        self.appended_bytes + self.buffer.len() as u64
    }

    /// Hash of the bytes of a table added so far.
    pub(super) fn hash(&self) -> u64 {
        let mut hash = self.hash.clone().unwrap_or_default();
        hash.update(&self.buffer);
        hash.value()
    }

    /// Adds `bytes`.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() < self.options.buffer_bytes {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        for piece in bytes.chunks(self.options.buffer_bytes) {
            self.buffer.extend_from_slice(piece);
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Adds `bytes` bytes of `value`.
    pub(super) fn fill(&mut self, value: u8, mut bytes: u64) -> Result<()> {
        while bytes > 0 {
            let piece = bytes.min(self.options.buffer_bytes as u64);
            self.buffer
                .resize(self.buffer.len() + piece as usize, value);
            self.flush_if_full()?;
            bytes -= piece;
        }
        Ok(())
    }

    /// Adds zeros up to offset `bytes` of the file.
    pub(super) fn pad_to(&mut self, bytes: u64) -> Result<()> {
        debug_assert!(bytes >= self.bytes());
        self.fill(0, bytes.saturating_sub(self.bytes()))
    }

    /// Adds `bytes` zeros and returns them for the caller to fill and then call
    /// [`BufferedFile::flush_if_full`].
    pub(super) fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.buffer.len();
        self.buffer.resize(start + bytes, 0);
        &mut self.buffer[start..]
    }

    /// Appends the whole pages of the buffer to the file once there are enough.
    pub(super) fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() < self.options.buffer_bytes {
            return Ok(());
        }
        self.flush(self.buffer.len() - self.buffer.len() % PAGE_BYTES as usize)
    }

    fn flush(&mut self, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self
                .options
                .file_system
                .append_file(&self.path)
                .map_err(Error::io("open", &self.path))?,
        };
        file.append(&self.buffer[..bytes])
            .map_err(Error::io("write", &self.path))?;
        if let Some(hash) = &mut self.hash {
            hash.update(&self.buffer[..bytes]);
        }
        self.buffer.copy_within(bytes.., 0);
        self.buffer.truncate(self.buffer.len() - bytes);
        // One wide record may have made it large.
        self.buffer.shrink_to(4 * self.options.buffer_bytes);
        self.appended_bytes += bytes as u64;
        if self.appended_bytes - self.released_bytes >= RELEASE_CACHE_BYTES {
            file.release_cache();
            self.released_bytes = self.appended_bytes;
        }
        if self.options.keep_open {
            self.file = Some(file);
        } else {
            file.sync().map_err(Error::io("sync", &self.path))?;
        }
        Ok(())
    }

    /// Writes and syncs all bytes. Returns the length of the file.
    pub(super) fn seal(&mut self) -> Result<u64> {
        self.flush(self.buffer.len())?;
        self.buffer = Vec::new();
        if let Some(mut file) = self.file.take() {
            file.sync().map_err(Error::io("sync", &self.path))?;
            file.release_cache();
        }
        Ok(self.appended_bytes)
    }
}
