//! `bench file-read`: rows taken by id from the store, as the flags say.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;
use ringtake_runtime::{Config, IoMode};

use crate::command::args::{
    ArrivalArgs, BoundArgs, Contents, LoadArgs, PartArgs, ReadArgs, RoundsArgs, RowsArgs, RunArgs,
    StoreArgs, defaults,
};
use crate::drive::load::ClientPlace;
use crate::drive::load::Rate;
use crate::drive::store_subject::StoreSubject;
use crate::error::Error;
use crate::measure::Bench;
use crate::measure::options::Options;
use crate::record::Record;
use crate::record::proof::Cache;
use crate::workload::dataset::DatasetFiles;
use crate::workload::distribution::Distribution;

/// Flags of `bench file-read`.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileReadArgs {
    /// The rows.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// The part of the dataset.
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Popularity of rows: uniform, or zipf:S such as zipf:0.99
    #[arg(long, value_name = "D", default_value = "uniform")]
    distribution: Distribution,
    /// Where rows come from: the drive, the shards' caches, or a mix in which 90 of 100 rows are in
    /// the caches
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    pub(crate) cache: Cache,
    /// The end of the run.
    #[command(flatten)]
    pub(crate) bound: BoundArgs,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// The arrivals.
    #[command(flatten)]
    pub(crate) arrivals: ArrivalArgs,
    /// Where the clients of an open loop run: on threads of their own, or in each shard, which
    /// takes one row of its own per query; shards with clients poll without sleeping unless --spin
    /// is given, and --threads is ignored
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = ClientPlace::Threads, requires_if("in-shard", "rate"))]
    clients: ClientPlace,
    /// The store.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// How it reads.
    #[command(flatten)]
    pub(crate) reads: ReadArgs,
    /// The run.
    #[command(flatten)]
    run: RunArgs,
}

/// Measures and prints the record, also that of a run that was interrupted.
pub(crate) fn run(args: &FileReadArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    args.run
        .output
        .emit(&args.measure_until_interrupted(interrupted)?)
}

impl FileReadArgs {
    /// The flags with their defaults.
    pub(crate) fn of_dataset(dataset: &Path, cache: Cache) -> FileReadArgs {
        let mut args: FileReadArgs = defaults(&["--dataset", "."]);
        args.rows.dataset = dataset.to_path_buf();
        args.cache = cache;
        args
    }

    /// One of several runs that are measured in turn.
    pub(crate) fn of_rounds(rounds: &RoundsArgs) -> FileReadArgs {
        let mut args = FileReadArgs::of_dataset(&rounds.rows.dataset, rounds.cache);
        args.rows = rounds.rows.clone();
        args.load = rounds.load.clone();
        args.bound.seconds = Some(rounds.seconds);
        args
    }

    /// Measures; an interrupted run is an error.
    pub(crate) fn measure(&self, interrupted: &AtomicBool) -> Result<Record, Error> {
        self.measure_until_interrupted(interrupted)?.whole()
    }

    /// Opens the store of these flags over all rows.
    pub(crate) fn open(&self) -> Result<StoreSubject, Error> {
        let files = self.files()?;
        self.open_with(self.config(&files, files.rows)?)
    }

    fn measure_until_interrupted(&self, interrupted: &AtomicBool) -> Result<Record, Error> {
        self.check_clients()?;
        let files = self.files()?;
        let rows = self.part.rows_used(files.rows);
        let config = self.config(&files, rows)?;
        let options = self.options(&files, rows);
        // A workload that is none is found before anything is opened.
        options.workload()?;
        let bench = Bench::open(interrupted, || self.open_with(config))?;
        bench.fill(&options)?;
        match self.clients {
            ClientPlace::Threads => bench.measure(&options),
            ClientPlace::InShard => bench.measure_by(&bench.subject.inside(rows), &options),
        }
    }

    fn files(&self) -> Result<DatasetFiles, Error> {
        DatasetFiles::of(&self.rows.dataset, &self.rows.columns)
    }

    /// Rejects what clients inside the shards cannot do.
    fn check_clients(&self) -> Result<(), Error> {
        match (self.clients, self.arrivals.rate) {
            (ClientPlace::Threads, _) => Ok(()),
            _ if self.rows.rows_per_query.get() > 1 => Err(Error::InShardRows),
            (ClientPlace::InShard, Some(Rate::PerSecond(_))) => Ok(()),
            (ClientPlace::InShard, _) => Err(Error::InShardRate),
        }
    }

    fn config(&self, files: &DatasetFiles, rows: u64) -> Result<Config, Error> {
        let config = self.store.config(Contents {
            files,
            rows,
            cache: self.cache,
            distribution: self.distribution,
            open_loop: self.arrivals.rate.map(|_| self.clients),
        })?;
        Ok(self.reads.refine(config))
    }

    fn open_with(&self, config: Config) -> Result<StoreSubject, Error> {
        if self.cache == Cache::Cold && self.store.io == IoMode::Buffered {
            // The warm-up that follows takes other rows.
            self.files()?.drop_from_page_cache();
        }
        let patience = self.arrivals.patience();
        StoreSubject::open(&self.rows.dataset, &self.rows.columns, patience, config)
    }

    fn options(&self, files: &DatasetFiles, rows: u64) -> Options {
        Options {
            workload: "file-read",
            cache: self.cache,
            load: self.load.load(self.bound.bound()),
            rate: self.arrivals.rate,
            deadline: self.arrivals.deadline,
            dataset_rows: files.rows,
            rows,
            rows_per_query: self.rows.rows_per_query.get(),
            distribution: self.distribution,
            seed: self.run.seed,
            attempts: self.run.attempts,
            dataset: self.rows.dataset.clone(),
            columns: files.columns.clone(),
            row_bytes: files.row_bytes,
            ..Options::default()
        }
    }
}
