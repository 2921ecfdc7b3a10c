//! One shard's share of a search: the candidates from its codes, and the exact distances of the
//! rows that it read.

use std::sync::Arc;

use ringtake_storage::plan::Entry;
use ringtake_storage::vector::nearest::Neighbour;

use super::query::Query;

/// A shard's share of one query. Dropping it hands in an empty share, so that other shards do not
/// wait for this one.
#[derive(Debug)]
pub(crate) struct Nearest {
    pub(crate) query: Arc<Query>,
    shard: usize,
    /// By position of the entry; infinite for a row that is not measured.
    distances: Vec<f32>,
    scanned: bool,
}

impl Nearest {
    pub(crate) fn new(query: Arc<Query>, shard: usize) -> Nearest {
        Nearest {
            query,
            shard,
            distances: Vec::new(),
            scanned: false,
        }
    }

    /// Hands in the candidates from the shard's codes.
    pub(crate) fn scanned(&mut self, found: Vec<Neighbour>) {
        self.scanned = true;
        self.query.scanned(self.shard, found);
    }

    /// The rows to be read, once every shard has scanned; `None` before.
    pub(crate) fn chosen(&mut self, tail: impl Iterator<Item = u64>) -> Option<Vec<Entry>> {
        let chosen = self.query.chosen(self.shard)?;
        let rows = chosen.map(|neighbour| neighbour.row).chain(tail);
        let entries: Vec<Entry> = rows
            .enumerate()
            .map(|(position, row)| Entry {
                row,
                position: position as u32,
            })
            .collect();
        self.distances = vec![f32::INFINITY; entries.len()];
        Some(entries)
    }

    /// Measures the row of the entry at `position`.
    #[inline]
    pub(crate) fn measure(&mut self, position: u32, vector: &[u8]) {
        self.distances[position as usize] = self.query.distance(vector);
    }

    /// Hands in the distances of the rows of `entries`.
    pub(crate) fn publish(&mut self, entries: &[Entry]) {
        if !self.scanned {
            return;
        }
        let neighbours = entries.iter().map(|entry| Neighbour {
            distance: self.distances[entry.position as usize],
            row: entry.row,
        });
        let measured = neighbours.filter(|neighbour| neighbour.distance.is_finite());
        self.query.refined(self.shard, measured.collect());
    }
}

impl Drop for Nearest {
    fn drop(&mut self) {
        if !self.scanned {
            self.query.scanned(self.shard, Vec::new());
        }
    }
}
