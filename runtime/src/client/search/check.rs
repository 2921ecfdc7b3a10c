//! Rejects a search that cannot be made, before anything is sent.

use arrow::datatypes::Schema;
use ringtake_storage::projection::Projection;
use ringtake_storage::vector::{Metric, is_measurable, normalise};

use super::answer::{DISTANCE_COLUMN, ROW_ID_COLUMN};
use super::params::Params;
use crate::error::Result;
use crate::error::search::SearchError;
use crate::index::opened::OpenIndex;

/// Refuses what cannot be searched for; the query as the index needs it.
pub(super) fn check(index: &OpenIndex, vector: &[f32], params: &Params<'_>) -> Result<Vec<f32>> {
    let zero = |what| Err(SearchError::Zero { what }.into());
    if params.k == 0 {
        return zero("k");
    }
    if params.nprobes == 0 {
        return zero("nprobes");
    }
    if params.refine_factor == Some(0) {
        return zero("refine_factor");
    }
    let (dims, built) = (index.column.dims, index.metric());
    if let Some(asked) = params.metric.filter(|&asked| asked != built) {
        return Err(SearchError::OtherMetric { asked, built }.into());
    }
    if vector.len() != dims {
        let given = vector.len();
        return Err(SearchError::Dimensions { given, dims }.into());
    }
    if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
        let value = vector[position];
        return Err(SearchError::NotFinite { position, value }.into());
    }
    let squared: f32 = vector.iter().map(|x| x * x).sum();
    if built != Metric::Cosine && !is_measurable(squared) {
        return Err(SearchError::TooLong.into());
    }
    let mut vector = vector.to_vec();
    if built == Metric::Cosine && !normalise(&mut vector) {
        return Err(SearchError::NoDirection.into());
    }
    Ok(vector)
}

/// Refuses a projection with a column that the answer would have twice.
pub(super) fn check_names(params: &Params<'_>, schema: &Schema) -> Result<()> {
    let columns = params.projection.map_or(&[][..], Projection::columns);
    for &column in columns {
        let name = schema.field(column).name();
        if name == ROW_ID_COLUMN || name == DISTANCE_COLUMN {
            let column = name.clone();
            return Err(SearchError::ReservedColumn { column }.into());
        }
    }
    Ok(())
}
