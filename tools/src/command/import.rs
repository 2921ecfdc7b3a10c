//! `ringtake import`: files to a new dataset.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::ingest::{Placement, ingest, split_columns};
use crate::source::vectors::Vectors;
use crate::source::{self, Format, ReadOptions};

/// Import files into a new dataset
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// Files to import, one after another; `-` is standard input
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,

    /// Directory of the new dataset
    dataset: PathBuf,

    /// Columns to import, such as a,b; default: all
    #[arg(long)]
    columns: Option<String>,

    /// Format of the files; default: by their extensions
    #[arg(long)]
    format: Option<Format>,

    /// Name for the column of a format without names [default: vector, or value]
    #[arg(long, value_name = "NAME")]
    column_name: Option<String>,

    /// Column of lists of one length to import as vectors; repeat for another
    #[arg(long, value_name = "COLUMN")]
    vector: Vec<String>,

    /// Most rows to import; default: all
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,

    #[command(flatten)]
    placement: Placement,
}

const EXAMPLES: &str = "\
Examples:
  ringtake import embeddings.parquet embeddings.ringtake
  ringtake import part-*.parquet all.ringtake --columns id,title,vector
  ringtake import base.fvecs base.ringtake --column-name embedding --limit 1000000
  ringtake import table.arrow table.ringtake --group id,price --group vector --layout page
  ringtake import lists.parquet lists.ringtake --vector embedding
  ringtake import big.parquet big.ringtake --data-dir /nvme0/big --data-dir /nvme1/big
  produce-arrow-stream | ringtake import - piped.ringtake

Formats by extension: .parquet .pq, .arrow .ipc .feather (file or stream), .npy,
.fvecs .bvecs .ivecs, .fbin .u8bin .i8bin. Nothing is left behind if an import fails.";

impl Import {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let columns = self.columns.as_deref().map(split_columns);
        if columns.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::Usage(
                "--columns names no column; name at least one, such as --columns a,b".to_owned(),
            ));
        }
        let mut rows = source::open(ReadOptions {
            paths: self.sources,
            format: self.format,
            columns,
            column_name: self.column_name,
            limit: self.limit,
        })?;
        if !self.vector.is_empty() {
            rows = Box::new(Vectors::of(rows, &self.vector)?);
        }
        ingest(rows.as_mut(), &self.dataset, &self.placement)
    }
}
