//! Whether a run measured what it says: the drive for a cold run, memory for a
//! warm one.
//!
//! The store counts the reads it issues and the kernel counts those the device
//! completes. A cold run is proven when the two agree, a warm run when the
//! device read nothing. What does not count its reads is held against the bytes
//! of its rows: mixed, the device must have moved some of them, less than all, and no less than
//! what the memory given had no room for. A run that is not proven says why and is not to be
//! averaged with others.

use clap::ValueEnum;
use serde::Serialize;

use crate::device::{DeviceReads, NoDevice};

/// How far the device's reads may be from the store's in a cold run.
const DIFFERENCE_PERCENT_MAX: u64 = 2;

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
}

impl NotProven {
    /// Whether somebody else on the machine is the likely cause, so that measuring
    /// again may help.
    pub(crate) fn is_disturbance(&self) -> bool {
        matches!(
            self,
            NotProven::TooMany { .. } | NotProven::DriveNotIdle { .. }
        )
    }
}

/// What a run must have read, as far as what was measured tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issued {
    /// It counts its reads.
    Reads(u64),
    /// It does not.
    Uncounted(RunBytes),
}

/// The rows of a run that does not count its reads, in bytes as the drive moves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunBytes {
    /// Of the different rows, which came from the drive if the run was cold.
    pub(crate) unique: u64,
    /// Of all rows, counted as often as they were asked for; `None` if rows are of no fixed width.
    pub(crate) asked: Option<u64>,
    /// Of the rows that memory may hold in a mixed run; `None` if nothing limits it.
    pub(crate) memory: Option<u64>,
}

/// Refuses a cold run more of whose reads came from the page cache than may differ.
pub(crate) fn prove_not_from_page_cache(reads: u64, hits: u64) -> Result<(), NotProven> {
    match hits * 100 > reads * DIFFERENCE_PERCENT_MAX {
        true => Err(NotProven::FromPageCache { hits, reads }),
        false => Ok(()),
    }
}

/// Holds the store's count against the device's.
pub(crate) fn prove(
    cache: Cache,
    rows: u64,
    issued: Issued,
    device: &Result<DeviceReads, NoDevice>,
) -> Result<(), NotProven> {
    if rows == 0 {
        return Err(NotProven::NothingMeasured);
    }
    if let Issued::Reads(issued) = issued
        && cache == Cache::Warm
        && issued > 0
    {
        return Err(NotProven::Missed { issued });
    }
    let reads = match device {
        Ok(reads) => reads,
        Err(reason) => return Err(reason.clone().into()),
    };
    let completed = reads.issued();
    match (cache, issued) {
        (Cache::Warm, _) if completed > 0 => Err(NotProven::DriveNotIdle { completed }),
        (Cache::Warm, _) => Ok(()),
        (Cache::Cold, Issued::Reads(0)) => Err(NotProven::NothingRead),
        (
            Cache::Cold,
            Issued::Uncounted(RunBytes {
                unique: rows_bytes, ..
            }),
        ) => {
            if reads.bytes >= rows_bytes - rows_bytes * DIFFERENCE_PERCENT_MAX / 100 {
                return Ok(());
            }
            Err(NotProven::TooFewBytes {
                rows_bytes,
                device_bytes: reads.bytes,
            })
        }
        (Cache::Mixed, Issued::Uncounted(rows)) => prove_mixed(rows, reads.bytes),
        (Cache::Cold | Cache::Mixed, Issued::Reads(issued)) => {
            let difference = completed.abs_diff(issued);
            if difference * 100 <= issued * DIFFERENCE_PERCENT_MAX {
                return Ok(());
            }
            let percent = difference as f64 / issued.max(1) as f64 * 100.0;
            Err(if completed < issued {
                NotProven::TooFew {
                    issued,
                    completed,
                    percent,
                }
            } else {
                NotProven::TooMany {
                    issued,
                    completed,
                    percent,
                }
            })
        }
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::PathBuf;

    fn prove(
        cache: Cache,
        rows: u64,
        issued: u64,
        device: &Result<DeviceReads, NoDevice>,
    ) -> Result<(), NotProven> {
        super::prove(cache, rows, Issued::Reads(issued), device)
    }

    fn device(completed: u64, merged: u64) -> Result<DeviceReads, NoDevice> {
        Ok(DeviceReads {
            completed,
            merged,
            bytes: completed * 4096,
            ..DeviceReads::default()
        })
    }

    #[test]
    fn cold_run_is_proven_up_to_two_percent_and_not_beyond() {
        for completed in [9_800, 9_999, 10_000, 10_200] {
            assert_eq!(prove(Cache::Cold, 1, 10_000, &device(completed, 0)), Ok(()));
        }
        assert!(matches!(
            prove(Cache::Cold, 1, 10_000, &device(9_799, 0)),
            Err(NotProven::TooFew { .. })
        ));
        assert!(matches!(
            prove(Cache::Cold, 1, 10_000, &device(10_201, 0)),
            Err(NotProven::TooMany { .. })
        ));
    }

    #[test]
    fn reads_joined_before_the_device_count_as_issued() {
        assert_eq!(prove(Cache::Cold, 1, 10_000, &device(9_000, 1_000)), Ok(()));
    }

    #[test]
    fn cold_run_out_of_the_page_cache_is_not_proven() {
        let refused = prove(Cache::Cold, 1, 10_000, &device(0, 0)).unwrap_err();
        assert!(
            refused.to_string().contains("came from memory"),
            "{refused}"
        );
    }

    #[test]
    fn only_reads_of_others_are_a_reason_to_measure_again() {
        let disturbed = |cache, issued, completed| {
            prove(cache, 1, issued, &device(completed, 0))
                .unwrap_err()
                .is_disturbance()
        };
        assert!(disturbed(Cache::Cold, 100, 200));
        assert!(disturbed(Cache::Warm, 0, 1));
        assert!(!disturbed(Cache::Cold, 200, 100));
        assert!(!disturbed(Cache::Cold, 0, 0));
        assert!(!disturbed(Cache::Warm, 1, 1));
    }

    #[test]
    fn cold_run_without_reads_is_not_proven() {
        assert_eq!(
            prove(Cache::Cold, 1, 0, &device(0, 0)),
            Err(NotProven::NothingRead)
        );
    }

    #[test]
    fn warm_run_needs_a_silent_store_and_a_silent_drive() {
        assert_eq!(prove(Cache::Warm, 1, 0, &device(0, 0)), Ok(()));
        assert_eq!(
            prove(Cache::Warm, 1, 1, &device(1, 0)),
            Err(NotProven::Missed { issued: 1 })
        );
        assert_eq!(
            prove(Cache::Warm, 1, 0, &device(1, 0)),
            Err(NotProven::DriveNotIdle { completed: 1 })
        );
    }

    #[test]
    fn run_that_counts_no_reads_is_proven_by_the_bytes_the_drive_moved() {
        let prove = |cache, completed| {
            super::prove(
                cache,
                1,
                Issued::Uncounted(RunBytes {
                    unique: 100 * 4096,
                    asked: Some(100 * 4096),
                    memory: None,
                }),
                &device(completed, 0),
            )
        };
        assert_eq!(prove(Cache::Cold, 98), Ok(()));
        assert_eq!(prove(Cache::Cold, 5_000), Ok(()));
        let refused = prove(Cache::Cold, 97).unwrap_err();
        assert!(
            refused.to_string().contains("came from memory"),
            "{refused}"
        );
        assert!(!refused.is_disturbance());
        assert_eq!(prove(Cache::Warm, 0), Ok(()));
        assert!(prove(Cache::Warm, 1).is_err());
    }

    #[test]
    fn mixed_run_reads_as_much_as_it_says_or_nothing() {
        assert_eq!(prove(Cache::Mixed, 1, 0, &device(0, 0)), Ok(()));
        assert_eq!(prove(Cache::Mixed, 1, 1_000, &device(1_000, 0)), Ok(()));
        for (issued, completed) in [(0, 1), (1_000, 900), (1_000, 1_100)] {
            assert!(prove(Cache::Mixed, 1, issued, &device(completed, 0)).is_err());
        }
    }

    #[test]
    fn mixed_run_that_counts_no_reads_moves_some_of_its_rows_and_not_all() {
        let prove = |completed, memory_rows: Option<u64>| {
            super::prove(
                Cache::Mixed,
                1,
                Issued::Uncounted(RunBytes {
                    unique: 400 * 4096,
                    asked: Some(1_000 * 4096),
                    memory: memory_rows.map(|rows| rows * 4096),
                }),
                &device(completed, 0),
            )
        };
        for completed in [21, 100, 999] {
            assert_eq!(prove(completed, None), Ok(()), "{completed}");
        }
        for completed in [0, 1, 20] {
            assert!(
                matches!(prove(completed, None), Err(NotProven::NothingMissed { .. })),
                "{completed}"
            );
        }
        for completed in [1_000, 1_001] {
            let refused = prove(completed, None).unwrap_err();
            assert!(
                matches!(refused, NotProven::NothingHeld { .. }) && !refused.is_disturbance(),
                "{completed}"
            );
        }
        // Of 400 different rows 100 had no place in memory.
        assert_eq!(prove(100, Some(300)), Ok(()));
        let refused = prove(99, Some(300)).unwrap_err();
        assert!(matches!(refused, NotProven::HeldMore { .. }), "{refused}");
        assert_eq!(prove(99, Some(401)), Ok(()));
    }

    #[test]
    fn mixed_run_of_rows_of_unknown_width_that_counts_no_reads_is_not_proven() {
        let rows = RunBytes {
            unique: 1,
            asked: None,
            memory: None,
        };
        assert_eq!(
            super::prove(Cache::Mixed, 1, Issued::Uncounted(rows), &device(1, 0)),
            Err(NotProven::NotCounted)
        );
    }

    #[test]
    fn run_of_no_rows_and_run_without_a_device_are_not_proven() {
        assert_eq!(
            prove(Cache::Warm, 0, 0, &device(0, 0)),
            Err(NotProven::NothingMeasured)
        );
        let no_device = NoDevice::NotOnDevice {
            path: PathBuf::from("/mem/dataset"),
            file_system: "tmpfs".to_owned(),
        };
        for cache in [Cache::Cold, Cache::Warm] {
            let refused = prove(cache, 1, 0, &Err(no_device.clone())).unwrap_err();
            assert!(refused.to_string().contains("tmpfs"), "{refused}");
        }
    }
}
