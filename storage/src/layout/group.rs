//! Column groups: which columns are stored together, and where a row is within a block.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::checksum::CHECKSUM_BYTES;
use crate::{Error, Result};

/// Bytes of a page: the size of a data file's header and the alignment of blocks.
pub const PAGE_BYTES: u64 = 4096;

/// How the rows of a fixed-width group are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutPolicy {
    /// Rows back to back: the least space, but a row may cross a page.
    Packed,
    /// Rows aligned so that none crosses a page unnecessarily: the smallest read per row.
    Page,
    /// [`Page`](LayoutPolicy::Page) if it wastes little space, else
    /// [`Packed`](LayoutPolicy::Packed).
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

/// Place of the checksum of a fixed-width row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumPlace {
    /// The last bytes of the record.
    Inline,
    /// The `sums` table of the group.
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
    /// Ordinals of the columns in the schema, in the order stored.
    pub columns: Vec<u32>,
    /// Placement of the rows: [`LayoutPolicy::Page`] or [`LayoutPolicy::Packed`].
    pub policy: LayoutPolicy,
    /// Bytes of a stored row.
    pub record_bytes: u32,
    /// Bytes of a unit, the step after which the placement of rows repeats.
    pub unit_bytes: u32,
    /// Rows in a unit.
    pub rows_per_unit: u32,
    /// Place of the checksums.
    pub checksum: ChecksumPlace,
    /// Length of the file in each data directory.
    pub file_bytes: Vec<u64>,
}

/// A column of variable width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableGroup {
    /// Ordinal of the column in the schema.
    pub column: u32,
    /// Length of the file in each data directory.
    pub file_bytes: Vec<u64>,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl FixedGroup {
    /// Offset in its block of the record at `row_in_block`.
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

    /// Largest read, aligned to `align_bytes`, that one record needs.
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

    /// Bytes of the last block of a file, which has `rows` rows and ends with the page of the last.
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

    /// Ordinals in the schema of the columns of the group.
    pub fn columns(&self) -> &[u32] {
        match self {
            Group::Fixed(group) => &group.columns,
            Group::Variable(group) => std::slice::from_ref(&group.column),
        }
    }

    /// Length of the group's file in each data directory.
    pub fn file_bytes(&self) -> &[u64] {
        match self {
            Group::Fixed(group) => &group.file_bytes,
            Group::Variable(group) => &group.file_bytes,
        }
    }

    /// Length of the group's file in each data directory, for a writer to set.
    pub fn file_bytes_mut(&mut self) -> &mut Vec<u64> {
        match self {
            Group::Fixed(group) => &mut group.file_bytes,
            Group::Variable(group) => &mut group.file_bytes,
        }
    }
}
