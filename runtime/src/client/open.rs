//! Opening a store: its dataset and files, what its configuration comes to, and the start of its
//! shards.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use ringtake_storage::dataset::{Dataset, TableCheck};

use crate::admission::{Admission, Need};
use crate::client::info::StoreInfo;
use crate::client::store::{Core, Store};
use crate::config::{CacheChoice, Checksums, Config, Machine, ReadPathChoice, ResolvedConfig};
use crate::device::control::shared_rings::SharedRings;
use crate::device::files::{self, Files};
use crate::device::probe::{NoRing, probe_ring};
use crate::device::ring::RingRung;
use crate::doorbell::Doorbell;
use crate::error::shortage::{Asked, shortage};
use crate::error::{Error, Result};
use crate::host::available_memory;
use crate::host::cpus::allowed_cpus;
use crate::host::fork::Origin;
use crate::index::opened::Indexes;
use crate::memory::results::ResultMemory;
use crate::metrics::stats::ShardCounters;
use crate::metrics::{CallerMeter, ShardMeter};
use crate::ownership::{Ownership, ShardId};
use crate::shard::cache::pinned::PinnedPages;
use crate::shard::context::ShardContext;
use crate::shard::inbox::{Inbox, Message, inbox};
use crate::shard::start::{ShardInfo, StartReport};
use crate::shard::thread;

impl Store {
    /// Opens the dataset at `path` and starts its shards.
    ///
    /// Where io_uring is missing and the configuration leaves the choice, rows are read by a
    /// pool of threads, with a warning in the log and in [`Store::info`].
    ///
    /// # Errors
    /// No dataset, a damaged manifest or table, a configuration that cannot work, io_uring asked
    /// for and not available.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Store> {
        let mut warnings = Vec::new();
        let mut opening = Opening::new(path.as_ref(), &config, &mut warnings)?;
        let started = match opening.start() {
            Err(error) if config.read_path == ReadPathChoice::Auto && opening.machine.has_ring => {
                warnings.push(format!(
                    "{error}; rows are read by a pool of threads instead"
                ));
                opening.machine.has_ring = false;
                opening.config = Arc::new(config.resolve(&opening.machine)?);
                opening.start()
            }
            started => started,
        }?;
        let usable = &opening.indexes.usable;
        usable.iter().for_each(|index| index.release_file());
        for (shard, info) in started.shards.iter().enumerate() {
            let of_shard = |warning: &String| format!("shard {shard}: {warning}");
            warnings.extend(info.warnings.iter().map(of_shard));
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(Store {
            core: Arc::new(opening.core(started, warnings)),
        })
    }
}

/// A store about to start: its dataset is open, its shards are not started.
struct Opening {
    config: Arc<ResolvedConfig>,
    machine: Machine,
    dataset: Arc<Dataset>,
    files: Arc<Files>,
    results: Option<Arc<ResultMemory>>,
    indexes: Indexes,
}

struct Started {
    inboxes: Vec<Inbox>,
    doorbells: Vec<Arc<Doorbell>>,
    counters: Vec<Arc<ShardCounters>>,
    pinned: Vec<Arc<OnceLock<PinnedPages>>>,
    meters: Vec<Arc<ShardMeter>>,
    local_admissions: Vec<Arc<Admission>>,
    threads: Vec<JoinHandle<()>>,
    shards: Vec<ShardInfo>,
}

impl Opening {
    /// Opens the dataset and its indexes, and resolves the configuration.
    fn new(path: &Path, config: &Config, warnings: &mut Vec<String>) -> Result<Opening> {
        // Before the tables are read.
        config.validate()?;
        let check = match config.lab.checksums {
            Checksums::Verify => TableCheck::Verify,
            Checksums::Skip => TableCheck::Skip,
        };
        let (dataset, files, faults) = files::open(path, check, config.io)?;
        warnings.extend(faults);
        if config.cache == CacheChoice::Pinned {
            available_memory::check_fits(PinnedPages::bytes_needed(&dataset))?;
        }
        let indexes = Indexes::open(&dataset, check);
        warnings.extend_from_slice(&indexes.faults);
        let ring = probe_ring();
        check_ring(config.read_path, &ring, warnings)?;
        let machine = Machine {
            allowed: allowed_cpus(),
            align_bytes: files.align_bytes,
            has_ring: ring.is_ok(),
        };
        Ok(Opening {
            config: Arc::new(config.resolve(&machine)?),
            machine,
            dataset: Arc::new(dataset),
            files: Arc::new(files),
            results: result_memory(config.result_memory_bytes, warnings),
            indexes,
        })
    }

    fn ownership(&self) -> Ownership {
        Ownership::new(self.dataset.layout().block_rows, self.config.shards)
    }

    /// Starts the rings that shards share, if that is the read path.
    fn start_rings(&self) -> Result<Option<Arc<SharedRings>>> {
        let ReadPathChoice::SharedRings { rings } = self.config.read_path else {
            return Ok(None);
        };
        let (shards, queue_depth) = (self.config.shards, self.config.queue_depth);
        match SharedRings::start(rings, shards, queue_depth, &self.files) {
            Ok(rings) => Ok(Some(Arc::new(rings))),
            Err(error) => {
                let NoRing { reason, remedy } = error.into();
                Err(Error::NoRing { reason, remedy })
            }
        }
    }

    /// Starts all shards, or none.
    fn start(&self) -> Result<Started> {
        let rings = self.start_rings()?;
        let mut started = Started {
            inboxes: Vec::new(),
            doorbells: Vec::new(),
            counters: Vec::new(),
            pinned: Vec::new(),
            meters: Vec::new(),
            local_admissions: Vec::new(),
            threads: Vec::new(),
            shards: Vec::new(),
        };
        let mut reports = Vec::new();
        for shard in 0..self.config.shards {
            match self.start_shard(shard, rings.clone(), &mut started) {
                Ok(reported) => reports.push(reported),
                Err(error) => return Err(started.abandon(error)),
            }
        }
        for (shard, reported) in reports.into_iter().enumerate() {
            let failed = |reason: String| Error::ShardStart { shard, reason };
            match reported.recv() {
                Ok(Ok(info)) => started.shards.push(info),
                Ok(Err(reason)) => return Err(started.abandon(failed(reason))),
                Err(_) => {
                    return Err(started.abandon(failed("its thread ended at once".to_owned())));
                }
            }
        }
        Ok(started)
    }

    /// Starts the thread of `shard` and notes it; its report comes through the channel returned.
    fn start_shard(
        &self,
        shard: usize,
        rings: Option<Arc<SharedRings>>,
        started: &mut Started,
    ) -> Result<Receiver<StartReport>> {
        let config = &self.config;
        let observe = config.observe;
        let failed = |error: std::io::Error| Error::ShardStart {
            shard,
            reason: shortage(&error, Asked::Memory),
        };
        let (inbox, messages, doorbell) =
            inbox(config.limits.takes_in_flight_max, observe.metrics).map_err(failed)?;
        let counters = Arc::new(ShardCounters::default());
        let pinned = Arc::new(OnceLock::new());
        let meter = Arc::new(ShardMeter::new(observe.metrics, observe.perf_counters));
        let local_limits = Need::from(&config.limits).share_of(config.shards as u64);
        let local_admission = Arc::new(Admission::new(local_limits));
        let context = ShardContext {
            shard: ShardId(shard),
            config: config.clone(),
            dataset: self.dataset.clone(),
            files: self.files.clone(),
            ownership: self.ownership(),
            counters: counters.clone(),
            doorbell: doorbell.clone(),
            rings,
            pinned: pinned.clone(),
            results: self.results.clone(),
            indexes: self.indexes.usable.clone(),
            meter: meter.clone(),
            local_admission: local_admission.clone(),
        };
        let (report, reported) = bounded(1);
        let thread = thread::spawn(context, messages, self.machine.has_ring, report)?;
        started.threads.push(thread);
        started.inboxes.push(inbox);
        started.doorbells.push(doorbell);
        started.counters.push(counters);
        started.pinned.push(pinned);
        started.meters.push(meter);
        started.local_admissions.push(local_admission);
        Ok(reported)
    }

    fn core(mut self, started: Started, warnings: Vec<String>) -> Core {
        let info = StoreInfo {
            path: self.dataset.path().to_owned(),
            rows: self.dataset.rows(),
            table_bytes: self.dataset.table_bytes(),
            read_path: self.config.read_path,
            scheduler: self.config.lab.scheduler,
            direct: self.files.direct,
            shards: started.shards,
            warnings,
        };
        let index_info = self
            .indexes
            .usable
            .iter()
            .enumerate()
            .map(|(place, index)| {
                let of_shard = |shard: &ShardInfo| shard.codes_bytes[place];
                index.info(info.shards.iter().map(of_shard).sum())
            });
        Core {
            index_info: index_info.collect(),
            indexes: std::mem::take(&mut self.indexes),
            doorbells: started.doorbells.into(),
            callers: CallerMeter::new(self.config.observe.metrics, self.config.observe.slow_query),
            meters: started.meters,
            ownership: self.ownership(),
            dataset: self.dataset,
            inboxes: started.inboxes,
            admission: Arc::new(Admission::new(Need::from(&self.config.limits))),
            local_admissions: started.local_admissions,
            results: self.results,
            counters: started.counters,
            pinned: started.pinned,
            threads: std::sync::Mutex::new(started.threads),
            closed: AtomicBool::new(false),
            origin: Origin::here(),
            config: self.config,
            info,
        }
    }
}

impl Started {
    /// Ends the shards that did start.
    fn abandon(self, error: Error) -> Error {
        for inbox in &self.inboxes {
            let _ = inbox.send(Message::Stop);
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        error
    }
}

fn result_memory(bytes: u64, warnings: &mut Vec<String>) -> Option<Arc<ResultMemory>> {
    if bytes == 0 {
        return None;
    }
    let made = usize::try_from(bytes)
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))
        .and_then(ResultMemory::new);
    match made {
        Ok(memory) => Some(memory),
        Err(error) => {
            warnings.push(format!(
                "there are no {bytes} bytes of memory for results, so they come from the heap, which is slower: {}; or choose a smaller `result_memory_bytes`",
 shortage(&error, Asked::Memory)
            ));
            None
        }
    }
}

/// Rejects a read path that needs io_uring where that is missing, and warns where the choice is
/// open.
fn check_ring(
    asked: ReadPathChoice,
    ring: &Result<RingRung, NoRing>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Err(NoRing { reason, remedy }) = ring else {
        return Ok(());
    };
    if asked.needs_ring() {
        return Err(Error::NoRing {
            reason: reason.clone(),
            remedy: remedy.clone(),
        });
    }
    if asked == ReadPathChoice::Auto {
        warnings.push(format!(
            "io_uring is not available ({reason}), so rows are read by a pool of threads, which is slower; {remedy}"
        ));
    }
    Ok(())
}
