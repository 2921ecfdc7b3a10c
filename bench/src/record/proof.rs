//! Whether a run measured what it says: the drive for a cold run, memory for a
//! warm one.
//!
//! The store counts the reads it issues and the kernel counts those the device
//! completes. A cold run is proven when the two agree, a warm run when the
//! device read nothing. A subject that does not count its reads is held against the bytes
//! of its rows: mixed, the device must have moved some of them, less than all, and no less than
//! the memory given had no room for. A run that is not proven says why and is not to be
//! averaged with others.
//!
//! The device counts the reads of every program. The kernel also counts the bytes read for this
//! process alone: where they are no more than the store asked for, the other reads are foreign. A
//! few foreign reads beside many rows leave a run proven, with a note.

use clap::ValueEnum;
use serde::Serialize;

use crate::count::device::{DeviceReads, NoDevice};

/// How far the device's reads may be from the store's in a cold run.
const DIFFERENCE_PERCENT_MAX: u64 = 2;

/// Rows of a run for each read of another program that it may have beside it: fewer reads
/// cannot change the measurement.
const ROWS_PER_FOREIGN_READ_MIN: u64 = 1_000;

/// Where the rows of a run come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Every row is read from the drive.
    Cold,
    /// Every row is in the shards' caches before the clock starts.
    Warm,
    /// Some rows are in the caches and some are read.
    Mixed,
}

impl std::fmt::Display for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cache::Cold => "cold",
            Cache::Warm => "warm",
            Cache::Mixed => "mixed",
        })
    }
}

/// Why a run is not proven.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum NotProven {
    /// Nothing to compare with.
    #[error("{0}")]
    NoDevice(#[from] NoDevice),
    /// The run ended before it began.
    #[error("no query was completed; measure longer with --seconds")]
    NothingMeasured,
    /// A cold run in which the store read nothing.
    #[error("the store issued no reads, so the rows did not come from the drive")]
    NothingRead,
    /// A cold run whose rows came out of the page cache.
    #[error(
        "the store issued {issued} reads and the drive completed {completed}, which is \
         {percent:.1}% fewer: some rows came from memory (the page-cache trap); see whether the file system \
         takes O_DIRECT"
    )]
    TooFew {
        /// Reads the store issued.
        issued: u64,
        /// Reads the device was given.
        completed: u64,
        /// The difference.
        percent: f64,
    },
    /// A cold run through the page cache, which had its rows.
    #[error(
        "{hits} of {reads} reads of a cold run came from the kernel's page cache (the page-cache trap); \
         use --io direct, or take a larger dataset"
    )]
    FromPageCache {
        /// Reads the page cache served.
        hits: u64,
        /// All reads.
        reads: u64,
    },
    /// A cold run that does not count its reads, whose rows came out of the page cache.
    #[error(
        "the rows of the run have {rows_bytes} bytes and the drive moved {device_bytes}: some rows \
         came from memory (the page-cache trap); drop the caches before the run, or take a larger \
         dataset"
    )]
    TooFewBytes {
        /// Bytes of the different rows.
        rows_bytes: u64,
        /// Bytes the device moved.
        device_bytes: u64,
    },
    /// A mixed run of rows whose bytes are not known, that does not count its reads.
    #[error(
        "what was measured does not count its own reads and its rows are of no fixed width, so \
         nothing tells how many came from the drive; measure cold or warm"
    )]
    NotCounted,
    /// A mixed run that does not count its reads, in which the drive did nothing to speak of.
    #[error(
        "the rows of a mixed run have {rows_bytes} bytes and the drive moved {device_bytes}, which \
         is no more than other programs may have read: memory held every row; give less with --memory"
    )]
    NothingMissed {
        /// Bytes of all rows, counted as often as they were asked for.
        rows_bytes: u64,
        /// Bytes the device moved.
        device_bytes: u64,
    },
    /// A mixed run that does not count its reads, of which memory held more than it was given.
    #[error(
        "the different rows of a mixed run have {unique_bytes} bytes, {memory_bytes} of them may be \
         in memory, and the drive moved only {device_bytes}: something else held rows too; see \
         whether memory is limited"
    )]
    HeldMore {
        /// Bytes of the different rows.
        unique_bytes: u64,
        /// Bytes of memory that were given.
        memory_bytes: u64,
        /// Bytes the device moved.
        device_bytes: u64,
    },
    /// A mixed run that does not count its reads, in which the drive did what it does cold.
    #[error(
        "the rows of a mixed run have {rows_bytes} bytes and the drive moved {device_bytes}, as much \
         as if none had come from memory: give more with --memory, and see whether another program \
         reads the drive"
    )]
    NothingHeld {
        /// Bytes of all rows, counted as often as they were asked for.
        rows_bytes: u64,
        /// Bytes the device moved.
        device_bytes: u64,
    },
    /// A cold run with strangers on the drive.
    #[error(
        "the store issued {issued} reads and the drive completed {completed}, which is \
         {percent:.1}% more: another program reads the drive; stop it and measure again"
    )]
    TooMany {
        /// Reads the store issued.
        issued: u64,
        /// Reads the device was given.
        completed: u64,
        /// The difference.
        percent: f64,
    },
    /// A warm run that missed its cache.
    #[error(
        "the store issued {issued} reads in a warm run: the rows did not all fit; \
         give more with --cache-bytes"
    )]
    Missed {
        /// Reads the store issued.
        issued: u64,
    },
    /// A warm run beside which the drive was read.
    #[error(
        "the drive completed {completed} reads during a warm run, none of them asked for by the store: \
         another program reads the drive; stop it and measure again"
    )]
    DriveNotIdle {
        /// Reads the device was given.
        completed: u64,
    },
    /// A warm run in which this process read the drive.
    #[error(
        "the drive completed {completed} reads during a warm run, and the kernel counted \
         {process_bytes} bytes read for this process: not all of the rows or of the program were in \
         memory; see that enough memory is free, and measure again"
    )]
    ReadByProcess {
        /// Reads the device was given.
        completed: u64,
        /// Bytes read for this process.
        process_bytes: u64,
    },
}

impl NotProven {
    /// Whether the cause is likely to pass, so that measuring again may help.
    pub(crate) fn is_disturbance(&self) -> bool {
        matches!(
            self,
            NotProven::TooMany { .. }
                | NotProven::DriveNotIdle { .. }
                | NotProven::ReadByProcess { .. }
        )
    }
}

/// Reads of other programs beside a proven run, too few to have changed what it measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the drive did {reads} reads for other programs during a run of {rows} rows, too few to \
     change the result"
)]
pub(crate) struct ForeignReads {
    reads: u64,
    rows: u64,
}

/// Reads that a run asked the drive for, as far as its subject counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issued {
    /// The subject counts its reads and their bytes.
    Reads { reads: u64, bytes: u64 },
    /// It does not.
    Uncounted(RunBytes),
}

/// Counts of one run that its proof rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts<'a> {
    pub(crate) rows: u64,
    pub(crate) issued: Issued,
    pub(crate) device: &'a Result<DeviceReads, NoDevice>,
    /// Bytes the kernel read from any drive for this process; `None` where it does not count them.
    pub(crate) process_bytes: Option<u64>,
}

impl Counts<'_> {
    /// `reads` that the subject did not issue, as a note, if all of them are foreign and few.
    fn few_foreign(&self, reads: u64) -> Option<ForeignReads> {
        let issued_bytes = match self.issued {
            Issued::Reads { bytes, .. } => bytes,
            Issued::Uncounted(_) => 0,
        };
        let are_foreign = self.process_bytes? <= issued_bytes;
        let are_few = reads.saturating_mul(ROWS_PER_FOREIGN_READ_MIN) <= self.rows;
        (are_foreign && are_few).then_some(ForeignReads {
            reads,
            rows: self.rows,
        })
    }
}

/// The rows of a run that does not count its reads, in bytes as the drive moves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunBytes {
    /// Bytes of the different rows, which came from the drive if the run was cold.
    pub(crate) unique: u64,
    /// Bytes of all rows, counted as often as they were asked for; `None` if rows are of no fixed
    /// width.
    pub(crate) asked: Option<u64>,
    /// Bytes of the rows that memory may hold in a mixed run; `None` if nothing limits it.
    pub(crate) memory: Option<u64>,
}

/// Refuses a cold run more of whose reads came from the page cache than may differ.
pub(crate) fn prove_not_from_page_cache(reads: u64, hits: u64) -> Result<(), NotProven> {
    match hits * 100 > reads * DIFFERENCE_PERCENT_MAX {
        true => Err(NotProven::FromPageCache { hits, reads }),
        false => Ok(()),
    }
}

/// Holds the store's count against the device's. The reads of other programs that were few enough
/// to leave the run proven are returned.
pub(crate) fn prove(cache: Cache, counts: Counts<'_>) -> Result<Option<ForeignReads>, NotProven> {
    if counts.rows == 0 {
        return Err(NotProven::NothingMeasured);
    }
    if let Issued::Reads { reads: issued, .. } = counts.issued
        && cache == Cache::Warm
        && issued > 0
    {
        return Err(NotProven::Missed { issued });
    }
    let reads = match counts.device {
        Ok(reads) => reads,
        Err(reason) => return Err(reason.clone().into()),
    };
    match (cache, counts.issued) {
        (Cache::Warm, _) => prove_warm(counts, reads.issued()),
        (Cache::Cold, Issued::Reads { reads: 0, .. }) => Err(NotProven::NothingRead),
        (Cache::Cold, Issued::Uncounted(rows)) => {
            let rows_bytes = rows.unique;
            if reads.bytes >= rows_bytes - rows_bytes * DIFFERENCE_PERCENT_MAX / 100 {
                return Ok(None);
            }
            Err(NotProven::TooFewBytes {
                rows_bytes,
                device_bytes: reads.bytes,
            })
        }
        (Cache::Mixed, Issued::Uncounted(rows)) => prove_mixed(rows, reads.bytes).map(|()| None),
        (Cache::Cold | Cache::Mixed, Issued::Reads { reads: issued, .. }) => {
            prove_counted(counts, issued, reads.issued())
        }
    }
}

/// Requires that nothing but a few foreign reads reached the device.
fn prove_warm(counts: Counts<'_>, completed: u64) -> Result<Option<ForeignReads>, NotProven> {
    if completed == 0 {
        return Ok(None);
    }
    match counts.process_bytes {
        Some(process_bytes) if process_bytes > 0 => Err(NotProven::ReadByProcess {
            completed,
            process_bytes,
        }),
        _ => match counts.few_foreign(completed) {
            Some(foreign) => Ok(Some(foreign)),
            None => Err(NotProven::DriveNotIdle { completed }),
        },
    }
}

/// Requires that the device completed as many reads as the subject issued.
fn prove_counted(
    counts: Counts<'_>,
    issued: u64,
    completed: u64,
) -> Result<Option<ForeignReads>, NotProven> {
    let difference = completed.abs_diff(issued);
    if difference * 100 <= issued * DIFFERENCE_PERCENT_MAX {
        return Ok(None);
    }
    let percent = difference as f64 / issued.max(1) as f64 * 100.0;
    if completed < issued {
        return Err(NotProven::TooFew {
            issued,
            completed,
            percent,
        });
    }
    match counts.few_foreign(difference) {
        Some(foreign) => Ok(Some(foreign)),
        None => Err(NotProven::TooMany {
            issued,
            completed,
            percent,
        }),
    }
}

/// Holds what the device moved against what it moves if memory holds all, or nothing.
fn prove_mixed(rows: RunBytes, device_bytes: u64) -> Result<(), NotProven> {
    let rows_bytes = rows.asked.ok_or(NotProven::NotCounted)?;
    let strangers_bytes_max = rows_bytes * DIFFERENCE_PERCENT_MAX / 100;
    if device_bytes <= strangers_bytes_max {
        return Err(NotProven::NothingMissed {
            rows_bytes,
            device_bytes,
        });
    }
    if device_bytes >= rows_bytes {
        return Err(NotProven::NothingHeld {
            rows_bytes,
            device_bytes,
        });
    }
    match rows.memory {
        Some(memory_bytes) if device_bytes < rows.unique.saturating_sub(memory_bytes) => {
            Err(NotProven::HeldMore {
                unique_bytes: rows.unique,
                memory_bytes,
                device_bytes,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
