//! The files of one column group while they are written: one data file per data directory, and
//! the group's tables.

use std::path::PathBuf;

use arrow::datatypes::Schema;

use super::buffered_file::{BufferOptions, BufferedFile};
use super::column_values::ColumnValues;
use super::directory::DatasetDirectory;
use super::record::{BlockRows, RecordEncoder};
use super::value::ValueEncoder;
use crate::Result;
use crate::checksum::GroupKey;
use crate::layout::{ChecksumPlace, Group, Layout, PAGE_BYTES, TableKind, table_file_name};
use crate::manifest::DataFileHeader;

/// A column group being written.
#[derive(Debug)]
pub(super) struct GroupWriter {
    /// One per data directory.
    files: Vec<BufferedFile>,
    encoder: Encoder,
}

#[derive(Debug)]
enum Encoder {
    Fixed {
        records: RecordEncoder,
        sums: Option<BufferedFile>,
    },
    Variable {
        values: ValueEncoder,
        starts: BufferedFile,
        ends: BufferedFile,
    },
}

impl GroupWriter {
    /// Makes the files of group `ordinal` with their headers.
    pub(super) fn create(
        layout: &Layout,
        ordinal: usize,
        key: GroupKey,
        schema: &Schema,
        directory: &DatasetDirectory,
        options: &BufferOptions,
    ) -> Result<GroupWriter> {
        let group = &layout.groups[ordinal];
        let mut files = Vec::with_capacity(layout.dirs.len());
        for dir in 0..layout.dirs.len() {
            let path = directory.dir_path(dir).join(group.file_name(ordinal));
            let mut file = BufferedFile::create(path, options)?;
            file.put(&DataFileHeader::expected(layout, ordinal, dir).encode())?;
            files.push(file);
        }
        let table = |kind| -> Result<BufferedFile> {
            let path: PathBuf = directory
                .dir_path(0)
                .join(table_file_name(kind, ordinal as u32));
            BufferedFile::create_table(path, options)
        };
        let encoder = match group {
            Group::Fixed(fixed) => Encoder::Fixed {
                records: RecordEncoder::new(fixed, key, layout.block_rows, options),
                sums: match fixed.checksum {
                    ChecksumPlace::Inline => None,
                    ChecksumPlace::Table => Some(table(TableKind::Sums)?),
                },
            },
            Group::Variable(variable) => {
                let column = variable.column as usize;
                Encoder::Variable {
                    values: ValueEncoder::new(column, schema.field(column).name(), key),
                    starts: table(TableKind::Starts)?,
                    ends: table(TableKind::Ends)?,
                }
            }
        };
        Ok(GroupWriter { files, encoder })
    }

    /// Adds rows of one block, which is in data directory `dir`.
    pub(super) fn encode(
        &mut self,
        columns: &[ColumnValues],
        rows: &BlockRows,
        dir: usize,
    ) -> Result<()> {
        let file = &mut self.files[dir];
        match &mut self.encoder {
            Encoder::Fixed { records, sums } => records.encode(columns, rows, file, sums.as_mut()),
            Encoder::Variable {
                values,
                starts,
                ends,
            } => values.encode(columns, rows, file, starts, ends),
        }
    }

    /// Completes and syncs the data files. Returns their lengths.
    pub(super) fn seal_files(&mut self, layout: &Layout, ordinal: usize) -> Result<Vec<u64>> {
        let mut lengths = Vec::with_capacity(self.files.len());
        for (dir, file) in self.files.iter_mut().enumerate() {
            file.pad_to(match &layout.groups[ordinal] {
                Group::Fixed(fixed) => layout.fixed_file_bytes(fixed, dir),
                Group::Variable(_) => file.bytes().next_multiple_of(PAGE_BYTES),
            })?;
            lengths.push(file.seal()?);
        }
        Ok(lengths)
    }

    /// The tables of the group, for the caller to seal.
    pub(super) fn tables(&mut self) -> Vec<(TableKind, &mut BufferedFile)> {
        match &mut self.encoder {
            Encoder::Fixed { sums, .. } => sums
                .iter_mut()
                .map(|sums| (TableKind::Sums, sums))
                .collect(),
            Encoder::Variable { starts, ends, .. } => {
                vec![(TableKind::Starts, starts), (TableKind::Ends, ends)]
            }
        }
    }
}
