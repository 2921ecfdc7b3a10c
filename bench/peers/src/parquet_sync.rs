//! parquet-rs, the blocking reader: a row selection over the page index.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ringtake_bench::{Observed, Record, Subject};
use ringtake_peers_harness::{Calls, Chill, Result, Run};

use crate::parquet_file::{self, Asked, Opened};

pub(crate) const PEER: &str = "parquet-sync";

pub(crate) fn measure(run: &Run) -> Result<Record> {
    let path = run.storage(parquet_file::STORAGE)?;
    run.measure(
        Calls::Blocking,
        Chill::Direct,
        std::slice::from_ref(&path),
        || Ok(ParquetSync(Opened::at(&path, run.cache())?)),
    )
}

struct ParquetSync(Opened);

impl Subject for ParquetSync {
    type Query = [u64];
    type Answer = RecordBatch;

    async fn take(
        &self,
        row_ids: &[u64],
    ) -> std::result::Result<RecordBatch, ringtake_bench::Error> {
        let Opened {
            pages, metadata, ..
        } = &self.0;
        let rows = metadata.metadata().file_metadata().num_rows() as u64;
        let asked = Asked::new(row_ids, rows);
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(pages.clone(), metadata.clone())
                .with_row_selection(asked.selection.clone())
                .with_batch_size(row_ids.len())
                .build()
                .map_err(ringtake_bench::Error::subject)?;
        let batches = reader
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(ringtake_bench::Error::subject)?;
        asked.arrange(metadata.schema(), &batches)
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for ParquetSync {
    fn read_path(&self) -> String {
        PEER.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(vec![self.0.path.clone()])
    }
}
