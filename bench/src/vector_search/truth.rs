//! The true nearest rows of some queries, found by measuring every row, once: what is found is
//! kept in a small file beside the dataset.
//!
//! The file says which dataset and generation, column, metric, k and queries it is for. One that
//! says something else, or whose checksum is wrong, is not believed, and is made anew.
//!
//! Its bytes: a line of JSON, [`Key`]; for each query the number of its neighbours as u32, and
//! for each of them its row as u64 and its distance as f32; then the xxh3 of all of that as u64.
//! Numbers are little-endian.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringtake_runtime::{Store, allowed_cpus};
use ringtake_storage::checksum::xxh3;
use ringtake_storage::vector::Metric;
use ringtake_storage::vector::distance::Distance;
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::nearest::{Nearest, Neighbour};
use serde::{Deserialize, Serialize};

use super::queries::Queries;
use super::stored::{Piece, Stored};
use crate::error::Error;
use crate::measure::{progress_bar, stop_if};

/// Rows read at a time by each thread.
const CHUNK_ROWS: u64 = 1024;

/// Rows that stay in a core's cache while all queries are held against them.
const BLOCK_ROWS: usize = 64;

/// So many times k neighbours are kept: rows as near as the last of the k are as right as it.
const KEPT_FACTOR: usize = 2;

/// Distances this close, relative to their size, may have been rounded apart.
const ROUNDING: f32 = 1e-6;

/// What the nearest rows are wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) dataset: &'a Path,
    pub(crate) column: &'a str,
    pub(crate) metric: Metric,
    pub(crate) k: usize,
    pub(crate) queries: &'a Queries,
    /// Only the first of them.
    pub(crate) count: usize,
}

/// What a file of neighbours belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    format: u32,
    dataset: String,
    generation: String,
    column: String,
    metric: Metric,
    k: usize,
    queries: usize,
    queries_hash: String,
}

const FORMAT: u32 = 1;

/// The true nearest rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Truth {
    k: usize,
    /// Query by query, the nearest first, more than k of them.
    neighbours: Vec<Vec<Neighbour>>,
}

impl Truth {
    /// Reads them from beside the dataset, or finds them and writes them there.
    pub(crate) fn of(
        store: &Store,
        wanted: Wanted<'_>,
        interrupted: &AtomicBool,
    ) -> Result<Truth, Error> {
        let key = Key::of(store, wanted);
        let path = file_beside(wanted);
        match fs::read(&path) {
            Ok(bytes) => match Truth::decode(&key, &bytes) {
                Ok(truth) => return Ok(truth),
                Err(reason) => eprintln!(
                    "`{}` {reason}: the true nearest rows are found again",
                    path.display()
                ),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path)(error)),
        }
        let truth = Truth {
            k: wanted.k,
            neighbours: find(&Stored::of(store, wanted.column)?, wanted, interrupted)?,
        };
        if let Err(error) = replace(&path, &truth.encode(&key)) {
            eprintln!(
                "warning: cannot write `{}`: {error}; the next run finds the true nearest rows again",
                path.display()
            );
        }
        Ok(truth)
    }

    /// Rows wanted for each query.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Queries whose nearest rows these are.
    pub(crate) fn queries(&self) -> usize {
        self.neighbours.len()
    }

    /// The nearest rows of query `number`, the nearest first, k of them if there are.
    pub(crate) fn nearest(&self, number: usize) -> impl Iterator<Item = u64> {
        let neighbours = self.neighbours[number].iter().take(self.k);
        neighbours.map(|neighbour| neighbour.row)
    }

    /// Share of the nearest rows of query `number` that are among the first k of `found`.
    pub(crate) fn recall(&self, number: usize, found: &[u64]) -> f64 {
        let neighbours = &self.neighbours[number];
        let wanted = self.k.min(neighbours.len());
        let Some(last) = wanted.checked_sub(1).map(|last| neighbours[last].distance) else {
            return 1.0;
        };
        let far = last + last.abs() * ROUNDING;
        let near = neighbours.iter().take_while(|n| n.distance <= far);
        let near: std::collections::HashSet<u64> = near.map(|n| n.row).collect();
        let found: std::collections::HashSet<&u64> = found.iter().take(self.k).collect();
        let hits = found.into_iter().filter(|row| near.contains(row)).count();
        hits.min(wanted) as f64 / wanted as f64
    }

    fn encode(&self, key: &Key) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(key).unwrap_or_default();
        bytes.push(b'\n');
        for neighbours in &self.neighbours {
            bytes.extend((neighbours.len() as u32).to_le_bytes());
            for neighbour in neighbours {
                bytes.extend(neighbour.row.to_le_bytes());
                bytes.extend(neighbour.distance.to_le_bytes());
            }
        }
        let hash = xxh3(&bytes);
        bytes.extend(hash.to_le_bytes());
        bytes
    }

    /// What is wrong with them where they are not `key`'s.
    fn decode(key: &Key, bytes: &[u8]) -> Result<Truth, &'static str> {
        const DAMAGED: &str = "is damaged";
        let (content, hash) = bytes.split_last_chunk::<8>().ok_or(DAMAGED)?;
        if xxh3(content) != u64::from_le_bytes(*hash) {
            return Err(DAMAGED);
        }
        let line = content
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(DAMAGED)?;
        let found: Key = serde_json::from_slice(&content[..line]).map_err(|_| DAMAGED)?;
        if found != *key {
            return Err("belongs to another dataset or other queries");
        }
        let mut rest = &content[line + 1..];
        let neighbours = (0..key.queries)
            .map(|_| {
                let count = u32::from_le_bytes(take(&mut rest)?);
                (0..count)
                    .map(|_| {
                        let row = u64::from_le_bytes(take(&mut rest)?);
                        let distance = f32::from_le_bytes(take(&mut rest)?);
                        Some(Neighbour { distance, row })
                    })
                    .collect::<Option<Vec<_>>>()
            })
            .collect::<Option<Vec<_>>>()
            .filter(|_| rest.is_empty())
            .ok_or(DAMAGED)?;
        Ok(Truth {
            k: key.k,
            neighbours,
        })
    }
}

/// The next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*chunk)
}

impl Key {
    fn of(store: &Store, wanted: Wanted<'_>) -> Key {
        let layout = store.dataset().layout();
        Key {
            format: FORMAT,
            dataset: layout
                .dataset
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            generation: format!("{:016x}", layout.generation),
            column: wanted.column.to_owned(),
            metric: wanted.metric,
            k: wanted.k,
            queries: wanted.count,
            queries_hash: format!("{:016x}", wanted.queries.hash(wanted.count)),
        }
    }
}

/// A sibling of the dataset's directory, one for each metric and k.
fn file_beside(wanted: Wanted<'_>) -> PathBuf {
    // `.` and such have no name of their own.
    let dataset = wanted.dataset.canonicalize();
    let dataset = dataset.as_deref().unwrap_or(wanted.dataset);
    let mut name = dataset.file_name().unwrap_or_default().to_owned();
    name.push(format!(".nearest-{}-{}", wanted.metric, wanted.k));
    dataset.with_file_name(name)
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Measures every row on all allowed CPUs.
fn find(
    stored: &Stored<'_>,
    wanted: Wanted<'_>,
    interrupted: &AtomicBool,
) -> Result<Vec<Vec<Neighbour>>, Error> {
    let distance = Distance {
        kernels: Kernels::best(),
        metric: wanted.metric,
        element: stored.column().element,
    };
    let queries: Vec<Vec<f32>> = (0..wanted.count)
        .map(|number| distance.prepared(wanted.queries.get(number)))
        .collect();
    let kept = wanted
        .k
        .saturating_mul(KEPT_FACTOR)
        .min(stored.rows() as usize);
    let nothing = vec![Nearest::new(kept); queries.len()];
    let bar = progress_bar(stored.rows(), "comparing");
    let next_row = AtomicU64::new(0);
    let all = Mutex::new(nothing.clone());
    let one_thread = || -> Result<(), Error> {
        let mut nearest = nothing.clone();
        loop {
            stop_if(interrupted)?;
            let first = next_row.fetch_add(CHUNK_ROWS, Ordering::Relaxed);
            if first >= stored.rows() {
                break;
            }
            let last = stored.rows().min(first + CHUNK_ROWS);
            compare(
                &distance,
                &queries,
                &stored.range(first..last)?,
                &mut nearest,
            );
            bar.inc(last - first);
        }
        let mut all = all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (all, mine) in all.iter_mut().zip(nearest) {
            all.absorb(mine);
        }
        Ok(())
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..allowed_cpus().usable())
            .map(|_| scope.spawn(one_thread))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    bar.finish_and_clear();
    for one in done {
        one.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    let all = all
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(all.into_iter().map(Nearest::sorted).collect())
}

/// Holds every query against every row of `piece`.
fn compare(distance: &Distance, queries: &[Vec<f32>], piece: &Piece, nearest: &mut [Nearest]) {
    for block in (0..piece.len()).step_by(BLOCK_ROWS) {
        let rows = block..piece.len().min(block + BLOCK_ROWS);
        for (query, nearest) in queries.iter().zip(&mut *nearest) {
            for position in rows.clone() {
                if let (row, Some(vector)) = piece.get(position) {
                    nearest.push(distance.to(query, vector), row);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key() -> Key {
        Key {
            format: FORMAT,
            dataset: "00ff".to_owned(),
            generation: "1".to_owned(),
            column: "vector".to_owned(),
            metric: Metric::L2,
            k: 2,
            queries: 2,
            queries_hash: "ab".to_owned(),
        }
    }

    fn truth() -> Truth {
        let list = |rows: &[(u64, f32)]| {
            rows.iter()
                .map(|(row, distance)| Neighbour {
                    distance: *distance,
                    row: *row,
                })
                .collect()
        };
        Truth {
            k: 2,
            neighbours: vec![
                list(&[(5, 1.0), (7, 2.0), (9, 2.0), (4, 3.0)]),
                list(&[(1, -1.0)]),
            ],
        }
    }

    #[test]
    fn file_comes_back_for_what_it_was_written_for_and_for_nothing_else() {
        let bytes = truth().encode(&key());
        assert_eq!(Truth::decode(&key(), &bytes), Ok(truth()));
        type Change = fn(&mut Key);
        let changes: [Change; 6] = [
            |key| key.dataset.push('0'),
            |key| key.generation.push('0'),
            |key| key.column.push('0'),
            |key| key.metric = Metric::Dot,
            |key| key.k = 3,
            |key| key.queries_hash.push('0'),
        ];
        for change in changes {
            let mut other = key();
            change(&mut other);
            assert!(Truth::decode(&other, &bytes).is_err(), "{other:?}");
        }
    }

    #[test]
    fn damage_at_any_byte_and_any_cut_is_found() {
        let bytes = truth().encode(&key());
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(Truth::decode(&key(), &damaged).is_err(), "{position}");
            assert!(
                Truth::decode(&key(), &bytes[..position]).is_err(),
                "{position}"
            );
        }
    }

    #[test]
    fn recall_counts_rows_as_near_as_the_last_and_none_twice() {
        let truth = truth();
        for (found, recall) in [
            (&[5, 7][..], 1.0),
            (&[9, 5], 1.0),
            (&[7, 9], 1.0),
            (&[5, 4], 0.5),
            (&[5, 5], 0.5),
            (&[5], 0.5),
            (&[4, 3, 5, 7], 0.0),
            (&[], 0.0),
        ] {
            assert_eq!(truth.recall(0, found), recall, "{found:?}");
        }
        // Fewer rows than k have a vector.
        assert_eq!(truth.recall(1, &[1]), 1.0);
        assert_eq!(truth.recall(1, &[2]), 0.0);
    }
}
