//! The command line of a program of peers.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringtake_bench::{Bound, Cache, Distribution, Load, Options, Record, mixed_memory_bytes};
use ringtake_runtime::CacheChoice;

use crate::cold;
use crate::error::{Error, Result};
use crate::flat::RowLayout;
use crate::keeper::keep;
use crate::memory_group::MemoryGroup;
use crate::run::{Place, Run};
use crate::search::{Search, SearchArgs};
use crate::source::Source;
use crate::{search_table, table};

/// The peers of one program.
pub trait Peers {
    /// Every kind of storage, by name; each is a file or directory of this name.
    const STORAGES: &'static [&'static str];

    /// Every peer, by name.
    const PEERS: &'static [&'static str];

    /// Writes the rows of `source` into a storage at `path`, which does not exist.
    ///
    /// # Errors
    /// What the peer or the system refuses.
    fn prepare(storage: &'static str, source: &Source, path: &Path) -> Result<()>;

    /// Measures a peer.
    ///
    /// # Errors
    /// What the peer or the bench refuses.
    fn measure(peer: &'static str, run: &Run) -> Result<Record>;

    /// Measures how a peer searches by vector.
    ///
    /// # Errors
    /// What the peer or the bench refuses; a peer that knows no search.
    fn search(peer: &'static str, search: &Search) -> Result<Record> {
        let _ = search;
        Err(Error::NoSearch { peer })
    }
}

/// Takes rows by id from software beside Ringtake, and proves where they came from.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name the peers, one a line
    List,
    /// Write the rows of a dataset into each storage that is not there yet
    Prepare(Place),
    /// Measure one peer
    #[command(args_override_self = true)]
    Run(Box<RunArgs>),
    /// Measure how one peer searches by vector, and how right it is
    #[command(args_override_self = true)]
    Search(Box<SearchArgs>),
    /// Print the bytes of memory in which 90 of 100 accesses to the rows of a dataset hit
    Memory {
        /// The Ringtake dataset
        #[arg(long, value_name = "DIR")]
        dataset: PathBuf,
        /// How popular rows are: uniform, or zipf:S such as zipf:0.99
        #[arg(long, value_name = "D", default_value = "uniform")]
        distribution: Distribution,
    },
    /// Print a table of the records of many runs, in the order in which they were taken
    Table {
        /// Records that `run --json` and `bench file-read --json` have written
        #[arg(required = true)]
        records: Vec<PathBuf>,
    },
    /// The same of records of searches
    SearchTable {
        /// Records that `search --json`, `bench vector-search --json` and
        /// bench/peers/faiss/vector_search.py have written
        #[arg(required = true)]
        records: Vec<PathBuf>,
    },
    /// Drop files from the page cache until standard input ends
    #[command(hide = true)]
    KeepCold {
        /// How often, in milliseconds
        every_ms: u64,
        /// The files
        files: Vec<PathBuf>,
    },
    /// Hold the page cache of a control group to a size until standard input ends
    #[command(hide = true)]
    KeepHeld {
        /// The group
        group: PathBuf,
        /// The size
        cache_bytes: u64,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Which one
    peer: String,
    #[command(flatten)]
    place: Place,
    /// From the drive, from memory, or from the one or the other as the memory given has room
    #[arg(long, value_enum, default_value_t = Cache::Cold)]
    cache: Cache,
    /// How popular rows are: uniform, or zipf:S such as zipf:0.99
    #[arg(long, value_name = "D", default_value = "uniform")]
    distribution: Distribution,
    /// Memory in which a mixed run may hold rows, such as 800MiB: of a cache of the peer's own, or of
    /// the page cache
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// The memory control group in which this program was started, and nothing else runs; needed to
    /// limit the page cache
    #[arg(long, value_name = "DIR")]
    memory_group: Option<PathBuf>,
    /// How long to ask queries
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Threads of the peer
    #[arg(long, value_name = "T", default_value = "2")]
    threads: NonZeroUsize,
    /// Queries in flight for each of them
    #[arg(long, value_name = "C", default_value = "4")]
    in_flight: NonZeroUsize,
    /// Rows of each query
    #[arg(long, value_name = "N", default_value = "500")]
    rows_per_query: NonZeroU64,
    /// Chooses the order of the rows
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Write the record as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    json: PathBuf,
}

fn parse_size(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(CacheChoice::Bytes(bytes)) => Ok(bytes),
        _ => Err("give a size such as 800MiB".to_owned()),
    }
}

/// How often the page cache is emptied beside takes, none of which asks for a row again: rows that
/// share a page are then read apart.
pub const EMPTIED_EVERY: Duration = Duration::from_millis(20);

/// How often the page cache of a mixed run is held to its size.
const HOLD_EVERY: Duration = Duration::from_millis(20);

/// Runs a program of peers on the command line of this process.
pub fn main<P: Peers>() -> ExitCode {
    match act::<P>(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act<P: Peers>(command: Command) -> Result<()> {
    match command {
        Command::List => {
            for peer in P::PEERS {
                println!("{peer}");
            }
            Ok(())
        }
        Command::Prepare(place) => prepare::<P>(&place),
        Command::Run(args) => {
            let record = run::<P>(&args)?;
            Ok(ringtake_bench::write_json(&args.json, &record)?)
        }
        Command::Search(args) => {
            let peer = known::<P>(&args.peer)?;
            let record = P::search(peer, &Search::new(peer, &args)?)?;
            Ok(ringtake_bench::write_json(&args.json, &record)?)
        }
        Command::Memory {
            dataset,
            distribution,
        } => {
            let source = Source::open(&dataset)?;
            let row_bytes = RowLayout::of(&source.schema())?.row_bytes() as u64;
            let bytes = mixed_memory_bytes(source.rows(), row_bytes, distribution);
            println!("{bytes}");
            Ok(())
        }
        Command::Table { records } => {
            print!("{}", table::of(&records)?);
            Ok(())
        }
        Command::SearchTable { records } => {
            print!("{}", search_table::of(&records)?);
            Ok(())
        }
        Command::KeepCold { every_ms, files } => {
            cold::keep_cold(Duration::from_millis(every_ms), &files)
        }
        Command::KeepHeld { group, cache_bytes } => {
            let group = MemoryGroup::at(&group)?;
            keep(HOLD_EVERY, || group.hold(cache_bytes))
        }
    }
}

fn prepare<P: Peers>(place: &Place) -> Result<()> {
    let source = Source::open(&place.dataset)?;
    fs::create_dir_all(&place.storages).map_err(Error::io("make", &place.storages))?;
    for storage in P::STORAGES {
        let path = place.storages.join(storage);
        if path.exists() {
            continue;
        }
        eprintln!("peers: writing {}", path.display());
        // A storage is under its name only when it is whole.
        let unfinished = place.storages.join(format!("{storage}.unfinished"));
        remove(&unfinished)?;
        P::prepare(storage, &source, &unfinished)?;
        fs::rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    removed.map_err(Error::io("remove", path))
}

/// The peer of that name.
fn known<P: Peers>(name: &str) -> Result<&'static str> {
    let known = P::PEERS.iter().find(|peer| **peer == name);
    known.copied().ok_or_else(|| Error::Unknown {
        what: "peer",
        name: name.to_owned(),
        there_is: P::PEERS.join(", "),
    })
}

fn run<P: Peers>(args: &RunArgs) -> Result<Record> {
    let peer = known::<P>(&args.peer)?;
    if (args.cache == Cache::Mixed) != args.memory.is_some() {
        return Err(Error::Memory);
    }
    if args.cache == Cache::Cold && args.distribution != Distribution::Uniform {
        return Err(Error::ColdRepeats);
    }
    let (rows, schema) = {
        let source = Source::open(&args.place.dataset)?;
        (source.rows(), source.schema())
    };
    let row_bytes = RowLayout::of(&schema).ok();
    let run = Run {
        peer,
        options: Options {
            workload: "peer",
            cache: args.cache,
            load: Load {
                threads: args.threads,
                in_flight: args.in_flight,
                bound: Bound::Time(Duration::from_secs_f64(args.seconds)),
            },
            dataset_rows: rows,
            rows,
            rows_per_query: args.rows_per_query.get(),
            distribution: args.distribution,
            memory_bytes: args.memory,
            seed: args.seed,
            dataset: args.place.dataset.clone(),
            columns: schema.fields().iter().map(|f| f.name().clone()).collect(),
            row_bytes: row_bytes.map(|layout| layout.row_bytes() as u64),
            ..Options::default()
        },
        storages: args.place.storages.clone(),
        memory_group: args.memory_group.clone(),
    };
    P::measure(run.peer, &run)
}
