//! Which CPUs this process may use: its affinity mask, and what its cgroup's quota pays for.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The CPUs that this process may use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AllowedCpus {
    /// CPUs of the affinity mask, ascending.
    pub cpus: Vec<usize>,
    /// CPU time per second that the cgroup's quota allows, in CPUs; `None` without a quota.
    pub quota_cpus: Option<f64>,
}

impl AllowedCpus {
    /// Shards that can run at once: the quota rounded up, at most one per CPU of the mask.
    pub fn usable(&self) -> usize {
        let quota = self
            .quota_cpus
            .map_or(usize::MAX, |cpus| cpus.ceil().max(1.0) as usize);
        self.cpus.len().min(quota).max(1)
    }
}

/// The CPUs that this process may use, as the kernel reports them.
pub fn allowed_cpus() -> AllowedCpus {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    cpus.sort_unstable();
    if cpus.is_empty() {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get());
        cpus = (0..count).collect();
    }
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    AllowedCpus {
        cpus,
        quota_cpus: quota_cpus(Path::new("/sys/fs/cgroup"), &membership),
    }
}

/// The tightest quota of the cgroups named in `membership` (the text of `/proc/self/cgroup`)
/// and their parents: `cpu.max` of version 2, `cpu.cfs_*` of version 1 (Linux kernel
/// documentation, admin-guide/cgroup-v2 and scheduler/sched-bwc).
fn quota_cpus(root: &Path, membership: &str) -> Option<f64> {
    let mut quotas = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let roots: &[&str] = if controllers.is_empty() {
            &["", "unified"]
        } else if controllers.split(',').any(|name| name == "cpu") {
            &["cpu", "cpu,cpuacct"]
        } else {
            continue;
        };
        for mount in roots {
            let top = root.join(mount);
            let mut at: PathBuf = top.join(group.trim_start_matches('/'));
            while at.starts_with(&top) {
                quotas.extend(quota_of(&at));
                if !at.pop() {
                    break;
                }
            }
        }
    }
    quotas.into_iter().min_by(f64::total_cmp)
}

fn quota_of(group: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(line) => {
            let (quota, period) = line.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // "max" and -1 mean no quota.
    let quota: f64 = quota.trim().parse().ok().filter(|&quota| quota > 0.0)?;
    let period: f64 = period.trim().parse().ok().filter(|&period| period > 0.0)?;
    Some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_quota_of_all_parents_counts() {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("a/cpu.max"), "150000 100000\n");
        write(root.path().join("a/b/cpu.max"), "max 100000\n");
        assert_eq!(quota_cpus(root.path(), "0::/a/b\n"), Some(1.5));
        assert_eq!(quota_cpus(root.path(), "0::/\n"), None);
    }

    #[test]
    fn version_1_quotas_count_and_minus_one_is_none() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("cpu,cpuacct/x");
        write(group.join("cpu.cfs_quota_us"), "50000\n");
        write(group.join("cpu.cfs_period_us"), "100000\n");
        assert_eq!(
            quota_cpus(root.path(), "4:memory:/x\n3:cpu,cpuacct:/x\n"),
            Some(0.5)
        );
        write(group.join("cpu.cfs_quota_us"), "-1\n");
        assert_eq!(quota_cpus(root.path(), "3:cpu,cpuacct:/x\n"), None);
    }

    #[test]
    fn a_quota_below_one_cpu_still_allows_one_shard() {
        let allowed = AllowedCpus {
            cpus: vec![0, 1, 2],
            quota_cpus: Some(0.2),
        };
        assert_eq!(allowed.usable(), 1);
        assert!(!allowed_cpus().cpus.is_empty());
    }
}
