//! What a search adds to a record.

use ringtake_runtime::IndexInfo;
use ringtake_storage::vector::Metric;
use serde::Serialize;

use super::queries::QuerySource;

/// How it was asked and how right the answers were. A run that knows no index has none.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SearchFigures {
    /// Rows wanted.
    pub(crate) k: usize,
    /// Partitions looked at, as asked.
    pub(crate) nprobes: Option<usize>,
    /// How many times `k` rows are measured exactly; `null` where none are.
    pub(crate) refine_factor: Option<u32>,
    pub(crate) metric: Metric,
    /// Share of the true nearest `k` rows that were found, over `recall_queries` queries.
    pub(crate) recall_at_k: Option<f64>,
    pub(crate) recall_queries: usize,
    /// Bytes of memory that the index takes for each of its rows.
    pub(crate) index_bytes_per_row: Option<f64>,
    pub(crate) index: Option<IndexInfo>,
    /// Where the queries come from.
    pub(crate) query_source: QuerySource,
    /// How many there are to draw from.
    pub(crate) query_pool: usize,
    /// The set of kernels that distances were computed with.
    pub(crate) kernels: &'static str,
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
            kernels: "scalar",
        }
    }

    #[test]
    fn source_of_the_queries_is_a_word_or_names_the_file() {
        let json = |source| serde_json::to_value(source).unwrap_or_default();
        assert_eq!(json(QuerySource::NoisyRows), "noisy_rows");
        assert_eq!(json(QuerySource::File("q.npy".into()))["file"], "q.npy");
    }
}
