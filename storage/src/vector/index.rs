//! The index of one column of vectors: partitions around centroids (an inverted file), and in
//! each the ids and codes of its rows.
//!
//! [`Index::open`] is the only way from bytes to an index that a search believes; FORMAT.md has
//! the layout. [`writer`] makes the file.

pub mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::kmeans::{Centroids, mean};
use super::quantiser::{ENTRIES, Quantiser, are_ends};
use super::rotation::Rotation;
use super::{Element, Metric, VectorColumn};
use crate::checksum::xxh3;
use crate::dataset::{Dataset, TableCheck};
use crate::layout::Layout;
use crate::{Error, Result};

/// The version of the index file this crate writes, and the newest it reads.
pub const INDEX_VERSION: u32 = 1;
/// Rows are numbered by 32 bits in an index.
pub const INDEXED_ROWS_MAX: u64 = 1 << 32;
/// Codes of a vector at most: sums of that many bytes stay exact in sixteen bits.
pub const CODES_MAX: usize = 4096;
/// Partitions at most.
pub const PARTITIONS_MAX: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"RTINDEX1";
pub(crate) const HEADER_BYTES: usize = 64;
const TRAILER_BYTES: usize = 32;
const SECTION_ALIGN_BYTES: u64 = 64;
const LIST_ALIGN_BYTES: u64 = 8;
/// A footer is small; a length beyond this is damage.
const FOOTER_BYTES_MAX: u64 = 1 << 20;

/// What an index is, as its footer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexLayout {
    /// Place of the column in the dataset's schema.
    pub column: u32,
    /// Type of its elements.
    pub element: Element,
    /// Elements of each vector.
    pub dims: u32,
    /// The distance that its partitions and codes were made for.
    pub metric: Metric,
    /// Rows of the dataset that were looked at: those from here on have no codes.
    pub rows: u64,
    /// Those of them that have codes: the others are null, not finite, too long for a distance, or
    /// without direction where the metric needs one.
    pub rows_indexed: u64,
    /// How many partitions there are.
    pub partitions: u32,
    /// Codes of four bits for each vector: one for each piece, and that of its error.
    pub codes: u32,
    /// Seeds the choice of the sample.
    pub seed: u64,
    /// The axes along which differences to centroids are coded, `dims` times `dims` of f32; no
    /// bytes if they are those of the column.
    pub rotation: Section,
    /// `partitions` times `dims` of f32, along those axes.
    pub centroids: Section,
    /// The first element past each piece, `codes` less one of u32.
    pub ends: Section,
    /// `dims` times sixteen of f32.
    pub codebooks: Section,
    /// Sixteen of f32.
    pub errors: Section,
    /// Rows of each partition, `partitions` of u32.
    pub counts: Section,
    /// For each partition its row ids, ascending, u32, and then its codes; each list begins at a
    /// multiple of eight bytes.
    pub lists: Section,
}

/// The column that an index must be of, and the version of the dataset that it must have been built
/// for.
#[derive(Debug, Clone, Copy)]
pub struct IndexedColumn<'a> {
    /// Identity, version and rows.
    pub layout: &'a Layout,
    /// All columns.
    pub schema: &'a SchemaRef,
    /// Place of the column among them.
    pub column: usize,
}

impl<'a> IndexedColumn<'a> {
    /// Column `column` of `dataset`.
    pub fn of(dataset: &'a Dataset, column: usize) -> IndexedColumn<'a> {
        IndexedColumn {
            layout: dataset.layout(),
            schema: dataset.schema(),
            column,
        }
    }
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// Their XXH3.
    pub xxh3: u64,
}

impl Section {
    /// The bytes of the section, which are called `name` and must be `bytes`.
    pub(crate) fn of<'a>(
        &self,
        file: &'a [u8],
        name: &str,
        bytes: u64,
    ) -> Result<&'a [u8], String> {
        if self.bytes != bytes {
            let is = self.bytes;
            return Err(format!("its {name} take {is} bytes instead of {bytes}"));
        }
        let end = self.offset.checked_add(self.bytes);
        let range = end.and_then(|end| file.get(self.offset as usize..end as usize));
        range
            .filter(|_| self.offset.is_multiple_of(SECTION_ALIGN_BYTES))
            .ok_or_else(|| format!("its {name} are not where its footer says"))
    }
}

impl IndexLayout {
    /// Bytes of the codes of one row.
    pub fn code_bytes(&self) -> usize {
        (self.codes as usize).div_ceil(2)
    }

    fn list_bytes(&self, rows: u32) -> u64 {
        let bytes = u64::from(rows) * (4 + self.code_bytes() as u64);
        bytes.next_multiple_of(LIST_ALIGN_BYTES)
    }

    /// The sections that have a length of their own, what they are called and their bytes; all but
    /// the lists.
    pub(crate) fn sections(&self) -> [(&'static str, Section, u64); 6] {
        let (partitions, dims) = (u64::from(self.partitions), u64::from(self.dims));
        let entries = ENTRIES as u64;
        let axes_bytes = match self.rotation.bytes {
            0 => 0,
            _ => dims * dims * 4,
        };
        [
            ("axes", self.rotation, axes_bytes),
            ("centroids", self.centroids, partitions * dims * 4),
            ("ends", self.ends, (u64::from(self.codes) - 1) * 4),
            ("codebooks", self.codebooks, dims * entries * 4),
            ("errors", self.errors, entries * 4),
            ("counts", self.counts, partitions * 4),
        ]
    }

    fn validate(&self, of: &IndexedColumn<'_>) -> Result<(), String> {
        if self.column as usize != of.column {
            return Err(format!("it is of column {}", self.column));
        }
        let column = VectorColumn::at(of.schema, of.column)
            .ok_or_else(|| format!("column {} holds no vectors", self.column))?;
        if (column.element, column.dims) != (self.element, self.dims as usize) {
            return Err("its vectors are not those of the column".to_owned());
        }
        if self.rows > of.layout.rows.min(INDEXED_ROWS_MAX) || self.rows_indexed > self.rows {
            return Err(format!("it counts {} rows", self.rows));
        }
        let (partitions, codes) = (self.partitions as usize, self.codes as usize);
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(format!("it has {partitions} partitions"));
        }
        if codes < 2 || codes > CODES_MAX.min(column.dims + 1) {
            return Err(format!("it has {codes} codes for a row"));
        }
        Ok(())
    }
}

/// The rows of one partition.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// Row ids, ascending.
    pub rows: &'a [u32],
    /// Their codes, row-major, [`IndexLayout::code_bytes`] for each.
    pub codes: &'a [u8],
}

/// An index that has been checked.
pub struct Index {
    layout: IndexLayout,
    path: PathBuf,
    file_bytes: u64,
    centroids: Centroids,
    quantiser: Quantiser,
    /// Of each list in the file.
    ranges: Vec<(Range<usize>, u32)>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Name of the index of column `column`, beside the manifest.
pub fn index_name(column: usize) -> String {
    format!("c{column}.index")
}

/// The column in the name of an index.
pub fn indexed_column(name: &str) -> Option<usize> {
    let column = name.strip_prefix('c')?.strip_suffix(".index")?;
    let digits = !column.is_empty() && column.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| column.parse().ok()).flatten()
}

impl Index {
    /// Checks the bytes of the index at `path`, which is only named in errors. Of `bytes` it keeps
    /// none: the lists stay where they are, for [`Index::list`].
    ///
    /// # Errors
    /// Damage, a newer version, an index of another column, another dataset or another version of
    /// this one.
    pub fn open(
        path: &Path,
        bytes: &[u8],
        of: &IndexedColumn<'_>,
        check: TableCheck,
    ) -> Result<Index> {
        let layout = read_layout(path, bytes, of)?;
        let damaged = |what: String| damaged(path, what);
        let section = |section: &Section, name: &str, length: u64| {
            let found = section.of(bytes, name, length).map_err(damaged)?;
            // What is not there has no checksum.
            let checked = check == TableCheck::Verify && !found.is_empty();
            if checked && xxh3(found) != section.xxh3 {
                return Err(damaged(format!("its {name} do not match their checksum")));
            }
            Ok(found)
        };
        let mut sections = [&bytes[..0]; 6];
        for (found, (name, place, length)) in sections.iter_mut().zip(layout.sections()) {
            *found = section(&place, name, length)?;
        }
        let [axes, centroids, ends, codebooks, errors, counts] = sections;
        let [axes, centroids, codebooks, errors] = [axes, centroids, codebooks, errors].map(floats);
        let ends: Vec<u32> = ends
            .as_chunks::<4>()
            .0
            .iter()
            .map(|end| u32::from_le_bytes(*end))
            .collect();
        let mut ranges = Vec::with_capacity(layout.partitions as usize);
        let (mut from, mut rows_indexed) = (layout.lists.offset, 0_u64);
        for count in counts.as_chunks::<4>().0 {
            let rows = u32::from_le_bytes(*count);
            let to = from.saturating_add(layout.list_bytes(rows));
            ranges.push((from as usize..to as usize, rows));
            (from, rows_indexed) = (to, rows_indexed + u64::from(rows));
        }
        if rows_indexed != layout.rows_indexed {
            return Err(damaged(format!(
                "its partitions have {rows_indexed} rows instead of {}",
                layout.rows_indexed
            )));
        }
        section(&layout.lists, "lists", from - layout.lists.offset)?;
        let numbers = centroids
            .iter()
            .chain(&codebooks)
            .chain(&errors)
            .chain(&axes);
        if !numbers.into_iter().all(|x| x.is_finite()) {
            return Err(damaged(
                "it has centroids or codes that are no numbers".to_owned(),
            ));
        }
        let dims = layout.dims as usize;
        if !are_ends(&ends, dims) {
            return Err(damaged("its pieces are impossible".to_owned()));
        }
        let mut levels = [0.0; ENTRIES];
        levels.copy_from_slice(&errors);
        let rotation = (!axes.is_empty()).then(|| Rotation::new(dims, axes));
        Ok(Index {
            centroids: Centroids::new(dims, centroids),
            quantiser: Quantiser::new(dims, rotation, ends, codebooks, levels),
            path: path.to_owned(),
            layout,
            ranges,
            file_bytes: bytes.len() as u64,
        })
    }

    /// What it is.
    pub fn layout(&self) -> &IndexLayout {
        &self.layout
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The centres of its partitions, along the quantiser's axes.
    pub fn centroids(&self) -> &Centroids {
        &self.centroids
    }

    /// Moves the centroids of an index for [`Metric::L2`] so that they lie about zero, and gives what
    /// must be subtracted from a query to be where they are: distances are the same there, and are
    /// not lost in products of large numbers. Nothing for other metrics.
    pub fn centre(&mut self) -> Option<Vec<f32>> {
        if self.layout.metric != Metric::L2 {
            return None;
        }
        let origin = mean(self.centroids.dims(), self.centroids.values());
        self.centroids.subtract(&origin);
        Some(origin)
    }

    /// What its codes mean.
    pub fn quantiser(&self) -> &Quantiser {
        &self.quantiser
    }

    /// How many rows `partition` has.
    pub fn list_rows(&self, partition: usize) -> u32 {
        self.ranges[partition].1
    }

    /// Where in the file the rows of `partition` and their codes are.
    pub(crate) fn list_range(&self, partition: usize) -> Range<usize> {
        self.ranges[partition].0.clone()
    }

    /// The rows of `partition` in `file`, the bytes that were checked.
    ///
    /// # Errors
    /// Row ids that are not ascending or past the end (their checksum may not have been compared);
    /// other bytes than those.
    pub fn list<'a>(&self, file: &'a [u8], partition: usize) -> Result<List<'a>> {
        let (range, rows) = self.ranges[partition].clone();
        if file.len() as u64 != self.file_bytes {
            return Err(damaged(&self.path, "it has another length".to_owned()));
        }
        let bytes = &file[range];
        let (ids, codes) = bytes.split_at(rows as usize * 4);
        let rows: &[u32] = bytemuck::try_cast_slice(ids)
            .map_err(|_| damaged(&self.path, "its lists are not aligned".to_owned()))?;
        let ascending = rows.is_sorted_by(|a, b| a < b);
        if !ascending
            || rows
                .last()
                .is_some_and(|&row| u64::from(row) >= self.layout.rows)
        {
            return Err(damaged(
                &self.path,
                format!("the rows of partition {partition} are impossible"),
            ));
        }
        let codes = &codes[..rows.len() * self.layout.code_bytes()];
        Ok(List { rows, codes })
    }
}

fn damaged(path: &Path, what: String) -> Error {
    Error::DamagedIndex {
        path: path.to_owned(),
        what,
    }
}

/// What the index at `path` is, from its header, trailer and footer.
///
/// # Errors
/// As [`Index::open`].
pub(crate) fn read_layout(
    path: &Path,
    bytes: &[u8],
    of: &IndexedColumn<'_>,
) -> Result<IndexLayout> {
    let damaged = |what: &str| damaged(path, what.to_owned());
    if bytes.len() < HEADER_BYTES + TRAILER_BYTES || &bytes[..8] != MAGIC {
        return Err(damaged("it does not begin as an index does"));
    }
    let version = u32_at(bytes, 8);
    if version > INDEX_VERSION {
        return Err(Error::NewerVersion {
            path: path.to_owned(),
            found: version,
            supported: INDEX_VERSION,
        });
    }
    let header = &bytes[..HEADER_BYTES];
    let zeros = u32_at(header, 12) == 0 && header[40..56].iter().all(|&byte| byte == 0);
    if version == 0 || !zeros || xxh3(&header[..56]) != u64_at(header, 56) {
        return Err(damaged("its header does not match its checksum"));
    }
    let version = of.layout;
    if header[16..32] != version.dataset || u64_at(header, 32) != version.generation {
        return Err(Error::ForeignIndex {
            path: path.to_owned(),
        });
    }
    let trailer = &bytes[bytes.len() - TRAILER_BYTES..];
    let (footer_bytes, file_bytes) = (u64_at(trailer, 0), u64_at(trailer, 16));
    let room = (bytes.len() - HEADER_BYTES - TRAILER_BYTES) as u64;
    if xxh3(&trailer[..24]) != u64_at(trailer, 24)
        || file_bytes != bytes.len() as u64
        || footer_bytes > room.min(FOOTER_BYTES_MAX)
    {
        return Err(damaged("it does not end as an index does"));
    }
    let footer = &bytes[footer_at(bytes)..bytes.len() - TRAILER_BYTES];
    if xxh3(footer) != u64_at(trailer, 8) {
        return Err(damaged("its footer does not match its checksum"));
    }
    let layout: IndexLayout = serde_json::from_slice(footer)
        .map_err(|error| damaged(&format!("its footer cannot be read ({error})")))?;
    layout
        .validate(of)
        .map_err(|what| damaged(&format!("it contradicts the dataset: {what}")))?;
    Ok(layout)
}

/// Where the footer of a file begins whose trailer has been checked.
pub(crate) fn footer_at(bytes: &[u8]) -> usize {
    let trailer_at = bytes.len() - TRAILER_BYTES;
    trailer_at - u64_at(bytes, trailer_at) as usize
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
