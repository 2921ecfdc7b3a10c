//! The options of a writer, and the summary that it returns.

use std::path::PathBuf;

use crate::layout::GroupOptions;

/// How a dataset is written.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Rows per block, a power of two in [`BLOCK_ROWS_RANGE`](crate::layout::BLOCK_ROWS_RANGE); chosen by the width of the rows
    /// if not given.
    pub block_rows: Option<u32>,
    /// How columns are grouped and placed.
    pub grouping: GroupOptions,
    /// The directories over which the blocks are spread, which must exist: exactly these. The
    /// dataset's own directory may be one of them, and is the only one if none is given.
    pub data_dirs: Vec<PathBuf>,
    /// What to do where a dataset exists.
    pub overwrite: Overwrite,
}

/// What to do where a dataset exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Refuse to write.
    #[default]
    Refuse,
    /// Replace it once the new one is complete. Anything but a dataset is never replaced.
    Replace,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteSummary {
    /// Where the dataset is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Bytes of its data files.
    pub data_bytes: u64,
    /// Bytes of the tables that a reader keeps in memory.
    pub table_bytes: u64,
}
