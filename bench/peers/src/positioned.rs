//! A loop of `pread` over the flat file, through the page cache.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ringtake_bench::{Observed, Record, Subject};
use ringtake_peers_harness::{
    Calls, Chill, EMPTIED_EVERY, Error, FlatRows, Result, RowLayout, Run,
};
use rustix::fs::{Advice, fadvise};

use crate::flat_file;

pub(crate) const PEER: &str = "pread";

pub(crate) fn measure(run: &Run) -> Result<Record> {
    let dir = run.storage(flat_file::STORAGE)?;
    let path = dir.join(flat_file::ROWS);
    run.measure(
        Calls::Blocking,
        Chill::Emptied(EMPTIED_EVERY),
        std::slice::from_ref(&path),
        || {
            let layout = flat_file::layout(&dir)?;
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            // No reading ahead: the next row asked for is somewhere else.
            fadvise(&file, 0, None, Advice::Random)
                .map_err(|error| Error::io("advise on", &path)(error.into()))?;
            Ok(Positioned {
                stride_bytes: flat_file::stride_bytes(&layout),
                path: path.clone(),
                layout,
                file,
            })
        },
    )
}

struct Positioned {
    path: PathBuf,
    layout: Arc<RowLayout>,
    stride_bytes: usize,
    file: File,
}

impl Subject for Positioned {
    type Query = [u64];
    type Answer = FlatRows;

    async fn take(&self, row_ids: &[u64]) -> std::result::Result<FlatRows, ringtake_bench::Error> {
        let row_bytes = self.layout.row_bytes();
        let mut rows = vec![0; row_ids.len() * row_bytes];
        for (row_id, row) in row_ids.iter().zip(rows.chunks_exact_mut(row_bytes)) {
            self.file
                .read_exact_at(row, row_id * self.stride_bytes as u64)
                .map_err(ringtake_bench::Error::subject)?;
        }
        Ok(FlatRows::new(&self.layout, rows))
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Positioned {
    fn read_path(&self) -> String {
        PEER.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(vec![self.path.clone()])
    }
}
