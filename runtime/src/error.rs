//! The errors of a store: a request or configuration that cannot work, rows that cannot be read,
//! an operating system that refuses.

pub(crate) mod search;
pub(crate) mod shortage;

use std::fmt;
use std::path::PathBuf;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the runtime. Each message is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dataset, or what Arrow makes of it.
    #[error(transparent)]
    Storage(#[from] ringtake_storage::Error),
    /// A search that cannot be made.
    #[error(transparent)]
    Search(#[from] search::SearchError),
    /// A configuration that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An id past the end.
    #[error("there is no row {id}: the dataset has {rows} rows, 0 to {}; take existing rows, or ask for nulls in place of missing ones", rows.saturating_sub(1))]
    NoSuchRow {
        /// The id.
        id: u64,
        /// The row count.
        rows: u64,
    },
    /// A projection made from another dataset, or from another version of this one.
    #[error(
        "the projection belongs to another dataset or another version of this one; make it with `Store::projection` of this store"
    )]
    ForeignProjection,
    /// A row that the shard on which `LocalShard::take` was called does not own.
    #[error(
        "row {id} belongs to shard {owner}, not to shard {shard}; ask `Store::shard_of` where to run"
    )]
    NotOwned {
        /// The row.
        id: u64,
        /// The shard that owns it.
        owner: usize,
        /// The shard asked.
        shard: usize,
    },
    /// Rows whose bytes cannot be read or are not what was written.
    #[error("{}", DisplayFaults { faults, rows: *rows })]
    Rows {
        /// The first rows concerned, up to a fixed number.
        faults: Vec<RowFault>,
        /// How many rows there are in all.
        rows: u64,
    },
    /// A caller's buffer that does not fit.
    #[error("buffer {column} does not fit the take: {reason}")]
    Buffer {
        /// Which, counted from 0.
        column: usize,
        /// In what way.
        reason: String,
    },
    /// io_uring was asked for and this machine does not offer it.
    #[error(
        "io_uring is not available ({reason}); {remedy}, or choose the read path `thread-pool`"
    )]
    NoRing {
        /// The operating system's reason.
        reason: String,
        /// The change that would let the ring start.
        remedy: String,
    },
    /// A shard could not be started.
    #[error("shard {shard} did not start: {reason}")]
    ShardStart {
        /// The shard.
        shard: usize,
        /// Why.
        reason: String,
    },
    /// No permit for a take that asked not to wait. Nothing of it has been done.
    #[error(
        "the store is at its limits; ask again later, or let the take wait with `WhenFull::Wait`"
    )]
    Overloaded,
    /// A deadline that passed before all rows had come, or that would probably have passed, at the
    /// rate at which those before it were served. No row is read after this, and the caller does
    /// not wait for reads that the drive has already.
    #[error(
        "{rows_unread} of {rows} rows had not come by the deadline, or would not have; allow more time, or ask for fewer rows at once"
    )]
    DeadlineExceeded {
        /// Rows that had not come from every column group.
        rows_unread: u64,
        /// Rows of the take.
        rows: u64,
    },
    /// A take had to wait with a deadline and the thread that watches over it did not start.
    #[error("no thread can watch over the deadline: {reason}; or take without a deadline")]
    NoTimer {
        /// The operating system's reason.
        reason: String,
    },
    /// A thread that builds an index could not be started. Nothing of the index is left.
    #[error("a thread to build the index did not start: {reason}")]
    NoThread {
        /// The operating system's reason, and what to do about it.
        reason: String,
    },
    /// The caller that watched the build of an index stopped it. No part of that index is left.
    #[error("the build of the index was stopped; an index from before is still in its place")]
    Stopped,
    /// A call that blocks, made on the thread of one of the store's own shards (inside `run_on`).
    #[error(
        "a call that blocks on the thread of a shard would wait for itself; await the request there, or block on another thread"
    )]
    WouldDeadlock,
    /// The store was closed.
    #[error("the store is closed; open it again")]
    Closed,
    /// The store was opened before this process was forked off, and its shards run in the parent.
    #[error(
        "the store was opened before this process was forked, and its shards stayed behind; open it again here"
    )]
    Forked,
    /// The thread of a shard ended after a failure of the runtime's own or of its ring. Its rows
    /// cannot be taken any more; those of other shards can.
    #[error(
        "shard {shard} has ended after a failure that the log names; close the store and open it again"
    )]
    ShardEnded {
        /// The shard.
        shard: usize,
    },
    /// A closure given to `run_on` panicked.
    #[error("the code given to shard {shard} panicked: {message}")]
    Panicked {
        /// The shard.
        shard: usize,
        /// The panic's message.
        message: String,
    },
    /// There is no such shard.
    #[error("there is no shard {shard}; this store has {shards}")]
    NoSuchShard {
        /// The shard asked for.
        shard: usize,
        /// How many there are.
        shards: usize,
    },
}

impl Error {
    /// Whether the same request may succeed if it is made again, with nothing changed but the
    /// time.
    ///
    /// | error | a retry |
    /// |---|---|
    /// | [`Overloaded`](Error::Overloaded) | succeeds once the store has a permit: back off first |
    /// | [`DeadlineExceeded`](Error::DeadlineExceeded) | needs a later deadline: it may succeed when the store is less busy |
    /// | [`NoTimer`](Error::NoTimer) | succeeds once the process may start a thread |
    /// | every other | fails again: the request, the dataset, the store or the machine has to change |
    ///
    /// A row that the drive could not read has been tried again by the store already.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::Overloaded | Error::DeadlineExceeded { .. } | Error::NoTimer { .. }
        )
    }
}

/// A configuration that cannot work, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, which cannot work: {reason}")]
pub struct ConfigError {
    /// The field of [`crate::Config`].
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// Why it cannot work, and what would.
    pub reason: String,
}

/// Faults kept of one take; the rest is counted.
pub(crate) const FAULTS_MAX: usize = 1024;

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The row.
    pub row: u64,
    /// The file.
    pub path: PathBuf,
    /// The page of the file in which the row begins.
    pub page: u64,
    /// The column group.
    pub group: usize,
    /// The reason why the row could not be read.
    pub kind: FaultKind,
}

/// Why a row could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The bytes are not the ones that were written for this row.
    Checksum,
    /// The file ends before the row does.
    CutShort,
    /// The offsets table is impossible for this row.
    Offsets,
    /// The file is not the one that the manifest names; the reason in words.
    WrongFile(String),
    /// The operating system failed the read.
    Io {
        /// Its error number.
        errno: i32,
    },
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowFault {
            row,
            path,
            page,
            group,
            kind,
        } = self;
        write!(
            f,
            "row {row} cannot be read from {} (page {page}, column group {group}): ",
            path.display()
        )?;
        match kind {
            FaultKind::Checksum => {
                f.write_str("its bytes do not match its checksum; restore the file from a copy")
            }
            FaultKind::CutShort => {
                f.write_str("the file has been cut short; restore it from a copy")
            }
            FaultKind::Offsets => {
                f.write_str("its offsets are impossible; restore the dataset from a copy")
            }
            FaultKind::WrongFile(reason) => write!(f, "{reason}; put the right file back"),
            FaultKind::Io { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                match shortage::remedy(&error, shortage::Asked::Ring) {
                    Some(remedy) => write!(f, "{error}; {remedy}"),
                    None => write!(f, "{error}; look at the kernel's log"),
                }
            }
        }
    }
}

struct DisplayFaults<'a> {
    faults: &'a [RowFault],
    rows: u64,
}

impl fmt::Display for DisplayFaults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.first() {
            Some(first) => write!(f, "{first}")?,
            None => f.write_str("rows cannot be read")?,
        }
        if self.rows > 1 {
            write!(f, " ({} more rows have faults)", self.rows - 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_makes_sense_where_only_time_has_to_pass() {
        let late = Error::DeadlineExceeded {
            rows_unread: 1,
            rows: 2,
        };
        assert!(Error::Overloaded.is_retryable() && late.is_retryable());
        let missing = Error::NoSuchRow { id: 7, rows: 7 };
        for lasting in [Error::Closed, Error::WouldDeadlock, missing] {
            assert!(!lasting.is_retryable(), "{lasting}");
        }
    }

    #[test]
    fn a_fault_names_row_file_page_and_group() {
        let fault = RowFault {
            row: 12,
            path: "d/g0.rows".into(),
            page: 3,
            group: 0,
            kind: FaultKind::Checksum,
        };
        let error = Error::Rows {
            faults: vec![fault],
            rows: 5,
        };
        let message = error.to_string();
        for part in [
            "row 12",
            "d/g0.rows",
            "page 3",
            "column group 0",
            "checksum",
            "4 more rows",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}
