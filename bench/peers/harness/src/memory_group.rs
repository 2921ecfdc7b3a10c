//! Holds the page cache of a peer to a size, so that every peer has the same memory for rows in a
//! mixed run.
//!
//! The process is started in a memory control group of its own, of either version, that is
//! made beforehand. What it needs for itself, answers and the kernel's tables among it, comes and
//! goes during a run and is not what is compared; so the limit of the group is that and the size,
//! set again and again by a process of its own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A control group by the names its version gives to the files.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    limit: PathBuf,
    usage: PathBuf,
    stat: PathBuf,
    /// The page cache in `stat`.
    cache: &'static str,
}

impl MemoryGroup {
    /// The group at `dir`.
    ///
    /// # Errors
    /// A directory that is no group with a memory controller.
    pub(crate) fn at(dir: &Path) -> Result<MemoryGroup> {
        let versions = [
            ("memory.max", "memory.current", "file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "cache"),
        ];
        let found = versions
            .into_iter()
            .find(|(limit, ..)| dir.join(limit).exists());
        let (limit, usage, cache) = found.ok_or_else(|| Error::NoMemoryGroup {
            path: dir.to_path_buf(),
        })?;
        Ok(MemoryGroup {
            limit: dir.join(limit),
            usage: dir.join(usage),
            stat: dir.join("memory.stat"),
            cache,
        })
    }

    /// Lets the page cache have `cache_bytes` beyond what the group needs for itself now.
    ///
    /// # Errors
    /// Files of the group that cannot be read or written.
    pub(crate) fn hold(&self, cache_bytes: u64) -> Result<()> {
        let limit_bytes = cache_bytes + self.own_bytes()?;
        fs::write(&self.limit, limit_bytes.to_string()).map_err(Error::io("write", &self.limit))
    }

    /// Everything charged to the group but the page cache.
    fn own_bytes(&self) -> Result<u64> {
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(Error::io("read", path));
        let usage = read(&self.usage)?;
        let stat = read(&self.stat)?;
        let usage = usage.trim().parse::<u64>().ok();
        let cache = stat.lines().find_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            (name == self.cache).then(|| bytes.parse::<u64>().ok())?
        });
        let own = usage
            .zip(cache)
            .map(|(usage, cache)| usage.saturating_sub(cache));
        own.ok_or_else(|| Error::NoMemoryGroup {
            path: self.stat.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<MemoryGroup>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let group = MemoryGroup::at(dir.path());
        (dir, group)
    }

    #[test]
    fn limit_is_the_size_and_what_is_no_page_cache_in_both_versions() {
        let (dir, second) = group(&[
            ("memory.max", "max\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 900\nfile 4000\nfile_mapped 4000\n"),
        ]);
        second.unwrap().hold(1 << 20).unwrap();
        let limit = fs::read_to_string(dir.path().join("memory.max")).unwrap();
        assert_eq!(limit, ((1 << 20) + 1000).to_string());

        let (dir, first) = group(&[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "7000\n"),
            ("memory.stat", "cache 4000\nrss 900\ntotal_cache 4000\n"),
        ]);
        let first = first.unwrap();
        first.hold(1 << 20).unwrap();
        let limit = || fs::read_to_string(dir.path().join("memory.limit_in_bytes")).unwrap();
        assert_eq!(limit(), ((1 << 20) + 3000).to_string());
        // Counts that were taken at different times.
        fs::write(dir.path().join("memory.usage_in_bytes"), "3000").unwrap();
        first.hold(1 << 20).unwrap();
        assert_eq!(limit(), (1 << 20).to_string());
    }

    #[test]
    fn directory_without_the_controller_is_refused_in_a_sentence() {
        let (_dir, none) = group(&[("cgroup.procs", "1\n")]);
        let said = none.unwrap_err().to_string();
        assert!(said.contains("no control group"), "{said}");
        let (_dir, broken) = group(&[
            ("memory.max", "max\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 900\n"),
        ]);
        assert!(broken.unwrap().hold(1).is_err());
    }
}
