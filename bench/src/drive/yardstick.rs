//! The yardsticks of reading: the reads of a workload, planned beforehand, and the files they are
//! made from. The bare ring (`ring_loop.rs`) or the loop of copies (`copy_loop.rs`) goes over them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use ringtake_runtime::ShardStats;
use ringtake_runtime::yardstick::{
    BufferedFiles, DirectFiles, MappedFiles, ReadAt, RingShape, read_on_ring,
};

use crate::drive::subject::{Answer, Observed, Subject};
use crate::error::Error;
use crate::workload::Workload;
use crate::workload::read_plan::{Cut, LargestGroup, ReadPlan};
use crate::workload::row_checksum::{RowBytes, RowsChecksum};

/// Reads in flight while single queries are answered, outside of the measured loop.
const QUEUE_DEPTH_UNMEASURED: u32 = 64;

/// How a yardstick reads rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// A bare io_uring, past the page cache
    Ring,
    /// Copies out of a map of the files, in the page cache
    Mmap,
    /// A system call for each row, from the page cache
    Pread,
}

impl Source {
    /// The read path in the record.
    fn read_path(self) -> &'static str {
        match self {
            Source::Ring => "bare-ring",
            Source::Mmap => "mmap-loop",
            Source::Pread => "pread-loop",
        }
    }
}

/// The data files, opened for a source.
pub(super) enum Files {
    Ring(DirectFiles),
    Mapped(MappedFiles),
    Buffered(BufferedFiles),
}

impl Files {
    fn open(source: Source, paths: &[PathBuf]) -> std::io::Result<Files> {
        match source {
            Source::Ring => DirectFiles::open(paths).map(Files::Ring),
            Source::Mmap => MappedFiles::open(paths).map(Files::Mapped),
            Source::Pread => BufferedFiles::open(paths).map(Files::Buffered),
        }
    }

    fn cut(&self) -> Cut {
        match self {
            Files::Ring(files) => Cut::Reads {
                align_bytes: files.align_bytes(),
            },
            Files::Mapped(_) | Files::Buffered(_) => Cut::Rows,
        }
    }

    /// Copies out of the page cache; a system call for each row, or none.
    pub(super) fn copy(&self, at: ReadAt, out: &mut [u8]) -> std::io::Result<u64> {
        match self {
            Files::Ring(_) => unreachable!("a ring does not copy"),
            Files::Mapped(files) => {
                files.copy(at, out);
                Ok(0)
            }
            Files::Buffered(files) => files.copy(at, out).map(|()| 1),
        }
    }

    /// The reads of `plan` and their bytes.
    fn read(&self, plan: &ReadPlan) -> std::io::Result<Vec<(ReadAt, Vec<u8>)>> {
        let reads = plan.reads.iter().copied();
        let Files::Ring(files) = self else {
            let copied = |at: ReadAt| {
                let mut out = vec![0; at.bytes as usize];
                self.copy(at, &mut out)?;
                Ok((at, out))
            };
            return reads.map(copied).collect();
        };
        let mut came = Vec::with_capacity(plan.reads.len());
        let shape = RingShape {
            queue_depth: QUEUE_DEPTH_UNMEASURED,
            bytes_max: plan.bytes_max,
        };
        let mut rest = reads;
        let done = |at: ReadAt, bytes: &[u8]| came.push((at, bytes.to_vec()));
        read_on_ring(files, shape, || (), || rest.next(), done)?;
        Ok(came)
    }
}

/// A dataset's files and the reads of a workload in them.
pub(crate) struct Yardstick {
    source: Source,
    pub(super) files: Files,
    pub(super) plan: ReadPlan,
    /// Reads that each ring keeps in flight.
    pub(super) queue_depth: u32,
    group: Arc<LargestGroup>,
    /// Sum over the loops that have ended.
    counted: Mutex<ShardStats>,
}

impl Yardstick {
    /// Opens the files of `group` and plans the reads of `workload`.
    pub(crate) fn open(
        source: Source,
        group: Arc<LargestGroup>,
        workload: &Workload,
        queue_depth: u32,
    ) -> Result<Yardstick, Error> {
        let files = Files::open(source, &group.paths)
            .map_err(Error::io("open the data files of", group.path()))?;
        Ok(Yardstick {
            source,
            plan: group.plan(workload, &files.cut())?,
            files,
            queue_depth,
            group,
            counted: Mutex::default(),
        })
    }

    /// The files of a bare ring; `None` where rows are copied.
    pub(crate) fn ring_files(&self) -> Option<&DirectFiles> {
        match &self.files {
            Files::Ring(files) => Some(files),
            Files::Mapped(_) | Files::Buffered(_) => None,
        }
    }

    /// Different queries that the plan has.
    pub(crate) fn queries(&self) -> u64 {
        self.plan.queries()
    }

    /// Adds the counts of a loop that has ended.
    pub(super) fn count(&self, counted: ShardStats) {
        let mut sum = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = *sum + counted;
    }
}

impl Subject for Yardstick {
    type Query = [u64];
    type Answer = StoredRows;

    async fn take(&self, row_ids: &[u64]) -> Result<StoredRows, Error> {
        let plan = self.group.plan_query(row_ids, &self.files.cut())?;
        Ok(StoredRows {
            rows: row_ids.len(),
            reads: self.files.read(&plan).map_err(Error::subject)?,
            group: Arc::clone(&self.group),
        })
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Yardstick {
    fn read_path(&self) -> String {
        self.source.read_path().to_owned()
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(self.group.paths.clone())
    }

    fn counters(&self) -> Option<ShardStats> {
        Some(*self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn configuration(&self) -> serde_json::Value {
        serde_json::json!({ "by": self.source.read_path(), "queue_depth": self.queue_depth })
    }
}

/// The bytes that came for a query, as they are stored.
pub(crate) struct StoredRows {
    rows: usize,
    reads: Vec<(ReadAt, Vec<u8>)>,
    group: Arc<LargestGroup>,
}

impl Answer for StoredRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn touch(&self) -> u64 {
        let first = |(_, bytes): &(ReadAt, Vec<u8>)| bytes.first().copied().map_or(0, u64::from);
        self.reads.iter().map(first).sum()
    }

    /// Each row is looked for in the bytes that came. None is added unless all are found: rows may
    /// be stored in a form that Arrow does not have.
    fn add_to(&self, checksum: &mut RowsChecksum, row_ids: &[u64]) -> Result<(), Error> {
        let mut found = Vec::with_capacity(row_ids.len());
        for row in row_ids {
            let place = self.group.file_of(*row);
            // Without this, a row at the same place of another file would do.
            let of_file = self.reads.iter().filter(|(at, _)| place == Some(at.file));
            let row_in = |(at, bytes): &(ReadAt, Vec<u8>)| {
                let mut row_bytes = RowBytes::default();
                self.group
                    .checksum_bytes(*row, at.offset, bytes, &mut row_bytes)
                    .map(|()| row_bytes)
            };
            found.extend(of_file.filter_map(row_in).next());
        }
        if found.len() == row_ids.len() {
            found.iter().for_each(|row| checksum.add_row(row));
        }
        Ok(())
    }
}
