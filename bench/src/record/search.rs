//! The fields that a search adds to a record.

use ringtake_runtime::IndexInfo;
use ringtake_storage::vector::Metric;
use serde::Serialize;

use crate::workload::search::queries::QuerySource;

/// The parameters of a search and its recall.
#[derive(Debug, Clone, Serialize)]
pub struct SearchFigures {
    /// Rows that each search returns.
    pub k: usize,
    /// Partitions that each search scans.
    pub nprobes: Option<usize>,
    /// This many times `k` rows are ranked by their exact distance; `null` where none are.
    pub refine_factor: Option<u32>,
    /// The distance.
    pub metric: Metric,
    /// Share of the true nearest `k` rows that were found, over `recall_queries` queries.
    pub recall_at_k: Option<f64>,
    /// Queries that the recall is measured with.
    pub recall_queries: usize,
    /// Bytes of memory that the index takes for each of its rows.
    pub index_bytes_per_row: Option<f64>,
    /// The store's index; `null` for other subjects.
    pub index: Option<IndexInfo>,
    /// Where the queries come from.
    pub query_source: QuerySource,
    /// How many there are to draw from.
    pub query_pool: usize,
    /// The set of kernels that distances were computed with, where it is known.
    pub kernels: Option<&'static str>,
    /// Partitions of the index.
    pub partitions: Option<usize>,
    /// Duration of the index build, where the run built it.
    pub build_seconds: Option<f64>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn figures(
        nprobes: usize,
        refine_factor: Option<u32>,
        recall: f64,
    ) -> SearchFigures {
        SearchFigures {
            k: 50,
            nprobes: Some(nprobes),
            refine_factor,
            metric: Metric::L2,
            recall_at_k: Some(recall),
            recall_queries: 256,
            index_bytes_per_row: Some(56.0),
            index: None,
            query_source: QuerySource::SameMixture,
            query_pool: 10_000,
            kernels: Some("scalar"),
            partitions: Some(256),
            build_seconds: None,
        }
    }

    #[test]
    fn source_of_the_queries_is_a_word_or_names_the_file() {
        let json = |source| serde_json::to_value(source).unwrap_or_default();
        assert_eq!(json(QuerySource::NoisyRows), "noisy_rows");
        assert_eq!(json(QuerySource::File("q.npy".into()))["file"], "q.npy");
    }
}
