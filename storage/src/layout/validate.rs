//! The check of a layout that was read from a file, before anything trusts it.

use arrow::datatypes::Schema;

use super::{
    BLOCK_ROWS_RANGE, ChecksumPlace, FixedGroup, Group, Layout, LayoutPolicy, PAGE_BYTES,
    TableKind, table_file_name,
};
use crate::checksum::CHECKSUM_BYTES;
use crate::column::ColumnShape;

/// Most rows of a dataset: with more, the arithmetic on offsets could overflow.
pub const ROWS_MAX: u64 = 1 << 40;
/// Most data directories of a dataset.
pub const DIRS_MAX: usize = 256;
/// Largest unit in bytes: a record of one widest value and a full group beside it.
pub const UNIT_BYTES_MAX: u64 = 1 << 25;

/// Largest fixed-width group in bytes if every row had a unit of its own: offsets computed from row
/// ids stay far below 64 bits.
const GROUP_BYTES_MAX: u128 = 1 << 60;

impl Layout {
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
        let width_bytes = place_columns(ordinal, group, shapes, placed)?;
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
        match group {
            Group::Fixed(fixed) => self.validate_fixed(ordinal, fixed, width_bytes),
            Group::Variable(_) => Ok(()),
        }
    }

    fn validate_fixed(
        &self,
        ordinal: usize,
        fixed: &FixedGroup,
        width_bytes: u64,
    ) -> Result<(), String> {
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

    /// The length that table `kind` must have, or the reason why there can be no such table.
    pub(super) fn table_bytes(
        &self,
        shapes: &[ColumnShape],
        kind: TableKind,
        of: u32,
    ) -> Result<u64, String> {
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

/// Marks the columns of a group as placed. Returns the bytes of their values in a row, 0 for a
/// column of variable width.
fn place_columns(
    ordinal: usize,
    group: &Group,
    shapes: &[ColumnShape],
    placed: &mut [bool],
) -> Result<u64, String> {
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
    Ok(width_bytes)
}
