//! Verification of a whole dataset: every checksum, every byte between, every table.
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

/// Something in a dataset that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the file within its directory.
    pub file: String,
    /// Place of the directory in the manifest's `dirs`; `None` for the dataset's own directory.
    pub dir: Option<usize>,
    /// The page of the file in which it begins.
    pub page: u64,
    /// The column group, unless the file belongs to a column.
    pub group: Option<u32>,
    /// The row, if it is one row that is affected.
    pub row: Option<u64>,
    /// What is wrong.
    pub what: Damage,
}

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The file's header is not the one expected, in words.
    Header(String),
    /// The file has another length.
    Length {
        /// Bytes it has.
        bytes: u64,
        /// Bytes it should have.
        bytes_expected: u64,
    },
    /// A row's bytes do not match its checksum.
    Checksum,
    /// A table does not match its hash in the manifest.
    TableHash,
    /// The part of an index of this name does not match its checksum.
    Section(&'static str),
    /// Bytes or bits that belong to nothing are not zero.
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
