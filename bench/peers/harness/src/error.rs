//! Errors beside a measurement, each as one sentence that says what to do.

use std::path::PathBuf;

/// An error beside a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bench has a sentence of its own.
    #[error(transparent)]
    Bench(#[from] ringtake_bench::Error),
    /// The store has a sentence of its own.
    #[error(transparent)]
    Store(#[from] ringtake_runtime::Error),
    /// The error of a peer, in its own words.
    #[error("{peer}: {source}")]
    Peer {
        /// Which peer.
        peer: &'static str,
        /// The error of the peer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name that is none.
    #[error("`{name}` is no {what}; there is {there_is}")]
    Unknown {
        /// The kind of name.
        what: &'static str,
        /// The name given.
        name: String,
        /// All names.
        there_is: String,
    },
    /// A column that cannot be laid out flat.
    #[error(
        "column `{column}` is of type {data_type}, and flat rows take fixed width only; \
         give a dataset of numbers and vectors, or leave this peer out"
    )]
    NotFlat {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A column with nulls.
    #[error(
        "column `{column}` holds nulls, and flat rows have no place for them; \
         give a dataset without nulls, or leave this peer out"
    )]
    Nulls {
        /// The column.
        column: String,
    },
    /// Storage that was not prepared.
    #[error("`{path}` is not there; make it with `prepare {storage}`")]
    NotPrepared {
        /// Where it should be.
        path: PathBuf,
        /// Its name.
        storage: &'static str,
    },
    /// A mixed run without a size, or a size without a mixed run.
    #[error(
        "`--memory SIZE` and `--cache mixed` belong together: it is the memory in which a mixed run may \
         hold rows; `memory` prints a size"
    )]
    Memory,
    /// A page cache that nothing limits.
    #[error(
        "{peer} reads through the page cache, which a mixed run must limit: start it in a memory control \
         group of its own and name that with `--memory-group DIR`, as bench/scripts/peers.sh does"
    )]
    NotLimited {
        /// The peer.
        peer: &'static str,
    },
    /// A directory that limits no memory.
    #[error(
        "`{path}` is of no control group with a memory controller; give a directory below \
         /sys/fs/cgroup that has `memory.max` or `memory.limit_in_bytes`"
    )]
    NoMemoryGroup {
        /// The directory or file.
        path: PathBuf,
    },
    /// A cold run that asks for rows again.
    #[error(
        "a distribution other than uniform asks for rows again, which the page cache would then have; \
         give it with `--cache mixed` or `--cache warm`"
    )]
    ColdRepeats,
    /// A peer that cannot be asked for neighbours.
    #[error("{peer} does not search by vector; the Lance peers do")]
    NoSearch {
        /// The peer.
        peer: &'static str,
    },
    /// A file of queries or of their nearest rows that cannot be used.
    #[error(transparent)]
    Arrays(#[from] ringtake_vectors::npy::Error),
    /// Nearest rows that do not go with the queries.
    #[error(
        "`{path}` has the nearest {length} rows of {lists} queries, and {k} rows for at most {queries} \
         queries are needed; write both with `bench vector-search --export DIR`"
    )]
    OtherNearest {
        /// The file.
        path: PathBuf,
        /// Rows of each list.
        length: usize,
        /// Lists.
        lists: usize,
        /// Rows that a query asks for.
        k: usize,
        /// Queries there are.
        queries: usize,
    },
    /// Records that do not fit together.
    #[error(
        "`{path}` has the checksum {found} and another record of the same rows has {expected}: \
         one of the two does not return the rows; leave its figures alone"
    )]
    DifferentRows {
        /// The record.
        path: PathBuf,
        /// Its checksum.
        found: String,
        /// That of the records before it.
        expected: String,
    },
    /// A file that is no record.
    #[error("`{path}` is no record of a run: {reason}")]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
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
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Names the file an operation failed on.
    pub fn io(
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

    /// Names the peer that refused something.
    pub fn peer<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        peer: &'static str,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Peer {
            peer,
            source: source.into(),
        }
    }
}
