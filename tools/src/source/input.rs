//! The bytes of one input file or of standard input, read in order. Every error names the offset.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use arrow::buffer::{Buffer, MutableBuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::SourceError;
use crate::interrupt;

/// Bytes read at a time: enough that the system call costs little in comparison.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// A file, or standard input, read from beginning to end.
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

    /// Reads from `reader`; `total_bytes` is its length, if known.
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

    /// Name of the file in messages.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Bytes consumed so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the file, if it is a regular file.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Fills `bytes` as far as the input goes and returns the number of bytes read, 0 at the end.
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

    /// Fills `bytes` completely. `what` names this part of the file in the error.
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

/// Whether the name stands for standard input: `-`.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Name of the file in messages.
pub(crate) fn origin(path: &Path) -> String {
    if is_standard_input(path) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Opens a file for reading. Returns its length too, if it is a regular file.
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

/// Standard input whose reads end when a signal arrives. The kernel would restart a plain read, and
/// may deliver the signal to another thread; so this polls in short intervals.
struct PolledStdin;

/// Interval between two checks for a signal while standard input is silent.
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
