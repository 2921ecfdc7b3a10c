//! The proof of runs with made-up counters.

#![allow(clippy::unwrap_used)]

use super::*;
use std::path::PathBuf;

/// Reads of a page each, with no account of the process, which leaves nothing to leniency.
fn prove(
    cache: Cache,
    rows: u64,
    reads: u64,
    device: &Result<DeviceReads, NoDevice>,
) -> Result<Option<ForeignReads>, NotProven> {
    let issued = Issued::Reads {
        reads,
        bytes: reads * 4096,
    };
    prove_issued(cache, rows, issued, device)
}

fn prove_issued(
    cache: Cache,
    rows: u64,
    issued: Issued,
    device: &Result<DeviceReads, NoDevice>,
) -> Result<Option<ForeignReads>, NotProven> {
    let counts = Counts {
        rows,
        issued,
        device,
        process_bytes: None,
    };
    super::prove(cache, counts)
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
        assert_eq!(
            prove(Cache::Cold, 1, 10_000, &device(completed, 0)),
            Ok(None)
        );
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
    assert_eq!(
        prove(Cache::Cold, 1, 10_000, &device(9_000, 1_000)),
        Ok(None)
    );
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

/// A run of `rows` rows, with what its verdict must be.
struct Beside {
    cache: Cache,
    rows: u64,
    issued: u64,
    completed: u64,
    process_pages: Option<u64>,
    verdict: &'static str,
}

#[test]
fn reads_of_others_leave_a_run_proven_where_they_are_few_and_the_process_did_none_of_them() {
    const NOTED: &str = "for other programs";
    const OTHERS: &str = "another program reads the drive";
    const ITSELF: &str = "read for this process";
    const PROVEN: &str = "";
    let warm = |rows, completed, process_pages, verdict| Beside {
        cache: Cache::Warm,
        rows,
        issued: 0,
        completed,
        process_pages,
        verdict,
    };
    let cold = |rows, issued, completed, process_pages, verdict| Beside {
        cache: Cache::Cold,
        rows,
        issued,
        completed,
        process_pages,
        verdict,
    };
    let mixed = |one: Beside| Beside {
        cache: Cache::Mixed,
        ..one
    };
    let table = [
        warm(18_723_000, 0, Some(0), PROVEN),
        warm(18_723_000, 101, Some(0), NOTED),
        warm(1_000, 1, Some(0), NOTED),
        warm(999, 1, Some(0), OTHERS),
        warm(1_000, 2, Some(0), OTHERS),
        warm(18_723_000, 101, Some(1), ITSELF),
        warm(18_723_000, 101, None, OTHERS),
        // Without a read of the device's, the process read another drive.
        warm(18_723_000, 0, Some(1), PROVEN),
        cold(10_000, 100, 102, Some(100), PROVEN),
        cold(10_000, 100, 110, Some(100), NOTED),
        cold(10_000, 100, 111, Some(100), OTHERS),
        cold(10_000, 100, 110, Some(101), OTHERS),
        cold(10_000, 100, 110, None, OTHERS),
        cold(10_000, 100, 97, Some(97), "came from memory"),
        cold(10_000, 0, 10, Some(0), "issued no reads"),
        mixed(cold(10_000, 0, 10, Some(0), NOTED)),
        mixed(cold(10_000, 0, 11, Some(0), OTHERS)),
        mixed(cold(10_000, 0, 10, Some(1), OTHERS)),
        mixed(cold(10_000, 100, 90, Some(90), "came from memory")),
    ];
    for (number, run) in table.into_iter().enumerate() {
        let counts = Counts {
            rows: run.rows,
            issued: Issued::Reads {
                reads: run.issued,
                bytes: run.issued * 4096,
            },
            device: &device(run.completed, 0),
            process_bytes: run.process_pages.map(|pages| pages * 4096),
        };
        let words = match super::prove(run.cache, counts) {
            Ok(None) => String::new(),
            Ok(Some(foreign)) => foreign.to_string(),
            Err(refused) => {
                assert_ne!(run.verdict, NOTED, "{number}: {refused}");
                refused.to_string()
            }
        };
        let expected = words.contains(run.verdict) && words.is_empty() == run.verdict.is_empty();
        assert!(expected, "{number}: `{words}`");
    }
}

#[test]
fn warm_run_that_counts_no_reads_has_reads_of_others_beside_it_too() {
    let prove = |process_bytes| {
        let counts = Counts {
            rows: 1_000,
            issued: Issued::Uncounted(RunBytes {
                unique: 1_000 * 4096,
                asked: None,
                memory: None,
            }),
            device: &device(1, 0),
            process_bytes: Some(process_bytes),
        };
        super::prove(Cache::Warm, counts)
    };
    let foreign = ForeignReads {
        reads: 1,
        rows: 1_000,
    };
    assert_eq!(prove(0), Ok(Some(foreign)));
    let refused = prove(4096).unwrap_err();
    assert!(
        matches!(refused, NotProven::ReadByProcess { .. }) && refused.is_disturbance(),
        "{refused}"
    );
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
    assert_eq!(prove(Cache::Warm, 1, 0, &device(0, 0)), Ok(None));
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
        prove_issued(
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
    assert_eq!(prove(Cache::Cold, 98), Ok(None));
    assert_eq!(prove(Cache::Cold, 5_000), Ok(None));
    let refused = prove(Cache::Cold, 97).unwrap_err();
    assert!(
        refused.to_string().contains("came from memory"),
        "{refused}"
    );
    assert!(!refused.is_disturbance());
    assert_eq!(prove(Cache::Warm, 0), Ok(None));
    assert!(prove(Cache::Warm, 1).is_err());
}

#[test]
fn mixed_run_reads_as_much_as_it_says_or_nothing() {
    assert_eq!(prove(Cache::Mixed, 1, 0, &device(0, 0)), Ok(None));
    assert_eq!(prove(Cache::Mixed, 1, 1_000, &device(1_000, 0)), Ok(None));
    for (issued, completed) in [(0, 1), (1_000, 900), (1_000, 1_100)] {
        assert!(prove(Cache::Mixed, 1, issued, &device(completed, 0)).is_err());
    }
}

#[test]
fn mixed_run_that_counts_no_reads_moves_some_of_its_rows_and_not_all() {
    let prove = |completed, memory_rows: Option<u64>| {
        prove_issued(
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
        assert_eq!(prove(completed, None), Ok(None), "{completed}");
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
    assert_eq!(prove(100, Some(300)), Ok(None));
    let refused = prove(99, Some(300)).unwrap_err();
    assert!(matches!(refused, NotProven::HeldMore { .. }), "{refused}");
    assert_eq!(prove(99, Some(401)), Ok(None));
}

#[test]
fn mixed_run_of_rows_of_unknown_width_that_counts_no_reads_is_not_proven() {
    let rows = RunBytes {
        unique: 1,
        asked: None,
        memory: None,
    };
    assert_eq!(
        prove_issued(Cache::Mixed, 1, Issued::Uncounted(rows), &device(1, 0)),
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
