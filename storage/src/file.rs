//! Opening files to read: regular files only, so that a pipe in the place of one is an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::{Error, Result};

/// Opens the regular file at `path` for reading.
///
/// A pipe or a device is refused at once: O_NONBLOCK keeps open(2) from waiting for a writer.
///
/// # Errors
/// [`Error::Io`] if the operating system refuses, or the file is not a regular one.
pub fn open_regular(path: &Path) -> Result<File> {
    open(path).map_err(Error::io("open", path))
}

/// Reads the whole regular file at `path`.
///
/// # Errors
/// Those of [`open_regular`]; [`Error::Io`] if the file has more than `bytes_max` bytes.
pub fn read_regular(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    read(path, bytes_max).map_err(Error::io("read", path))
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(
            "it is not a regular file; put the dataset's own file in its place",
        ))
    }
}

/// Like [`read_regular`], with an error of the operating system's type.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for path in [&pipe, dir.path(), Path::new("/dev/zero")] {
            let error = read_regular(path, 10).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"seven b").unwrap();
        assert_eq!(read_regular(&path, 7).unwrap(), b"seven b");
        let error = read_regular(&path, 6).unwrap_err().to_string();
        assert!(error.contains("more than 6 bytes"), "{error}");
    }
}
