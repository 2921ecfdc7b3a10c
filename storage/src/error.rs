//! Errors of a dataset: from the operating system (I/O), from the bytes (damage, versions) and from
//! the request.

use std::io::ErrorKind;
use std::path::PathBuf;

use arrow::error::ArrowError;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// An error of the storage crate. Each message is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A column's type has no fixed or variable width of its own.
    #[error(
        "column `{column}` has type {data_type}, which a dataset cannot hold; \
         leave it out with `--columns`, or flatten it before the import"
    )]
    UnsupportedColumn {
        /// Name of the column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// A name that the schema does not have.
    #[error("there is no column `{column}`; the columns are {available}")]
    UnknownColumn {
        /// The name asked for.
        column: String,
        /// The names of the schema, separated by commas.
        available: String,
    },
    /// A name that the schema has more than once, or that was given more than once.
    #[error("column `{column}` is named more than once; give each column a name of its own")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A schema or selection without columns.
    #[error("there are no columns to store; name at least one")]
    NoColumns,
    /// A group that mixes columns which cannot share a row record.
    #[error(
        "column `{column}` has values of variable width and cannot share a group; \
         leave it out of `--group`"
    )]
    VariableColumnInGroup {
        /// Name of the column.
        column: String,
    },
    /// An option of the writer outside its range.
    #[error("{option} is {value}; it must be {allowed}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// The value given.
        value: String,
        /// The values accepted.
        allowed: String,
    },
    /// A record or value beyond what the format can address.
    #[error(
        "{what} takes {bytes} bytes, more than the {bytes_max} that the format can address; {remedy}"
    )]
    TooLarge {
        /// Name of the record or value.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// Largest size that the format can address, in bytes.
        bytes_max: u64,
        /// A way to make it smaller.
        remedy: &'static str,
    },
    /// A batch whose schema is not the writer's.
    #[error("a batch does not have the dataset's schema: {what}; write batches of one schema")]
    SchemaMismatch {
        /// The first difference.
        what: String,
    },
    /// The path holds no dataset.
    #[error("{path} is not a Ringtake dataset: {reason}")]
    NotADataset {
        /// The path.
        path: PathBuf,
        /// The missing or wrong part.
        reason: String,
    },
    /// The path holds a dataset already.
    #[error(
        "{path} already holds a dataset; choose another directory, or replace it with `--force`"
    )]
    AlreadyExists {
        /// The path.
        path: PathBuf,
    },
    /// The path holds something that is not a dataset.
    #[error("{path} is not empty and is not a Ringtake dataset; choose another directory")]
    NotEmpty {
        /// The path.
        path: PathBuf,
    },
    /// Another writer is at work on the dataset.
    #[error(
        "{path} is being written by another process; wait until it ends, or choose another directory"
    )]
    Locked {
        /// The path.
        path: PathBuf,
    },
    /// Another version of the dataset has taken the place of the one that was opened.
    #[error("{path} has been replaced since it was opened; open it again")]
    Replaced {
        /// The path.
        path: PathBuf,
    },
    /// The dataset was written by a newer version of this software.
    #[error(
        "{path} has format version {found}, and this program reads up to {supported}; upgrade it to read this dataset"
    )]
    NewerVersion {
        /// The manifest.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version understood.
        supported: u32,
    },
    /// Bytes that contradict the manifest or a checksum.
    #[error("{path} is damaged: {what}; restore it from a copy or import it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage and its place.
        what: String,
    },
    /// A column that has no vectors.
    #[error(
        "column `{column}` has type {data_type}; an index needs a fixed-size list of Float32, Float16, Int8 or UInt8; convert it before the import"
    )]
    NotVectors {
        /// Name of the column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// Vectors whose centroids or codes an f32 cannot hold.
    #[error(
        "the vectors are too long for an index: their centroids or codes are beyond what an f32 can hold; scale them down"
    )]
    BeyondNumbers,
    /// An index whose bytes contradict its checksums or its dataset.
    #[error("{path} is damaged: {what}; build it again with `ringtake index`")]
    DamagedIndex {
        /// The file.
        path: PathBuf,
        /// The damaged part.
        what: String,
    },
    /// An index that was built for other rows.
    #[error(
        "{path} belongs to another dataset or another version of this one; build it again with `ringtake index`"
    )]
    ForeignIndex {
        /// The file.
        path: PathBuf,
    },
    /// A result that Arrow's 32-bit offsets cannot express.
    #[error(
        "column `{column}` of these {rows} rows takes {bytes} bytes, more than the 2 GiB that its \
         type can address; take fewer rows at a time"
    )]
    OffsetOverflow {
        /// Name of the column.
        column: String,
        /// Rows asked for.
        rows: usize,
        /// Bytes of their values.
        bytes: u64,
    },
    /// An operation of the operating system failed.
    #[error("cannot {operation} {path}: {source}{}", and_remedy(.source))]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// An error of Arrow.
    #[error("arrow: {0}{remedy}", remedy = arrow_remedy(.0))]
    Arrow(#[from] ArrowError),
}

impl Error {
    /// Makes an [`Error::Io`] of an operating system's error; for `map_err`.
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

    /// An [`Error::Damaged`].
    pub fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.into(),
            what: what.into(),
        }
    }
}

/// Remedy for a failure of the operating system on files or memory. If a limit of the process was
/// reached, the remedy names the limit and the command that raises it.
pub fn remedy(source: &std::io::Error) -> Option<String> {
    let limits = Limits::of_this_process();
    let of_errno = source
        .raw_os_error()
        .and_then(|errno| limits.remedy(Errno::from_raw_os_error(errno)));
    of_errno.or_else(|| of_kind(source.kind()).map(str::to_owned))
}

/// The limits of a process that files and memory run into; `None` is no limit.
#[derive(Debug, Clone, Copy)]
struct Limits {
    open_files: Option<u64>,
    address_space_bytes: Option<u64>,
}

impl Limits {
    fn of_this_process() -> Limits {
        Limits {
            open_files: getrlimit(Resource::Nofile).current,
            address_space_bytes: getrlimit(Resource::As).current,
        }
    }

    fn remedy(self, errno: Errno) -> Option<String> {
        Some(match (errno, self.address_space_bytes) {
            (Errno::MFILE, _) => {
                let open_files = self.open_files.unwrap_or(0);
                let wanted = (open_files * 2).max(OPEN_FILES_WANTED);
                format!(
                    "raise the limit of open files, which is {open_files}, with `ulimit -n {wanted}`"
                )
            }
            (Errno::NFILE, _) => {
                "raise the limit of open files of the whole system with `sysctl fs.file-max`"
                    .to_owned()
            }
            (Errno::NOMEM, Some(bytes)) => format!(
                "raise the limit of address space, which is {} KiB, with `ulimit -v unlimited`",
                bytes >> 10
            ),
            (Errno::NOMEM, None) => {
                "free memory, ask for less, or raise the memory limit of the control group"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

/// The least limit of open files to recommend.
const OPEN_FILES_WANTED: u64 = 1024;

fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::StorageFull => "free some space or choose another drive",
        ErrorKind::QuotaExceeded => "raise the quota or choose another drive",
        ErrorKind::PermissionDenied => "check who owns it and its mode",
        ErrorKind::ReadOnlyFilesystem => "choose a file system that can be written",
        ErrorKind::NotFound => "check the path",
        _ => return None,
    })
}

/// The remedy as the end of a message, with what separates it.
fn and_remedy(source: &std::io::Error) -> String {
    remedy(source).map_or_else(String::new, |remedy| format!("; {remedy}"))
}

fn arrow_remedy(error: &ArrowError) -> String {
    match error {
        ArrowError::IoError(_, source) => and_remedy(source),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_were_reached_are_named_with_the_command_that_raises_them() {
        let few = Limits {
            open_files: Some(32),
            address_space_bytes: Some(1 << 20),
        };
        let many = Limits {
            open_files: Some(5_000),
            address_space_bytes: None,
        };
        for (limits, errno, words) in [
            (few, Errno::MFILE, "is 32, with `ulimit -n 1024`"),
            (many, Errno::MFILE, "is 5000, with `ulimit -n 10000`"),
            (few, Errno::NFILE, "`sysctl fs.file-max`"),
            (few, Errno::NOMEM, "is 1024 KiB, with `ulimit -v unlimited`"),
            (many, Errno::NOMEM, "free memory"),
        ] {
            let remedy = limits.remedy(errno).unwrap();
            assert!(remedy.contains(words), "{errno:?}: {remedy}");
        }
        assert_eq!(few.remedy(Errno::IO), None);
    }

    #[test]
    fn messages_of_files_and_of_arrow_end_with_the_remedy() {
        let too_many = || std::io::Error::from(Errno::MFILE);
        let arrow = ArrowError::IoError("a file".to_owned(), too_many());
        for error in [Error::io("open", "rows")(too_many()), Error::Arrow(arrow)] {
            let message = error.to_string();
            assert!(
                message.contains("; raise the limit of open files"),
                "{message}"
            );
        }
        let other = Error::io("read", "rows")(std::io::Error::from(Errno::IO)).to_string();
        assert!(!other.contains(';'), "{other}");
    }
}
