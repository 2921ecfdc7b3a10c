//! Variable-width column groups: values back to back with their checksums, and the two tables that
//! locate them.

use super::buffered_file::BufferedFile;
use super::column_values::{ColumnValues, Values};
use super::record::BlockRows;
use crate::checksum::{CHECKSUM_BYTES, GroupKey};
use crate::layout::PAGE_BYTES;
use crate::{Error, Result};

/// The encoder of one variable-width group.
#[derive(Debug)]
pub(super) struct ValueEncoder {
    column: usize,
    /// The column's name, for errors.
    name: String,
    key: GroupKey,
    /// Bytes stored in the current block so far.
    block_bytes: u64,
    ends: Vec<u8>,
}

impl ValueEncoder {
    pub(super) fn new(column: usize, name: &str, key: GroupKey) -> ValueEncoder {
        ValueEncoder {
            column,
            name: name.to_owned(),
            key,
            block_bytes: 0,
            ends: Vec::new(),
        }
    }

    /// Encodes `block_rows` of `columns`, those of the schema, into the file and its tables.
    pub(super) fn encode(
        &mut self,
        columns: &[ColumnValues],
        block_rows: &BlockRows,
        file: &mut BufferedFile,
        starts: &mut BufferedFile,
        ends: &mut BufferedFile,
    ) -> Result<()> {
        if block_rows.row_in_block == 0 {
            file.pad_to(file.bytes().next_multiple_of(PAGE_BYTES))?;
            starts.put(&file.bytes().to_le_bytes())?;
            self.block_bytes = 0;
        }
        let column = &columns[self.column];
        let Values::Variable { offsets, bytes } = &column.values else {
            // Groups of variable width hold none; `Layout::validate` would say so.
            return Ok(());
        };
        self.ends.clear();
        for (row_id, row) in (block_rows.row_id..).zip(block_rows.rows.clone()) {
            let value = &bytes[offsets.range(row)];
            let null = column
                .nulls
                .as_ref()
                .is_some_and(|nulls| nulls.is_null(row));
            if !null && !value.is_empty() {
                self.block_bytes += value.len() as u64 + u64::from(CHECKSUM_BYTES);
                if self.block_bytes > u64::from(u32::MAX) {
                    return Err(self.too_large());
                }
                file.put(value)?;
                file.put(&self.key.row_checksum(row_id, value).to_le_bytes())?;
            }
            self.ends
                .extend_from_slice(&(self.block_bytes as u32).to_le_bytes());
        }
        ends.put(&self.ends)
    }

    fn too_large(&self) -> Error {
        Error::TooLarge {
            what: format!("a block of column `{}`", self.name),
            bytes: self.block_bytes,
            bytes_max: u64::from(u32::MAX),
            remedy: "import with a smaller `--block-rows`, or leave the column out with `--columns`",
        }
    }
}
