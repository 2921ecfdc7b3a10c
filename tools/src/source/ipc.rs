//! Arrow IPC: files, which end in an index, and streams, which may come from standard input.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::{FileReader, StreamDecoder, read_footer_length};

use super::input::{Input, is_standard_input, open_file, origin};
use super::{RowSource, SourceError, column_places};

/// First and last bytes of every IPC file; a stream begins with other bytes.
const FILE_MAGIC: &[u8] = b"ARROW1";
/// Bytes of magic and least padding before the first message of a file.
const FILE_START_BYTES: usize = 8;
/// Bytes of footer length and magic at the end of a file.
const FILE_END_BYTES: usize = 10;
/// Bytes given to the decoder at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Opens an IPC file or an IPC stream.
pub(crate) fn open(
    path: &Path,
    columns: Option<&[String]>,
) -> Result<Box<dyn RowSource>, SourceError> {
    if !is_standard_input(path) {
        let (mut file, file_bytes) = open_file(path)?;
        if file_bytes == Some(0) {
            return Err(SourceError::Empty {
                origin: origin(path),
                format: "Arrow IPC",
            });
        }
        if file_bytes.is_some() {
            let mut magic = Vec::new();
            let read = (&mut file)
                .take(FILE_MAGIC.len() as u64)
                .read_to_end(&mut magic);
            read.map_err(|cause| SourceError::Open {
                origin: origin(path),
                cause,
            })?;
            if magic == FILE_MAGIC {
                return Ok(Box::new(IpcFile::open(path, file, columns)?));
            }
        }
    }
    Ok(Box::new(IpcStream::open(Input::open(path)?)?))
}

/// Reads an IPC file through its index.
struct IpcFile {
    origin: String,
    reader: FileReader<BufReader<File>>,
    schema: SchemaRef,
    rows: Option<u64>,
}

impl IpcFile {
    fn open(path: &Path, mut file: File, columns: Option<&[String]>) -> Result<Self, SourceError> {
        let origin = origin(path);
        let malformed = |reason: String| SourceError::Malformed {
            origin: origin.clone(),
            format: "an Arrow IPC file",
            reason,
        };
        let ahead = look_ahead(&mut file);
        if ahead
            .as_ref()
            .is_some_and(|ahead| ahead.experimental_compression)
        {
            return Err(malformed(
                "it has the experimental compression of Arrow 0.17; write it again with a newer \
                 version"
                    .to_owned(),
            ));
        }
        let open = |file: File, places| {
            FileReader::try_new(BufReader::new(file), places)
                .map_err(|cause| malformed(cause.to_string()))
        };
        let again = file
            .try_clone()
            .map_err(|cause| malformed(cause.to_string()))?;
        let reader = open(file, None)?;
        let reader = match columns {
            Some(columns) => {
                let places = column_places(&origin, &reader.schema(), columns)?;
                open(again, Some(places))?
            }
            None => reader,
        };
        Ok(IpcFile {
            schema: reader.schema(),
            origin,
            reader,
            rows: ahead.map(|ahead| ahead.rows),
        })
    }
}

impl RowSource for IpcFile {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        self.reader
            .next()
            .transpose()
            .map_err(|cause| SourceError::Malformed {
                origin: self.origin.clone(),
                format: "an Arrow IPC file",
                reason: cause.to_string(),
            })
    }
}

/// Facts from the metadata of all batches, known before any batch is read.
#[derive(Debug, Default)]
struct Ahead {
    rows: u64,
    /// The batches are compressed as by Arrow 0.17, which marked compression in another place.
    /// Current readers would take the compressed bytes for values.
    experimental_compression: bool,
}

/// Key under which Arrow 0.17 stored the compression of a batch.
const EXPERIMENTAL_COMPRESSION: &str = "ARROW:experimental_compression";

/// Reads the metadata of all batches through the index. Returns `None` for anything unexpected,
/// which the reader then reports.
fn look_ahead(file: &mut File) -> Option<Ahead> {
    let end = file.seek(SeekFrom::End(-(FILE_END_BYTES as i64))).ok()?;
    let mut tail = [0; FILE_END_BYTES];
    file.read_exact(&mut tail).ok()?;
    let footer_bytes = read_footer_length(tail).ok()? as u64;
    let footer = read_at(file, end.checked_sub(footer_bytes)?, footer_bytes)?;
    let footer = arrow_ipc::root_as_footer(&footer).ok()?;
    let mut ahead = Ahead::default();
    for block in footer.recordBatches()? {
        let metadata_bytes = u64::try_from(block.metaDataLength()).ok()?;
        if metadata_bytes > end {
            return None;
        }
        let metadata = read_at(file, u64::try_from(block.offset()).ok()?, metadata_bytes)?;
        let message = metadata
            .strip_prefix(&[0xff; 4])
            .unwrap_or(&metadata)
            .get(4..)?;
        let message = arrow_ipc::root_as_message(message).ok()?;
        let named = message.custom_metadata().into_iter().flatten();
        ahead.experimental_compression |= named
            .filter_map(|pair| pair.key())
            .any(|key| key == EXPERIMENTAL_COMPRESSION);
        let rows = message.header_as_record_batch()?.length();
        ahead.rows = ahead.rows.checked_add(u64::try_from(rows).ok()?)?;
    }
    Some(ahead)
}

fn read_at(file: &mut File, offset: u64, length: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Reads an IPC stream, or an IPC file as the stream that it contains.
struct IpcStream {
    input: Input,
    decoder: StreamDecoder,
    /// Bytes read and not yet decoded.
    pending: Buffer,
    /// Whether the rest is the index of an IPC file, which a stream reader skips.
    file_within: bool,
    ended: bool,
    schema: SchemaRef,
    /// A batch that was decoded before the schema was found; a valid stream has none.
    ahead: Option<RecordBatch>,
}

impl IpcStream {
    fn open(mut input: Input) -> Result<IpcStream, SourceError> {
        let mut start = [0; FILE_START_BYTES];
        let filled = input.read_up_to(&mut start)?;
        if filled == 0 {
            return Err(SourceError::Empty {
                origin: input.origin().to_owned(),
                format: "an Arrow IPC stream",
            });
        }
        let file_within = start.starts_with(FILE_MAGIC);
        let mut filled = filled;
        if file_within {
            // Writers pad the magic to 8 or to 64 bytes; a message begins with something else.
            start = [0; FILE_START_BYTES];
            while start == [0; FILE_START_BYTES] && filled == FILE_START_BYTES {
                filled = input.read_up_to(&mut start)?;
            }
        }
        let mut stream = IpcStream {
            input,
            decoder: StreamDecoder::new(),
            pending: Buffer::from(start[..filled].to_vec()),
            file_within,
            ended: false,
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            ahead: None,
        };
        while stream.decoder.schema().is_none() && !stream.ended {
            stream.ahead = stream.step()?;
        }
        stream.schema = stream
            .decoder
            .schema()
            .ok_or_else(|| stream.malformed("it ends before its schema".to_owned()))?;
        Ok(stream)
    }

    /// Decodes what is pending, or reads more.
    fn step(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        if self.pending.is_empty() {
            self.pending = self.input.read_chunk(CHUNK_BYTES)?;
            if self.pending.is_empty() {
                self.ended = true;
                return match self.decoder.finish() {
                    Ok(()) => {
                        self.note_end();
                        Ok(None)
                    }
                    Err(_) => Err(self.malformed(format!(
                        "it is cut short: it ends within a message at byte {}",
                        self.input.offset()
                    ))),
                };
            }
        }
        let before = self.pending.len();
        match self.decoder.decode(&mut self.pending) {
            Ok(batch) => Ok(batch),
            // The decoder does not report the end; it refuses every byte after it.
            Err(_) if self.file_within && self.decoder.finish().is_ok() && before > 0 => {
                self.ended = true;
                Ok(None)
            }
            Err(cause) => Err(self.malformed(cause.to_string())),
        }
    }

    /// Warns if the stream ends without its end mark, as it does if its writer died.
    fn note_end(&mut self) {
        // Behind the mark the decoder refuses every byte.
        let marked = self.decoder.decode(&mut Buffer::from(vec![0xff])).is_err();
        if !marked && !self.file_within {
            tracing::warn!(
                "{} ends without the mark that ends a stream; if its writer was stopped, rows are \
                 missing",
                self.input.origin()
            );
        }
    }

    fn malformed(&self, reason: String) -> SourceError {
        SourceError::Malformed {
            origin: self.input.origin().to_owned(),
            format: "an Arrow IPC stream",
            reason,
        }
    }
}

impl RowSource for IpcStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        if let Some(batch) = self.ahead.take() {
            return Ok(Some(batch));
        }
        while !self.ended {
            if let Some(batch) = self.step()? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}
