//! The index of one column of vectors: partitions around centroids (an inverted file), and in
//! each the ids and codes of its rows.
//!
//! [`Index::open`] is the only way from bytes to an index that a search trusts; FORMAT.md has the
//! layout. [`writer`] makes the file.

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
/// Most rows of an indexed dataset: an index stores row ids as `u32`.
pub const INDEXED_ROWS_MAX: u64 = 1 << 32;
/// Most codes of a vector: the sum of their table entries, a byte each, must be exact in 16 bits.
pub const CODES_MAX: usize = 4096;
/// Most partitions of an index.
pub const PARTITIONS_MAX: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"RTINDEX1";
pub(crate) const HEADER_BYTES: usize = 64;
const TRAILER_BYTES: usize = 32;
const SECTION_ALIGN_BYTES: u64 = 64;
const LIST_ALIGN_BYTES: u64 = 8;
/// Largest footer in bytes. A trailer with a larger length is damaged.
const FOOTER_BYTES_MAX: u64 = 1 << 20;

/// Description of an index, as stored in its footer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexLayout {
    /// Ordinal of the column in the dataset's schema.
    pub column: u32,
    /// Element type of the column.
    pub element: Element,
    /// Elements of each vector.
    pub dims: u32,
    /// Metric that the index was built for.
    pub metric: Metric,
    /// Rows of the dataset when the index was built; later rows have no codes.
    pub rows: u64,
    /// Rows that have codes. The others are null, not finite, too long for a distance, or have no
    /// direction although the metric needs one.
    pub rows_indexed: u64,
    /// Number of partitions.
    pub partitions: u32,
    /// Number of 4-bit codes per vector: one for each piece and one for the error.
    pub codes: u32,
    /// Seed of the random choice of the training sample.
    pub seed: u64,
    /// Axes along which differences to centroids are coded: `dims` x `dims` f32, or empty for the
    /// axes of the column.
    pub rotation: Section,
    /// Centroids along those axes: `partitions` x `dims` f32.
    pub centroids: Section,
    /// End of each piece, as the first element past it: one u32 per piece.
    pub ends: Section,
    /// Codebooks: for each dimension, one f32 per entry.
    pub codebooks: Section,
    /// Distances that the code of the error stands for: one f32 per entry.
    pub errors: Section,
    /// Number of rows of each partition, as u32.
    pub counts: Section,
    /// For each partition its row ids (u32, ascending) and then its codes. Each list is aligned to
    /// eight bytes.
    pub lists: Section,
}

/// The column and the version of the dataset that an index must match.
#[derive(Debug, Clone, Copy)]
pub struct IndexedColumn<'a> {
    /// Layout of the dataset: its identity, version and rows.
    pub layout: &'a Layout,
    /// Schema of the dataset.
    pub schema: &'a SchemaRef,
    /// Ordinal of the column.
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

/// Place and checksum of one part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3 of the bytes.
    pub xxh3: u64,
}

impl Section {
    /// The bytes of the section in `file`, checked. Errors call it `name`; its length must be
    /// `bytes`.
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

    /// Name, place and expected length of each section except the lists, whose length depends on
    /// the counts.
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

/// Row ids and codes of one partition.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// Row ids, ascending.
    pub rows: &'a [u32],
    /// Codes, row-major, [`IndexLayout::code_bytes`] per row.
    pub codes: &'a [u8],
}

/// An open and checked index, without the bytes of its lists.
pub struct Index {
    layout: IndexLayout,
    path: PathBuf,
    file_bytes: u64,
    centroids: Centroids,
    quantiser: Quantiser,
    /// Range in the file and number of rows of each list.
    ranges: Vec<(Range<usize>, u32)>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// File name of the index of column `column`; the file lies beside the manifest.
pub fn index_name(column: usize) -> String {
    format!("c{column}.index")
}

/// Ordinal of the column in the file name of an index; `None` for another name.
pub fn indexed_column(name: &str) -> Option<usize> {
    let column = name.strip_prefix('c')?.strip_suffix(".index")?;
    let digits = !column.is_empty() && column.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| column.parse().ok()).flatten()
}

impl Index {
    /// Checks `bytes`, the file of an index; `path` is only named in errors. The index keeps no
    /// reference to `bytes`: pass them to [`Index::list`] again.
    ///
    /// # Errors
    /// [`Error::DamagedIndex`]; [`Error::NewerVersion`]; [`Error::ForeignIndex`] for an index of
    /// another column, another dataset or another version of this one.
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
            // An absent section has no checksum.
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

    /// Description of the index, from its footer.
    pub fn layout(&self) -> &IndexLayout {
        &self.layout
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Centroids of the partitions, along the axes of the quantiser.
    pub fn centroids(&self) -> &Centroids {
        &self.centroids
    }

    /// Moves the centroids of an index for [`Metric::L2`] so that their mean is zero. Returns the
    /// vector to subtract from each query; distances are the same, but are not lost in products of
    /// large numbers. Returns `None`, and moves nothing, under other metrics.
    pub fn centre(&mut self) -> Option<Vec<f32>> {
        if self.layout.metric != Metric::L2 {
            return None;
        }
        let origin = mean(self.centroids.dims(), self.centroids.values());
        self.centroids.subtract(&origin);
        Some(origin)
    }

    /// The quantiser that decodes the codes.
    pub fn quantiser(&self) -> &Quantiser {
        &self.quantiser
    }

    /// Number of rows in partition `partition`.
    pub fn list_rows(&self, partition: usize) -> u32 {
        self.ranges[partition].1
    }

    /// Range in the file of the rows and codes of partition `partition`.
    pub(crate) fn list_range(&self, partition: usize) -> Range<usize> {
        self.ranges[partition].0.clone()
    }

    /// The rows of partition `partition` in `file`, the bytes that were given to [`Index::open`].
    ///
    /// # Errors
    /// [`Error::DamagedIndex`] if row ids are not ascending or past the end (opening may have
    /// skipped their checksum), or if `file` has another length.
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

/// Reads the description of the index at `path` from its header, trailer and footer.
///
/// # Errors
/// Those of [`Index::open`].
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

/// Offset of the footer in a file whose trailer has been checked.
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
