//! A loop over a map of the flat file that copies the rows out: the limit of the warm case.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::{Advice, Mmap};
use ringtake_bench::{Observed, Record, Subject};
use ringtake_peers_harness::{Calls, Chill, Error, FlatRows, Result, RowLayout, Run};

use crate::flat_file;

pub(crate) const PEER: &str = "mmap";

pub(crate) fn measure(run: &Run) -> Result<Record> {
    let dir = run.storage(flat_file::STORAGE)?;
    let path = dir.join(flat_file::ROWS);
    run.measure(
        Calls::Blocking,
        Chill::Once,
        std::slice::from_ref(&path),
        || {
            let layout = flat_file::layout(&dir)?;
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            // SAFETY: nothing writes a storage once it has its name, and this program only reads.
            let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
            map.advise(Advice::Random)
                .map_err(Error::io("map", &path))?;
            Ok(Mapped {
                stride_bytes: flat_file::stride_bytes(&layout),
                path: path.clone(),
                layout,
                map,
            })
        },
    )
}

struct Mapped {
    path: PathBuf,
    layout: Arc<RowLayout>,
    stride_bytes: usize,
    map: Mmap,
}

impl Subject for Mapped {
    type Query = [u64];
    type Answer = FlatRows;

    async fn take(&self, row_ids: &[u64]) -> std::result::Result<FlatRows, ringtake_bench::Error> {
        let row_bytes = self.layout.row_bytes();
        let mut rows = Vec::with_capacity(row_ids.len() * row_bytes);
        for row_id in row_ids {
            let start = *row_id as usize * self.stride_bytes;
            rows.extend_from_slice(&self.map[start..start + row_bytes]);
        }
        Ok(FlatRows::new(&self.layout, rows))
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for Mapped {
    fn read_path(&self) -> String {
        PEER.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(vec![self.path.clone()])
    }
}
