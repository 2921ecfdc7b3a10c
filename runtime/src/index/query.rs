//! A query at work: the state that all its shards share.
//!
//! Each shard scans the codes of the rows it owns and hands in its candidates. The last shard to do
//! so finds the cut over all of them: the farthest candidate that is read. So the shards together
//! read the rows that one shard alone would have read. Each then reads its own and hands in the
//! nearest.

use std::cmp::Ordering as Order;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use ringtake_storage::vector::Metric;
use ringtake_storage::vector::distance::Distance;
use ringtake_storage::vector::nearest::{Neighbour, keep_nearest};
use ringtake_storage::vector::quantiser::{ENTRIES, Scale, quantise_tables};

use super::filter::RowFilter;
use super::opened::OpenIndex;
use crate::doorbell::Doorbell;

/// Whether candidates are read and measured exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refine {
    Yes,
    No,
}

/// A partition to be scanned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) partition: usize,
    pub(crate) scale: Scale,
    /// The position of its table among all tables.
    table: usize,
}

/// The results that a shard has handed in.
#[derive(Debug, Default)]
struct Slot {
    /// Its candidates, no more than the query wants over all shards.
    candidates: OnceLock<Vec<Neighbour>>,
    /// The nearest of the rows that it has read.
    refined: OnceLock<Vec<Neighbour>>,
}

/// A query, shared by the shards that answer it.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) index: Arc<OpenIndex>,
    /// The query's vector, normalised if the metric is the cosine.
    vector: Vec<f32>,
    distance: Distance,
    probes: Vec<Probe>,
    tables: Vec<u8>,
    pub(crate) k: usize,
    /// Rows to read, or, without refining, to choose the answer from.
    pub(crate) candidates: usize,
    pub(crate) refine: Refine,
    pub(crate) filter: Option<RowFilter>,
    slots: Vec<Slot>,
    /// Shards that have not handed their candidates in. The last one writes `cut`.
    scans_left: AtomicU32,
    /// The last candidate to be read.
    cut: OnceLock<Neighbour>,
    doorbells: Arc<[Arc<Doorbell>]>,
}

/// Everything that a query is made from.
pub(crate) struct Asked<'a> {
    pub(crate) index: Arc<OpenIndex>,
    pub(crate) vector: Vec<f32>,
    /// The vector along the quantiser's axes.
    pub(crate) along_axes: &'a [f32],
    pub(crate) partitions: &'a [u32],
    pub(crate) k: usize,
    pub(crate) candidates: usize,
    pub(crate) refine: Refine,
    pub(crate) filter: Option<RowFilter>,
    pub(crate) doorbells: Arc<[Arc<Doorbell>]>,
}

impl Asked<'_> {
    /// Bytes of memory for its tables.
    pub(crate) fn table_bytes(&self) -> u64 {
        let tables = match self.index.metric() {
            Metric::Dot => 1,
            Metric::L2 | Metric::Cosine => self.partitions.len(),
        };
        (tables * self.index.codes() * ENTRIES) as u64
    }
}

impl Query {
    pub(crate) fn new(asked: Asked<'_>) -> Query {
        let (probes, tables) = tables(&asked.index, asked.along_axes, asked.partitions);
        let shards = asked.doorbells.len();
        let distance = Distance {
            kernels: asked.index.kernels,
            metric: asked.index.metric(),
            element: asked.index.column.element,
        };
        Query {
            distance,
            index: asked.index,
            vector: asked.vector,
            probes,
            tables,
            k: asked.k,
            candidates: asked.candidates,
            refine: asked.refine,
            filter: asked.filter,
            slots: (0..shards).map(|_| Slot::default()).collect(),
            scans_left: AtomicU32::new(shards as u32),
            cut: OnceLock::new(),
            doorbells: asked.doorbells,
        }
    }

    /// Rows with codes that the shards have handed in.
    pub(crate) fn coded(&self) -> usize {
        let found = self.slots.iter().filter_map(|slot| slot.candidates.get());
        found.map(Vec::len).sum()
    }

    pub(crate) fn probes(&self) -> &[Probe] {
        &self.probes
    }

    pub(crate) fn table(&self, probe: Probe) -> &[u8] {
        let bytes = self.index.codes() * ENTRIES;
        &self.tables[probe.table * bytes..][..bytes]
    }

    /// The exact distance of a stored vector.
    #[inline]
    pub(crate) fn distance(&self, vector: &[u8]) -> f32 {
        self.distance.to(&self.vector, vector)
    }

    /// Takes the candidates of a shard that has scanned its codes. The last shard makes the cut.
    pub(crate) fn scanned(&self, shard: usize, found: Vec<Neighbour>) {
        let _ = self.slots[shard].candidates.set(found);
        // Acquire: the last sees what the others have handed in. Release: it sees this one's.
        if self.scans_left.fetch_sub(1, Ordering::AcqRel) > 1 || self.refine == Refine::No {
            return;
        }
        let _ = self.cut.set(self.find_cut());
        for (other, doorbell) in self.doorbells.iter().enumerate() {
            if other != shard {
                doorbell.ring();
            }
        }
    }

    /// The last of the nearest `candidates` over all shards.
    fn find_cut(&self) -> Neighbour {
        let everything = Neighbour {
            distance: f32::INFINITY,
            row: u64::MAX,
        };
        let found = self.slots.iter().filter_map(|slot| slot.candidates.get());
        let mut all: Vec<Neighbour> = found.flatten().copied().collect();
        match self.candidates {
            0 => everything,
            wanted if all.len() <= wanted => everything,
            wanted => *all.select_nth_unstable_by(wanted - 1, Neighbour::order).1,
        }
    }

    /// Whether the candidates to read are known: all shards have scanned, or none is read.
    pub(crate) fn is_cut(&self) -> bool {
        self.refine == Refine::No || self.cut.get().is_some()
    }

    /// The candidates of `shard` to read, once they are known.
    pub(crate) fn chosen(&self, shard: usize) -> Option<impl Iterator<Item = Neighbour>> {
        let cut = match self.refine {
            Refine::Yes => *self.cut.get()?,
            Refine::No => Neighbour {
                distance: f32::NEG_INFINITY,
                row: 0,
            },
        };
        let mine = self.slots[shard].candidates.get()?.iter().copied();
        Some(mine.filter(move |neighbour| neighbour.order(&cut) != Order::Greater))
    }

    /// Takes the distances of a shard that has measured its rows.
    pub(crate) fn refined(&self, shard: usize, mut neighbours: Vec<Neighbour>) {
        keep_nearest(&mut neighbours, self.k);
        let _ = self.slots[shard].refined.set(neighbours);
    }

    /// The nearest rows over all shards, nearest first, once all have finished.
    pub(crate) fn merged(&self) -> Vec<Neighbour> {
        let refined = self.slots.iter().filter_map(|slot| slot.refined.get());
        let mut all: Vec<Neighbour> = refined.flatten().copied().collect();
        if self.refine == Refine::No {
            let found = self.slots.iter().filter_map(|slot| slot.candidates.get());
            all.extend(found.flatten());
        }
        keep_nearest(&mut all, self.k);
        all.sort_unstable_by(Neighbour::order);
        all
    }
}

/// The distance tables of all probes, as bytes. With inner products all probes share one table.
fn tables(index: &OpenIndex, vector: &[f32], partitions: &[u32]) -> (Vec<Probe>, Vec<u8>) {
    let partitions = partitions.iter().map(|&partition| partition as usize);
    let (quantiser, kernels) = (index.index.quantiser(), index.kernels);
    let centroids = index.index.centroids();
    let entries = quantiser.codes() * ENTRIES;
    let mut distances = vec![0.0; entries];
    let mut probes = Vec::with_capacity(partitions.len());
    if index.metric() == Metric::Dot {
        let mut bytes = vec![0; entries];
        quantiser.dot_tables(kernels, vector, &mut distances);
        let scale = quantise_tables(kernels, &distances, &mut bytes);
        let dot =
            |centroid: &[f32]| -> f32 { vector.iter().zip(centroid).map(|(x, c)| x * c).sum() };
        probes.extend(partitions.map(|partition| Probe {
            partition,
            scale: Scale {
                bias: scale.bias - dot(centroids.row(partition)),
                ..scale
            },
            table: 0,
        }));
        return (probes, bytes);
    }
    let mut bytes = vec![0; entries * partitions.len()];
    let mut residual = vec![0.0; vector.len()];
    let cosine = index.metric() == Metric::Cosine;
    let tables = bytes.chunks_exact_mut(entries.max(1));
    for (table, (partition, bytes)) in partitions.zip(tables).enumerate() {
        let centroid = centroids.row(partition);
        for ((residual, x), c) in residual.iter_mut().zip(vector).zip(centroid) {
            *residual = x - c;
        }
        quantiser.l2_tables(kernels, &residual, &mut distances);
        let scale = quantise_tables(kernels, &distances, bytes);
        // Of vectors of length one, |q - x|² = 2 (1 - cos).
        let share = if cosine { 0.5 } else { 1.0 };
        probes.push(Probe {
            partition,
            scale: Scale {
                bias: scale.bias * share,
                step: scale.step * share,
            },
            table,
        });
    }
    (probes, bytes)
}
