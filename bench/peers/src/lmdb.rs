//! LMDB: rows under their ids, big-endian so that they lie in order, one read transaction kept
//! open by each thread, and no reading ahead.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, DecodeIgnore, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};
use ringtake_bench::{Cache, Observed, Record, Subject};
use ringtake_peers_harness::{Calls, Chill, Error, FlatRows, Result, RowLayout, Run, Source};

use crate::flat_file;

pub(crate) const PEER: &str = "lmdb";
pub(crate) const STORAGE: &str = "lmdb";
const FILE: &str = "data.mdb";

type Rows = Database<U64<BigEndian>, Bytes>;

thread_local! {
    /// One thread reads one database in this program.
    static TRANSACTION: RefCell<Option<RoTxn<'static, WithTls>>> = const { RefCell::new(None) };
}

fn open(path: &Path, map_bytes: usize, flags: EnvFlags) -> Result<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(map_bytes).max_readers(1024);
    // SAFETY: the flags given here only turn off reading ahead and syncing, and nothing but
    // LMDB writes the files while they are mapped.
    unsafe { options.flags(flags).open(path) }.map_err(Error::peer(PEER))
}

pub(crate) fn prepare(source: &Source, path: &Path) -> Result<()> {
    let layout = RowLayout::of(&source.schema())?;
    fs::create_dir(path).map_err(Error::io("make", path))?;
    flat_file::write_schema(path, &source.schema())?;
    // A row takes whole pages, and the tree above them less than as much again.
    let map_bytes = 2 * (source.rows() as usize + 1024) * flat_file::stride_bytes(&layout);
    let env = open(path, map_bytes, EnvFlags::NO_SYNC)?;
    let mut txn = env.write_txn().map_err(Error::peer(PEER))?;
    let rows: Rows = env
        .create_database(&mut txn, None)
        .map_err(Error::peer(PEER))?;
    for batch in source.batches() {
        let (start, batch) = batch?;
        let encoded = layout.encode(&batch)?;
        for (id, row) in (start..).zip(encoded.chunks_exact(layout.row_bytes())) {
            rows.put_with_flags(&mut txn, PutFlags::APPEND, &id, row)
                .map_err(Error::peer(PEER))?;
        }
    }
    txn.commit().map_err(Error::peer(PEER))?;
    env.force_sync().map_err(Error::peer(PEER))
}

pub(crate) fn measure(run: &Run) -> Result<Record> {
    let dir = run.storage(STORAGE)?;
    let path = dir.join(FILE);
    run.measure(
        Calls::Blocking,
        Chill::Once,
        std::slice::from_ref(&path),
        || {
            let bytes = fs::metadata(&path)
                .map_err(Error::io("look at", &path))?
                .len();
            let env = open(&dir, bytes as usize, EnvFlags::NO_READ_AHEAD)?;
            let txn = env.clone().static_read_txn().map_err(Error::peer(PEER))?;
            let rows: Rows = env
                .open_database(&txn, None)
                .map_err(Error::peer(PEER))?
                .ok_or_else(|| Error::NotPrepared {
                    path: dir.clone(),
                    storage: STORAGE,
                })?;
            if run.cache() == Cache::Cold {
                load_tree(&rows, &txn)?;
            }
            drop(txn);
            Ok(Lmdb {
                layout: flat_file::layout(&dir)?,
                path: path.clone(),
                env,
                rows,
            })
        },
    )
}

/// Walks the keys, so that the tree is in memory and the rows are not: so it is in a program
/// that has run for a while.
fn load_tree(rows: &Rows, txn: &RoTxn<'static, WithTls>) -> Result<()> {
    let keys = rows.remap_data_type::<DecodeIgnore>();
    for key in keys.iter(txn).map_err(Error::peer(PEER))? {
        key.map_err(Error::peer(PEER))?;
    }
    Ok(())
}

struct Lmdb {
    path: PathBuf,
    layout: Arc<RowLayout>,
    env: Env,
    rows: Rows,
}

impl Lmdb {
    fn copy_rows(&self, txn: &RoTxn<'static, WithTls>, row_ids: &[u64]) -> heed::Result<Vec<u8>> {
        let mut rows = Vec::with_capacity(row_ids.len() * self.layout.row_bytes());
        for row_id in row_ids {
            // A row that is not there makes the answer short, which the bench refuses.
            rows.extend_from_slice(self.rows.get(txn, row_id)?.unwrap_or_default());
        }
        Ok(rows)
    }
}

impl Subject for Lmdb {
    type Query = [u64];
    type Answer = FlatRows;

    async fn take(&self, row_ids: &[u64]) -> std::result::Result<FlatRows, ringtake_bench::Error> {
        TRANSACTION.with_borrow_mut(|open| {
            if open.is_none() {
                let txn = self.env.clone().static_read_txn();
                *open = Some(txn.map_err(ringtake_bench::Error::subject)?);
            }
            let rows = match open {
                Some(txn) => self.copy_rows(txn, row_ids),
                None => unreachable!("it was opened above"),
            };
            let rows = rows.map_err(ringtake_bench::Error::subject)?;
            Ok(FlatRows::new(&self.layout, rows))
        })
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Lmdb {
    fn read_path(&self) -> String {
        PEER.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(vec![self.path.clone()])
    }
}
