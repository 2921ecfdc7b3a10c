//! The metadata of an open dataset: the checked layout and its tables, which together locate a row.
//!
//! Invariant: every table has the length that the layout gives it. Offsets in `starts` and `ends`
//! are checked at each use, because opening may have skipped their checksums.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::checksum::{GroupKey, xxh3};
use crate::column::ColumnShape;
use crate::layout::{ChecksumPlace, FixedGroup, Group, Layout, PAGE_BYTES, TableEntry, TableKind};
use crate::manifest::Manifest;
use crate::{Error, Result};

/// Owner of the bytes of a table: a mapped file, or a vector.
pub type TableOwner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A read-only table of little-endian integers, aligned to eight bytes.
#[derive(Clone)]
pub struct Table(TableOwner);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} bytes)", self.bytes().len())
    }
}

/// Words of eight bytes, so that entries of any width are aligned.
struct Words {
    words: Vec<u64>,
    bytes: usize,
}

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}

impl Table {
    /// A table of the bytes of `owner`, which are copied if they are not aligned to eight bytes.
    pub fn new(owner: TableOwner) -> Table {
        let bytes = owner.as_ref().as_ref();
        if bytes.as_ptr().addr().is_multiple_of(8) {
            return Table(owner);
        }
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        let bytes = bytes.len();
        Table(Arc::new(Words { words, bytes }))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }

    /// The entries of a table of u32.
    fn u32s(&self) -> &[u32] {
        bytemuck::try_cast_slice(self.bytes()).unwrap_or_default()
    }

    /// The entries of a table of u64.
    fn u64s(&self) -> &[u64] {
        bytemuck::try_cast_slice(self.bytes()).unwrap_or_default()
    }
}

/// Whether tables are checked against their hash when a dataset is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableCheck {
    /// Read each table and compare its hash: opening then reads every byte of the tables.
    Verify,
    /// Skip the hashes: opening is faster. Offsets are still checked at each use.
    Skip,
}

/// A column of an opened dataset.
#[derive(Debug)]
pub struct Column {
    /// How the values are stored.
    pub shape: ColumnShape,
    /// Ordinal of the column group that holds the column.
    pub group: usize,
    valid: Option<Table>,
    items: Option<Table>,
}

impl Column {
    /// The bitmap of rows that are not null; `None` if no row is null.
    pub fn valid(&self) -> Option<&[u8]> {
        self.valid.as_ref().map(Table::bytes)
    }

    /// The bitmap of list items that are not null; `None` if no item is null.
    pub fn items(&self) -> Option<&[u8]> {
        self.items.as_ref().map(Table::bytes)
    }
}

#[derive(Debug)]
struct GroupTables {
    key: GroupKey,
    sums: Option<Table>,
    starts: Option<Table>,
    ends: Option<Table>,
}

/// The metadata of an opened dataset.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    layout: Layout,
    schema: SchemaRef,
    columns: Vec<Column>,
    groups: Vec<GroupTables>,
}

impl Dataset {
    /// Joins a manifest with its tables; `load` returns the table for a path.
    ///
    /// # Errors
    /// Errors of `load`; [`Error::Damaged`] for a table whose length or hash differs from the
    /// manifest.
    pub fn new(
        path: &Path,
        manifest: Manifest,
        check: TableCheck,
        mut load: impl FnMut(&Path, &TableEntry) -> Result<Table>,
    ) -> Result<Dataset> {
        let Manifest { layout, schema } = manifest;
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (column, field) in schema.fields().iter().enumerate() {
            let group = layout
                .groups
                .iter()
                .position(|group| group.columns().contains(&(column as u32)));
            columns.push(Column {
                shape: ColumnShape::of(field)?,
                group: group.ok_or(Error::NoColumns)?,
                valid: None,
                items: None,
            });
        }
        let mut groups: Vec<GroupTables> = (0..layout.groups.len())
            .map(|group| GroupTables {
                key: GroupKey::new(&layout.dataset, layout.generation, group as u32),
                sums: None,
                starts: None,
                ends: None,
            })
            .collect();
        for entry in &layout.tables {
            let file = dir_path(path, &layout, 0).join(entry.file_name());
            let table = load(&file, entry)?;
            let bytes = table.bytes();
            if bytes.len() as u64 != entry.bytes {
                let what = format!("it has {} bytes instead of {}", bytes.len(), entry.bytes);
                return Err(Error::damaged(file, what));
            }
            if check == TableCheck::Verify && xxh3(bytes) != entry.xxh3 {
                return Err(Error::damaged(
                    file,
                    "its contents do not match the checksum in the manifest",
                ));
            }
            let of = entry.of as usize;
            match entry.kind {
                TableKind::Sums => groups[of].sums = Some(table),
                TableKind::Starts => groups[of].starts = Some(table),
                TableKind::Ends => groups[of].ends = Some(table),
                TableKind::Valid => columns[of].valid = Some(table),
                TableKind::Items => columns[of].items = Some(table),
            }
        }
        Ok(Dataset {
            path: path.to_owned(),
            layout,
            schema,
            columns,
            groups,
        })
    }

    /// The dataset's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The layout: column groups, blocks, directories and tables.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The Arrow schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.layout.rows
    }

    /// The columns, in the order of the schema.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Path of the data file of column group `group` in data directory `dir`.
    pub fn file_path(&self, group: usize, dir: usize) -> PathBuf {
        dir_path(&self.path, &self.layout, dir).join(self.layout.groups[group].file_name(group))
    }

    /// Bytes of all tables, which stay in memory while the dataset is open.
    pub fn table_bytes(&self) -> u64 {
        self.layout.tables.iter().map(|table| table.bytes).sum()
    }

    /// Locates and checks the rows of column group `group`.
    pub fn locator(&self, group: usize) -> Locator<'_> {
        let tables = &self.groups[group];
        let place = match &self.layout.groups[group] {
            Group::Fixed(fixed) => RowPlaces::Fixed {
                group: fixed,
                block_bytes: fixed.block_bytes(self.layout.block_rows),
                sums: tables.sums.as_ref().map(Table::u32s),
            },
            Group::Variable(variable) => RowPlaces::Variable {
                starts: tables.starts.as_ref().map(Table::u64s).unwrap_or_default(),
                ends: tables.ends.as_ref().map(Table::u32s).unwrap_or_default(),
                file_bytes: &variable.file_bytes,
            },
        };
        Locator {
            key: tables.key,
            rows: self.layout.rows,
            block_shift: self.layout.block_rows.trailing_zeros(),
            dirs: self.layout.dirs.len() as u32,
            place,
        }
    }
}

/// Path of data directory `dir` of the dataset at `path`.
pub fn dir_path(path: &Path, layout: &Layout, dir: usize) -> PathBuf {
    path.join(&layout.dirs[dir])
}

/// A range of bytes in a data file of a column group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Ordinal of the data directory.
    pub dir: u32,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Length in bytes; 0 if the row stores nothing in this group.
    pub bytes: u32,
}

impl Extent {
    /// Page of the file in which the range begins; errors name it.
    pub fn page(&self) -> u64 {
        self.offset / PAGE_BYTES
    }
}

/// Locates and checks the rows of one column group.
#[derive(Debug, Clone, Copy)]
pub struct Locator<'a> {
    key: GroupKey,
    rows: u64,
    block_shift: u32,
    dirs: u32,
    place: RowPlaces<'a>,
}

#[derive(Debug, Clone, Copy)]
enum RowPlaces<'a> {
    Fixed {
        group: &'a FixedGroup,
        block_bytes: u64,
        sums: Option<&'a [u32]>,
    },
    Variable {
        starts: &'a [u64],
        ends: &'a [u32],
        file_bytes: &'a [u64],
    },
}

/// Offsets of a row that run backwards or past the end of the file: a table is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the offsets of row {row} are impossible")]
pub struct BadOffsets {
    /// The row whose offsets are impossible.
    pub row: u64,
}

impl Locator<'_> {
    /// The bytes of `row`, checksum included.
    ///
    /// # Errors
    /// Offsets that run backwards or past the file's end.
    ///
    /// # Panics
    /// If `row` is not below the number of rows.
    #[inline]
    pub fn locate(&self, row: u64) -> Result<Extent, BadOffsets> {
        assert!(row < self.rows, "row {row} of {} rows", self.rows);
        let block = row >> self.block_shift;
        let row_in_block = (row & ((1 << self.block_shift) - 1)) as u32;
        let (dir, block_in_dir) = if self.dirs == 1 {
            (0, block)
        } else {
            (
                (block % u64::from(self.dirs)) as u32,
                block / u64::from(self.dirs),
            )
        };
        match self.place {
            RowPlaces::Fixed {
                group, block_bytes, ..
            } => Ok(Extent {
                dir,
                offset: PAGE_BYTES
                    + block_in_dir * block_bytes
                    + group.offset_in_block(row_in_block),
                bytes: group.record_bytes,
            }),
            RowPlaces::Variable {
                starts,
                ends,
                file_bytes,
            } => {
                let bad = BadOffsets { row };
                let (from, to) = value_range(ends, row, row_in_block).ok_or(bad)?;
                let start = *starts.get(block as usize).ok_or(bad)?;
                if !start.is_multiple_of(PAGE_BYTES) || start < PAGE_BYTES {
                    return Err(bad);
                }
                let offset = start.checked_add(u64::from(from)).ok_or(bad)?;
                let bytes = to - from;
                if bytes > 0
                    && !(offset
                        .checked_add(u64::from(bytes))
                        .is_some_and(|end| end <= file_bytes[dir as usize])
                        && bytes > CHECKSUM)
                {
                    return Err(bad);
                }
                Ok(Extent { dir, offset, bytes })
            }
        }
    }

    /// Offset of block `block` in its file, and its number of pages. The block must exist.
    ///
    /// # Errors
    /// Starts that run backwards.
    pub fn block_pages(&self, block: u64) -> Result<(u64, u64), BadOffsets> {
        let dirs = u64::from(self.dirs);
        let bad = BadOffsets {
            row: block << self.block_shift,
        };
        match self.place {
            RowPlaces::Fixed { block_bytes, .. } => Ok((
                PAGE_BYTES + block / dirs * block_bytes,
                block_bytes / PAGE_BYTES,
            )),
            RowPlaces::Variable {
                starts, file_bytes, ..
            } => {
                let start = *starts.get(block as usize).ok_or(bad)?;
                if !start.is_multiple_of(PAGE_BYTES) || start < PAGE_BYTES {
                    return Err(bad);
                }
                let end = match starts.get((block + dirs) as usize) {
                    Some(&next) => next,
                    None => file_bytes[(block % dirs) as usize],
                };
                let bytes = end.checked_sub(start).ok_or(bad)?;
                Ok((start, bytes.div_ceil(PAGE_BYTES)))
            }
        }
    }

    /// Bytes of the value of `row` without its checksum; for a fixed-width group, of the record.
    /// At most the length of the file.
    ///
    /// # Errors
    /// Offsets that run backwards or past the file's end.
    #[inline]
    pub fn value_bytes(&self, row: u64) -> Result<u32, BadOffsets> {
        match self.place {
            RowPlaces::Fixed { group, .. } => Ok(group.payload_bytes()),
            RowPlaces::Variable { .. } => Ok(self.locate(row)?.bytes.saturating_sub(CHECKSUM)),
        }
    }

    /// The values in `stored`, the bytes of a row's extent: all but the checksum.
    #[inline]
    pub fn payload<'b>(&self, stored: &'b [u8]) -> &'b [u8] {
        match self.place {
            RowPlaces::Fixed { group, .. } => &stored[..group.payload_bytes() as usize],
            RowPlaces::Variable { .. } => &stored[..stored.len() - CHECKSUM as usize],
        }
    }

    /// The checksums of all rows, if the group keeps them in a table.
    #[inline]
    pub fn checksums(&self) -> Option<&[u32]> {
        match self.place {
            RowPlaces::Fixed { group, sums, .. } if group.checksum == ChecksumPlace::Table => sums,
            _ => None,
        }
    }

    /// Whether `stored`, the bytes of the extent of `row`, matches the checksum of the row.
    #[inline]
    pub fn matches(&self, row: u64, stored: &[u8]) -> bool {
        let payload = self.payload(stored);
        let expected = match self.checksums() {
            Some(sums) => sums.get(row as usize).copied(),
            None => stored[payload.len()..]
                .first_chunk()
                .map(|bytes| u32::from_le_bytes(*bytes)),
        };
        expected == Some(self.key.row_checksum(row, payload))
    }

    /// Bytes that every row of this group stores; `None` for a variable-width group.
    pub fn record_bytes(&self) -> Option<u32> {
        match self.place {
            RowPlaces::Fixed { group, .. } => Some(group.record_bytes),
            RowPlaces::Variable { .. } => None,
        }
    }
}

const CHECKSUM: u32 = crate::checksum::CHECKSUM_BYTES;

#[inline]
fn value_range(ends: &[u32], row: u64, row_in_block: u32) -> Option<(u32, u32)> {
    let row = row as usize;
    let to = *ends.get(row)?;
    let from = if row_in_block == 0 {
        0
    } else {
        *ends.get(row - 1)?
    };
    (from <= to).then_some((from, to))
}
