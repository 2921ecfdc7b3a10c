//! The reads of a workload, planned before a yardstick's clock starts: those that the store would
//! make, or the bytes of each row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringtake_runtime::Config;
use ringtake_runtime::yardstick::{MERGED_READ_BYTES_MAX, ReadAt};
use ringtake_storage::column::ColumnShape;
use ringtake_storage::dataset::{Dataset, Locator, Table, TableCheck};
use ringtake_storage::file::read_regular;
use ringtake_storage::manifest::Manifest;
use ringtake_storage::plan::{Entry, ReadLimits, next_read};

use crate::error::Error;
use crate::workload::Workload;
use crate::workload::dataset::DatasetFiles;
use crate::workload::row_checksum::RowBytes;

/// The most reads that are planned; a longer run repeats them.
const READS_MAX: u64 = 1 << 22;

/// The largest column group of the wanted columns.
pub(crate) struct LargestGroup {
    dataset: Dataset,
    group: usize,
    /// Its data files, one for each data directory.
    pub(crate) paths: Vec<PathBuf>,
    /// The names of its columns.
    pub(crate) columns: Vec<String>,
}

/// How the rows of a query become reads.
pub(crate) enum Cut {
    /// Aligned reads of one or more neighbouring rows, ascending, as the store makes them.
    Reads { align_bytes: u32 },
    /// The values of each row, in the order of the query.
    Rows,
}

/// The reads of the first queries of a workload, the tag of each being its query.
#[derive(Default)]
pub(crate) struct ReadPlan {
    /// All reads, query after query.
    pub(crate) reads: Vec<ReadAt>,
    /// Where the reads of each query end.
    pub(crate) ends: Vec<usize>,
    /// The longest read.
    pub(crate) bytes_max: u32,
}

impl ReadPlan {
    /// The reads of query `index`; past the last query it begins anew.
    pub(crate) fn query(&self, index: u64) -> &[ReadAt] {
        let index = (index % self.queries()) as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.reads[start..self.ends[index]]
    }

    /// Queries planned.
    pub(crate) fn queries(&self) -> u64 {
        self.ends.len() as u64
    }
}

impl LargestGroup {
    /// Looks at the dataset at `path`; empty `columns` mean all.
    pub(crate) fn of(path: &Path, columns: &[String]) -> Result<LargestGroup, Error> {
        let wanted = DatasetFiles::of(path, columns)?.columns;
        let manifest = Manifest::read(path)?;
        let dataset = Dataset::new(path, manifest, TableCheck::Verify, |file, table| {
            Ok(Table::new(Arc::new(read_regular(file, table.bytes)?)))
        })?;
        let layout = dataset.layout();
        let name = |column: u32| dataset.schema().field(column as usize).name().clone();
        let group = (0..layout.groups.len())
            .filter(|group| {
                let columns = layout.groups[*group].columns();
                columns.iter().any(|column| wanted.contains(&name(*column)))
            })
            .max_by_key(|group| layout.groups[*group].file_bytes().iter().sum::<u64>())
            .unwrap_or(0);
        let paths = (0..layout.dirs.len()).map(|dir| dataset.file_path(group, dir));
        let columns = layout.groups[group].columns().iter().copied().map(name);
        Ok(LargestGroup {
            group,
            paths: paths.collect(),
            columns: columns.collect(),
            dataset,
        })
    }

    /// Directory of the dataset.
    pub(crate) fn path(&self) -> &Path {
        self.dataset.path()
    }

    /// Rows of the dataset.
    pub(crate) fn rows(&self) -> u64 {
        self.dataset.rows()
    }

    /// Bytes of the group's values in one row, if that is fixed.
    pub(crate) fn row_bytes(&self) -> Option<u64> {
        let locator = self.dataset.locator(self.group);
        locator.record_bytes()?;
        locator.value_bytes(0).ok().map(u64::from)
    }

    /// Plans as many queries as a pass of the workload has, or as there is room for.
    pub(crate) fn plan(&self, workload: &Workload, cut: &Cut) -> Result<ReadPlan, Error> {
        let mut plan = ReadPlan::default();
        let mut row_ids = Vec::new();
        for index in 0..workload.pass_queries() {
            if plan.reads.len() as u64 >= READS_MAX {
                break;
            }
            workload.query(index, &mut row_ids);
            self.add_query(&row_ids, cut, &mut plan)?;
        }
        Ok(plan)
    }

    /// Plans a single query.
    pub(crate) fn plan_query(&self, row_ids: &[u64], cut: &Cut) -> Result<ReadPlan, Error> {
        let mut plan = ReadPlan::default();
        self.add_query(row_ids, cut, &mut plan)?;
        Ok(plan)
    }

    fn add_query(&self, row_ids: &[u64], cut: &Cut, plan: &mut ReadPlan) -> Result<(), Error> {
        let locator = self.dataset.locator(self.group);
        match cut {
            Cut::Reads { align_bytes } => {
                self.plan_reads(&locator, row_ids, *align_bytes, plan)?;
            }
            Cut::Rows => self.plan_rows(&locator, row_ids, plan)?,
        }
        plan.ends.push(plan.reads.len());
        Ok(())
    }

    fn plan_reads(
        &self,
        locator: &Locator<'_>,
        row_ids: &[u64],
        align_bytes: u32,
        plan: &mut ReadPlan,
    ) -> Result<(), Error> {
        let mut entries: Vec<Entry> = row_ids
            .iter()
            .zip(0..)
            .map(|(row, position)| Entry {
                row: *row,
                position,
            })
            .collect();
        entries.sort_unstable();
        let limits = ReadLimits {
            align_bytes,
            bytes_max: MERGED_READ_BYTES_MAX,
            gap_bytes: Config::default().merge_gap_bytes,
        };
        let mut rest = entries.as_slice();
        while !rest.is_empty() {
            let read = next_read(locator, rest, limits).map_err(Error::subject)?;
            rest = &rest[read.entries..];
            self.push(read.dir, read.offset, read.bytes, plan);
        }
        Ok(())
    }

    fn plan_rows(
        &self,
        locator: &Locator<'_>,
        row_ids: &[u64],
        plan: &mut ReadPlan,
    ) -> Result<(), Error> {
        for row in row_ids {
            let extent = locator.locate(*row).map_err(Error::subject)?;
            let bytes = locator.value_bytes(*row).map_err(Error::subject)?;
            self.push(extent.dir, extent.offset, bytes, plan);
        }
        Ok(())
    }

    /// A row that stores nothing needs no read.
    fn push(&self, dir: u32, offset: u64, bytes: u32, plan: &mut ReadPlan) {
        if bytes == 0 {
            return;
        }
        plan.bytes_max = plan.bytes_max.max(bytes);
        plan.reads.push(ReadAt {
            file: dir,
            bytes,
            offset,
            tag: plan.ends.len() as u32,
        });
    }

    /// Where the values of `row` are.
    pub(crate) fn value_at(&self, row: u64) -> Result<ReadAt, Error> {
        let locator = self.dataset.locator(self.group);
        let extent = locator.locate(row).map_err(Error::subject)?;
        Ok(ReadAt {
            file: extent.dir,
            bytes: locator.value_bytes(row).map_err(Error::subject)?,
            offset: extent.offset,
            tag: 0,
        })
    }

    /// Which of the paths holds `row`.
    pub(crate) fn file_of(&self, row: u64) -> Option<u32> {
        let extent = self.dataset.locator(self.group).locate(row).ok()?;
        Some(extent.dir)
    }

    /// The value of `row` as the checksum over rows wants it, within the bytes of the file from
    /// `offset` on; `None` where the stored form is not the form that Arrow has: several columns
    /// in a row, nulls, booleans.
    pub(crate) fn checksum_bytes(
        &self,
        row: u64,
        offset: u64,
        bytes: &[u8],
        out: &mut RowBytes,
    ) -> Option<()> {
        let [column] = self.dataset.layout().groups[self.group].columns() else {
            return None;
        };
        let column = &self.dataset.columns()[*column as usize];
        if column.valid().is_some() || column.items().is_some() {
            return None;
        }
        let locator = self.dataset.locator(self.group);
        let extent = locator.locate(row).ok()?;
        let start = usize::try_from(extent.offset.checked_sub(offset)?).ok()?;
        let value_bytes = locator.value_bytes(row).ok()? as usize;
        let value = bytes.get(start..start + value_bytes)?;
        out.begin(row);
        match column.shape {
            ColumnShape::Plain { .. } => out.fixed(value),
            ColumnShape::List { item_bytes, .. } => out.list(value, item_bytes as usize),
            ColumnShape::Variable { .. } => out.variable(value),
            ColumnShape::Boolean => return None,
        }
        Some(())
    }
}
