//! `ringtake export`: a whole dataset as one file.

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use clap::{Args, ValueEnum};
use ringtake_runtime::{Missing, Projection, Store};

use super::take::{ChecksumPolicy, chunk_rows, open, project};
use crate::failure::Failure;
use crate::ingest::split_columns;
use crate::interrupt;
use crate::output::{Output, OutputWriter};
use crate::progress::{Progress, Visibility};
use crate::row_ids::RowIds;
use crate::sink::{RowFormat, RowWriter, arrow_file};

/// Write all rows of a dataset to a Parquet or Arrow IPC file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// Directory of the dataset
    dataset: PathBuf,

    /// File to write, .parquet or .arrow; `-` is an Arrow IPC stream on standard output
    file: PathBuf,

    /// Columns to export, in this order, such as a,b; default: all
    #[arg(long)]
    columns: Option<String>,

    /// Format of the file; default: by its extension
    #[arg(long)]
    format: Option<ExportFormat>,

    /// Replace an existing file
    #[arg(long)]
    force: bool,

    /// Print no progress bar
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Parquet
    Parquet,
    /// Arrow IPC: a file, or a stream on standard output
    Arrow,
}

const EXAMPLES: &str = "\
Examples:
  ringtake export embeddings.ringtake embeddings.parquet
  ringtake export embeddings.ringtake titles.arrow --columns id,title --force
  ringtake export embeddings.ringtake - | consume-arrow-stream

The file appears under its name once it is whole.";

impl Export {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let to_standard_output = self.file.as_os_str() == "-";
        let format = match self.format {
            Some(format) => format,
            None if to_standard_output => ExportFormat::Arrow,
            None => format_of(&self.file)?,
        };
        let columns = self.columns.as_deref().map(split_columns);
        let store = open(&self.dataset, ChecksumPolicy::Verify)?;
        let projection = project(&store, columns.as_deref())?;
        interrupt::listen();
        let (output, writer) = if to_standard_output {
            Output::standard()
        } else {
            Output::file(&self.file, self.force)?
        };
        let schema = projection.schema(Missing::Error);
        let visibility = Visibility::quiet(self.quiet);
        let exported = sink(format, to_standard_output, writer, &schema)
            .and_then(|sink| copy(&store, &projection, sink, visibility));
        match exported {
            Err(_) if output.reader_gone() => Ok(()),
            Err(failure) => Err(failure),
            Ok(()) => output.publish(),
        }
    }
}

fn sink(
    format: ExportFormat,
    to_standard_output: bool,
    writer: OutputWriter,
    schema: &SchemaRef,
) -> Result<Box<dyn RowWriter>, Failure> {
    match format {
        ExportFormat::Parquet => RowFormat::Parquet.stream(writer, schema),
        ExportFormat::Arrow if to_standard_output => RowFormat::Arrow.stream(writer, schema),
        ExportFormat::Arrow => arrow_file(writer, schema),
    }
}

/// Copies all rows, chunk by chunk.
fn copy(
    store: &Store,
    projection: &Projection,
    mut sink: Box<dyn RowWriter>,
    visibility: Visibility,
) -> Result<(), Failure> {
    let rows = store.row_count();
    let mut progress = Progress::start(Some(rows), visibility)?;
    for ids in RowIds::all(rows).chunks(chunk_rows(store)) {
        if let Some(number) = interrupt::pending() {
            return Err(Failure::Interrupted(number));
        }
        let batch = store.take(&ids, projection).wait()?;
        sink.write(&batch)?;
        progress.add(batch.num_rows(), batch.get_array_memory_size());
    }
    progress.finishing("closing");
    sink.finish()
}

fn format_of(file: &Path) -> Result<ExportFormat, Failure> {
    let extension = file
        .extension()
        .map(|text| text.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("parquet" | "pq" | "parq") => Ok(ExportFormat::Parquet),
        Some("arrow" | "ipc" | "feather") => Ok(ExportFormat::Arrow),
        _ => Err(Failure::Usage(format!(
            "cannot tell the format of {} from its name; end it in .parquet or .arrow, or say it \
             with --format",
            file.display()
        ))),
    }
}
