//! RocksDB MultiGet: one row a block, no compression, compacted into one level. Cold it reads
//! past the page cache and keeps no blocks; warm its block cache holds every row; mixed it reads
//! past the page cache too and its block cache has the memory given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringtake_bench::{Cache as RunCache, Observed, Record, Subject};
use ringtake_peers_harness::{Calls, Chill, Error, FlatRows, Result, RowLayout, Run, Source};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME as FAMILY, Options, ReadOptions, WriteBatch, WriteOptions,
};

use crate::flat_file;

pub(crate) const PEER: &str = "rocksdb";
pub(crate) const STORAGE: &str = "rocksdb";
const DATABASE: &str = "db";

/// A block cache keeps more than the bytes of the rows: half as much again, and this much.
const CACHE_SLACK_BYTES: usize = 64 << 20;

pub(crate) fn prepare(source: &Source, path: &Path) -> Result<()> {
    let layout = RowLayout::of(&source.schema())?;
    std::fs::create_dir(path).map_err(Error::io("make", path))?;
    flat_file::write_schema(path, &source.schema())?;
    let mut blocks = BlockBasedOptions::default();
    // A block is closed as soon as it is as long as this: at each row.
    blocks.set_block_size(layout.row_bytes());
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&blocks);
    options.prepare_for_bulk_load();
    let db = DB::open(&options, path.join(DATABASE)).map_err(Error::peer(PEER))?;
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    for batch in source.batches() {
        let (start, batch) = batch?;
        let encoded = layout.encode(&batch)?;
        let mut rows = WriteBatch::default();
        for (id, row) in (start..).zip(encoded.chunks_exact(layout.row_bytes())) {
            rows.put(id.to_be_bytes(), row);
        }
        db.write_opt(rows, &write).map_err(Error::peer(PEER))?;
    }
    db.flush().map_err(Error::peer(PEER))?;
    db.compact_range::<&[u8], &[u8]>(None, None);
    Ok(())
}

pub(crate) fn measure(run: &Run) -> Result<Record> {
    let dir = run.storage(STORAGE)?;
    let files = table_files(&dir.join(DATABASE))?;
    run.measure(Calls::Blocking, Chill::Direct, &files, || {
        let mut blocks = BlockBasedOptions::default();
        let mut options = Options::default();
        match run.cache() {
            RunCache::Cold => {
                blocks.disable_cache();
                options.set_use_direct_reads(true);
            }
            RunCache::Mixed => {
                let cache_bytes = run.memory_bytes().unwrap_or(0) as usize;
                blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes));
                options.set_use_direct_reads(true);
            }
            RunCache::Warm => {
                let rows_bytes = run.rows_bytes() as usize;
                let cache_bytes = rows_bytes + rows_bytes / 2 + CACHE_SLACK_BYTES;
                blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes));
            }
        }
        options.set_block_based_table_factory(&blocks);
        // Only a family opened by its name has a handle, which MultiGet asks for.
        let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        let path = dir.join(DATABASE);
        let db = DB::open_cf_descriptors_read_only(&options, path, [family], false)
            .map_err(Error::peer(PEER))?;
        Ok(Rocks {
            layout: flat_file::layout(&dir)?,
            files: files.clone(),
            db,
        })
    })
}

fn table_files(db: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(db).map_err(Error::io("list", db))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", db))?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            files.push(path);
        }
    }
    Ok(files)
}

struct Rocks {
    files: Vec<PathBuf>,
    layout: Arc<RowLayout>,
    db: DB,
}

impl Subject for Rocks {
    type Query = [u64];
    type Answer = FlatRows;

    async fn take(&self, row_ids: &[u64]) -> std::result::Result<FlatRows, ringtake_bench::Error> {
        let family = self.db.cf_handle(FAMILY);
        let family = family.ok_or_else(|| ringtake_bench::Error::subject("rocksdb: no family"))?;
        let keys: Vec<[u8; 8]> = row_ids.iter().map(|id| id.to_be_bytes()).collect();
        let options = ReadOptions::default();
        let values = self
            .db
            .batched_multi_get_cf_opt(family, &keys, false, &options);
        let mut rows = Vec::with_capacity(row_ids.len() * self.layout.row_bytes());
        for value in values {
            // A row that is not there makes the answer short, which the bench refuses.
            if let Some(value) = value.map_err(ringtake_bench::Error::subject)? {
                rows.extend_from_slice(&value);
            }
        }
        Ok(FlatRows::new(&self.layout, rows))
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Rocks {
    fn read_path(&self) -> String {
        PEER.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(self.files.clone())
    }
}
