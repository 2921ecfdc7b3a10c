//! Whether the memory available is enough for rows that stay in it: the kernel's count, within the
//! cgroup's limits.

use std::fs;
use std::path::Path;

use crate::error::ConfigError;

/// Refuses rows to pin that take more memory, `needed` bytes, than is available.
pub(crate) fn check_fits(needed: u64) -> Result<(), ConfigError> {
    match available_bytes() {
        Some(available) => fits(needed, available),
        None => Ok(()),
    }
}

fn fits(needed: u64, available: u64) -> Result<(), ConfigError> {
    if needed <= available {
        return Ok(());
    }
    Err(ConfigError {
        field: "cache",
        value: "pinned".to_owned(),
        reason: format!(
            "the rows take {needed} bytes of memory and {available} are available; give it a size such as 4GiB instead"
        ),
    })
}

/// Bytes available without swapping; `None` where the system does not report them.
fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| in_meminfo(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let cgroup = left_in_cgroups(&groups, Path::new("/sys/fs/cgroup"));
    [machine, cgroup].into_iter().flatten().min()
}

/// The kernel counts in units of 1,024 bytes that it calls kB.
fn in_meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least that this process's cgroup and those above it have left (cgroups(7); version 2, and
/// the memory controller of version 1).
fn left_in_cgroups(groups: &str, root: &Path) -> Option<u64> {
    let left = |dir: &Path, limit: &str, used: &str| {
        let number = |file: &str| -> Option<u64> {
            fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
        };
        // Without a limit there is the word `max` instead of a number.
        Some(number(limit)?.saturating_sub(number(used)?))
    };
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (base, limit, used) = if controllers.is_empty() {
            (root.to_owned(), "memory.max", "memory.current")
        } else if controllers.split(',').any(|name| name == "memory") {
            let base = root.join("memory");
            (base, "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            continue;
        };
        let own = base.join(path.trim_start_matches('/'));
        for dir in own.ancestors().take_while(|dir| dir.starts_with(&base)) {
            least = [least, left(dir, limit, used)].into_iter().flatten().min();
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers_and_a_way_out() {
        assert_eq!(fits(10, 10), Ok(()));
        let message = fits(5000, 4999).unwrap_err().to_string();
        for part in ["cache", "pinned", "5000", "4999", "4GiB"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:    5 kB\n";
        assert_eq!(in_meminfo(text), Some(5 * 1024));
        assert_eq!(in_meminfo("MemTotal: 16 kB\n"), None);
    }

    #[test]
    fn the_narrowest_cgroup_on_the_way_up_decides() {
        let root = tempfile::tempdir().unwrap();
        let write = |dir: &str, file: &str, text: &str| {
            fs::create_dir_all(root.path().join(dir)).unwrap();
            fs::write(root.path().join(dir).join(file), text).unwrap();
        };
        write("a/b", "memory.max", "max\n");
        write("a/b", "memory.current", "10\n");
        assert_eq!(left_in_cgroups("0::/a/b\n", root.path()), None);
        write("a", "memory.max", "1000\n");
        write("a", "memory.current", "400\n");
        assert_eq!(left_in_cgroups("0::/a/b\n", root.path()), Some(600));
        write("memory/c", "memory.limit_in_bytes", "50\n");
        write("memory/c", "memory.usage_in_bytes", "20\n");
        let both = "4:cpu,memory:/c\n0::/a/b\n";
        assert_eq!(left_in_cgroups(both, root.path()), Some(30));
    }
}
