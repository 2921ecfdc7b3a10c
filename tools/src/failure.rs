//! Why a command ends without success: one sentence for the user and an exit status.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::interrupt;
use crate::row_ids::RowIdError;
use crate::source::SourceError;

/// Success is 0.
const FAILURE: u8 = 1;
/// What clap uses for a command line that makes no sense.
const USAGE: u8 = 2;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error(transparent)]
    Source(SourceError),

    #[error(transparent)]
    Storage(#[from] ringtake_storage::Error),

    #[error(transparent)]
    Runtime(#[from] ringtake_runtime::Error),

    #[error(transparent)]
    RowIds(#[from] RowIdError),

    #[error("cannot {operation} {path}: {cause}")]
    Io {
        operation: &'static str,
        path: PathBuf,
        cause: io::Error,
    },

    #[error("cannot write {format}: {reason}")]
    Encode {
        format: &'static str,
        reason: String,
    },

    #[error("column `{column}` has type {data_type}, which a dataset cannot hold; {remedy}")]
    UnsupportedColumn {
        column: String,
        data_type: String,
        remedy: String,
    },

    #[error(
        "{0} has no column of vectors to index: a fixed-size list of Float32, Float16, Int8 or UInt8; import a column of lists with --vector"
    )]
    NoVectors(PathBuf),

    #[error("{0} exists already; choose another name, or replace it with --force")]
    OutputExists(PathBuf),

    #[error("{0} was replaced while it was being verified; run the command again")]
    Replaced(PathBuf),

    /// A query that cannot be searched for.
    #[error("{0}")]
    Query(String),

    /// A command line that clap could not see to be senseless.
    #[error("{0}")]
    Usage(String),

    /// Everything was said already.
    #[error("")]
    Reported,

    #[error("stopped by {}", if *.0 == signal_hook::consts::SIGINT { "Ctrl-C" } else { "a signal" })]
    Interrupted(i32),
}

impl From<SourceError> for Failure {
    fn from(cause: SourceError) -> Failure {
        match (&cause, interrupt::pending()) {
            (SourceError::Interrupted, Some(number)) => Failure::Interrupted(number),
            _ => Failure::Source(cause),
        }
    }
}

impl Failure {
    /// For `map_err` on an operation of the file system.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        let path = path.to_owned();
        move |cause| Failure::Io {
            operation,
            path,
            cause,
        }
    }

    /// The status that the process ends with.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Interrupted(number) => {
                u8::try_from(interrupt::exit_status(*number)).unwrap_or(FAILURE)
            }
            _ => FAILURE,
        }
    }
}
