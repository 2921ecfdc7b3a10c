//! Input formats: how a name tells one, and which reader takes it.

use std::path::Path;

use super::element::Element;
use super::fbin::Fbin;
use super::guard::Guarded;
use super::input::{Input, is_standard_input, origin};
use super::npy::Npy;
use super::parquet::Parquet;
use super::vecs::Vecs;
use super::{ReadOptions, Source, SourceError, VECTOR_COLUMN, ipc};

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
    /// The format that a file's name tells; standard input is taken for Arrow.
    pub(crate) fn of(path: &Path) -> Result<Format, SourceError> {
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

    /// Opens one file. The source may still have more columns than asked for.
    pub(super) fn open(
        self,
        path: &Path,
        options: &ReadOptions,
    ) -> Result<Box<dyn Source>, SourceError> {
        let columns = options.columns.as_deref();
        let named = options.column_name.as_deref();
        let vector = named.unwrap_or(VECTOR_COLUMN);
        Ok(match self {
            Format::Parquet if is_standard_input(path) => {
                return Err(SourceError::ParquetNeedsFile);
            }
            Format::Parquet => Box::new(Guarded::open(origin(path), "Parquet", || {
                Ok(Box::new(Parquet::open(path, columns)?))
            })?),
            Format::Arrow => Box::new(Guarded::open(origin(path), "Arrow", || {
                ipc::open(path, columns)
            })?),
            Format::Npy => Box::new(Npy::open(Input::open(path)?, named)?),
            Format::Fvecs => Box::new(Vecs::open(Input::open(path)?, Element::Float32, vector)?),
            Format::Bvecs => Box::new(Vecs::open(Input::open(path)?, Element::UInt8, vector)?),
            Format::Ivecs => Box::new(Vecs::open(Input::open(path)?, Element::Int32, vector)?),
            Format::Fbin => Box::new(Fbin::open(Input::open(path)?, Element::Float32, vector)?),
            Format::U8bin => Box::new(Fbin::open(Input::open(path)?, Element::UInt8, vector)?),
            Format::I8bin => Box::new(Fbin::open(Input::open(path)?, Element::Int8, vector)?),
        })
    }
}
