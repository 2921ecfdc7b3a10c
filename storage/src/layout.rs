//! Where rows are: column groups, blocks, units, files. Pure arithmetic, and the choices a
//! writer makes about it.
//!
//! Invariant: a [`Layout`] that came out of [`Layout::validate`] addresses rows without
//! overflow, whatever the row id below `rows`.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};

use crate::checksum::CHECKSUM_BYTES;
use crate::column::ColumnShape;
use crate::{Error, Result};

/// Bytes of a page: the header of a data file, the alignment of a block.
pub const PAGE_BYTES: u64 = 4096;

/// A record that with an inline checksum would be larger than this keeps its checksum in a table.
pub const INLINE_CHECKSUM_RECORD_BYTES_MAX: u32 = 512;

/// Columns at least this wide get a group of their own.
pub const OWN_GROUP_WIDTH_BYTES_MIN: u32 = 512;

/// Rows per block, at least and at most.
pub const BLOCK_ROWS_RANGE: std::ops::RangeInclusive<u32> = 256..=65_536;

/// A block of the narrowest group takes at least this many bytes if the writer chooses, so
/// that padding blocks to pages costs little.
const BLOCK_BYTES_MIN: u64 = 64 << 10;

/// Share of a unit that may be wasted before a larger unit is tried.
const UNIT_WASTE_MAX: f64 = 1.0 / 16.0;

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

/// The layout of one version of a dataset: the JSON object in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Identity of the dataset.
    #[serde(with = "hex_16_bytes")]
    pub dataset: [u8; 16],
    /// Identity of this version of it.
    #[serde(with = "hex_u64")]
    pub generation: u64,
    /// Row count.
    pub rows: u64,
    /// Rows per block, a power of two.
    pub block_rows: u32,
    /// Data directories.
    pub dirs: Vec<String>,
    /// Column groups.
    pub groups: Vec<Group>,
    /// Tables kept in memory.
    pub tables: Vec<TableEntry>,
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
    #[serde(with = "hex_u64")]
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

impl Layout {
    /// Blocks of the dataset.
    pub fn blocks(&self) -> u64 {
        self.rows.div_ceil(u64::from(self.block_rows))
    }

    /// Rows of block `block`.
    pub fn rows_of_block(&self, block: u64) -> u32 {
        let start = block * u64::from(self.block_rows);
        self.rows
            .saturating_sub(start)
            .min(u64::from(self.block_rows)) as u32
    }

    /// Blocks held by data directory `dir`.
    pub fn blocks_of_dir(&self, dir: usize) -> u64 {
        let dirs = self.dirs.len() as u64;
        (self.blocks() + dirs - 1 - dir as u64) / dirs
    }

    /// Length that a fixed-width group's file must have in data directory `dir`.
    pub fn fixed_file_bytes(&self, group: &FixedGroup, dir: usize) -> u64 {
        let blocks = self.blocks_of_dir(dir);
        let Some(last) = blocks.checked_sub(1) else {
            return PAGE_BYTES;
        };
        let last_block = last * self.dirs.len() as u64 + dir as u64;
        PAGE_BYTES
            + last * group.block_bytes(self.block_rows)
            + group.last_block_bytes(self.rows_of_block(last_block))
    }

    /// The length that table `kind` must have, or the reason why there can be no such table.
    fn table_bytes(&self, shapes: &[ColumnShape], kind: TableKind, of: u32) -> Result<u64, String> {
        let no_such = || format!("table {} belongs to nothing", table_file_name(kind, of));
        let group = self.groups.get(of as usize);
        Ok(match (kind, group) {
            (TableKind::Sums, Some(Group::Fixed(group)))
                if group.checksum == ChecksumPlace::Table =>
            {
                self.rows * 4
            }
            (TableKind::Starts, Some(Group::Variable(_))) => self.blocks() * 8,
            (TableKind::Ends, Some(Group::Variable(_))) => self.rows * 4,
            (TableKind::Valid, _) if (of as usize) < shapes.len() => self.rows.div_ceil(8),
            (TableKind::Items, _) => match shapes.get(of as usize) {
                Some(ColumnShape::List { items, .. }) => {
                    (self.rows * u64::from(*items)).div_ceil(8)
                }
                _ => return Err(no_such()),
            },
            _ => return Err(no_such()),
        })
    }

    /// Checks that the layout is one a writer could have made for `schema`.
    ///
    /// # Errors
    /// The first contradiction, in words.
    pub fn validate(&self, schema: &Schema) -> Result<(), String> {
        if !self.block_rows.is_power_of_two() || !BLOCK_ROWS_RANGE.contains(&self.block_rows) {
            return Err(format!("block_rows is {}", self.block_rows));
        }
        if self.rows > ROWS_MAX {
            return Err(format!("rows is {}", self.rows));
        }
        if self.dirs.is_empty() || self.dirs.len() > DIRS_MAX {
            return Err(format!("it names {} data directories", self.dirs.len()));
        }
        let shapes = schema
            .fields()
            .iter()
            .map(|field| ColumnShape::of(field).map_err(|error| error.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut placed = vec![false; shapes.len()];
        for (ordinal, group) in self.groups.iter().enumerate() {
            self.validate_group(ordinal, group, &shapes, &mut placed)?;
        }
        if let Some(column) = placed.iter().position(|placed| !placed) {
            return Err(format!("column {column} is in no group"));
        }
        self.validate_tables(&shapes)
    }

    fn validate_group(
        &self,
        ordinal: usize,
        group: &Group,
        shapes: &[ColumnShape],
        placed: &mut [bool],
    ) -> Result<(), String> {
        let mut width_bytes = 0_u64;
        for &column in group.columns() {
            let Some(slot) = placed.get_mut(column as usize) else {
                return Err(format!(
                    "group {ordinal} names column {column}, which is not in the schema"
                ));
            };
            if std::mem::replace(slot, true) {
                return Err(format!("column {column} is in two groups"));
            }
            let shape = shapes[column as usize];
            match (group, shape.width_bytes()) {
                (Group::Fixed(_), Some(width)) => width_bytes += u64::from(width),
                (Group::Variable(_), None) => {}
                _ => {
                    return Err(format!(
                        "group {ordinal} is of the wrong kind for column {column}"
                    ));
                }
            }
        }
        if group.columns().is_empty() {
            return Err(format!("group {ordinal} has no columns"));
        }
        if group.file_bytes().len() != self.dirs.len() {
            return Err(format!(
                "group {ordinal} has files in {} data directories",
                group.file_bytes().len()
            ));
        }
        if group
            .file_bytes()
            .iter()
            .any(|bytes| bytes % PAGE_BYTES != 0 || *bytes < PAGE_BYTES)
        {
            return Err(format!("a file of group {ordinal} is not made of pages"));
        }
        let Group::Fixed(fixed) = group else {
            return Ok(());
        };
        let inline = match fixed.checksum {
            ChecksumPlace::Inline => u64::from(CHECKSUM_BYTES),
            ChecksumPlace::Table => 0,
        };
        let units = u64::from(fixed.rows_per_unit) * u64::from(fixed.record_bytes);
        if u64::from(fixed.record_bytes) != width_bytes + inline
            || fixed.rows_per_unit == 0
            || units > u64::from(fixed.unit_bytes)
            || u64::from(fixed.unit_bytes) > UNIT_BYTES_MAX
        {
            return Err(format!(
                "the record of group {ordinal} does not fit its columns or its unit"
            ));
        }
        if fixed.policy == LayoutPolicy::Auto {
            return Err(format!("the policy of group {ordinal} is not a decision"));
        }
        if u128::from(self.rows) * u128::from(fixed.unit_bytes) > GROUP_BYTES_MAX {
            return Err(format!("the rows of group {ordinal} cannot be addressed"));
        }
        for (dir, &bytes) in fixed.file_bytes.iter().enumerate() {
            if bytes != self.fixed_file_bytes(fixed, dir) {
                return Err(format!(
                    "the file of group {ordinal} in data directory {dir} has the wrong length for its rows"
                ));
            }
        }
        Ok(())
    }

    fn validate_tables(&self, shapes: &[ColumnShape]) -> Result<(), String> {
        let mut seen = std::collections::HashSet::new();
        for table in &self.tables {
            let bytes = self.table_bytes(shapes, table.kind, table.of)?;
            if table.bytes != bytes {
                return Err(format!(
                    "table {} has {} bytes instead of {bytes}",
                    table.file_name(),
                    table.bytes
                ));
            }
            if !seen.insert((table.kind, table.of)) {
                return Err(format!("table {} is named twice", table.file_name()));
            }
        }
        for (ordinal, group) in self.groups.iter().enumerate() {
            let needed: &[TableKind] = match group {
                Group::Fixed(group) if group.checksum == ChecksumPlace::Table => &[TableKind::Sums],
                Group::Fixed(_) => &[],
                Group::Variable(_) => &[TableKind::Starts, TableKind::Ends],
            };
            for &kind in needed {
                if !seen.contains(&(kind, ordinal as u32)) {
                    return Err(format!(
                        "table {} is missing",
                        table_file_name(kind, ordinal as u32)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// More rows than this would overflow the arithmetic on offsets.
pub const ROWS_MAX: u64 = 1 << 40;
/// Data directories, at most.
pub const DIRS_MAX: usize = 256;
/// Bytes of a unit, at most: a record of one widest value and a full group beside it.
pub const UNIT_BYTES_MAX: u64 = 1 << 25;

/// Bytes of a fixed-width group with a unit to each row, at most: what is computed from row ids
/// stays far from 64 bits.
const GROUP_BYTES_MAX: u128 = 1 << 60;

/// How a writer groups and places columns.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Groups by column name; columns not named are grouped as if nothing had been said.
    pub groups: Vec<Vec<String>>,
    /// How rows are placed.
    pub policy: LayoutPolicy,
    /// Share of space that `auto` may waste to keep rows within pages, 0 to 1.
    pub waste_max: f64,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            groups: Vec::new(),
            policy: LayoutPolicy::Auto,
            waste_max: 1.0 / 3.0,
        }
    }
}

/// Groups the columns of a stored schema: what the options name, then all remaining narrow
/// fixed-width columns together, each wide one alone, each of variable width alone.
/// File lengths are left empty.
pub fn choose_groups(schema: &Schema, options: &GroupOptions) -> Result<Vec<Group>> {
    if !(0.0..=1.0).contains(&options.waste_max) {
        return Err(Error::Option {
            option: "the bound on wasted space",
            value: options.waste_max.to_string(),
            allowed: "between 0 and 1".to_owned(),
        });
    }
    let shapes = schema
        .fields()
        .iter()
        .map(|field| ColumnShape::of(field))
        .collect::<Result<Vec<_>>>()?;
    let mut placed = vec![false; shapes.len()];
    let mut groups = Vec::new();
    for names in &options.groups {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let column = column_index(schema, name)?;
            if std::mem::replace(&mut placed[column], true) {
                return Err(Error::DuplicateColumn {
                    column: name.clone(),
                });
            }
            if names.len() > 1 && shapes[column].width_bytes().is_none() {
                return Err(Error::VariableColumnInGroup {
                    column: name.clone(),
                });
            }
            columns.push(column);
        }
        if !columns.is_empty() {
            groups.push(group_of(&columns, &shapes, options)?);
        }
    }
    let rest = |want: &dyn Fn(u32) -> bool| -> Vec<usize> {
        (0..shapes.len())
            .filter(|&column| !placed[column] && shapes[column].width_bytes().is_some_and(want))
            .collect()
    };
    let narrow = rest(&|width| width < OWN_GROUP_WIDTH_BYTES_MIN);
    let wide = rest(&|width| width >= OWN_GROUP_WIDTH_BYTES_MIN);
    if !narrow.is_empty() {
        groups.push(group_of(&narrow, &shapes, options)?);
    }
    for column in wide {
        groups.push(group_of(&[column], &shapes, options)?);
    }
    for column in 0..shapes.len() {
        if !placed[column] && shapes[column].width_bytes().is_none() {
            groups.push(group_of(&[column], &shapes, options)?);
        }
    }
    Ok(groups)
}

/// The column named `name`.
pub fn column_index(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| Error::UnknownColumn {
        column: name.to_owned(),
        available: schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn group_of(columns: &[usize], shapes: &[ColumnShape], options: &GroupOptions) -> Result<Group> {
    let widths: Option<Vec<u32>> = columns
        .iter()
        .map(|&column| shapes[column].width_bytes())
        .collect();
    let Some(widths) = widths else {
        return Ok(Group::Variable(VariableGroup {
            column: columns[0] as u32,
            file_bytes: Vec::new(),
        }));
    };
    let width_bytes: u64 = widths.iter().map(|&width| u64::from(width)).sum();
    if width_bytes > crate::column::VALUE_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "a row of one column group".to_owned(),
            bytes: width_bytes,
            bytes_max: crate::column::VALUE_BYTES_MAX,
            remedy: "split the group",
        });
    }
    let width_bytes = width_bytes as u32;
    let (checksum, record_bytes) =
        if width_bytes + CHECKSUM_BYTES <= INLINE_CHECKSUM_RECORD_BYTES_MAX {
            (ChecksumPlace::Inline, width_bytes + CHECKSUM_BYTES)
        } else {
            (ChecksumPlace::Table, width_bytes)
        };
    let (unit_bytes, rows_per_unit, waste) = page_unit(record_bytes);
    let page = match options.policy {
        LayoutPolicy::Page => true,
        LayoutPolicy::Packed => false,
        LayoutPolicy::Auto => waste <= options.waste_max,
    };
    let (policy, unit_bytes, rows_per_unit) = if page {
        (LayoutPolicy::Page, unit_bytes, rows_per_unit)
    } else {
        (LayoutPolicy::Packed, record_bytes, 1)
    };
    Ok(Group::Fixed(FixedGroup {
        columns: columns.iter().map(|&column| column as u32).collect(),
        policy,
        record_bytes,
        unit_bytes,
        rows_per_unit,
        checksum,
        file_bytes: Vec::new(),
    }))
}

/// The unit under `page`: its bytes, its rows, the share of it that is wasted.
fn page_unit(record_bytes: u32) -> (u32, u32, f64) {
    let waste = |unit: u32, rows: u32| 1.0 - f64::from(rows * record_bytes) / f64::from(unit);
    if u64::from(record_bytes) > PAGE_BYTES {
        let unit = record_bytes.next_multiple_of(PAGE_BYTES as u32);
        return (unit, 1, waste(unit, 1));
    }
    let mut best: Option<(u32, u32, f64)> = None;
    for unit in [512, 1024, 2048, PAGE_BYTES as u32] {
        let rows = unit / record_bytes;
        if rows == 0 {
            continue;
        }
        let candidate = (unit, rows, waste(unit, rows));
        if candidate.2 <= UNIT_WASTE_MAX {
            return candidate;
        }
        if best.is_none_or(|best| candidate.2 < best.2) {
            best = Some(candidate);
        }
    }
    // A record of at most a page fits at least the largest unit.
    best.unwrap_or((PAGE_BYTES as u32, 1, waste(PAGE_BYTES as u32, 1)))
}

/// The rows per block that a writer takes for these groups if it is not told.
pub fn choose_block_rows(groups: &[Group]) -> u32 {
    let narrowest = groups
        .iter()
        .filter_map(|group| match group {
            Group::Fixed(group) => {
                Some(u64::from(group.unit_bytes) / u64::from(group.rows_per_unit))
            }
            Group::Variable(_) => None,
        })
        .min()
        .unwrap_or(32)
        .max(1);
    let rows = BLOCK_BYTES_MIN.div_ceil(narrowest).next_power_of_two() as u32;
    rows.clamp(*BLOCK_ROWS_RANGE.start(), *BLOCK_ROWS_RANGE.end())
}

mod hex_u64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 16 || text.starts_with('+') {
            return Err(D::Error::custom("not 16 hex digits"));
        }
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

mod hex_16_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        value: &[u8; 16],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(*value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 || text.starts_with('+') {
            return Err(D::Error::custom("not 32 hex digits"));
        }
        let value = u128::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        Ok(value.to_be_bytes())
    }
}

#[cfg(test)]
mod tests;
