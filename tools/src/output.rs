//! Standard output, and files that get their name only when they are complete.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::{NamedTempFile, TempPath};

use crate::failure::Failure;

/// Bytes buffered before a write.
const BUFFER_BYTES: usize = 1 << 18;

/// Destination of a command's data.
pub(crate) struct Output {
    /// The file under its temporary name, until `publish`.
    unpublished: Option<Unpublished>,
    /// Set when the reader of a pipe has closed it. The errors do not show it, because the writers
    /// of formats wrap them.
    reader_gone: Arc<AtomicBool>,
}

struct Unpublished {
    path: TempPath,
    target: PathBuf,
    replace: bool,
}

/// A buffered writer that notices when the reader of a pipe has closed it.
pub(crate) type OutputWriter = BufWriter<Watched>;

/// The unbuffered part of an [`OutputWriter`].
pub(crate) struct Watched {
    inner: Box<dyn Write + Send>,
    reader_gone: Arc<AtomicBool>,
}

impl Output {
    /// Standard output.
    pub(crate) fn standard() -> (Output, OutputWriter) {
        let output = Output {
            unpublished: None,
            reader_gone: Arc::default(),
        };
        let writer = output.writer(Box::new(io::stdout()));
        (output, writer)
    }

    /// A temporary file beside `target`, which `publish` renames to `target` and a drop removes.
    pub(crate) fn file(target: &Path, replace: bool) -> Result<(Output, OutputWriter), Failure> {
        if !replace && target.symlink_metadata().is_ok() {
            return Err(Failure::OutputExists(target.to_owned()));
        }
        if target.is_dir() {
            return Err(Failure::io("write", target)(
                io::ErrorKind::IsADirectory.into(),
            ));
        }
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".ringtake-export-")
            // Narrowed by the umask, as for any file that a command makes.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(Failure::io("write into", directory))?;
        let (file, path) = NamedTempFile::into_parts(file);
        let output = Output {
            unpublished: Some(Unpublished {
                path,
                target: target.to_owned(),
                replace,
            }),
            reader_gone: Arc::default(),
        };
        let writer = output.writer(Box::new(file));
        Ok((output, writer))
    }

    fn writer(&self, inner: Box<dyn Write + Send>) -> OutputWriter {
        let reader_gone = Arc::clone(&self.reader_gone);
        BufWriter::with_capacity(BUFFER_BYTES, Watched { inner, reader_gone })
    }

    /// Whether the reader of the pipe has closed it, as `head` does. Then write errors are
    /// expected.
    pub(crate) fn reader_gone(&self) -> bool {
        self.reader_gone.load(Ordering::Relaxed)
    }

    /// Result of writing text to a stream. A reader that has closed the pipe is not a failure.
    pub(crate) fn close(&self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(_) if self.reader_gone() => Ok(()),
            Err(cause) => Err(Failure::io("write", Path::new("standard output"))(cause)),
            Ok(()) => Ok(()),
        }
    }

    /// Syncs the file and gives it its name. Its writer must have been flushed.
    pub(crate) fn publish(self) -> Result<(), Failure> {
        let Some(Unpublished {
            path,
            target,
            replace,
        }) = self.unpublished
        else {
            return Ok(());
        };
        std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(Failure::io("sync", &target))?;
        if replace {
            path.persist(&target)
        } else {
            path.persist_noclobber(&target)
        }
        .map_err(|cause| match cause.error.kind() {
            io::ErrorKind::AlreadyExists => Failure::OutputExists(target.clone()),
            _ => Failure::io("write", &target)(cause.error),
        })
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner
            .write(bytes)
            .inspect_err(|cause| self.notice(cause))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().inspect_err(|cause| self.notice(cause))
    }
}

impl Watched {
    fn notice(&self, cause: &io::Error) {
        if cause.kind() == io::ErrorKind::BrokenPipe {
            self.reader_gone.store(true, Ordering::Relaxed);
        }
    }
}
