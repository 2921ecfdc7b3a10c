//! The vectors of a dataset, read through the store in pieces.

use std::ops::Range;

use arrow::array::{Array as _, ArrayData, AsArray as _};
use ringtake_runtime::{Projection, Store};
use ringtake_storage::vector::VectorColumn;

use crate::error::Error;

/// A column of vectors.
pub(crate) struct StoredVectors<'a> {
    store: &'a Store,
    projection: Projection,
    column: VectorColumn,
}

impl<'a> StoredVectors<'a> {
    /// The vectors in the column `name`.
    pub(crate) fn of(store: &'a Store, name: &str) -> Result<StoredVectors<'a>, Error> {
        Ok(StoredVectors {
            store,
            projection: store.projection(&[name])?,
            column: VectorColumn::named(store.schema(), name)?,
        })
    }

    pub(crate) fn column(&self) -> VectorColumn {
        self.column
    }

    pub(crate) fn rows(&self) -> u64 {
        self.store.row_count()
    }

    /// The vectors of rows that follow each other.
    pub(crate) fn range(&self, rows: Range<u64>) -> Result<Piece, Error> {
        self.rows_of(rows.collect())
    }

    /// The vectors of any rows.
    pub(crate) fn rows_of(&self, ids: Vec<u64>) -> Result<Piece, Error> {
        let batch = self.store.take(&ids, &self.projection).wait()?;
        let vectors = batch.column(0).as_fixed_size_list();
        let first = vectors.value_offset_at(0);
        let vector_bytes = self.column.dims * self.column.element.bytes();
        let items = vectors.values().to_data();
        let column = &self.store.dataset().columns()[self.column.column];
        let has_vector = |&row: &u64| self.column.has_vector(column, row);
        Ok(Piece {
            there: ids.iter().map(has_vector).collect(),
            ids,
            first_byte: (items.offset() + first) * self.column.element.bytes(),
            items,
            vector_bytes,
        })
    }
}

/// Vectors in memory.
pub(crate) struct Piece {
    ids: Vec<u64>,
    there: Vec<bool>,
    items: ArrayData,
    first_byte: usize,
    vector_bytes: usize,
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The row at `position` and the bytes of its vector, if it has one.
    pub(crate) fn get(&self, position: usize) -> (u64, Option<&[u8]>) {
        let row = self.ids[position];
        if !self.there[position] {
            return (row, None);
        }
        let start = self.first_byte + position * self.vector_bytes;
        let bytes = self.items.buffers()[0].as_slice();
        (row, Some(&bytes[start..start + self.vector_bytes]))
    }
}
