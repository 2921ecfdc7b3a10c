//! The options of a build.

use ringtake_storage::vector::Metric;

/// Options of [`Store::build_index`](crate::Store::build_index).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexOptions {
    /// The distance that searches measure. The default is L2.
    pub metric: Metric,
    /// Partitions, at most one for each sampled vector. The default, `None`, is the power of two
    /// nearest to one for each [`IndexOptions::PARTITION_ROWS`] rows. More partitions are smaller,
    /// so a search scans fewer rows for each and reads more centroids.
    pub partitions: Option<u32>,
    /// Bytes of the code of a row, at most half a byte for each element and one more. The default,
    /// `None`, is a byte for each [`IndexOptions::ELEMENTS_PER_CODE_BYTE`] elements and
    /// [`IndexOptions::CODE_BYTES_MORE`], and at least [`IndexOptions::CODE_BYTES_MIN`]. Longer codes
    /// find more of the nearest rows and take more memory in every shard.
    pub code_bytes: Option<u32>,
    /// The axes along which vectors are coded. By default the better of two.
    pub axes: Axes,
    /// Rounds of k-means. More rounds make better partitions, so searches find more of the nearest
    /// rows, and take longer to build.
    pub iterations: u32,
    /// Vectors sampled for each partition, at least one. More of them make better partitions and
    /// take longer.
    pub sample_rows_per_partition: u32,
    /// Bytes of memory for the sample at most.
    pub sample_bytes_max: u64,
    /// Bytes of memory for codes while they are put in the order of partitions. Less memory takes
    /// more passes over them.
    pub gather_bytes_max: u64,
    /// Threads. The default, `None`, is one per allowed CPU.
    pub threads: Option<usize>,
    /// Rows to index, the first of the dataset; each search measures the later ones one by one. The
    /// default, `None`, is all.
    pub rows: Option<u64>,
    /// Seed of the sample. The same seed and options make the same sample.
    pub seed: u64,
}

impl IndexOptions {
    /// Rows for each partition, unless `partitions` is given.
    pub const PARTITION_ROWS: u64 = 4096;
    /// Elements for each byte of code, unless `code_bytes` is given.
    pub const ELEMENTS_PER_CODE_BYTE: usize = 16;
    /// Bytes of code beside those for elements, unless `code_bytes` is given.
    pub const CODE_BYTES_MORE: usize = 4;
    /// Bytes of code at least, unless `code_bytes` is given.
    pub const CODE_BYTES_MIN: usize = 29;
}

impl Default for IndexOptions {
    fn default() -> Self {
        IndexOptions {
            metric: Metric::L2,
            partitions: None,
            code_bytes: None,
            axes: Axes::default(),
            iterations: 50,
            sample_rows_per_partition: 512,
            sample_bytes_max: 1 << 30,
            gather_bytes_max: 1 << 30,
            threads: None,
            rows: None,
            seed: 1,
        }
    }
}

/// Axes along which vectors are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axes {
    /// The axes that code a sample with less error; the column's own, which cost a query nothing,
    /// where the difference is small.
    #[default]
    Auto,
    /// The column's own.
    Given,
    /// The principal axes of the sample, where they can be computed. A query is rotated to them,
    /// which takes a multiplication for each two elements.
    Principal,
}
