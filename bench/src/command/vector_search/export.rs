//! Vectors, queries and true nearest rows as `.npy` files, to measure other software on the same.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ringtake_runtime::{Config, Store};
use ringtake_storage::vector::Element;
use ringtake_vectors::npy;

use super::prepared::Prepared;
use crate::error::Error;
use crate::interrupt::stop_if;
use crate::progress::progress_bar;
use crate::workload::search::stored_vectors::StoredVectors;
use crate::workload::search::truth::write_whole;

/// Rows written at a time.
const CHUNK_ROWS: u64 = 4096;

/// Rows to search in, in the order of their ids.
const VECTORS: &str = "vectors.npy";
/// All queries; those that the recall is found with come first.
const QUERIES: &str = "queries.npy";
/// The array of the true nearest rows that lies beside the dataset.
const NEAREST: &str = "nearest.npy";

/// Writes the files into `dir`.
pub(super) fn export(
    prepared: &Prepared,
    dataset: &Path,
    config: Config,
    dir: &Path,
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    let store = Store::open(dataset, config)?;
    let stored = StoredVectors::of(&store, &prepared.name)?;
    write_vectors(&stored, &prepared.name, &dir.join(VECTORS), interrupted)?;

    let queries = &prepared.queries;
    let axes = [queries.count() as u64, prepared.column.dims as u64];
    write_array(&dir.join(QUERIES), "<f4", axes, |out| {
        let numbers = (0..queries.count()).flat_map(|number| queries.get(number));
        for number in numbers {
            out.write_all(&number.to_le_bytes())
                .map_err(|error| Error::io("write", dir.join(QUERIES))(error))?;
        }
        Ok(())
    })?;

    match &prepared.truth {
        Some(truth) => truth.write_array(&dir.join(NEAREST)),
        None => Ok(()),
    }
}

fn write_vectors(
    stored: &StoredVectors<'_>,
    name: &str,
    path: &Path,
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    let column = stored.column();
    let descr = match column.element {
        Element::F32 => "<f4",
        Element::F16 => "<f2",
        Element::I8 => "|i1",
        Element::U8 => "|u1",
    };
    let bar = progress_bar(stored.rows(), "writing");
    let axes = [stored.rows(), column.dims as u64];
    write_array(path, descr, axes, |out| {
        for first in (0..stored.rows()).step_by(CHUNK_ROWS as usize) {
            stop_if(interrupted)?;
            let last = stored.rows().min(first + CHUNK_ROWS);
            let piece = stored.range(first..last)?;
            for (row, vector) in (0..piece.len()).map(|position| piece.get(position)) {
                let vector = vector.ok_or_else(|| Error::NoVector {
                    column: name.to_owned(),
                    row,
                })?;
                out.write_all(vector).map_err(Error::io("write", path))?;
            }
            bar.inc(last - first);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Writes an array of two axes, whole or not at all.
fn write_array(
    path: &Path,
    descr: &str,
    [rows, columns]: [u64; 2],
    content: impl FnOnce(&mut BufWriter<&File>) -> Result<(), Error>,
) -> Result<(), Error> {
    write_whole(path, |out| {
        npy::write_header(out, descr, rows, columns).map_err(Error::io("write", path))?;
        content(out)
    })
}
