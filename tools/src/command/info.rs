//! `ringtake info`: schema, layout and sizes of a dataset, and the expected reads of a row.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use ringtake_runtime::{InspectedIndex, inspect_indexes};
use ringtake_storage::layout::{ChecksumPlace, Group, Layout, PAGE_BYTES};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::{Element, Metric};
use serde::Serialize;

use crate::description::device_bytes_per_row;
use crate::device::{DirectAlignment, direct_alignment};
use crate::failure::Failure;
use crate::grid::{self, counted};
use crate::output::Output;

/// Show schema, layout, sizes and expected reads of a dataset
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Info {
    /// Directory of the dataset
    dataset: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringtake info embeddings.ringtake
  ringtake info embeddings.ringtake --json | jq .rows";

impl Info {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let manifest = Manifest::read(&self.dataset)?;
        let summary = Summary::of(&self.dataset, &manifest);
        let (output, mut writer) = Output::standard();
        let text = if self.json {
            serde_json::to_string_pretty(&summary).map_err(|cause| Failure::Encode {
                format: "JSON",
                reason: cause.to_string(),
            })?
        } else {
            summary.text()
        };
        let written = writeln!(writer, "{text}").and_then(|()| writer.flush());
        output.close(written)
    }
}

/// Contents of the output. Its JSON form is for scripts, so keys are only ever added.
#[derive(Debug, Serialize)]
struct Summary {
    path: PathBuf,
    rows: u64,
    block_rows: u32,
    dataset: String,
    generation: String,
    /// Bytes of all files that the manifest names.
    bytes: u64,
    /// Bytes of the tables that a reader keeps in memory.
    table_bytes: u64,
    /// Most reads of the device for a row of all columns.
    reads_per_row: u64,
    device_bytes_per_row: f64,
    /// Alignment of direct reads.
    align_bytes: u32,
    columns: Vec<ColumnSummary>,
    groups: Vec<GroupSummary>,
    dirs: Vec<String>,
    files: Vec<FileSummary>,
    indexes: Vec<IndexSummary>,
}

/// An index. One that cannot be used has a reason and no other field.
#[derive(Debug, Serialize)]
struct IndexSummary {
    column: String,
    path: PathBuf,
    /// Reason why the index cannot be used.
    reason: Option<String>,
    metric: Option<Metric>,
    element: Option<Element>,
    dims: Option<usize>,
    partitions: Option<usize>,
    code_bytes_per_row: Option<usize>,
    rows: Option<u64>,
    rows_indexed: Option<u64>,
    /// Bytes of memory per row, if one shard has all rows.
    bytes_per_row: Option<f64>,
    file_bytes: Option<u64>,
}

impl From<InspectedIndex> for IndexSummary {
    fn from(inspected: InspectedIndex) -> IndexSummary {
        let (built, reason) = match inspected.index {
            Ok(built) => (Some(built), None),
            Err(reason) => (None, Some(reason)),
        };
        let built = built.as_ref();
        IndexSummary {
            column: inspected.column,
            path: inspected.path,
            reason,
            metric: built.map(|built| built.metric),
            element: built.map(|built| built.element),
            dims: built.map(|built| built.dims),
            partitions: built.map(|built| built.partitions),
            code_bytes_per_row: built.map(|built| built.code_bytes_per_row),
            rows: built.map(|built| built.rows),
            rows_indexed: built.map(|built| built.rows_indexed),
            bytes_per_row: built.map(|built| built.bytes_per_row),
            file_bytes: built.map(|built| built.file_bytes),
        }
    }
}

#[derive(Debug, Serialize)]
struct ColumnSummary {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
    group: usize,
}

#[derive(Debug, Serialize)]
struct GroupSummary {
    group: usize,
    kind: &'static str,
    columns: Vec<String>,
    layout: Option<String>,
    record_bytes: Option<u32>,
    unit_bytes: Option<u32>,
    rows_per_unit: Option<u32>,
    checksum: &'static str,
    bytes: u64,
    /// Reads of the device for one row. A null or an empty variable-width value needs none.
    reads_per_row: u64,
    device_bytes_per_row: f64,
}

#[derive(Debug, Serialize)]
struct FileSummary {
    path: PathBuf,
    bytes: u64,
}

impl GroupSummary {
    fn new(path: &Path, manifest: &Manifest, ordinal: usize, align_bytes: u32) -> GroupSummary {
        let Manifest { layout, schema } = manifest;
        let group = &layout.groups[ordinal];
        let fixed = match group {
            Group::Fixed(fixed) => Some(fixed),
            Group::Variable(_) => None,
        };
        let columns = group.columns().iter();
        GroupSummary {
            group: ordinal,
            kind: if fixed.is_some() { "fixed" } else { "variable" },
            columns: columns
                .map(|column| schema.field(*column as usize).name().clone())
                .collect(),
            layout: fixed.map(|fixed| fixed.policy.to_string()),
            record_bytes: fixed.map(|fixed| fixed.record_bytes),
            unit_bytes: fixed.map(|fixed| fixed.unit_bytes),
            rows_per_unit: fixed.map(|fixed| fixed.rows_per_unit),
            checksum: match fixed.map(|fixed| fixed.checksum) {
                Some(ChecksumPlace::Table) => "table",
                Some(ChecksumPlace::Inline) | None => "inline",
            },
            bytes: group.file_bytes().iter().sum(),
            reads_per_row: 1,
            device_bytes_per_row: device_bytes_per_row(path, layout, ordinal, align_bytes),
        }
    }
}

impl Summary {
    fn of(path: &Path, manifest: &Manifest) -> Summary {
        let Manifest { layout, schema } = manifest;
        let files = files(path, layout);
        let align_bytes = match files.first().map(|file| direct_alignment(&file.path)) {
            Some(DirectAlignment::Bytes(bytes)) => bytes,
            _ => PAGE_BYTES as u32,
        };
        let groups: Vec<GroupSummary> = (0..layout.groups.len())
            .map(|ordinal| GroupSummary::new(path, manifest, ordinal, align_bytes))
            .collect();
        let group_of = |column: usize| {
            let holds = |group: &Group| group.columns().contains(&(column as u32));
            layout.groups.iter().position(holds).unwrap_or(0)
        };
        Summary {
            path: path.to_owned(),
            rows: layout.rows,
            block_rows: layout.block_rows,
            dataset: layout
                .dataset
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            generation: format!("{:016x}", layout.generation),
            bytes: files.iter().map(|file| file.bytes).sum(),
            table_bytes: layout.tables.iter().map(|table| table.bytes).sum(),
            reads_per_row: groups.len() as u64,
            device_bytes_per_row: groups.iter().map(|group| group.device_bytes_per_row).sum(),
            align_bytes,
            columns: schema
                .fields()
                .iter()
                .enumerate()
                .map(|(column, field)| ColumnSummary {
                    name: field.name().clone(),
                    data_type: field.data_type().to_string(),
                    nullable: field.is_nullable(),
                    group: group_of(column),
                })
                .collect(),
            groups,
            dirs: layout.dirs.clone(),
            files,
            indexes: inspect_indexes(path, manifest)
                .into_iter()
                .map(IndexSummary::from)
                .collect(),
        }
    }

    fn text(&self) -> String {
        let columns = self.columns.iter().map(|column| {
            let nullable = if column.nullable { "yes" } else { "" };
            vec![
                column.name.clone(),
                column.data_type.clone(),
                nullable.to_owned(),
                column.group.to_string(),
            ]
        });
        let groups = self.groups.iter().map(|group| {
            let or_dash = |number: Option<u32>| number.map_or("-".to_owned(), |n| n.to_string());
            vec![
                group.group.to_string(),
                group
                    .layout
                    .clone()
                    .unwrap_or_else(|| group.kind.to_owned()),
                or_dash(group.record_bytes),
                or_dash(group.unit_bytes),
                or_dash(group.rows_per_unit),
                group.checksum.to_owned(),
                HumanBytes(group.bytes).to_string(),
                group.reads_per_row.to_string(),
                format!("{:.0}", group.device_bytes_per_row),
                group.columns.join(","),
            ]
        });
        let files = self.files.iter();
        let files = files.map(|file| vec![file.path.display().to_string(), file.bytes.to_string()]);
        let group_header = [
            "group",
            "layout",
            "record",
            "unit",
            "rows/unit",
            "checksum",
            "size",
            "reads/row",
            "bytes/row",
            "columns",
        ];
        format!(
            "{path}: {rows} rows, {bytes}\n\
             blocks of {block_rows} rows in {dirs}; tables take {tables} of memory\n\
             a whole row takes at most {reads} of the device, about {row_bytes:.0} bytes at an \
             alignment of {align}\n\n{columns}\n\n{groups}\n\n{files}{indexes}",
            path = self.path.display(),
            rows = HumanCount(self.rows),
            bytes = HumanBytes(self.bytes),
            block_rows = self.block_rows,
            dirs = counted(self.dirs.len() as u64, "directory", "directories"),
            tables = HumanBytes(self.table_bytes),
            reads = counted(self.reads_per_row, "read", "reads"),
            row_bytes = self.device_bytes_per_row,
            align = self.align_bytes,
            columns = grid::plain(&["column", "type", "nullable", "group"], columns.collect()),
            groups = grid::plain(&group_header, groups.collect()),
            files = grid::plain(&["file", "bytes"], files.collect()),
            indexes = self.indexes_text(),
        )
    }

    /// Table of the usable indexes, and the reasons why others are not usable; empty without
    /// indexes.
    fn indexes_text(&self) -> String {
        let (usable, others): (Vec<&IndexSummary>, Vec<&IndexSummary>) = self
            .indexes
            .iter()
            .partition(|index| index.reason.is_none());
        let row = |index: &&IndexSummary| {
            Some(vec![
                index.column.clone(),
                index.metric?.to_string(),
                format!("{} x {}", index.dims?, index.element?),
                index.partitions?.to_string(),
                index.code_bytes_per_row?.to_string(),
                format!("{} of {}", index.rows_indexed?, self.rows),
                format!("{:.1}", index.bytes_per_row?),
                HumanBytes(index.file_bytes?).to_string(),
            ])
        };
        let header = [
            "index of",
            "metric",
            "vectors",
            "partitions",
            "code",
            "rows indexed",
            "memory/row",
            "size",
        ];
        let mut text = String::new();
        if !usable.is_empty() {
            let rows = usable.iter().filter_map(row).collect();
            text = format!("\n\n{}", grid::plain(&header, rows));
        }
        for index in others {
            let reason = index.reason.as_deref().unwrap_or_default();
            text.push_str(&format!(
                "\n\nthe index of {} cannot be used: {reason}",
                index.column
            ));
        }
        text
    }
}

/// The files that the manifest names, data first.
fn files(path: &Path, layout: &Layout) -> Vec<FileSummary> {
    use ringtake_storage::dataset::dir_path;
    let mut files = Vec::new();
    for (ordinal, group) in layout.groups.iter().enumerate() {
        for (dir, bytes) in group.file_bytes().iter().enumerate() {
            files.push(FileSummary {
                path: dir_path(path, layout, dir).join(group.file_name(ordinal)),
                bytes: *bytes,
            });
        }
    }
    for table in &layout.tables {
        files.push(FileSummary {
            path: dir_path(path, layout, 0).join(table.file_name()),
            bytes: table.bytes,
        });
    }
    files
}
