//! Column groups: which columns are stored together, and where a row is within a block.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::checksum::CHECKSUM_BYTES;
use crate::{Error, Result};

/// Bytes of a page: the header of a data file, the alignment of a block.
pub const PAGE_BYTES: u64 = 4096;

/// How the rows of a fixed-width group are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutPolicy {
    /// Back to back. Least space; a row may cross a page.
    Packed,
    /// No row crosses a page that it need not. One read of least size per row.
    Page,
    /// `Page` where it wastes little, else `Packed`.
    #[default]
    Auto,
}

impl fmt::Display for LayoutPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LayoutPolicy::Packed => "packed",
            LayoutPolicy::Page => "page",
            LayoutPolicy::Auto => "auto",
        })
    }
}

impl FromStr for LayoutPolicy {
    type Err = Error;

    fn from_str(name: &str) -> Result<LayoutPolicy> {
        match name {
            "packed" => Ok(LayoutPolicy::Packed),
            "page" => Ok(LayoutPolicy::Page),
            "auto" => Ok(LayoutPolicy::Auto),
            other => Err(Error::Option {
                option: "the layout",
                value: other.to_owned(),
                allowed: "packed, page or auto".to_owned(),
            }),
        }
    }
}

/// Where the checksum of a fixed-width row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumPlace {
    /// In the record's last four bytes.
    Inline,
    /// In the group's `sums` table.
    Table,
}

/// Columns that are stored together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Group {
    /// Rows of fixed width, row-major.
    Fixed(FixedGroup),
    /// Values of one column, back to back.
    Variable(VariableGroup),
}

/// A group of fixed-width columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedGroup {
    /// Columns of the schema, in the order stored.
    pub columns: Vec<u32>,
    /// What the writer decided.
    pub policy: LayoutPolicy,
    /// Bytes of a stored row.
    pub record_bytes: u32,
    /// Bytes of a unit.
    pub unit_bytes: u32,
    /// Rows in a unit.
    pub rows_per_unit: u32,
    /// Where the checksum is.
    pub checksum: ChecksumPlace,
    /// Length of the file in each data directory.
    pub file_bytes: Vec<u64>,
}

/// A column of variable width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableGroup {
    /// The column of the schema.
    pub column: u32,
    /// Length of the file in each data directory.
    pub file_bytes: Vec<u64>,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl FixedGroup {
    /// Where the record at `row_in_block` is, from its block's start.
    #[inline]
    pub fn offset_in_block(&self, row_in_block: u32) -> u64 {
        let unit = row_in_block / self.rows_per_unit;
        let row = row_in_block % self.rows_per_unit;
        u64::from(unit) * u64::from(self.unit_bytes) + u64::from(row) * u64::from(self.record_bytes)
    }

    /// Bytes of a block of `rows` rows, without rounding up to a page.
    fn used_bytes(&self, rows: u32) -> u64 {
        u64::from(rows.div_ceil(self.rows_per_unit)) * u64::from(self.unit_bytes)
    }

    /// Bytes of a whole block.
    pub fn block_bytes(&self, block_rows: u32) -> u64 {
        self.used_bytes(block_rows).next_multiple_of(PAGE_BYTES)
    }

    /// The most bytes that a read aligned to `align_bytes` needs to bring any one record.
    pub fn read_bytes_max(&self, align_bytes: u32) -> u32 {
        let (align, record) = (u64::from(align_bytes), u64::from(self.record_bytes));
        // Every record begins at a multiple of whatever divides pages, where blocks begin, and the
        // steps from unit to unit and from record to record.
        let mut start_step = gcd(gcd(u64::from(self.unit_bytes), PAGE_BYTES), align);
        if self.rows_per_unit > 1 {
            start_step = gcd(start_step, record);
        }
        let bytes = (align - start_step + record).next_multiple_of(align);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Bytes of a row's columns, without an inline checksum.
    pub fn payload_bytes(&self) -> u32 {
        match self.checksum {
            ChecksumPlace::Inline => self.record_bytes - CHECKSUM_BYTES,
            ChecksumPlace::Table => self.record_bytes,
        }
    }

    /// Bytes of the last block of a file, which holds `rows` rows: up to the page of its last record.
    pub fn last_block_bytes(&self, rows: u32) -> u64 {
        match rows.checked_sub(1) {
            None => 0,
            Some(last) => (self.offset_in_block(last) + u64::from(self.record_bytes))
                .next_multiple_of(PAGE_BYTES),
        }
    }
}

impl Group {
    /// The group's file name in each data directory.
    pub fn file_name(&self, ordinal: usize) -> String {
        match self {
            Group::Fixed(_) => format!("g{ordinal}.rows"),
            Group::Variable(_) => format!("g{ordinal}.values"),
        }
    }

    /// The columns of the schema it holds.
    pub fn columns(&self) -> &[u32] {
        match self {
            Group::Fixed(group) => &group.columns,
            Group::Variable(group) => std::slice::from_ref(&group.column),
        }
    }

    /// Length of its file in each data directory.
    pub fn file_bytes(&self) -> &[u64] {
        match self {
            Group::Fixed(group) => &group.file_bytes,
            Group::Variable(group) => &group.file_bytes,
        }
    }

    /// The same, to be filled in by a writer.
    pub fn file_bytes_mut(&mut self) -> &mut Vec<u64> {
        match self {
            Group::Fixed(group) => &mut group.file_bytes,
            Group::Variable(group) => &mut group.file_bytes,
        }
    }
}
