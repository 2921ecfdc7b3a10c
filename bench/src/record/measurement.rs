//! Everything counted during one run, before any division, and the proof of it.

use ringtake_runtime::ShardStats;

use crate::count::device::{DeviceReads, NoDevice};
use crate::count::process::Spent;
use crate::drive::run::Run;
use crate::record::activity::Activity;
use crate::record::proof::{self, Cache, Counts, ForeignReads, Issued, NotProven, RunBytes};
use crate::workload::row_checksum::RowsChecksum;

/// One row in this many may be taken again before it is worth a word.
const REPEATED_MAX: u64 = 50;

/// Everything counted during one run, before any division.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) cache: Cache,
    pub(crate) run: Run,
    pub(crate) spent: Spent,
    /// Counters of the subject, if it counts.
    pub(crate) store: Option<ShardStats>,
    pub(crate) device: Result<DeviceReads, NoDevice>,
    /// Bytes the kernel read from drives for this process, where it counts them.
    pub(crate) process_bytes: Option<u64>,
    pub(crate) system_calls: Result<u64, String>,
    /// Different rows among those taken; `None` where queries are no rows.
    pub(crate) unique_rows: Option<u64>,
    /// Different queries among those asked, where they are no rows.
    pub(crate) unique_queries: Option<u64>,
    /// Times and samples, where the subject measures them.
    pub(crate) observed: Activity,
    /// Bytes that the drive moves for a row at least, where all its columns are of fixed width.
    pub(crate) row_bytes: Option<u64>,
    /// Memory that may hold rows in a mixed run, for a subject that does not count its reads.
    pub(crate) memory_bytes: Option<u64>,
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    pub(crate) checksum: RowsChecksum,
}

impl Measurement {
    /// Checks the run against the device's counters.
    pub(crate) fn prove(&self) -> Result<Option<ForeignReads>, NotProven> {
        if let (Cache::Cold, Some(store), Ok(_)) = (self.cache, self.store, &self.device) {
            proof::prove_not_from_page_cache(store.reads, store.page_cache_hits)?;
        }
        let issued = match self.store {
            Some(store) => Issued::Reads {
                reads: store.reads - store.page_cache_hits,
                // The store counts the bytes of hits in the page cache with the others. None
                // is the safe count where it had any: it makes no read foreign.
                bytes: match store.page_cache_hits {
                    0 => store.read_bytes,
                    _ => 0,
                },
            },
            None => Issued::Uncounted(RunBytes {
                // A search chooses its rows: each counts, as if no other query had chosen it.
                unique: self.unique_rows.unwrap_or(self.run.rows) * self.row_bytes.unwrap_or(1),
                asked: self.row_bytes.map(|row_bytes| self.run.rows * row_bytes),
                memory: self.memory_bytes,
            }),
        };
        let counts = Counts {
            rows: self.run.rows,
            issued,
            device: &self.device,
            process_bytes: self.process_bytes,
        };
        proof::prove(self.cache, counts)
    }

    /// Why numbers are missing.
    pub(crate) fn notes(&self) -> Vec<String> {
        let device = self.device.as_ref().err();
        let device = device.map(|reason| format!("the drive's reads are not counted: {reason}"));
        let calls = self.system_calls.as_ref().err().cloned();
        device.into_iter().chain(calls).collect()
    }

    /// Why a run without proof may have taken the same rows again.
    pub(crate) fn birthdays(&self) -> String {
        let rows = self.run.rows;
        let unique = self.unique_rows.unwrap_or(rows);
        let repeated = rows.saturating_sub(unique);
        if self.cache != Cache::Cold || repeated * REPEATED_MAX < rows {
            return String::new();
        }
        format!(
            "; {repeated} of the {rows} rows had been taken before in the same run (the birthday trap): \
             take a larger dataset, or fewer rows"
        )
    }
}
