//! Writing the rows of a source into a new dataset, for `import` and `generate`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow::datatypes::{DataType, Schema};
use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use ringtake_storage::column::{ColumnShape, stored_schema, stored_type};
use ringtake_storage::layout::{BLOCK_ROWS_RANGE, GroupOptions, LayoutPolicy};
use ringtake_storage::write::{Overwrite, WriteOptions, Writer};

use crate::failure::Failure;
use crate::interrupt;
use crate::notice::note;
use crate::progress::{Progress, Visibility};
use crate::source::RowSource;

/// Layout and place of a new dataset.
#[derive(Debug, Args)]
pub(crate) struct Placement {
    /// Columns stored together, such as a,b; repeat for another group
    #[arg(long, value_name = "COLUMNS")]
    group: Vec<String>,

    /// Placement of rows: packed, page, or auto (page if it wastes little space)
    #[arg(long, value_name = "LAYOUT", default_value_t = LayoutPolicy::default())]
    layout: LayoutPolicy,

    /// Share of the space that auto may waste to keep rows within pages, 0 to 1
    #[arg(long, value_name = "SHARE")]
    waste_max: Option<f64>,

    #[arg(long, value_name = "ROWS", help = block_rows_help())]
    block_rows: Option<u32>,

    /// Directory for the rows, one per drive; repeat for each drive
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Vec<PathBuf>,

    /// Replace an existing dataset
    #[arg(long)]
    force: bool,

    /// Print no progress bar and no summary
    #[arg(short, long)]
    quiet: bool,
}

/// Help for `--block-rows`, with the range that the format has.
fn block_rows_help() -> String {
    let (least, most) = (BLOCK_ROWS_RANGE.start(), BLOCK_ROWS_RANGE.end());
    format!("Rows per block, a power of two from {least} to {most}")
}

impl Placement {
    /// The writer's options.
    fn write_options(&self) -> WriteOptions {
        let default = GroupOptions::default();
        WriteOptions {
            block_rows: self.block_rows,
            grouping: GroupOptions {
                groups: self
                    .group
                    .iter()
                    .map(|columns| split_columns(columns))
                    .collect(),
                policy: self.layout,
                waste_max: self.waste_max.unwrap_or(default.waste_max),
            },
            data_dirs: self.data_dir.clone(),
            overwrite: if self.force {
                Overwrite::Replace
            } else {
                Overwrite::Refuse
            },
        }
    }
}

/// The names in `a,b`.
pub(crate) fn split_columns(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Writes all rows of `source`, or nothing, and prints a summary.
pub(crate) fn ingest(
    source: &mut dyn RowSource,
    dataset: &Path,
    placement: &Placement,
) -> Result<(), Failure> {
    let started = Instant::now();
    check_types(&source.schema())?;
    interrupt::listen();
    let mut writer = Writer::create(dataset, &source.schema(), placement.write_options())?;
    let mut progress = Progress::start(source.rows(), Visibility::quiet(placement.quiet))?;
    // An early return drops the writer, which removes its files.
    while let Some(batch) = source.next_batch()? {
        stop_if_interrupted()?;
        writer.write(&batch)?;
        progress.add(batch.num_rows(), batch.get_array_memory_size());
    }
    stop_if_interrupted()?;
    progress.finishing("syncing");
    let rows = progress.rows();
    let summary = writer.finish()?;
    drop(progress);
    if rows == 0 {
        note("note: there were no rows, so the dataset is empty");
    }
    if !placement.quiet {
        note(&format!(
            "{} rows, {}, {:.1} s: {}",
            HumanCount(summary.rows),
            HumanBytes(summary.data_bytes + summary.table_bytes),
            started.elapsed().as_secs_f64(),
            dataset.display()
        ));
    }
    Ok(())
}

fn stop_if_interrupted() -> Result<(), Failure> {
    match interrupt::pending() {
        Some(number) => Err(Failure::Interrupted(number)),
        None => Ok(()),
    }
}

/// Refuses a column that no dataset can hold. The error names the columns that can be imported.
fn check_types(schema: &Schema) -> Result<(), Failure> {
    let Err(ringtake_storage::Error::UnsupportedColumn { column, data_type }) =
        stored_schema(schema)
    else {
        return Ok(());
    };
    let importable: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|field| {
            let stored = stored_type(field.data_type());
            ColumnShape::of(&field.as_ref().clone().with_data_type(stored)).is_ok()
        })
        .map(|field| field.name().as_str())
        .collect();
    let leave_out = match importable.as_slice() {
        [] => "none of the columns can be imported".to_owned(),
        names => format!("leave it out with --columns {}", names.join(",")),
    };
    let is_list_of_numbers = schema.field_with_name(&column).is_ok_and(|field| {
        matches!(
            field.data_type(),
            DataType::List(item) | DataType::LargeList(item)
                if item.data_type().primitive_width().is_some()
        )
    });
    let remedy = if is_list_of_numbers {
        format!("import it with --vector {column} if its lists have one length, or {leave_out}")
    } else {
        leave_out
    };
    Err(Failure::UnsupportedColumn {
        column,
        data_type,
        remedy,
    })
}
