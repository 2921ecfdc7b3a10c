//! Tables that a reader keeps in memory: their kinds, their files and their entries in the
//! manifest.

use serde::{Deserialize, Serialize};

use super::hex;

/// Kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Checksums of a fixed-width group.
    Sums,
    /// Start of each block of a variable-width group.
    Starts,
    /// End of each value of a variable-width group.
    Ends,
    /// Validity bitmap of a column.
    Valid,
    /// Validity bitmap of the items of a list column.
    Items,
}

/// Entry of one table in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Kind of table.
    pub kind: TableKind,
    /// Ordinal of the group or column that the table belongs to.
    pub of: u32,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3 of the table.
    #[serde(with = "hex::number")]
    pub xxh3: u64,
}

impl TableEntry {
    /// The table's file name.
    pub fn file_name(&self) -> String {
        table_file_name(self.kind, self.of)
    }
}

/// File name of the table `kind` of a group or column.
pub fn table_file_name(kind: TableKind, of: u32) -> String {
    match kind {
        TableKind::Sums => format!("g{of}.sums"),
        TableKind::Starts => format!("g{of}.starts"),
        TableKind::Ends => format!("g{of}.ends"),
        TableKind::Valid => format!("c{of}.valid"),
        TableKind::Items => format!("c{of}.items"),
    }
}
