//! The errors of the bench, each as one sentence that says what to do.

use std::path::PathBuf;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The error of the store, in its own words.
    #[error(transparent)]
    Store(#[from] ringtake_runtime::Error),
    /// The error of the writer or of the manifest, in its own words.
    #[error(transparent)]
    Storage(#[from] ringtake_storage::Error),
    /// The error of another subject, in its own words.
    #[error(transparent)]
    Subject(Box<dyn std::error::Error + Send + Sync>),
    /// A cache for a run that has none.
    #[error("a cold run has no cache; give `--cache-bytes` with `--cache warm` or `--cache mixed`")]
    ColdCache,
    /// Fewer rows than one query takes.
    #[error(
        "the dataset has {rows} rows, which is less than one query of {rows_per_query}; \
         ask for fewer with --rows-per-query or take a larger dataset"
    )]
    TooFewRows {
        /// Rows of the dataset.
        rows: u64,
        /// Rows of one query.
        rows_per_query: u64,
    },
    /// The dataset does not fit into memory.
    #[error(
        "a warm run keeps {cache_bytes} bytes of rows in memory and {available_bytes} are available; \
         take fewer columns with --columns, set --cache-bytes, or measure with --cache cold"
    )]
    TooLittleMemory {
        /// Bytes that the cache needs.
        cache_bytes: u64,
        /// Bytes that the machine has.
        available_bytes: u64,
    },
    /// The dataset that a run makes does not fit on the disk.
    #[error(
        "`{path}` has {available_bytes} bytes to spare and the dataset of this run needs {needed_bytes}; \
         free some space, give another place with --dir DIR, or ask for fewer --rows"
    )]
    TooLittleSpace {
        /// Where the dataset would be.
        path: PathBuf,
        /// Free bytes.
        available_bytes: u64,
        /// Bytes that the run needs.
        needed_bytes: u64,
    },
    /// Another run is at work in the same place.
    #[error("another run is at work in `{path}`; wait for it or give another place with --dir DIR")]
    ScratchBusy {
        /// The directory both want.
        path: PathBuf,
    },
    /// A column of a type the checksum does not know.
    #[error(
        "column `{column}` is of type {data_type}, which the checksum over rows does not know; leave it out with --columns"
    )]
    ColumnType {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The rows came back in another number than asked for.
    #[error(
        "a query of {asked} rows came back with {returned}; this is a defect of what is measured"
    )]
    RowsLost {
        /// Rows asked for.
        asked: usize,
        /// Rows returned.
        returned: usize,
    },
    /// The cold and the warm run of one workload returned different rows.
    #[error(
        "the same rows had checksum {cold} from the drive and {warm} from memory; \
         this is a defect of the store, see `ringtake verify`"
    )]
    DifferentRows {
        /// The checksum of the cold run.
        cold: String,
        /// The checksum of the warm run.
        warm: String,
    },
    /// A cache that searches are not measured with.
    #[error("searches are measured with `--cache cold` or `--cache warm`")]
    NoMixedSearch,
    /// The dataset of an earlier run is another one than is asked for.
    #[error(
        "`{path}` holds {rows} vectors of {dims} numbers from an earlier run; \
         leave --rows and --dims out to use it, or give another --dir"
    )]
    OtherDataset {
        /// The dataset.
        path: PathBuf,
        /// Its rows.
        rows: u64,
        /// Numbers of a vector.
        dims: usize,
    },
    /// A dataset without a column to search.
    #[error(
        "`{path}` has no column of vectors; import one, or name another dataset with --dataset"
    )]
    NoVectors {
        /// The dataset.
        path: PathBuf,
    },
    /// A row without a vector, where every row must have one.
    #[error(
        "row {row} has no vector in column `{column}`, and an array has a vector in each of its rows; \
         import the rows that have one into a dataset of its own"
    )]
    NoVector {
        /// The column.
        column: String,
        /// The row.
        row: u64,
    },
    /// Vectors that are stored together with other columns.
    #[error(
        "column `{column}` is stored in one record with others, and the loop over a map reads vectors alone; \
         import the column into a dataset of its own"
    )]
    NotAlone {
        /// The column.
        column: String,
    },
    /// A file of queries that cannot be used.
    #[error(transparent)]
    Queries(#[from] ringtake_vectors::npy::Error),
    /// Queries of another length than the vectors.
    #[error(
        "the queries in `{path}` have {given} numbers and the vectors of column `{column}` have {dims}; \
         give queries of {dims}"
    )]
    QueryDims {
        /// The file.
        path: PathBuf,
        /// Numbers of a query.
        given: usize,
        /// The column.
        column: String,
        /// Numbers of a vector.
        dims: usize,
    },
    /// Queries of more than one row inside a shard.
    #[error(
        "`--clients in-shard` takes one row a query, since the rows of a larger one have several owners; \
         give --rows-per-query 1"
    )]
    InShardRows,
    /// A load inside the shards whose rate is not said in queries.
    #[error(
        "`--clients in-shard` needs a rate in queries per second, such as --rate 10000: a capacity is \
         that of clients outside"
    )]
    InShardRate,
    /// A share of a capacity that was not found.
    #[error(
        "no query was completed in the closed loop that finds the capacity; measure longer with --seconds, \
         or give --rate in queries per second"
    )]
    NoCapacity,
    /// A file that is no record of `bench file-read`.
    #[error(
        "`{path}` is not a record of `bench file-read`; make one with `bench file-read --dataset DATASET --json FILE`"
    )]
    NotARecord {
        /// The file.
        path: PathBuf,
    },
    /// A measurement in which no row was taken.
    #[error("no row was taken, so there is nothing to plan from; measure longer with --seconds")]
    NothingToPlanFrom,
    /// The operating system refused something.
    #[error("cannot {operation} `{path}`: {source}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A condition on a field that records do not have.
    #[error(
        "no record on one of the two sides has a number `{field}`; the names are those of the records, \
         with dots between, such as `rows_per_s` or `latency_us.p99`"
    )]
    NoSuchFigure {
        /// The field asked for.
        field: String,
    },
    /// Two sets of records without a setup in common.
    #[error(
        "the two sides have no workload in common, so there is nothing to compare; give records of the \
         same command and --cache"
    )]
    NothingToCompare,
    /// Records of other rows.
    #[error(
        "the two sides were not measured on the same rows: {field} is {before} and {after}; \
         --force compares them all the same"
    )]
    OtherWorkload {
        /// The field that differs.
        field: &'static str,
        /// On the first side.
        before: String,
        /// On the second.
        after: String,
    },
    /// A condition for which one side has no measurement.
    #[error(
        "`{condition}` cannot be checked for {setup}: one of the two sides has no run that is proven \
         and whole; measure again"
    )]
    NothingProven {
        /// The condition.
        condition: String,
        /// The setup that it is checked for.
        setup: String,
    },
    /// Conditions of `--fail-if` that hold.
    #[error("failed: {}", met.join("; "))]
    ConditionMet {
        /// Each in words.
        met: Vec<String>,
    },
    /// A folder that holds something else than a profile, or one that is to stay.
    #[error(
        "`{path}` is not empty; give another folder with -o, or --overwrite if it holds an earlier profile"
    )]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// A command that measures nothing, to be profiled.
    #[error("`{workload}` cannot be profiled; give file-read, vector-search, ceiling or quick")]
    NotAWorkload {
        /// The command given.
        workload: String,
    },
    /// The workload that was profiled failed; it has said why.
    #[error("the workload ended with {status}; `{path}` holds the part that was written")]
    WorkloadFailed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The folder.
        path: PathBuf,
    },
    /// The user pressed Ctrl-C.
    #[error("stopped by a signal; everything but results has been removed")]
    Interrupted,
    /// A run whose proof failed, where a proven one was demanded.
    #[error("the run is not valid: {reason}")]
    NotValid {
        /// The reason.
        reason: String,
    },
}

impl Error {
    /// An error of a subject.
    pub fn subject(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Subject(error.into())
    }

    /// Names the file an operation failed on.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io {
            operation,
            path,
            source,
        }
    }
}
/// Why a query of an overload was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    Refused,
    Expired,
}

impl Error {
    /// Why the store did not answer, if it had too much to do.
    pub(crate) fn shed(&self) -> Option<Shed> {
        match self {
            Error::Store(ringtake_runtime::Error::Overloaded) => Some(Shed::Refused),
            Error::Store(ringtake_runtime::Error::DeadlineExceeded { .. }) => Some(Shed::Expired),
            _ => None,
        }
    }
}
