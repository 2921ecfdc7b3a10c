//! The options of a writer, and the summary that it returns.

use std::path::PathBuf;

use crate::layout::GroupOptions;

/// Options of a [`Writer`](super::Writer).
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Rows per block, a power of two in [`BLOCK_ROWS_RANGE`](crate::layout::BLOCK_ROWS_RANGE).
    /// Default: chosen by the width of the rows.
    pub block_rows: Option<u32>,
    /// Grouping and placement of columns.
    pub grouping: GroupOptions,
    /// Directories over which the blocks are spread. They must exist. The dataset's own directory
    /// may be one of them. Default: the dataset's own directory alone.
    pub data_dirs: Vec<PathBuf>,
    /// Treatment of an existing dataset at the same path.
    pub overwrite: Overwrite,
}

/// Treatment of an existing dataset at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Return an error.
    #[default]
    Refuse,
    /// Replace it once the new dataset is complete. A directory that holds anything else is never
    /// replaced.
    Replace,
}

/// Summary of a dataset that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteSummary {
    /// Path of the dataset.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of the data files.
    pub data_bytes: u64,
    /// Bytes of the tables that a reader keeps in memory.
    pub table_bytes: u64,
}
