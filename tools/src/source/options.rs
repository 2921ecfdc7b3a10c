//! The choices of a user who imports files.

use std::path::PathBuf;

use super::format::Format;

/// Which files to read, and which of their rows and columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadOptions {
    /// Files; `-` is standard input.
    pub(crate) paths: Vec<PathBuf>,
    /// Format of every file; by default each file's extension decides.
    pub(crate) format: Option<Format>,
    /// Names of the columns to read, in the order wanted; by default all.
    pub(crate) columns: Option<Vec<String>>,
    /// Name for the column of a format that has no names.
    pub(crate) column_name: Option<String>,
    /// Most rows to read; by default all.
    pub(crate) limit: Option<u64>,
}
