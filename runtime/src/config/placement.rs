//! How many shards there are, and the CPU of each.

use super::choices::CpuChoice;
use super::options::Config;
use super::validate::{SHARDS_MAX, refuse};
use crate::error::ConfigError;
use crate::host::cpus::AllowedCpus;

impl Config {
    /// The number of shards, and the CPU of each if they are pinned.
    ///
    /// # Errors
    /// No CPU, or one that the process may not use.
    pub(super) fn placement(
        &self,
        allowed: &AllowedCpus,
    ) -> Result<(usize, Vec<usize>), ConfigError> {
        let cpus = match &self.cpus {
            CpuChoice::Unpinned => Vec::new(),
            CpuChoice::Allowed => allowed.cpus.clone(),
            CpuChoice::These(cpus) => {
                if let Some(cpu) = cpus.iter().find(|cpu| !allowed.cpus.contains(cpu)) {
                    let reason =
                        format!("CPU {cpu} is not among those allowed, {:?}", allowed.cpus);
                    return refuse("cpus", format!("{cpus:?}"), reason);
                }
                if cpus.is_empty() {
                    return refuse("cpus", "[]", "name at least one CPU");
                }
                cpus.clone()
            }
        };
        let shards = self.shards.unwrap_or_else(|| match &self.cpus {
            CpuChoice::These(cpus) => cpus.len().min(SHARDS_MAX),
            CpuChoice::Allowed | CpuChoice::Unpinned => allowed.usable().min(SHARDS_MAX),
        });
        let in_turn = cpus.iter().copied().cycle();
        Ok((shards, in_turn.take(shards).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(cpus: &[usize], quota: Option<f64>) -> AllowedCpus {
        AllowedCpus {
            cpus: cpus.to_vec(),
            quota_cpus: quota,
        }
    }

    #[test]
    fn one_shard_per_allowed_cpu_and_fewer_under_a_quota() {
        let config = Config::default();
        assert_eq!(
            config.placement(&allowed(&[2, 5], None)).unwrap(),
            (2, vec![2, 5])
        );
        assert_eq!(
            config
                .placement(&allowed(&[0, 1, 2, 3], Some(1.5)))
                .unwrap(),
            (2, vec![0, 1])
        );
        assert_eq!(
            config
                .placement(&allowed(&[0, 1, 2, 3], Some(0.5)))
                .unwrap(),
            (1, vec![0])
        );
    }

    #[test]
    fn any_count_of_shards_goes_round_the_cpus() {
        let config = Config {
            shards: Some(5),
            ..Config::default()
        };
        assert_eq!(
            config.placement(&allowed(&[4, 6], None)).unwrap(),
            (5, vec![4, 6, 4, 6, 4])
        );
        let unpinned = Config {
            cpus: CpuChoice::Unpinned,
            ..config
        };
        assert_eq!(
            unpinned.placement(&allowed(&[4, 6], None)).unwrap(),
            (5, vec![])
        );
    }

    #[test]
    fn cpus_that_are_not_allowed_or_none_at_all_are_refused() {
        for cpus in [vec![9], vec![]] {
            let config = Config {
                cpus: CpuChoice::These(cpus),
                ..Config::default()
            };
            let error = config.placement(&allowed(&[0, 1], None)).unwrap_err();
            assert_eq!(error.field, "cpus");
        }
    }
}
