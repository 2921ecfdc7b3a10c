//! Input formats, and the format that a file's name stands for.

use std::path::Path;

use super::SourceError;
use super::input::{is_standard_input, origin};

/// A format of input files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Parquet
    Parquet,
    /// Arrow IPC, file or stream
    Arrow,
    /// One NumPy array
    Npy,
    /// Vectors of f32, each with its dimension in front
    Fvecs,
    /// Vectors of u8, each with its dimension in front
    Bvecs,
    /// Vectors of i32, each with its dimension in front
    Ivecs,
    /// Vectors of f32 after a count and a dimension
    Fbin,
    /// Vectors of u8 after a count and a dimension
    U8bin,
    /// Vectors of i8 after a count and a dimension
    I8bin,
}

impl Format {
    /// The format that the extension of `path` stands for; standard input is read as Arrow.
    pub(crate) fn from_path(path: &Path) -> Result<Format, SourceError> {
        if is_standard_input(path) {
            return Ok(Format::Arrow);
        }
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("parquet" | "pq" | "parq") => Ok(Format::Parquet),
            Some("arrow" | "arrows" | "ipc" | "feather") => Ok(Format::Arrow),
            Some("npy") => Ok(Format::Npy),
            Some("fvecs") => Ok(Format::Fvecs),
            Some("bvecs") => Ok(Format::Bvecs),
            Some("ivecs") => Ok(Format::Ivecs),
            Some("fbin") => Ok(Format::Fbin),
            Some("u8bin") => Ok(Format::U8bin),
            Some("i8bin") => Ok(Format::I8bin),
            _ => Err(SourceError::UnknownFormat {
                origin: origin(path),
            }),
        }
    }
}
