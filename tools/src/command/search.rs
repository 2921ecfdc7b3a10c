//! `ringtake search`: the rows nearest to vectors, on standard output.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use clap::Args;
use ringtake_runtime::{
    IndexInfo, K_DEFAULT, NPROBES_DEFAULT, Projection, RowFilter, SearchError, SearchRequest, Store,
};

use super::take::{ChecksumPolicy, open, project};
use crate::failure::Failure;
use crate::ingest::split_columns;
use crate::output::Output;
use crate::row_ids::{PastTheEnd, RowIdOrigin};
use crate::sink::RowFormat;
use crate::source::{self, ReadOptions, SourceError};

/// Print the rows nearest to a vector
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Search {
    /// Directory of the dataset
    dataset: PathBuf,

    /// File of one vector or several, such as query.npy
    #[arg(long, value_name = "FILE", required_unless_present = "row")]
    query: Option<PathBuf>,

    /// Search for rows near this row
    #[arg(long, value_name = "ID", conflicts_with = "query")]
    row: Option<u64>,

    /// Number of rows to find
    #[arg(short, long, value_name = "ROWS", default_value_t = K_DEFAULT)]
    k: usize,

    /// Number of nearest partitions to search; more find more and take longer
    #[arg(long, value_name = "PARTITIONS", default_value_t = NPROBES_DEFAULT)]
    nprobes: usize,

    /// Rank this multiple of the rows exactly, by reading them; 0 to rank by the index alone
    #[arg(long, value_name = "TIMES", default_value_t = REFINE_FACTOR)]
    refine_factor: u32,

    /// Column to search; default: the only indexed one
    #[arg(long)]
    column: Option<String>,

    /// Find only these rows: ids as in `take --rows`, such as 0..1000 or @FILE
    #[arg(long, value_name = "IDS", conflicts_with = "forbid")]
    allow: Option<String>,

    /// Find all rows except these
    #[arg(long, value_name = "IDS")]
    forbid: Option<String>,

    /// Columns to print besides row id and distance, such as a,b
    #[arg(long)]
    columns: Option<String>,

    /// Format of the rows
    #[arg(long, default_value = "table")]
    format: RowFormat,
}

const REFINE_FACTOR: u32 = 10;

/// Column with the number of the query, if there are several queries.
const QUERY_COLUMN: &str = "_query";

const EXAMPLES: &str = "\
Examples:
  ringtake search embeddings.ringtake --row 7
  ringtake search embeddings.ringtake --query query.npy --k 100 --columns id,title
  ringtake search embeddings.ringtake --query queries.fvecs --nprobes 64 --format jsonl
  ringtake search embeddings.ringtake --row 7 --forbid @seen.txt

The index must have been built with `ringtake index`. Rows come nearest first, with the columns
_rowid and _distance; if the file has several vectors, _query counts them from 0. Without
refinement distances are estimates, and no row is read for them.";

impl Search {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = open(&self.dataset, ChecksumPolicy::Verify)?;
        let columns = self.columns.as_deref().map(split_columns);
        let projection = columns.map(|columns| project(&store, Some(&columns)));
        let projection = projection.transpose()?;
        let rows = |ids: &str| RowIdOrigin::parse(ids).read(store.row_count(), PastTheEnd::Refused);
        let filter = match (&self.allow, &self.forbid) {
            (Some(ids), _) => {
                let allowed = rows(ids)?;
                if allowed.iter().next().is_none() {
                    let why =
                        "--allow names no row, so there is nothing to find; name at least one";
                    return Err(Failure::Usage(why.to_owned()));
                }
                Some(RowFilter::allow(allowed.iter()))
            }
            (None, Some(ids)) => Some(RowFilter::forbid(rows(ids)?.iter())),
            (None, None) => None,
        };
        // Checked before the queries are read: there is an index to search.
        self.ask(store.search_batch(&[]), &projection, &filter)
            .wait()?;
        let column = self.column.as_deref();
        let queries = match (&self.query, self.row) {
            (Some(file), _) => read_queries(file)?,
            (None, Some(row)) => vec![stored_vector(&store, column, row)?],
            (None, None) => Vec::new(),
        };
        check_lengths(&queries, dims(&store, column))?;
        let vectors = queries.concat();
        let search = self.ask(store.search_batch(&vectors), &projection, &filter);
        let answers = numbered_if_several(search.wait()?)?;
        let Some(first) = answers.first() else {
            return Ok(());
        };
        let (output, writer) = Output::standard();
        let printed = (|| {
            let mut sink = self.format.stream(writer, &first.schema())?;
            answers.iter().try_for_each(|answer| sink.write(answer))?;
            sink.finish()
        })();
        match printed {
            Err(_) if output.reader_gone() => Ok(()),
            printed => printed,
        }
    }

    /// `search` as the flags say.
    fn ask<'a, Answer>(
        &'a self,
        search: SearchRequest<'a, Answer>,
        projection: &'a Option<Projection>,
        filter: &'a Option<RowFilter>,
    ) -> SearchRequest<'a, Answer> {
        search
            .column(self.column.as_deref())
            .k(self.k)
            .nprobes(self.nprobes)
            .refine_factor((self.refine_factor > 0).then_some(self.refine_factor))
            .projection(projection)
            .filter(filter)
    }
}

fn check_lengths(queries: &[Vec<f32>], dims: usize) -> Result<(), Failure> {
    let Some(other) = queries.iter().find(|query| query.len() != dims) else {
        return Ok(());
    };
    let given = other.len();
    let error = SearchError::Dimensions { given, dims };
    Err(ringtake_runtime::Error::from(error).into())
}

/// The answers, numbered by their queries if there are several.
fn numbered_if_several(answers: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, Failure> {
    match answers.len() {
        0 | 1 => Ok(answers),
        _ => answers.into_iter().enumerate().map(numbered).collect(),
    }
}

/// The indexed column to search.
fn searched<'a>(store: &'a Store, column: Option<&str>) -> Option<&'a IndexInfo> {
    let mut indexes = store.indexes().iter();
    indexes.find(|index| column.is_none_or(|name| name == index.column))
}

fn dims(store: &Store, column: Option<&str>) -> usize {
    searched(store, column).map_or(0, |index| index.dims)
}

fn numbered((query, answer): (usize, RecordBatch)) -> Result<RecordBatch, Failure> {
    let number = Arc::new(Field::new(QUERY_COLUMN, DataType::UInt64, false));
    let schema = answer.schema();
    let fields: Vec<_> = std::iter::once(number)
        .chain(schema.fields().iter().cloned())
        .collect();
    let numbers: ArrayRef = Arc::new(UInt64Array::from_value(query as u64, answer.num_rows()));
    let arrays = std::iter::once(numbers).chain(answer.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect())
        .map_err(|error| ringtake_storage::Error::from(error).into())
}

/// The vector of row `row` in the searched column.
fn stored_vector(store: &Store, column: Option<&str>, row: u64) -> Result<Vec<f32>, Failure> {
    let Some(index) = searched(store, column) else {
        return Ok(Vec::new());
    };
    let taken = store
        .take(&[row], &store.projection(&[&index.column])?)
        .wait()?;
    let vectors = vectors(taken.column(0))?;
    vectors.into_iter().flatten().next().ok_or_else(|| {
        let column = &index.column;
        Failure::Query(format!(
            "row {row} has no vector in column `{column}`; give another row"
        ))
    })
}

/// All vectors of a file: a matrix, or an array of one vector.
fn read_queries(file: &Path) -> Result<Vec<Vec<f32>>, Failure> {
    let origin = file.display();
    let refuse = |what: String| Err(Failure::Query(format!("{origin} {what}")));
    let opened = source::open(ReadOptions {
        paths: vec![file.to_owned()],
        ..ReadOptions::default()
    });
    let mut source = match opened {
        // Queries have no option for their format.
        Err(SourceError::UnknownFormat { .. }) => {
            return refuse(
                "has a name that does not tell its format; call it .npy, .fvecs, .fbin, .parquet or .arrow, \
                 whichever it is"
                    .to_owned(),
            );
        }
        source => source?,
    };
    let schema = source.schema();
    let [column] = schema.fields().as_ref() else {
        let columns = schema.fields().len();
        return refuse(format!(
            "has {columns} columns; give a file of vectors alone"
        ));
    };
    let is_list = matches!(column.data_type(), DataType::FixedSizeList(..));
    let mut queries = Vec::new();
    let mut flat = Vec::new();
    while let Some(batch) = source.next_batch()? {
        if is_list {
            for query in vectors(batch.column(0))? {
                let Some(query) = query else {
                    let at = queries.len();
                    return refuse(format!("has no vector at place {at}; leave it out"));
                };
                queries.push(query);
            }
        } else {
            let numbers = floats(batch.column(0))?;
            if numbers.null_count() > 0 {
                return refuse("has nulls; give numbers alone".to_owned());
            }
            flat.extend_from_slice(numbers.as_primitive::<Float32Type>().values());
        }
    }
    if !is_list && !flat.is_empty() {
        queries.push(flat);
    }
    if queries.is_empty() {
        refuse("has no vector; give at least one".to_owned())
    } else {
        Ok(queries)
    }
}

/// Each vector of a column of lists; `None` where it or an item is null.
fn vectors(column: &ArrayRef) -> Result<Vec<Option<Vec<f32>>>, Failure> {
    let lists = column.as_fixed_size_list();
    let vector = |row: usize| {
        let items = lists.value(row);
        if lists.is_null(row) || items.null_count() > 0 {
            Ok(None)
        } else {
            Ok(Some(
                floats(&items)?
                    .as_primitive::<Float32Type>()
                    .values()
                    .to_vec(),
            ))
        }
    };
    (0..lists.len()).map(vector).collect()
}

fn floats(numbers: &ArrayRef) -> Result<ArrayRef, Failure> {
    let data_type = numbers.data_type();
    let refused = || Failure::Query(format!("a query is made of numbers, not of {data_type}"));
    if data_type.is_numeric() {
        cast(numbers, &DataType::Float32).map_err(|_| refused())
    } else {
        Err(refused())
    }
}
