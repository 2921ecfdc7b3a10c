//! The reader of each format.

use std::path::Path;

use super::element::Element;
use super::fbin::Fbin;
use super::format::Format;
use super::guard::Guarded;
use super::input::{Input, is_standard_input, origin};
use super::npy::Npy;
use super::options::ReadOptions;
use super::parquet::Parquet;
use super::vecs::Vecs;
use super::{RowSource, SourceError, VECTOR_COLUMN, ipc};

/// Opens one file. The source may have more columns than `options` name.
pub(super) fn open(path: &Path, options: &ReadOptions) -> Result<Box<dyn RowSource>, SourceError> {
    let format = options.format.map_or_else(|| Format::from_path(path), Ok)?;
    let columns = options.columns.as_deref();
    let named = options.column_name.as_deref();
    let vector = named.unwrap_or(VECTOR_COLUMN);
    Ok(match format {
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
