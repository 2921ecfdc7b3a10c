//! The measured run: where a peer's rows are, how the peer is called, and the means that keep the
//! run cold or within its memory.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringtake_bench::{Bound, Cache, Load, Options, Record, Subject};
use ringtake_storage::layout::PAGE_BYTES;

use crate::cold;
use crate::error::{Error, Result};
use crate::keeper::Keeper;
use crate::memory_group::MemoryGroup;

/// Where rows come from and where the peers have them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The Ringtake dataset whose rows the peers are given
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// Where the peers' storages are
    #[arg(long, value_name = "DIR")]
    pub(crate) storages: PathBuf,
}

/// How a peer is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// A call keeps its thread until the rows are there. Cold and mixed, as many threads call as others
    /// have queries in flight, so that the drive sees the same number of queries.
    Blocking,
    /// A call is a future.
    Futures,
}

/// The means that keep a cold run of a peer cold, and whether the page cache holds its rows in a
/// mixed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chill {
    /// It reads past the page cache.
    Direct,
    /// It reads through the page cache, which is emptied all the time: so often.
    Emptied(Duration),
    /// It maps its files, which were emptied before; no row is asked for twice.
    Once,
}

/// A run as it was asked for.
#[derive(Debug)]
pub struct Run {
    pub(crate) peer: &'static str,
    pub(crate) options: Options,
    pub(crate) storages: PathBuf,
    pub(crate) memory_group: Option<PathBuf>,
}

impl Run {
    /// Where the rows must come from.
    pub fn cache(&self) -> Cache {
        self.options.cache
    }

    /// Threads a peer may have for itself.
    pub fn threads(&self) -> NonZeroUsize {
        self.options.load.threads
    }

    /// Memory in which a mixed run may hold rows.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.options.memory_bytes
    }

    /// Bytes of all rows as Arrow has them, if they are of fixed width.
    pub fn rows_bytes(&self) -> u64 {
        self.options.row_bytes.unwrap_or(0) * self.options.rows
    }

    /// Where a storage is.
    ///
    /// # Errors
    /// One that was not prepared.
    pub fn storage(&self, storage: &'static str) -> Result<PathBuf> {
        let path = self.storages.join(storage);
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::NotPrepared { path, storage })
        }
    }

    /// Opens a subject that reads `files` and measures it.
    ///
    /// # Errors
    /// What `open`, a take or the bench returns.
    pub fn measure<S: Subject>(
        &self,
        calls: Calls,
        chill: Chill,
        files: &[PathBuf],
        open: impl FnOnce() -> Result<S>,
    ) -> Result<Record> {
        let mut options = self.options.clone();
        let mut keeper = None;
        if options.cache != Cache::Warm {
            if chill != Chill::Direct {
                // A page cache reads whole pages.
                let page_bytes = |bytes: u64| bytes.next_multiple_of(PAGE_BYTES);
                options.device_row_bytes = options.row_bytes.map(page_bytes);
            }
            cold::evict(files)?;
        }
        match (options.cache, chill) {
            (Cache::Warm, _) | (_, Chill::Direct) => {}
            (Cache::Mixed, _) => keeper = Some(self.limit_page_cache()?),
            (Cache::Cold, Chill::Emptied(every)) => {
                let files = files.iter().map(|path| path.clone().into_os_string());
                let every = every.as_millis().to_string();
                let arguments = ["keep-cold".into(), every.into()].into_iter().chain(files);
                keeper = Some(Keeper::start(arguments)?);
            }
            (Cache::Cold, Chill::Once) => {
                options.load.bound = Bound::Queries(self.queries_once());
            }
        }
        if calls == Calls::Blocking {
            let Load {
                threads, in_flight, ..
            } = options.load;
            options.load.in_flight = NonZeroUsize::MIN;
            if options.cache != Cache::Warm {
                options.load.threads = threads.saturating_mul(in_flight);
            }
        }
        let interrupted = ringtake_bench::listen();
        let record = ringtake_bench::measure(&options, &interrupted, || {
            open().map_err(ringtake_bench::Error::subject)
        });
        drop(keeper);
        Ok(record?)
    }

    /// Holds the page cache to the memory of a mixed run for as long as the value lives.
    fn limit_page_cache(&self) -> Result<Keeper> {
        let cache_bytes = self.options.memory_bytes.ok_or(Error::Memory)?;
        let group = self.memory_group.as_ref();
        let group = group.ok_or(Error::NotLimited { peer: self.peer })?;
        MemoryGroup::at(group)?.hold(cache_bytes)?;
        let arguments: [OsString; 3] = [
            "keep-held".into(),
            group.into(),
            cache_bytes.to_string().into(),
        ];
        Keeper::start(arguments)
    }

    /// Queries that ask for half of the rows: surely fewer than the workload has before it
    /// asks for a row again.
    fn queries_once(&self) -> u64 {
        (self.options.rows / self.options.rows_per_query / 2).max(1)
    }
}
