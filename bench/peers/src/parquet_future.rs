//! parquet-rs, the asynchronous reader on a tokio runtime: each query is a task, and the ranges
//! it needs are read together on a thread for blocking work, as object stores of local files do.

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures_lite::StreamExt as _;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use ringtake_bench::{Observed, Record, Subject};
use ringtake_peers_harness::{Calls, Chill, Error, Result, Run};
use tokio::runtime::Runtime;

use crate::parquet_file::{self, Asked, Opened, Pages};

pub(crate) const PEER: &str = "parquet-async";

pub(crate) fn measure(run: &Run) -> Result<Record> {
    let path = run.storage(parquet_file::STORAGE)?;
    run.measure(
        Calls::Futures,
        Chill::Direct,
        std::slice::from_ref(&path),
        || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(run.threads().get())
                .build()
                .map_err(Error::io("start", "tokio"))?;
            Ok(ParquetFuture {
                opened: Opened::at(&path, run.cache())?,
                runtime,
            })
        },
    )
}

struct ParquetFuture {
    opened: Opened,
    runtime: Runtime,
}

impl Subject for ParquetFuture {
    type Query = [u64];
    type Answer = RecordBatch;

    async fn take(
        &self,
        row_ids: &[u64],
    ) -> std::result::Result<RecordBatch, ringtake_bench::Error> {
        let query = query(self.opened.clone(), row_ids.to_vec());
        self.runtime
            .spawn(query)
            .await
            .map_err(ringtake_bench::Error::subject)?
    }

    fn observed(&self) -> &dyn Observed {
        self
    }
}

impl Observed for ParquetFuture {
    fn read_path(&self) -> String {
        PEER.to_owned()
    }

    fn files(&self) -> std::result::Result<Vec<PathBuf>, ringtake_bench::Error> {
        Ok(vec![self.opened.path.clone()])
    }
}

async fn query(
    opened: Opened,
    row_ids: Vec<u64>,
) -> std::result::Result<RecordBatch, ringtake_bench::Error> {
    let Opened {
        pages, metadata, ..
    } = opened;
    let asked = Asked::new(
        &row_ids,
        metadata.metadata().file_metadata().num_rows() as u64,
    );
    let reader = Ranges {
        pages,
        metadata: metadata.metadata().clone(),
    };
    let mut stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.clone())
        .with_row_selection(asked.selection.clone())
        .with_batch_size(row_ids.len())
        .build()
        .map_err(ringtake_bench::Error::subject)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch.map_err(ringtake_bench::Error::subject)?);
    }
    asked.arrange(metadata.schema(), &batches)
}

struct Ranges {
    pages: Pages,
    metadata: Arc<ParquetMetaData>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = ParquetResult<T>> + Send + 'a>>;

impl AsyncFileReader for Ranges {
    fn get_bytes(&mut self, range: Range<u64>) -> Boxed<'_, Bytes> {
        Box::pin(async move {
            let ranges = self.get_byte_ranges(vec![range]).await?;
            Ok(ranges.into_iter().next().unwrap_or_default())
        })
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> Boxed<'_, Vec<Bytes>> {
        let pages = self.pages.clone();
        Box::pin(async move {
            let read = move || ranges.into_iter().map(|range| pages.read(range)).collect();
            let bytes: std::io::Result<Vec<Bytes>> = tokio::task::spawn_blocking(read)
                .await
                .map_err(|error| ParquetError::External(error.into()))?;
            Ok(bytes?)
        })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> Boxed<'a, Arc<ParquetMetaData>> {
        let metadata = Arc::clone(&self.metadata);
        Box::pin(async move { Ok(metadata) })
    }
}
