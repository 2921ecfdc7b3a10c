//! The popularity of rows, and the size of a cache for a share of hits.
//!
//! Ranks are drawn here and scattered over the dataset by the workload.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

/// How often each row is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Distribution {
    /// All alike.
    #[default]
    Uniform,
    /// The row of rank r in proportion to r to the power of minus this.
    Zipf(f64),
}

impl Distribution {
    fn exponent(self) -> f64 {
        match self {
            Distribution::Uniform => 0.0,
            Distribution::Zipf(exponent) => exponent,
        }
    }
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let zipf = |number: &str| {
            let exponent = number.parse::<f64>().ok()?;
            (exponent > 0.0 && exponent <= EXPONENT_MAX).then_some(Distribution::Zipf(exponent))
        };
        match text.split_once(':') {
            None if text == "uniform" => Some(Distribution::Uniform),
            Some(("zipf", number)) => zipf(number),
            _ => None,
        }
        .ok_or_else(|| {
            format!(
                "give uniform, or zipf:S with S above 0 and up to {EXPONENT_MAX}, such as zipf:0.99"
            )
        })
    }
}

/// Beyond this nearly all accesses are to one row.
const EXPONENT_MAX: f64 = 10.0;

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// Draws of a query repeated so often to get different ranks; what is missing then is the
/// lowest ranks left.
const DRAWS_MAX: usize = 64;

/// Draws ranks from 0.
#[derive(Debug, Clone)]
pub(crate) struct Ranks {
    zipf: Zipf<f64>,
}

impl Ranks {
    /// Ranks below `rows`, which is above 0.
    pub(crate) fn new(rows: u64, distribution: Distribution) -> Ranks {
        let zipf = Zipf::new(rows as f64, distribution.exponent())
            .unwrap_or_else(|error| unreachable!("an exponent is at least 0: {error}"));
        Ranks { zipf }
    }

    /// Puts `count` different ranks into `ranks`, in ascending order.
    pub(crate) fn draw(&self, count: usize, seed: u64, ranks: &mut Vec<u64>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        ranks.clear();
        for _ in 0..DRAWS_MAX {
            while ranks.len() < count {
                ranks.push(self.zipf.sample(&mut random) as u64 - 1);
            }
            ranks.sort_unstable();
            ranks.dedup();
            if ranks.len() == count {
                return;
            }
        }
        let drawn = ranks.clone();
        let rest = (0..).filter(|rank| drawn.binary_search(rank).is_err());
        ranks.extend(rest.take(count - drawn.len()));
        ranks.sort_unstable();
    }
}

/// The share of accesses that hit in a mixed run.
pub(crate) const MIXED_HIT_SHARE: f64 = 0.9;

/// The size of a cache for a share of hits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CacheSize {
    /// Rows it holds.
    pub(crate) rows: u64,
    /// Accesses after which it holds them.
    pub(crate) accesses: u64,
}

impl CacheSize {
    /// By the approximation of H. Che, Y. Tung and Z. Wang ("Hierarchical Web Caching Systems",
    /// IEEE JSAC 2002): a row is in a cache of the least recently used if it was asked for within
    /// the last T accesses, T being the same for all rows.
    pub(crate) fn for_hits(rows: u64, distribution: Distribution, hit_share: f64) -> CacheSize {
        let ranks = Popularity::new(rows, distribution);
        let (mut low, mut high) = (1.0, 1.0);
        while ranks.hits(high) < hit_share && high < 1e18 {
            high *= 2.0;
        }
        // Halving the span so often leaves nothing of it.
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if ranks.hits(middle) < hit_share {
                low = middle;
            } else {
                high = middle;
            }
        }
        CacheSize {
            rows: (ranks.held(high).ceil() as u64).min(rows),
            accesses: high.ceil() as u64,
        }
    }
}

/// Ranks of about the same probability together.
struct Popularity {
    /// How many rows, and the probability of each.
    groups: Vec<(f64, f64)>,
}

impl Popularity {
    fn new(rows: u64, distribution: Distribution) -> Popularity {
        let exponent = distribution.exponent();
        let mut groups = Vec::new();
        let mut first = 1;
        while first <= rows {
            // Ranks of a group differ by less than one percent.
            let last = rows.min(first + first / 100);
            let middle = f64::midpoint(first as f64, last as f64);
            groups.push(((last - first + 1) as f64, middle.powf(-exponent)));
            first = last + 1;
        }
        let sum: f64 = groups.iter().map(|(count, weight)| count * weight).sum();
        for (_, weight) in &mut groups {
            *weight /= sum;
        }
        Popularity { groups }
    }

    /// Share of accesses that hit if rows stay for `accesses` accesses.
    fn hits(&self, accesses: f64) -> f64 {
        let of = |(count, p): &(f64, f64)| -> f64 { -count * p * (-p * accesses).exp_m1() };
        self.groups.iter().map(of).sum()
    }

    /// Rows that are there then.
    fn held(&self, accesses: f64) -> f64 {
        let of = |(count, p): &(f64, f64)| -> f64 { -count * (-p * accesses).exp_m1() };
        self.groups.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::{HashMap, VecDeque};

    #[test]
    fn zipf_ranks_fall_off_by_their_exponent() {
        let ranks = Ranks::new(10_000, Distribution::Zipf(0.99));
        let (mut counts, mut drawn) = (vec![0_u64; 10_000], Vec::new());
        for seed in 0..200_000 {
            ranks.draw(1, seed, &mut drawn);
            counts[drawn[0] as usize] += 1;
        }
        // Ranks 0 and 9 are 10^0.99 apart; a tenth is many deviations of counts this large.
        let ratio = counts[0] as f64 / counts[9] as f64;
        assert!((ratio / 10_f64.powf(0.99) - 1.0).abs() < 0.1, "{ratio}");
        let head: u64 = counts[..100].iter().sum();
        assert!(head > 100_000, "{head}");
    }

    #[test]
    fn query_as_large_as_the_dataset_has_every_rank() {
        let mut drawn = Vec::new();
        Ranks::new(50, Distribution::Zipf(3.0)).draw(50, 1, &mut drawn);
        assert_eq!(drawn, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn cache_of_the_size_found_hits_as_often_as_was_asked_for() {
        for distribution in [Distribution::Uniform, Distribution::Zipf(0.99)] {
            let rows = 2_000;
            let size = CacheSize::for_hits(rows, distribution, 0.9);
            assert!(size.rows < rows, "{size:?}");
            let ranks = Ranks::new(rows, distribution);
            let (mut last_use, mut order) = (HashMap::new(), VecDeque::new());
            let (mut hits, mut counted, mut drawn) = (0, 0, Vec::new());
            for access in 0..4 * size.accesses {
                ranks.draw(1, access, &mut drawn);
                let rank = drawn[0];
                if access >= 2 * size.accesses {
                    counted += 1;
                    hits += u64::from(last_use.contains_key(&rank));
                }
                last_use.insert(rank, access);
                order.push_back((rank, access));
                while last_use.len() as u64 > size.rows {
                    let (oldest, used) = order.pop_front().unwrap();
                    if last_use.get(&oldest) == Some(&used) {
                        last_use.remove(&oldest);
                    }
                }
            }
            let share = hits as f64 / counted as f64;
            assert!((share - 0.9).abs() < 0.02, "{distribution}: {share}");
        }
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for text in ["uniform", "zipf:0.99", "zipf:1"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for text in ["zipf", "zipf:", "zipf:-1", "zipf:0", "zipf:NaN", "gauss"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }
}
