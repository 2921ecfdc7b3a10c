//! The reasons why a search is rejected.

use ringtake_storage::vector::Metric;

/// A search that cannot be made. Each message is one sentence that says what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The dataset has no index that can be used.
    #[error("the dataset has no index; build one with `ringtake index` and open it again")]
    NoIndex,
    /// The indexes of the dataset cannot be used.
    #[error("{reason}")]
    Unusable {
        /// Why, and what to do.
        reason: String,
    },
    /// Several columns have an index.
    #[error("several columns have an index; name one of {available}")]
    WhichColumn {
        /// Their names, with commas between.
        available: String,
    },
    /// There is no such column.
    #[error("there is no column `{column}` to search; search {available}")]
    NoColumn {
        /// The column asked for.
        column: String,
        /// The columns that have an index.
        available: String,
    },
    /// The column has no index.
    #[error(
        "column `{column}` has no index; build one with `ringtake index`, or search {available}"
    )]
    NotIndexed {
        /// The column asked for.
        column: String,
        /// The columns that have one.
        available: String,
    },
    /// A query of another length than the column's vectors.
    #[error(
        "the query has {given} elements and the vectors of the column have {dims}; give {dims}"
    )]
    Dimensions {
        /// Elements of the query.
        given: usize,
        /// Elements of each vector.
        dims: usize,
    },
    /// A query with an element that is no number.
    #[error("element {position} of the query is {value}; give finite numbers")]
    NotFinite {
        /// Place of the element, counted from 0.
        position: usize,
        /// Value of the element.
        value: f32,
    },
    /// A query whose distances are too large to be computed.
    #[error(
        "the query is too long: the square of its length is beyond what an f32 can hold; give a shorter one"
    )]
    TooLong,
    /// A query of zeros, which has no angle to anything.
    #[error(
        "the query has length zero, so it has no cosine to anything; give one that has a direction"
    )]
    NoDirection,
    /// A column of the rows with the name of one of the answer's.
    #[error(
        "column `{column}` has the name of a column of the answer; leave it out and take it by the ids that are found"
    )]
    ReservedColumn {
        /// Its name.
        column: String,
    },
    /// A number that must not be zero.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// Its name.
        what: &'static str,
    },
    /// A distance that the index was not built for.
    #[error(
        "the index was built for {built}, not for {asked}; build it again with `ringtake index --metric {asked}`"
    )]
    OtherMetric {
        /// The distance asked for.
        asked: Metric,
        /// The index's.
        built: Metric,
    },
    /// One of several queries.
    #[error("query {query}, counted from 0: {reason}")]
    OfBatch {
        /// Its place.
        query: usize,
        /// Why the query cannot be searched for.
        reason: Box<SearchError>,
    },
    /// Queries in one piece, the last of them cut short.
    #[error(
        "the batch of queries has {given} elements, which is no multiple of {dims}; give whole queries"
    )]
    PartOfQuery {
        /// Elements given.
        given: usize,
        /// Elements of each vector.
        dims: usize,
    },
}

impl SearchError {
    /// Whether another query would do.
    pub(crate) fn is_of_query(&self) -> bool {
        matches!(
            self,
            SearchError::NotFinite { .. } | SearchError::TooLong | SearchError::NoDirection
        )
    }
}
