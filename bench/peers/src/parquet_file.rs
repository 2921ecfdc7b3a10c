//! The Parquet file of both Parquet peers: pages of few rows, an offset index, nothing
//! compressed; and how its pages are read, past the page cache in a cold run.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use ringtake_bench::Cache;
use ringtake_peers_harness::{Error, Result, Source};
use rustix::fs::OFlags;

pub(crate) const STORAGE: &str = "rows.parquet";
const PAGE_ROWS: usize = 16;

/// Alignment of direct reads, in the file and in memory.
const ALIGN_BYTES: usize = 4096;

/// Bytes taken at a time from a reader that does not know how much it needs.
const STREAM_BYTES: usize = 64 << 10;

pub(crate) fn prepare(source: &Source, path: &Path) -> Result<()> {
    let file = File::create(path).map_err(Error::io("make", path))?;
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(file, source.schema(), Some(properties))
        .map_err(Error::peer("parquet"))?;
    for batch in source.batches() {
        writer.write(&batch?.1).map_err(Error::peer("parquet"))?;
    }
    writer.close().map_err(Error::peer("parquet"))?;
    Ok(())
}

/// The pages of the file.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    file: Arc<File>,
    bytes: u64,
    align_bytes: usize,
}

impl Pages {
    pub(crate) fn open(path: &Path, cache: Cache) -> Result<Pages> {
        let mut options = OpenOptions::new();
        options.read(true);
        if cache == Cache::Cold {
            options.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        let file = options.open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
        Ok(Pages {
            file: Arc::new(file),
            bytes,
            align_bytes: if cache == Cache::Cold { ALIGN_BYTES } else { 1 },
        })
    }

    /// The bytes of a range, read in one call.
    pub(crate) fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let align = self.align_bytes as u64;
        let start = range.start / align * align;
        let length = (range.end.next_multiple_of(align) - start) as usize;
        let mut buffer = vec![0; length + self.align_bytes - 1];
        let skip = buffer.as_ptr().align_offset(self.align_bytes);
        let wanted = (range.end - start) as usize;
        let mut done = 0;
        while done < wanted {
            let rest = &mut buffer[skip + done..skip + length];
            match self.file.read_at(rest, start + done as u64)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        let before = (range.start - start) as usize;
        Ok(Bytes::from(buffer).slice(skip + before..skip + wanted))
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Pages {
    type T = Stream;

    fn get_read(&self, start: u64) -> ParquetResult<Stream> {
        Ok(Stream {
            pages: self.clone(),
            at: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        Ok(self.read(start..start + length as u64)?)
    }
}

/// Reads on from an offset.
#[derive(Debug)]
pub(crate) struct Stream {
    pages: Pages,
    at: u64,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buffer.len().min(STREAM_BYTES) as u64;
        let end = (self.at + wanted).min(self.pages.bytes);
        let bytes = self.pages.read(self.at..end)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at = end;
        Ok(bytes.len())
    }
}

/// The parts of a reader: the pages, and the footer with the page index, read once.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) pages: Pages,
    pub(crate) metadata: ArrowReaderMetadata,
}

impl Opened {
    pub(crate) fn at(path: &Path, cache: Cache) -> Result<Opened> {
        let pages = Pages::open(path, cache)?;
        let options = ArrowReaderOptions::new()
            .with_offset_index_policy(PageIndexPolicy::Required)
            .with_column_index_policy(PageIndexPolicy::Skip);
        let metadata =
            ArrowReaderMetadata::load(&pages, options).map_err(Error::peer("parquet"))?;
        Ok(Opened {
            path: path.to_path_buf(),
            pages,
            metadata,
        })
    }
}

/// Rows asked for in any order: Parquet gives them in the order of the file.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) selection: RowSelection,
    /// Where each row asked for is among those of the file's order.
    places: UInt64Array,
}

impl Asked {
    pub(crate) fn new(row_ids: &[u64], rows: u64) -> Asked {
        let mut order: Vec<usize> = (0..row_ids.len()).collect();
        order.sort_unstable_by_key(|index| row_ids[*index]);
        let mut places = vec![0; row_ids.len()];
        for (place, index) in order.iter().enumerate() {
            places[*index] = place as u64;
        }
        let ranges = order.iter().map(|index| {
            let row = row_ids[*index] as usize;
            row..row + 1
        });
        Asked {
            selection: RowSelection::from_consecutive_ranges(ranges, rows as usize),
            places: places.into(),
        }
    }

    /// The batches of the file in the order asked for.
    pub(crate) fn arrange(
        &self,
        schema: &SchemaRef,
        batches: &[RecordBatch],
    ) -> std::result::Result<RecordBatch, ringtake_bench::Error> {
        let all = match batches {
            [one] => one.clone(),
            many => concat_batches(schema, many).map_err(ringtake_bench::Error::subject)?,
        };
        take_record_batch(&all, &self.places).map_err(ringtake_bench::Error::subject)
    }
}
