//! Tables that a reader keeps in memory: their kinds, their files and their entries in the manifest.

use serde::{Deserialize, Serialize};

use super::hex;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Checksums of a fixed-width group.
    Sums,
    /// Where the blocks of a variable-width group begin.
    Starts,
    /// Where the values of a variable-width group end.
    Ends,
    /// Validity of a column.
    Valid,
    /// Validity of the items of a list column.
    Items,
}

/// One table as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Which table.
    pub kind: TableKind,
    /// The group or column it belongs to.
    pub of: u32,
    /// Its length.
    pub bytes: u64,
    /// XXH3 of its bytes.
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
