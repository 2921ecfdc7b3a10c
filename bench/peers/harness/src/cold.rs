//! Keeps the rows of peers that read through the page cache out of it.
//!
//! Before a run the files are written back and dropped from the cache. During a run a process of
//! its own (`keeper.rs`) drops them again and again, because rows that share a page, or that are asked for a
//! second time, would come from memory otherwise. Pages that are
//! mapped cannot be dropped that way: such a peer asks for no row twice instead, and lays out
//! its rows so that none shares a page with another.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::error::{Error, Result};
use crate::keeper::keep;

/// Writes `files` back and drops them from the page cache.
///
/// # Errors
/// A file that cannot be opened or written back.
pub fn evict(files: &[PathBuf]) -> Result<()> {
    for path in files {
        let file = File::open(path).map_err(Error::io("open", path))?;
        file.sync_all().map_err(Error::io("write back", path))?;
        drop_pages(&file, path)?;
    }
    Ok(())
}

fn drop_pages(file: &File, path: &PathBuf) -> Result<()> {
    fadvise(file, 0, None, Advice::DontNeed)
        .map_err(|error| Error::io("drop from the page cache", path)(error.into()))
}

/// Drops `files` from the page cache, at times as far apart as `every`, until standard input ends.
pub(crate) fn keep_cold(every: Duration, files: &[PathBuf]) -> Result<()> {
    let files = files
        .iter()
        .map(|path| Ok((File::open(path).map_err(Error::io("open", path))?, path)))
        .collect::<Result<Vec<_>>>()?;
    keep(every, || {
        files
            .iter()
            .try_for_each(|(file, path)| drop_pages(file, path))
    })
}
