//! The light peers: everything that builds in minutes. RocksDB is one where its feature is on.
//!
//! Each peer is a module that owns its storage and its subject. Maps of files and LMDB's
//! environment are unsafe to open; the argument is at each place.

mod flat_file;
mod lmdb;
mod mapped;
mod parquet_file;
mod parquet_future;
mod parquet_sync;
mod positioned;
#[cfg(feature = "rocksdb")]
mod rocks;

use std::path::Path;
use std::process::ExitCode;

use ringtake_bench::Record;
use ringtake_peers_harness::{Peers, Result, Run, Source};

struct Light;

impl Peers for Light {
    const STORAGES: &'static [&'static str] = &[
        flat_file::STORAGE,
        lmdb::STORAGE,
        #[cfg(feature = "rocksdb")]
        rocks::STORAGE,
        parquet_file::STORAGE,
    ];
    const PEERS: &'static [&'static str] = &[
        mapped::PEER,
        positioned::PEER,
        lmdb::PEER,
        #[cfg(feature = "rocksdb")]
        rocks::PEER,
        parquet_sync::PEER,
        parquet_future::PEER,
    ];

    fn prepare(storage: &'static str, source: &Source, path: &Path) -> Result<()> {
        match storage {
            flat_file::STORAGE => flat_file::prepare(source, path),
            lmdb::STORAGE => lmdb::prepare(source, path),
            #[cfg(feature = "rocksdb")]
            rocks::STORAGE => rocks::prepare(source, path),
            parquet_file::STORAGE => parquet_file::prepare(source, path),
            other => unreachable!("{other} is not in STORAGES"),
        }
    }

    fn measure(peer: &'static str, run: &Run) -> Result<Record> {
        match peer {
            mapped::PEER => mapped::measure(run),
            positioned::PEER => positioned::measure(run),
            lmdb::PEER => lmdb::measure(run),
            #[cfg(feature = "rocksdb")]
            rocks::PEER => rocks::measure(run),
            parquet_sync::PEER => parquet_sync::measure(run),
            parquet_future::PEER => parquet_future::measure(run),
            other => unreachable!("{other} is not in PEERS"),
        }
    }
}

fn main() -> ExitCode {
    ringtake_peers_harness::main::<Light>()
}
