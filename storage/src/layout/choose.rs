//! The choices that a writer makes: groups of columns, units of rows, rows per block.

use arrow::datatypes::Schema;

use super::{
    BLOCK_ROWS_RANGE, ChecksumPlace, FixedGroup, Group, LayoutPolicy, PAGE_BYTES, VariableGroup,
};
use crate::checksum::CHECKSUM_BYTES;
use crate::column::{ColumnShape, VALUE_BYTES_MAX};
use crate::{Error, Result};

/// A record that with an inline checksum would be larger than this keeps its checksum in a table.
pub const INLINE_CHECKSUM_RECORD_BYTES_MAX: u32 = 512;

/// Columns at least this wide get a group of their own.
pub const OWN_GROUP_WIDTH_BYTES_MIN: u32 = 512;

/// Least bytes of a default block of the narrowest group, so that padding to pages costs little.
const BLOCK_BYTES_MIN: u64 = 64 << 10;

/// Share of a unit that may be wasted before a larger unit is tried.
const UNIT_WASTE_MAX: f64 = 1.0 / 16.0;

/// How a writer groups and places columns.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Groups as lists of column names; the other columns are grouped by their width. Default:
    /// none.
    pub groups: Vec<Vec<String>>,
    /// Placement of the rows of fixed-width groups. Default: [`LayoutPolicy::Auto`].
    pub policy: LayoutPolicy,
    /// Share of the space, from 0 to 1, that [`LayoutPolicy::Auto`] may waste to keep rows within
    /// pages. A higher value reads fewer pages and takes more space.
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

/// Groups the columns of a stored schema. After the groups that `options` name, the remaining
/// narrow fixed-width columns share a group; each wide column and each variable-width column has
/// its own. File lengths are left empty.
///
/// # Errors
/// [`Error::Option`], [`Error::UnknownColumn`], [`Error::DuplicateColumn`],
/// [`Error::VariableColumnInGroup`], [`Error::TooLarge`].
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

/// Ordinal of the column named `name`.
///
/// # Errors
/// [`Error::UnknownColumn`].
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
    if width_bytes > VALUE_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "a row of one column group".to_owned(),
            bytes: width_bytes,
            bytes_max: VALUE_BYTES_MAX,
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

/// The unit of [`LayoutPolicy::Page`]: its bytes, its rows, and the share that is wasted.
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

/// Default rows per block for these groups.
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
