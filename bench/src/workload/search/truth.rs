//! The true nearest rows of some queries, found by measuring every row and kept beside the dataset.
//!
//! The rows are an array, `NAME.nearest-METRIC-K.npy`, that other software reads as it is. Beside it
//! lies a key of the same name, `.json`, with the dataset and generation, column, metric, k and
//! queries that the array was computed for, and the array's checksum. An array whose key or checksum
//! differs is not used and is computed again.
//!
//! Each query has one line of row ids: its k nearest, the nearest first, then the rows that are as
//! near as the last of these, which are as right. Unused places are -1.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringtake_runtime::{Store, allowed_cpus};
use ringtake_storage::checksum::xxh3;
use ringtake_storage::vector::Metric;
use ringtake_storage::vector::distance::Distance;
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::nearest::{Nearest, Neighbour};
use ringtake_vectors::npy::{self, RowLists};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::interrupt::stop_if;
use crate::progress::progress_bar;
use crate::workload::search::queries::Queries;
use crate::workload::search::stored_vectors::{Piece, StoredVectors};

/// Rows read at a time by each thread.
const CHUNK_ROWS: u64 = 1024;

/// Rows that stay in a core's cache while all queries are held against them.
const BLOCK_ROWS: usize = 64;

/// Neighbours kept for each row of k, so that rows as near as the last of the k are seen.
const KEPT_FACTOR: usize = 2;

/// Distances this close, relative to their size, may have been rounded apart.
const ROUNDING: f32 = 1e-6;

/// Stands where a query has no more rows.
const NONE: i64 = -1;

/// The search whose nearest rows are wanted.
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

/// The search that an array of neighbours was computed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    dataset: String,
    generation: String,
    column: String,
    metric: Metric,
    k: usize,
    queries: usize,
    queries_hash: String,
}

/// The content of the key's file.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    key: Key,
    /// Checksum of the whole array file.
    array_xxh3: String,
}

/// The true nearest rows of each query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Truth {
    k: usize,
    lists: RowLists,
}

impl Truth {
    /// Reads the array beside the dataset, or computes it and writes it there.
    pub(crate) fn of(
        store: &Store,
        wanted: Wanted<'_>,
        interrupted: &AtomicBool,
    ) -> Result<Truth, Error> {
        let key = Key::of(store, wanted);
        let array = array_beside(wanted);
        match Truth::read(&key, &array) {
            Ok(Some(truth)) => return Ok(truth),
            Ok(None) => {}
            Err(reason) => eprintln!(
                "`{}` {reason}: the true nearest rows are computed again",
                array.display()
            ),
        }
        let neighbours = find(
            &StoredVectors::of(store, wanted.column)?,
            wanted,
            interrupted,
        )?;
        let truth = Truth::new(wanted.k, &neighbours);
        if let Err(error) = truth.write(&key, &array) {
            eprintln!("warning: {error}; the next run computes the true nearest rows again");
        }
        Ok(truth)
    }

    /// Keeps the right ones of each query's neighbours, which come nearest first.
    fn new(k: usize, neighbours: &[Vec<Neighbour>]) -> Truth {
        let right: Vec<&[Neighbour]> = neighbours.iter().map(|all| as_near(all, k)).collect();
        let longest = right.iter().map(|rows| rows.len()).max();
        let length = longest.unwrap_or(0).max(k);
        let ids = right.iter().flat_map(|rows| {
            let rows = rows.iter().map(|neighbour| neighbour.row as i64);
            rows.chain(std::iter::repeat(NONE)).take(length)
        });
        Truth {
            k,
            lists: RowLists {
                length,
                ids: ids.collect(),
            },
        }
    }

    /// Share of the nearest rows of query `number` that are among the first k of `found`.
    pub(crate) fn recall(&self, number: usize, found: &[u64]) -> f64 {
        let list = &self.lists.ids[number * self.lists.length..][..self.lists.length];
        let near: HashSet<u64> = list
            .iter()
            .filter_map(|row| u64::try_from(*row).ok())
            .collect();
        let wanted = self.k.min(near.len());
        if wanted == 0 {
            return 1.0;
        }
        let found: HashSet<u64> = found.iter().take(self.k).copied().collect();
        let hits = found.intersection(&near).count();
        hits.min(wanted) as f64 / wanted as f64
    }

    /// Writes the array, as other software reads it.
    pub(crate) fn write_array(&self, path: &Path) -> Result<(), Error> {
        write_whole(path, |out| {
            out.write_all(&self.encode())
                .map_err(Error::io("write", path))
        })
    }

    /// The array and its key, in the order in which no key is beside an array that is not its own.
    fn write(&self, key: &Key, array: &Path) -> Result<(), Error> {
        let sealed = Sealed {
            key: key.clone(),
            array_xxh3: hex(xxh3(&self.encode())),
        };
        self.write_array(array)?;
        let path = key_of(array);
        write_whole(&path, |out| {
            let written = serde_json::to_writer_pretty(out, &sealed);
            written.map_err(|error| Error::io("write", &path)(error.into()))
        })
    }

    fn encode(&self) -> Vec<u8> {
        let length = self.lists.length.max(1);
        let lists = self.lists.ids.len() / length;
        let mut bytes = Vec::new();
        // Memory takes every byte.
        let _ = npy::write_header(&mut bytes, "<i8", lists as u64, length as u64);
        bytes.extend(self.lists.ids.iter().flat_map(|id| id.to_le_bytes()));
        bytes
    }

    /// The array at `array` if it was computed for `key`, `None` if there is none, or why it
    /// cannot be used.
    fn read(key: &Key, array: &Path) -> Result<Option<Truth>, String> {
        const DAMAGED: &str = "is damaged";
        let read = |path: &Path| match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        let (Some(sealed), Some(bytes)) = (read(&key_of(array))?, read(array)?) else {
            return Ok(None);
        };
        let sealed: Sealed = serde_json::from_slice(&sealed).map_err(|_| DAMAGED)?;
        if sealed.key != *key {
            return Err("belongs to another dataset or other queries".to_owned());
        }
        if sealed.array_xxh3 != hex(xxh3(&bytes)) {
            return Err(DAMAGED.to_owned());
        }
        let lists = npy::read_row_lists(array).map_err(|error| error.to_string())?;
        if lists.length < key.k || lists.ids.len() != lists.length * key.queries {
            return Err(DAMAGED.to_owned());
        }
        Ok(Some(Truth { k: key.k, lists }))
    }
}

/// The first k of `neighbours`, and those after them that are as near as the last.
fn as_near(neighbours: &[Neighbour], k: usize) -> &[Neighbour] {
    let wanted = k.min(neighbours.len());
    let Some(last) = wanted.checked_sub(1).map(|last| neighbours[last].distance) else {
        return &[];
    };
    let far = last + last.abs() * ROUNDING;
    &neighbours[..neighbours.partition_point(|neighbour| neighbour.distance <= far)]
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

impl Key {
    fn of(store: &Store, wanted: Wanted<'_>) -> Key {
        let layout = store.dataset().layout();
        Key {
            dataset: layout
                .dataset
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            generation: hex(layout.generation),
            column: wanted.column.to_owned(),
            metric: wanted.metric,
            k: wanted.k,
            queries: wanted.count,
            queries_hash: hex(wanted.queries.hash(wanted.count)),
        }
    }
}

/// A sibling of the dataset's directory, one for each metric and k.
fn array_beside(wanted: Wanted<'_>) -> PathBuf {
    // `.` and such have no name of their own.
    let dataset = wanted.dataset.canonicalize();
    let dataset = dataset.as_deref().unwrap_or(wanted.dataset);
    let mut name = dataset.file_name().unwrap_or_default().to_owned();
    name.push(format!(".nearest-{}-{}.npy", wanted.metric, wanted.k));
    dataset.with_file_name(name)
}

fn key_of(array: &Path) -> PathBuf {
    array.with_extension("json")
}

/// Writes a file whole or not at all.
pub(crate) fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&File>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error| Error::io("write", path)(error);
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        // Other software reads it; narrowed by the umask, as for any file that a command makes.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(failed)?;
    let mut out = BufWriter::new(file.as_file());
    content(&mut out)?;
    out.flush().map_err(failed)?;
    drop(out);
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Measures every row on all allowed CPUs.
fn find(
    stored: &StoredVectors<'_>,
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
        let neighbours = [
            list(&[(5, 1.0), (7, 2.0), (9, 2.0), (4, 3.0)]),
            list(&[(1, -1.0)]),
        ];
        Truth::new(2, &neighbours)
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let array = dir.path().join("dataset.nearest-l2-2.npy");
        truth().write(&key(), &array).unwrap();
        (dir, array)
    }

    #[test]
    fn array_has_the_nearest_rows_then_those_as_near_as_the_last() {
        let (_dir, array) = written();
        let lists = npy::read_row_lists(&array).unwrap();
        assert_eq!(lists.length, 3);
        assert_eq!(lists.ids, [5, 7, 9, 1, -1, -1]);
    }

    #[test]
    fn array_is_used_for_its_own_key_and_for_no_other() {
        let (dir, array) = written();
        assert_eq!(Truth::read(&key(), &array), Ok(Some(truth())));
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
            assert!(Truth::read(&other, &array).is_err(), "{other:?}");
        }
        let nowhere = dir.path().join("nowhere.npy");
        assert_eq!(Truth::read(&key(), &nowhere), Ok(None));
    }

    #[test]
    fn damage_at_any_byte_and_any_cut_of_either_file_is_found() {
        let (_dir, array) = written();
        for path in [array.clone(), key_of(&array)] {
            let bytes = fs::read(&path).unwrap();
            for position in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1;
                for content in [&damaged[..], &bytes[..position]] {
                    fs::write(&path, content).unwrap();
                    let refused = Truth::read(&key(), &array).is_err();
                    assert!(refused, "{position} of {}", path.display());
                }
            }
            fs::write(&path, &bytes).unwrap();
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
