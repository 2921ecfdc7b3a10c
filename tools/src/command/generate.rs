//! `ringtake generate`: a dataset of generated rows.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::ingest::{Placement, ingest};
use crate::source::synthetic::{Kind, RowShape, Synthetic, VectorType, parse_columns};

/// Generate a dataset of random rows, the same for the same seed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Generate {
    /// Directory of the new dataset
    dataset: PathBuf,

    /// Number of rows
    #[arg(long)]
    rows: u64,

    /// Dimension of a column `vector`
    #[arg(long, value_name = "DIM")]
    vector: Option<u32>,

    /// Number type of the vectors
    #[arg(long, value_name = "TYPE", default_value = "f32", requires = "vector")]
    vector_type: VectorType,

    /// Draw the vectors from this number of overlapping clusters, as in embeddings; default:
    /// independent numbers
    #[arg(long, value_name = "N", requires = "vector")]
    clusters: Option<u32>,

    /// Other columns by type and count, such as int64:8,utf8:2
    #[arg(long, value_name = "TYPE:COUNT,...", value_parser = parse_column_words)]
    columns: Option<ColumnWords>,

    /// Share of values that are null, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    null_share: f64,

    /// Seed of the random values
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    placement: Placement,
}

/// Value of `--columns`. A type of its own, because clap treats a plain vector as a repeated
/// option.
#[derive(Debug, Clone)]
struct ColumnWords(Vec<(Kind, u32)>);

fn parse_column_words(text: &str) -> Result<ColumnWords, String> {
    parse_columns(text).map(ColumnWords)
}

const EXAMPLES: &str = "\
Examples:
  ringtake generate vectors.ringtake --rows 1000000 --vector 768
  ringtake generate clustered.ringtake --rows 1000000 --vector 768 --clusters 1000
  ringtake generate table.ringtake --rows 1000000 --columns int64:8,utf8:2 --null-share 0.1
  ringtake generate mixed.ringtake --rows 1000 --vector 128 --vector-type f16 --columns utf8

Types: int8 to int64, uint8 to uint64, float16, float32, float64, bool, date32, date64, time32,
time64, timestamp, duration, decimal128, fixedbinaryN (N bytes), utf8, largeutf8, binary,
largebinary. Columns are named vector, int64_0, int64_1, utf8_0 and so on.";

impl Generate {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shape = RowShape {
            rows: self.rows,
            vector: self.vector.map(|dimension| (dimension, self.vector_type)),
            clusters: self.clusters,
            columns: self.columns.map(|words| words.0).unwrap_or_default(),
            null_share: self.null_share,
            seed: self.seed,
        };
        let mut rows = Synthetic::new(&shape).map_err(|shape| Failure::Usage(shape.to_string()))?;
        ingest(&mut rows, &self.dataset, &self.placement)
    }
}
