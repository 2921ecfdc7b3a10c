//! The bytes of one input file or of standard input, read in order, with every error naming
//! the place.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use arrow::buffer::{Buffer, MutableBuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::SourceError;
use crate::interrupt;

/// Bytes read ahead; large enough that the system call does not show.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// A file, or standard input where the name is `-`, read from its beginning to its end.
pub(crate) struct Input {
    origin: String,
    reader: io::BufReader<Box<dyn Read>>,
    offset: u64,
    /// Known for regular files only.
    total_bytes: Option<u64>,
}

impl Input {
    /// Opens `path`; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Input, SourceError> {
        let origin = origin(path);
        if is_standard_input(path) {
            return Ok(Input::from_reader(origin, Box::new(PolledStdin), None));
        }
        let (file, total_bytes) = open_file(path)?;
        Ok(Input::from_reader(origin, Box::new(file), total_bytes))
    }

    /// Reads from anything; `total_bytes` where it is known.
    pub(crate) fn from_reader(
        origin: String,
        reader: Box<dyn Read>,
        total_bytes: Option<u64>,
    ) -> Input {
        Input {
            origin,
            reader: io::BufReader::with_capacity(READ_AHEAD_BYTES, reader),
            offset: 0,
            total_bytes,
        }
    }

    /// The file's name for messages.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Bytes consumed so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the whole, if it is a regular file.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Fills `bytes`, or says how far it came. Zero bytes at the end is not an error here.
    pub(crate) fn read_up_to(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if interrupt::pending().is_some() => return Err(SourceError::Interrupted),
                Err(cause) => {
                    return Err(SourceError::Read {
                        origin: self.origin.clone(),
                        offset: self.offset,
                        cause,
                    });
                }
            }
        }
        Ok(filled)
    }

    /// Fills `bytes` wholly; `what` says in the error which part of the file they are.
    pub(crate) fn read_exact(
        &mut self,
        bytes: &mut [u8],
        what: impl FnOnce() -> String,
    ) -> Result<(), SourceError> {
        let offset = self.offset;
        let filled = self.read_up_to(bytes)?;
        if filled == bytes.len() {
            return Ok(());
        }
        Err(SourceError::CutShort {
            origin: self.origin.clone(),
            offset,
            wanted: bytes.len() as u64,
            found: filled as u64,
            what: what(),
        })
    }

    /// The next `length` bytes in an aligned buffer.
    pub(crate) fn read_buffer(
        &mut self,
        length: usize,
        what: impl FnOnce() -> String,
    ) -> Result<Buffer, SourceError> {
        let mut buffer = MutableBuffer::from_len_zeroed(length);
        self.read_exact(buffer.as_slice_mut(), what)?;
        Ok(buffer.into())
    }

    /// Up to `length` bytes; empty at the end.
    pub(crate) fn read_chunk(&mut self, length: usize) -> Result<Buffer, SourceError> {
        let mut buffer = MutableBuffer::from_len_zeroed(length);
        let filled = self.read_up_to(buffer.as_slice_mut())?;
        buffer.truncate(filled);
        Ok(buffer.into())
    }
}

/// True for the name that stands for standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// How messages name the file.
pub(crate) fn origin(path: &Path) -> String {
    if is_standard_input(path) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Opens a file for reading and tells its length if it is a regular one.
pub(crate) fn open_file(path: &Path) -> Result<(File, Option<u64>), SourceError> {
    let failed = |cause| SourceError::Open {
        origin: origin(path),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let length = metadata.is_file().then_some(metadata.len());
    Ok((file, length))
}

/// Standard input that gives up when a signal arrives. A plain read would be restarted by the
/// kernel, and the signal may be delivered to another thread, so this waits in short turns.
struct PolledStdin;

/// How long a signal may go unnoticed while standard input is silent.
const TURN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

impl Read for PolledStdin {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            if interrupt::pending().is_some() {
                // Not `Interrupted`, which every reader above would retry.
                return Err(io::Error::other("stopped by a signal"));
            }
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&TURN)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(&stdin, bytes)?),
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}
