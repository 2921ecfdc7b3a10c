//! The writer: record batches in, a dataset out, all or nothing.
//!
//! Memory is bounded by a few buffers per file, whatever the number of rows. Until
//! [`Writer::finish`] has renamed the manifest, readers find no dataset, or the one before. A
//! writer that is dropped removes its files; the files of a killed writer are removed by the next
//! one. Every operation goes through [`file_system::FileSystem`].

mod bitmap;
mod buffered_file;
mod column_values;
mod directory;
pub mod faulty;
pub mod file_system;
mod group;
mod options;
mod record;
mod value;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use uuid::Uuid;

use crate::checksum::GroupKey;
use crate::column::{ColumnShape, stored_schema, stored_type};
use crate::layout::{
    BLOCK_ROWS_RANGE, Layout, ROWS_MAX, TableEntry, TableKind, choose_block_rows, choose_groups,
    table_file_name,
};
use crate::manifest::Manifest;
use crate::{Error, Result};
use bitmap::BitmapFile;
use buffered_file::{BufferOptions, BufferedFile};
use column_values::{ColumnValues, Values};
use directory::DatasetDirectory;
pub(crate) use directory::SMALL_FILE_BYTES_MAX;
use file_system::{FileSystem, RealFileSystem};
use group::GroupWriter;
pub use options::{Overwrite, WriteOptions, WriteSummary};
use record::BlockRows;

/// Most rows encoded at a time. Values that must be unpacked first have a lower limit, because the
/// values of a dictionary may be long and its batches large.
const SLICE_ROWS_MAX: usize = 4096;
const SLICE_ROWS_MAX_UNPACKED: usize = 512;

/// A dataset being written. Dropping it before [`Writer::finish`] removes what it wrote.
#[derive(Debug)]
pub struct Writer {
    schema: SchemaRef,
    shapes: Vec<ColumnShape>,
    slice_rows: usize,
    layout: Layout,
    buffer_options: BufferOptions,
    groups: Vec<GroupWriter>,
    /// The `valid` bitmap of each column, and the `items` bitmap of each list.
    bitmaps: Vec<(BitmapFile, Option<BitmapFile>)>,
    rows: u64,
    /// An operation failed, so the files on disk are incomplete.
    failed: bool,
    /// Last, so that the files are closed when it removes them.
    directory: DatasetDirectory,
}

impl Writer {
    /// Begins a dataset at `path` for batches of `schema`.
    ///
    /// # Errors
    /// A schema or options that a dataset cannot have; a directory that holds something else or is
    /// locked; [`Error::Io`].
    pub fn create(path: &Path, schema: &Schema, options: WriteOptions) -> Result<Writer> {
        Writer::create_in(Arc::new(RealFileSystem), path, schema, options)
    }

    /// Like [`Writer::create`], on a file system of the caller's.
    pub fn create_in(
        file_system: Arc<dyn FileSystem>,
        path: &Path,
        schema: &Schema,
        options: WriteOptions,
    ) -> Result<Writer> {
        let stored = stored_schema(schema)?;
        let shapes = stored
            .fields()
            .iter()
            .map(|field| ColumnShape::of(field))
            .collect::<Result<Vec<_>>>()?;
        let groups = choose_groups(&stored, &options.grouping)?;
        let block_rows = match options.block_rows {
            None => choose_block_rows(&groups),
            Some(rows) if rows.is_power_of_two() && BLOCK_ROWS_RANGE.contains(&rows) => rows,
            Some(rows) => return Err(block_rows_refused(rows)),
        };
        // Random over all bits; the halves of a version 4 UUID fix different ones.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let generation = high ^ low;
        let directory = DatasetDirectory::open(
            file_system.clone(),
            path,
            generation,
            &options.data_dirs,
            options.overwrite,
        )?;
        let layout = Layout {
            dataset: Uuid::new_v4().into_bytes(),
            generation,
            rows: 0,
            block_rows,
            dirs: directory.dirs().to_vec(),
            groups,
            tables: Vec::new(),
        };
        let bitmaps = bitmaps(&stored, &directory);
        let files_max = layout.groups.len() * (layout.dirs.len() + 2) + 2 * bitmaps.len();
        let buffer_options = BufferOptions::new(file_system, files_max);
        let groups = group_writers(&layout, &stored, &directory, &buffer_options)?;
        let unpacks = |(given, stored): (&Arc<Field>, &Arc<Field>)| {
            !given.data_type().equals_datatype(stored.data_type())
        };
        let slice_rows = if schema.fields().iter().zip(stored.fields()).any(unpacks) {
            SLICE_ROWS_MAX_UNPACKED
        } else {
            SLICE_ROWS_MAX
        };
        Ok(Writer {
            schema: stored,
            shapes,
            slice_rows,
            layout,
            buffer_options,
            groups,
            bitmaps,
            rows: 0,
            failed: false,
            directory,
        })
    }

    /// Schema of the dataset: that of the batches, with dictionaries, run-end encodings and views
    /// unpacked.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds the rows of `batch`.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] and [`Error::TooLarge`] for too many rows leave the writer
    /// unchanged. After [`Error::Io`] or a block that is too large, the writer can only be dropped.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check_not_failed()?;
        self.check_schema(batch)?;
        if self.rows + batch.num_rows() as u64 > ROWS_MAX {
            return Err(Error::TooLarge {
                what: "the dataset's last row id".to_owned(),
                bytes: self.rows + batch.num_rows() as u64,
                bytes_max: ROWS_MAX,
                remedy: "split the input into several datasets",
            });
        }
        self.failed = true;
        let mut done = 0;
        while done < batch.num_rows() {
            let rows = self.slice_rows.min(batch.num_rows() - done);
            self.write_slice(&batch.slice(done, rows))?;
            done += rows;
        }
        self.failed = false;
        Ok(())
    }

    /// Completes the dataset. When this returns, the dataset is synced to disk.
    ///
    /// # Errors
    /// [`Error::Io`]; the dataset before then stays.
    pub fn finish(mut self) -> Result<WriteSummary> {
        self.check_not_failed()?;
        self.layout.rows = self.rows;
        let mut data_bytes = 0;
        let mut tables = Vec::new();
        for (ordinal, group) in self.groups.iter_mut().enumerate() {
            let lengths = group.seal_files(&self.layout, ordinal)?;
            data_bytes += lengths.iter().sum::<u64>();
            *self.layout.groups[ordinal].file_bytes_mut() = lengths;
            for (kind, table) in group.tables() {
                tables.push(seal_table(kind, ordinal, table)?);
            }
        }
        for (column, (valid, items)) in self.bitmaps.drain(..).enumerate() {
            for (kind, bitmap) in [(TableKind::Valid, Some(valid)), (TableKind::Items, items)] {
                let table = bitmap.map(BitmapFile::finish).transpose()?.flatten();
                if let Some(mut table) = table {
                    tables.push(seal_table(kind, column, &mut table)?);
                }
            }
        }
        let table_bytes = tables.iter().map(|table| table.bytes).sum();
        self.layout.tables = tables;
        if let Err(what) = self.layout.validate(&self.schema) {
            unreachable!("the writer made a layout that contradicts itself: {what}");
        }
        let manifest = Manifest {
            layout: self.layout,
            schema: self.schema,
        };
        self.directory.commit(&manifest.encode()?)?;
        Ok(WriteSummary {
            path: self.directory.path().to_owned(),
            rows: self.rows,
            data_bytes,
            table_bytes,
        })
    }

    fn check_not_failed(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        // After a failed write or sync the contents of the disk are unknown; trying again would
        // report success for bytes that are gone.
        let source = std::io::Error::other("an earlier write to it failed; start the import again");
        Err(Error::io("write", self.directory.path())(source))
    }

    fn check_schema(&self, batch: &RecordBatch) -> Result<()> {
        let mismatch = |what: String| Err(Error::SchemaMismatch { what });
        let given = batch.schema_ref();
        if given.fields().len() != self.schema.fields().len() {
            return mismatch(format!(
                "it has {} columns instead of {}",
                given.fields().len(),
                self.schema.fields().len()
            ));
        }
        for (column, (given, stored)) in given.fields().iter().zip(self.schema.fields()).enumerate()
        {
            if given.name() != stored.name() {
                return mismatch(format!(
                    "its column {column} is `{}` instead of `{}`",
                    given.name(),
                    stored.name()
                ));
            }
            if !stored_type(given.data_type()).equals_datatype(stored.data_type()) {
                return mismatch(format!(
                    "its column `{}` has type {} instead of {}",
                    given.name(),
                    given.data_type(),
                    stored.data_type()
                ));
            }
            if !stored.is_nullable() && batch.column(column).logical_null_count() > 0 {
                return mismatch(format!(
                    "its column `{}` has nulls, which the schema rules out",
                    given.name()
                ));
            }
        }
        Ok(())
    }

    /// Writes the rows of `slice`, at most `slice_rows`.
    fn write_slice(&mut self, slice: &RecordBatch) -> Result<()> {
        let columns = slice
            .columns()
            .iter()
            .zip(&self.shapes)
            .map(|(array, &shape)| ColumnValues::of(array, shape))
            .collect::<Result<Vec<_>>>()?;
        let block_rows = u64::from(self.layout.block_rows);
        let dirs = self.layout.dirs.len() as u64;
        let mut done = 0;
        while done < slice.num_rows() {
            let row_id = self.rows + done as u64;
            let (block, row_in_block) = (row_id / block_rows, row_id % block_rows);
            let left_of_block = (block_rows - row_in_block) as usize;
            let count = left_of_block.min(slice.num_rows() - done);
            let rows = BlockRows {
                row_id,
                block_of_file: block / dirs,
                row_in_block: row_in_block as u32,
                rows: done..done + count,
            };
            for group in &mut self.groups {
                group.encode(&columns, &rows, (block % dirs) as usize)?;
            }
            done += count;
        }
        for (column, (valid, items)) in columns.iter().zip(&mut self.bitmaps) {
            valid.put(column.nulls.as_ref(), column.rows, &self.buffer_options)?;
            if let (Some(bitmap), Values::Plain { items, .. }) = (items, &column.values) {
                let nulls = items.as_ref().map(|items| &items.nulls);
                bitmap.put(nulls, column.rows, &self.buffer_options)?;
            }
        }
        self.rows += slice.num_rows() as u64;
        Ok(())
    }
}

fn bitmaps(schema: &Schema, directory: &DatasetDirectory) -> Vec<(BitmapFile, Option<BitmapFile>)> {
    let tables = directory.dir_path(0);
    let bitmap = |kind, column: usize, bits_per_row| {
        let path = tables.join(table_file_name(kind, column as u32));
        BitmapFile::new(path, bits_per_row)
    };
    let of_column = |(column, field): (usize, &Arc<Field>)| {
        let valid = bitmap(TableKind::Valid, column, 1);
        let items = match field.data_type() {
            DataType::FixedSizeList(_, items) => {
                Some(bitmap(TableKind::Items, column, *items as u64))
            }
            _ => None,
        };
        (valid, items)
    };
    schema.fields().iter().enumerate().map(of_column).collect()
}

fn group_writers(
    layout: &Layout,
    schema: &Schema,
    directory: &DatasetDirectory,
    options: &BufferOptions,
) -> Result<Vec<GroupWriter>> {
    let key = |ordinal| GroupKey::new(&layout.dataset, layout.generation, ordinal);
    (0..layout.groups.len())
        .map(|ordinal| {
            GroupWriter::create(
                layout,
                ordinal,
                key(ordinal as u32),
                schema,
                directory,
                options,
            )
        })
        .collect()
}

fn seal_table(kind: TableKind, of: usize, table: &mut BufferedFile) -> Result<TableEntry> {
    let xxh3 = table.hash();
    Ok(TableEntry {
        kind,
        of: of as u32,
        bytes: table.seal()?,
        xxh3,
    })
}

fn block_rows_refused(rows: u32) -> Error {
    Error::Option {
        option: "the number of rows per block",
        value: rows.to_string(),
        allowed: format!(
            "a power of two from {} to {}",
            BLOCK_ROWS_RANGE.start(),
            BLOCK_ROWS_RANGE.end()
        ),
    }
}
