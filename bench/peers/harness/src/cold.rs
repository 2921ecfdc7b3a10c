//! Keeps the rows of peers that read through the page cache out of it.
//!
//! Before a run the files are written back and dropped from the cache. During a run a process of
//! its own drops them again and again, because rows that share a page, or that are asked for a
//! second time, would come from memory otherwise; its CPU time is not the peer's. Pages that are
//! mapped cannot be dropped that way: such a peer asks for no row twice instead, and lays out
//! its rows so that none shares a page with another.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::error::{Error, Result};

/// Rows asked for within this time may come from memory.
const EVERY: Duration = Duration::from_millis(20);

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

/// Drops `files` from the page cache until standard input ends.
pub(crate) fn keep_cold(files: &[PathBuf]) -> Result<()> {
    let files = files
        .iter()
        .map(|path| Ok((File::open(path).map_err(Error::io("open", path))?, path)))
        .collect::<Result<Vec<_>>>()?;
    let parent = std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
    });
    while !parent.is_finished() {
        for (file, path) in &files {
            drop_pages(file, path)?;
        }
        std::thread::sleep(EVERY);
    }
    Ok(())
}

/// The process that keeps files cold; it ends with this value.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts this program again as the keeper of `files`.
    pub(crate) fn start(files: &[PathBuf]) -> Result<Keeper> {
        let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        Command::new(&program)
            .arg("keep-cold")
            .args(files)
            .stdin(Stdio::piped())
            .spawn()
            .map(Keeper)
            .map_err(Error::io("start", program))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
