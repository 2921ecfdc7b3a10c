//! The contents of an index that tests write and compare.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch};
use arrow::datatypes::Float32Type;
use ringtake_storage::Result;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::vector::index::writer::IndexWriter;
use ringtake_storage::vector::index::{Index, IndexLayout, Section};
use ringtake_storage::vector::kmeans::Centroids;
use ringtake_storage::vector::quantiser::{ENTRIES, Quantiser};
use ringtake_storage::vector::rotation::Rotation;
use ringtake_storage::vector::{Element, Metric};
use ringtake_storage::write::file_system::FileSystem;

pub(super) const DIMS: usize = 8;
/// Partitions of every index here; the third is empty.
pub(super) const PARTITIONS: usize = 4;
pub(super) const ROWS: u32 = 40;

/// Rows with two columns of vectors; row 5 of each is null.
pub(crate) fn vectors() -> RecordBatch {
    let column = |scale: f32| -> ArrayRef {
        let vector = |row: u32| (0..DIMS).map(move |dim| Some(row as f32 * scale + dim as f32));
        let rows = (0..ROWS).map(|row| (row != 5).then(|| vector(row)));
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, DIMS as i32))
    };
    let columns = [("a", column(0.5), true), ("b", column(-1.0), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The contents of an index: numbers that differ by where they belong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    pub(super) axes: Option<Vec<f32>>,
    pub(super) centroids: Vec<f32>,
    pub(super) ends: Vec<u32>,
    pub(super) codebooks: Vec<f32>,
    pub(super) errors: [f32; ENTRIES],
    /// Rows and codes of each partition.
    pub(super) lists: Vec<(Vec<u32>, Vec<u8>)>,
    pub(super) seed: u64,
}

impl Parts {
    /// `seed` chooses the pieces, and with them whether codes end in half a byte, and whether
    /// there are axes.
    pub(crate) fn new(seed: u64) -> Parts {
        let ends = [vec![2, 3, 8], vec![4, 8], vec![1, 2, 3, 4, 5, 6, 7, 8]];
        let ends = ends[seed as usize % 3].clone();
        // Two axes change places and one turns round.
        let axes = (0..DIMS * DIMS).map(|at| match (at / DIMS, at % DIMS) {
            (0, 1) | (1, 0) => 1.0,
            (2, 2) => -1.0,
            (axis, dim) if axis > 2 && axis == dim => 1.0,
            _ => 0.0,
        });
        let code_bytes = (ends.len() + 1).div_ceil(2);
        let odd = ends.len() % 2 == 0;
        let list = |partition: u32| {
            let rows = (0..ROWS).filter(|&row| {
                let home = [0, 1, 3][row as usize % 3];
                row != 5 && home == partition
            });
            let rows: Vec<u32> = rows.collect();
            let codes = rows.iter().flat_map(|&row| {
                (0..code_bytes).map(move |at| {
                    let last = odd && at + 1 == code_bytes;
                    (row as u8).wrapping_mul(7).wrapping_add(at as u8) & if last { 15 } else { 255 }
                })
            });
            let codes = codes.collect();
            (rows, codes)
        };
        Parts {
            axes: (seed % 2 == 1).then(|| axes.collect()),
            centroids: (0..PARTITIONS * DIMS).map(|at| at as f32 + 0.25).collect(),
            codebooks: (0..DIMS * ENTRIES)
                .map(|at| at as f32 / 16.0 - 4.0)
                .collect(),
            errors: std::array::from_fn(|entry| entry as f32 * 0.5),
            lists: (0..PARTITIONS as u32).map(list).collect(),
            ends,
            seed,
        }
    }

    pub(super) fn rows_indexed(&self) -> u64 {
        self.lists.iter().map(|(rows, _)| rows.len() as u64).sum()
    }

    pub(crate) fn write(
        &self,
        file_system: Arc<dyn FileSystem>,
        dataset: &Dataset,
    ) -> Result<IndexLayout> {
        let layout = IndexLayout {
            column: 1,
            element: Element::F32,
            dims: DIMS as u32,
            metric: Metric::Cosine,
            rows: ROWS.into(),
            rows_indexed: 0,
            partitions: 0,
            codes: 0,
            seed: self.seed,
            rotation: Section::default(),
            centroids: Section::default(),
            ends: Section::default(),
            codebooks: Section::default(),
            errors: Section::default(),
            counts: Section::default(),
            lists: Section::default(),
        };
        let centroids = Centroids::new(DIMS, self.centroids.clone());
        let rotation = self.axes.clone().map(|axes| Rotation::new(DIMS, axes));
        let (ends, codebooks) = (self.ends.clone(), self.codebooks.clone());
        let quantiser = Quantiser::new(DIMS, rotation, ends, codebooks, self.errors);
        let mut writer = IndexWriter::create(file_system, dataset, layout, &centroids, &quantiser)?;
        for (rows, codes) in &self.lists {
            writer.push_list(rows, codes)?;
        }
        writer.commit()
    }

    /// Asserts that `index` holds these parts.
    pub(crate) fn assert_are(&self, index: &Index, file: &[u8]) {
        let quantiser = index.quantiser();
        assert_eq!(index.centroids().values(), self.centroids);
        assert_eq!(
            quantiser.rotation().map(Rotation::axes),
            self.axes.as_deref()
        );
        assert_eq!(quantiser.ends(), self.ends);
        assert_eq!(quantiser.codebooks(), self.codebooks);
        assert_eq!(quantiser.errors(), &self.errors);
        for (partition, (rows, codes)) in self.lists.iter().enumerate() {
            let list = index.list(file, partition).unwrap();
            assert_eq!((list.rows, list.codes), (&rows[..], &codes[..]));
            assert_eq!(index.list_rows(partition) as usize, rows.len());
        }
        let layout = index.layout();
        assert_eq!(
            (layout.rows, layout.rows_indexed),
            (ROWS.into(), self.rows_indexed())
        );
        assert_eq!((layout.column, layout.dims), (1, DIMS as u32));
        assert_eq!(
            (layout.element, layout.metric),
            (Element::F32, Metric::Cosine)
        );
        assert_eq!(
            (layout.partitions, layout.codes as usize),
            (4, self.ends.len() + 1)
        );
        assert_eq!(layout.seed, self.seed);
    }
}

/// Parts with and without axes, and with codes of whole and of half bytes.
pub(super) fn all_parts() -> impl Iterator<Item = Parts> {
    (0..6).map(Parts::new)
}
