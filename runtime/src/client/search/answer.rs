//! The answer to a search as Arrow has it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use ringtake_storage::vector::nearest::Neighbour;

use crate::error::Result;

/// Name of the column of row ids in the answer to a search (UInt64).
pub const ROW_ID_COLUMN: &str = "_rowid";
/// Name of the column of distances in the answer to a search (Float32).
pub const DISTANCE_COLUMN: &str = "_distance";

/// The answer to a search: ids and distances, and then the columns that were asked for.
pub(super) fn answer(found: &[Neighbour], columns: Option<RecordBatch>) -> Result<RecordBatch> {
    let mut fields = vec![
        Arc::new(Field::new(ROW_ID_COLUMN, DataType::UInt64, false)),
        Arc::new(Field::new(DISTANCE_COLUMN, DataType::Float32, false)),
    ];
    let rows = UInt64Array::from_iter_values(found.iter().map(|neighbour| neighbour.row));
    let distances = found.iter().map(|neighbour| neighbour.distance);
    let distances = Float32Array::from_iter_values(distances);
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(rows), Arc::new(distances)];
    if let Some(columns) = columns {
        fields.extend(columns.schema().fields().iter().cloned());
        arrays.extend(columns.columns().iter().cloned());
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema, arrays).map_err(ringtake_storage::Error::from)?;
    Ok(batch)
}
