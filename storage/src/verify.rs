//! Verification of a whole dataset: every checksum, all padding, every table.
//!
//! Sans-IO: [`FileVerifier`] is fed a data file from its beginning in pieces of any size,
//! [`verify_table`] and [`verify_places`] look at tables in memory. Nothing stops at the first
//! finding, and nothing trusts a table before it is checked. [`verify_index`] does the same for the
//! index of a column, which is no part of the dataset but lies beside it.

mod file;
mod index;
mod table;

use std::fmt;

pub use file::{FileVerifier, GroupTables};
pub use index::verify_index;
pub use table::{verify_places, verify_table};

/// One damaged place of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the file within its directory.
    pub file: String,
    /// Ordinal of the data directory in the manifest; `None` for the dataset's own directory.
    pub dir: Option<usize>,
    /// Page of the file in which the damage begins.
    pub page: u64,
    /// Ordinal of the column group; `None` if the file belongs to a column.
    pub group: Option<u32>,
    /// The damaged row, if it is a single one.
    pub row: Option<u64>,
    /// Kind of damage.
    pub what: Damage,
}

/// Kind of damage of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The file's header is not the one expected, in words.
    Header(String),
    /// The file has another length.
    Length {
        /// Length of the file.
        bytes: u64,
        /// Length that the layout gives it.
        bytes_expected: u64,
    },
    /// A row's bytes do not match its checksum.
    Checksum,
    /// A table does not match its hash in the manifest.
    TableHash,
    /// The named part of an index does not match its checksum.
    Section(&'static str),
    /// Padding bytes or bits that are not zero.
    Padding,
    /// The bytes could not be read.
    Unreadable,
    /// An entry of a table contradicts its neighbours or the data file, in words.
    Place(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Header(what) => f.write_str(what),
            Damage::Length {
                bytes,
                bytes_expected,
            } => write!(f, "it has {bytes} bytes instead of {bytes_expected}"),
            Damage::Checksum => f.write_str("the checksum does not match"),
            Damage::TableHash => f.write_str("its hash is not the one in the manifest"),
            Damage::Section(name) => write!(f, "its {name} do not match their checksum"),
            Damage::Padding => f.write_str("bytes between values are not zero"),
            Damage::Unreadable => f.write_str("it cannot be read"),
            Damage::Place(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(dir) = self.dir {
            write!(f, " in data directory {dir}")?;
        }
        write!(f, ", page {}", self.page)?;
        if let Some(group) = self.group {
            write!(f, ", column group {group}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The `index`-th u32 of a table.
fn u32_at(table: &[u8], index: u64) -> Option<u32> {
    let at = usize::try_from(index).ok()?.checked_mul(4)?;
    let bytes = table.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The `index`-th u64 of a table.
fn u64_at(table: &[u8], index: u64) -> Option<u64> {
    let at = usize::try_from(index).ok()?.checked_mul(8)?;
    let bytes = table.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
