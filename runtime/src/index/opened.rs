//! The indexes of an open dataset.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::datatypes::{DataType, FieldRef};
use ringtake_storage::dataset::{Dataset, TableCheck, TableOwner};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::projection::Projection;
use ringtake_storage::vector::index::{Index, IndexedColumn, index_name};
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::{Element, Metric, VectorColumn};
use ringtake_storage::{Error, Result};
use serde::Serialize;

use super::codes::ShardCodes;
use crate::device::files::load;
use crate::host::lock::lock;

/// Bytes of an index for each row at most, beside its codes and a centroid.
const ROW_BYTES_MAX: u64 = 64;
/// Bytes of an index for header, codebooks and footer at most.
const SHARED_BYTES_MAX: u64 = 16 << 20;

/// An open index and what a search needs beside it.
pub(crate) struct OpenIndex {
    /// With its centroids moved to about zero, where the metric allows it.
    pub(crate) index: Index,
    /// Subtracted from a query along the index's axes, since the centroids were moved by it.
    pub(crate) origin: Option<Vec<f32>>,
    /// Its file, until every shard has copied the codes of its rows.
    file: Mutex<TableOwner>,
    /// Its position among the indexes of the store.
    pub(crate) place: usize,
    pub(crate) name: String,
    pub(crate) column: VectorColumn,
    /// The vectors alone.
    pub(crate) projection: Projection,
    pub(crate) kernels: Kernels,
}

/// The properties of an index.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IndexInfo {
    /// Name of the column.
    pub column: String,
    /// The distance it was built for.
    pub metric: Metric,
    /// Type of the elements.
    pub element: Element,
    /// Elements of each vector.
    pub dims: usize,
    /// Partitions.
    pub partitions: usize,
    /// Bytes of the code of a row.
    pub code_bytes_per_row: usize,
    /// Bytes of memory for each indexed row: code, id, and its part of centroids and codebooks.
    pub bytes_per_row: f64,
    /// Rows covered by the index. A search measures later rows one by one.
    pub rows: u64,
    /// Covered rows that have a code. The others are null, not finite, too long for a finite squared
    /// length, or zero under the cosine metric.
    pub rows_indexed: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
}

impl fmt::Debug for OpenIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index.fmt(f)
    }
}

impl OpenIndex {
    /// The bytes of its file; none after [`OpenIndex::release_file`].
    pub(crate) fn file(&self) -> TableOwner {
        lock(&self.file).clone()
    }

    /// Frees the bytes of the file.
    pub(crate) fn release_file(&self) {
        *lock(&self.file) = Arc::new(Vec::new());
    }

    pub(crate) fn metric(&self) -> Metric {
        self.index.layout().metric
    }

    /// Codes of a row.
    pub(crate) fn codes(&self) -> usize {
        self.index.quantiser().codes()
    }

    /// Its properties, given the memory of all shards' codes.
    pub(crate) fn info(&self, codes_bytes: u64) -> IndexInfo {
        info(&self.index, &self.name, codes_bytes)
    }
}

fn info(index: &Index, column: &str, codes_bytes: u64) -> IndexInfo {
    let layout = index.layout();
    let quantiser = index.quantiser();
    let axes = quantiser
        .rotation()
        .map_or(0, |rotation| rotation.axes().len());
    let centroids = index.centroids().values().len();
    let shared = (centroids + quantiser.codebooks().len() + axes) * size_of::<f32>();
    IndexInfo {
        column: column.to_owned(),
        metric: layout.metric,
        element: layout.element,
        dims: layout.dims as usize,
        partitions: layout.partitions as usize,
        code_bytes_per_row: layout.code_bytes(),
        bytes_per_row: (codes_bytes + shared as u64) as f64 / layout.rows_indexed.max(1) as f64,
        rows: layout.rows,
        rows_indexed: layout.rows_indexed,
        file_bytes: index.file_bytes(),
    }
}

/// The indexes beside a dataset.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) usable: Arc<[Arc<OpenIndex>]>,
    /// A sentence for each index that cannot be used. Rows can be taken all the same.
    pub(crate) faults: Vec<String>,
}

impl Indexes {
    pub(crate) fn open(dataset: &Dataset, check: TableCheck) -> Indexes {
        let mut usable = Vec::new();
        let mut faults = Vec::new();
        for column in 0..dataset.columns().len() {
            match open(dataset, column, check, usable.len()) {
                Ok(index) => usable.extend(index.map(Arc::new)),
                Err(error) => faults.push(error.to_string()),
            }
        }
        Indexes {
            usable: usable.into(),
            faults,
        }
    }
}

/// Opens the index of column `column`, if there is one.
fn open(
    dataset: &Dataset,
    column: usize,
    check: TableCheck,
    place: usize,
) -> Result<Option<OpenIndex>> {
    let path = dataset.path().join(index_name(column));
    let opened = open_file(&path, &IndexedColumn::of(dataset, column), check)?;
    let Some((mut index, file)) = opened else {
        return Ok(None);
    };
    let Some(vectors) = VectorColumn::at(dataset.schema(), column) else {
        unreachable!("the index of a column without vectors is refused");
    };
    let name = dataset.schema().field(column).name().clone();
    let origin = index.centre();
    Ok(Some(OpenIndex {
        index,
        origin,
        file: Mutex::new(file),
        place,
        projection: Projection::named(dataset, &[&name])?,
        name,
        column: vectors,
        kernels: Kernels::best(),
    }))
}

/// An index beside a dataset, as [`inspect_indexes`] finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectedIndex {
    /// Name of the column.
    pub column: String,
    /// The file.
    pub path: PathBuf,
    /// Its properties, with the memory it takes on one shard; or one sentence why no store can use
    /// it.
    pub index: Result<IndexInfo, String>,
}

/// Inspects the indexes beside the dataset at `path`, whose manifest is `manifest`, as a store that
/// opens it would, without starting shards or reading tables. Each index file is read once, to
/// compare its checksums.
pub fn inspect_indexes(path: &Path, manifest: &Manifest) -> Vec<InspectedIndex> {
    let fields = manifest.schema.fields().iter().enumerate();
    let inspect = |(column, field): (usize, &FieldRef)| {
        let of = IndexedColumn {
            layout: &manifest.layout,
            schema: &manifest.schema,
            column,
        };
        let path = path.join(index_name(column));
        let index = match open_file(&path, &of, TableCheck::Verify) {
            Ok(None) => return None,
            Ok(Some((index, _))) => {
                let codes_bytes = ShardCodes::bytes_of_all(&index);
                Ok(info(&index, field.name(), codes_bytes))
            }
            Err(error) => Err(error.to_string()),
        };
        Some(InspectedIndex {
            column: field.name().clone(),
            path,
            index,
        })
    };
    fields.filter_map(inspect).collect()
}

/// The properties of the index of column `column`, which has just been written, with the memory it
/// takes on one shard.
pub(crate) fn info_of(dataset: &Dataset, column: usize) -> crate::error::Result<IndexInfo> {
    let path = dataset.path().join(index_name(column));
    let of = IndexedColumn::of(dataset, column);
    let Some((index, _)) = open_file(&path, &of, TableCheck::Verify)? else {
        let gone = Error::io("find", path)(io::ErrorKind::NotFound.into());
        return Err(gone.into());
    };
    let name = dataset.schema().field(column).name();
    Ok(info(&index, name, ShardCodes::bytes_of_all(&index)))
}

/// The index at `path` and the bytes of its file, if there is one.
fn open_file(
    path: &Path,
    of: &IndexedColumn<'_>,
    check: TableCheck,
) -> Result<Option<(Index, TableOwner)>> {
    // More would be no index of this column: per row an id, codes and at most one centroid of its
    // own, and axes and codebooks beside them.
    let dims = match of.schema.field(of.column).data_type() {
        DataType::FixedSizeList(_, dims) => *dims as u64,
        _ => 0,
    };
    let rows = of.layout.rows;
    let element = size_of::<f32>() as u64;
    let per_row = (2 * dims * element).saturating_add(ROW_BYTES_MAX);
    let most = rows
        .saturating_add(dims)
        .saturating_mul(per_row)
        .saturating_add(SHARED_BYTES_MAX);
    let fits = |length: u64| match length <= most {
        true => Ok(()),
        false => {
            let reason =
                format!("it has {length} bytes, which is more than an index of {rows} rows");
            Err(Error::DamagedIndex {
                path: path.to_owned(),
                what: reason,
            })
        }
    };
    match load(path, fits) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        loaded => {
            let file = loaded?;
            let index = Index::open(path, file.as_ref().as_ref(), of, check)?;
            Ok(Some((index, file)))
        }
    }
}
