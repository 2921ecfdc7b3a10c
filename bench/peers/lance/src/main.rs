//! Lance beside Ringtake: through its blocking readers, through io_uring threads of its own, and
//! through a ring in each thread that asks.
//!
//! The last needs `LANCE_URING_CURRENT_THREAD` in the environment, so the program starts itself
//! again with it.

#![forbid(unsafe_code)]

mod answer;
mod convert;
mod search;

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use arrow_array::RecordBatchIterator;
use lance::Dataset;
use lance::dataset::ProjectionRequest;
use ringtake_bench::{Alarm, Observed, Record, Subject};
use ringtake_peers_harness::{
    Calls, Chill, EMPTIED_EVERY, Error, Peers, Result, Run, Search, Source,
};
use tokio::runtime::{Builder, Runtime};

use crate::answer::LanceRows;

const STORAGE: &str = "lance";
const FILE: &str = "lance-file";
const URING: &str = "lance-uring";
const URING_CURRENT_THREAD: &str = "lance-uring-current-thread";
const CURRENT_THREAD: &str = "LANCE_URING_CURRENT_THREAD";

struct Lance;

impl Peers for Lance {
    const STORAGES: &'static [&'static str] = &[STORAGE];
    const PEERS: &'static [&'static str] = &[FILE, URING, URING_CURRENT_THREAD];

    fn prepare(_storage: &'static str, source: &Source, path: &Path) -> Result<()> {
        let schema = convert::schema(&source.schema())?;
        let batches = source.batches().map(|batch| {
            batch
                .and_then(|(_, batch)| convert::batch(&batch))
                .map_err(|error| arrow_schema::ArrowError::ExternalError(error.into()))
        });
        // The writer may hold its rows on other threads; they are few enough to be collected.
        let batches: Vec<_> = batches.collect();
        let rows = RecordBatchIterator::new(batches, schema);
        let uri = format!("file://{}", absolute(path)?.display());
        let written = multi_thread(1)?.block_on(Dataset::write(rows, uri.as_str(), None));
        written.map(drop).map_err(Error::peer(STORAGE))
    }

    fn measure(peer: &'static str, run: &Run) -> Result<Record> {
        let path = absolute(&run.storage(STORAGE)?)?;
        let files = data_files(&path.join("data"))?;
        run.measure(
            Calls::Futures,
            Chill::Emptied(EMPTIED_EVERY),
            &files,
            || LanceDataset::open(peer, run.threads().get(), &path, &files),
        )
    }

    fn search(peer: &'static str, search: &Search) -> Result<Record> {
        let path = absolute(&search.storage(STORAGE)?)?;
        let files = data_files(&path.join("data"))?;
        let build_seconds = search::build_index(&path, search)?;
        search.measure(&files, build_seconds, || {
            let threads = search.threads().get();
            let rows = LanceDataset::open(peer, threads, &path, &files)?;
            search::Searched::open(rows, search)
        })
    }
}

fn multi_thread(threads: usize) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(Error::io("start", "tokio"))
}

fn current_thread() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start", "tokio"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

fn data_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(Error::io("list", dir))?;
    entries
        .map(|entry| Ok(entry.map_err(Error::io("list", dir))?.path()))
        .collect()
}

struct LanceDataset {
    peer: &'static str,
    dataset: Arc<Dataset>,
    projection: ProjectionRequest,
    files: Vec<PathBuf>,
    /// None where each client thread brings its own.
    runtime: Option<Runtime>,
}

impl LanceDataset {
    /// The dataset at `path`, whose rows are in `files`, as `peer` reads it.
    fn open(
        peer: &'static str,
        threads: usize,
        path: &Path,
        files: &[PathBuf],
    ) -> Result<LanceDataset> {
        let scheme = if peer == FILE { "file" } else { "file+uring" };
        let uri = format!("{scheme}://{}", path.display());
        let runtime = match peer {
            URING_CURRENT_THREAD => None,
            _ => Some(multi_thread(threads)?),
        };
        let open = Dataset::open(&uri);
        let dataset = match &runtime {
            Some(runtime) => runtime.block_on(open),
            None => current_thread()?.block_on(open),
        }
        .map_err(Error::peer(STORAGE))?;
        Ok(LanceDataset {
            peer,
            projection: ProjectionRequest::Schema(Arc::new(dataset.schema().clone())),
            dataset: Arc::new(dataset),
            files: files.to_vec(),
            runtime,
        })
    }

    /// Runs a query where queries run: on the thread that asks, or on one of the runtime's.
    async fn query<F>(
        &self,
        query: F,
    ) -> std::result::Result<arrow_array::RecordBatch, ringtake_bench::Error>
    where
        F: Future<Output = lance::Result<arrow_array::RecordBatch>> + Send + 'static,
    {
        let rows = match &self.runtime {
            None => query.await,
            Some(runtime) => {
                let joined = runtime.spawn(query).await;
                joined.map_err(ringtake_bench::Error::subject)?
            }
        };
        rows.map_err(ringtake_bench::Error::subject)
    }
}

impl Subject for LanceDataset {
    type Query = [u64];
    type Answer = LanceRows;

    async fn take(&self, row_ids: &[u64]) -> std::result::Result<LanceRows, ringtake_bench::Error> {
        let (dataset, projection) = (Arc::clone(&self.dataset), self.projection.clone());
        let row_ids = row_ids.to_vec();
        let query = async move { dataset.take(&row_ids, projection).await };
        Ok(LanceRows(self.query(query).await?))
    }

    fn drive<F: Future>(&self, client: F, alarm: &Alarm) -> F::Output {
        if self.runtime.is_some() {
            return alarm.drive(client);
        }
        // The ring belongs to the thread, so the thread polls everything itself. The loop is
        // closed: no alarm is set.
        match current_thread() {
            Ok(runtime) => runtime.block_on(client),
            Err(error) => panic!("{error}"),
        }
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for LanceDataset {
    fn read_path(&self) -> String {
        self.peer.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(self.files.clone())
    }
}

fn main() -> ExitCode {
    let asked = std::env::args().any(|argument| argument == URING_CURRENT_THREAD);
    if asked && std::env::var_os(CURRENT_THREAD).is_none() {
        let program = std::env::current_exe().unwrap_or_else(|_| "peer-lance".into());
        let failed = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(CURRENT_THREAD, "1")
            .exec();
        eprintln!("peers: cannot start with {CURRENT_THREAD}=1: {failed}");
        return ExitCode::FAILURE;
    }
    ringtake_peers_harness::main::<Lance>()
}
