//! A shuffle of `0..length` that is computed, never stored.
//!
//! The generalised Feistel network of J. Black and P. Rogaway, "Ciphers with
//! Arbitrary Finite Domains" (CT-RSA 2002): a position is split over a square
//! of side `ceil(sqrt(length))`, the two halves are mixed in turns, and the rare
//! result past the end is put through again (cycle walking). The mixing function
//! is the finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable
//! pseudorandom number generators", OOPSLA 2014). This spreads accesses; it
//! hides nothing from anybody.

/// Enough for every position to depend on every bit of every other.
const ROUNDS: usize = 6;

/// The step between the states of SplitMix64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One shuffle: a bijection of `0..length` onto itself, chosen by a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permutation {
    length: u64,
    side: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The shuffle of `0..length` that `seed` chooses.
    pub(crate) fn new(length: u64, seed: u64) -> Permutation {
        let root = length.isqrt();
        let side = if root * root < length { root + 1 } else { root };
        let keys = std::array::from_fn(|round| {
            mix(seed.wrapping_add(GOLDEN.wrapping_mul(round as u64 + 1)))
        });
        Permutation { length, side, keys }
    }

    /// How many positions it shuffles.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Where the shuffle puts `position`.
    ///
    /// # Panics
    ///
    /// If `position` is not below the length.
    pub(crate) fn at(&self, position: u64) -> u64 {
        assert!(position < self.length, "position outside of the shuffle");
        let mut value = position;
        loop {
            value = self.once(value);
            if value < self.length {
                return value;
            }
        }
    }

    /// One pass through the network, over the whole square.
    fn once(&self, value: u64) -> u64 {
        let mut left = value / self.side;
        let mut right = value % self.side;
        for key in self.keys {
            let shift = below(mix(right ^ key), self.side);
            let mut next = left + shift;
            if next >= self.side {
                next -= self.side;
            }
            left = right;
            right = next;
        }
        left * self.side + right
    }
}

/// Spreads a hash over `0..side` by multiplication, which is cheaper than a
/// remainder; a side is at most 2^32, so the product fits.
fn below(hash: u64, side: u64) -> u64 {
    ((hash >> 32) * side) >> 32
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffle_is_a_bijection_at_every_small_length_and_some_large() {
        let lengths = (1..300).chain([1_000, 1_023, 1_024, 1_025, 65_537, 200_000]);
        for length in lengths {
            for seed in [0, 1, 77] {
                let shuffle = Permutation::new(length, seed);
                let mut seen = vec![false; usize::try_from(length).unwrap_or_default()];
                for position in 0..length {
                    let value = shuffle.at(position);
                    assert!(value < length, "length {length} seed {seed}");
                    let slot = &mut seen[usize::try_from(value).unwrap_or_default()];
                    assert!(!*slot, "length {length} seed {seed} repeats {value}");
                    *slot = true;
                }
            }
        }
    }

    #[test]
    fn huge_lengths_stay_inside_and_do_not_repeat_in_a_sample() {
        for length in [u64::from(u32::MAX) + 5, 1 << 40, u64::MAX] {
            let shuffle = Permutation::new(length, 3);
            let mut values: Vec<u64> = (0..10_000).map(|position| shuffle.at(position)).collect();
            assert!(values.iter().all(|value| *value < length));
            values.sort_unstable();
            values.dedup();
            assert_eq!(values.len(), 10_000);
        }
    }

    #[test]
    fn same_seed_gives_the_same_shuffle_and_another_seed_another() {
        let values = |seed| -> Vec<u64> {
            let shuffle = Permutation::new(1_000, seed);
            (0..1_000).map(|position| shuffle.at(position)).collect()
        };
        assert_eq!(values(5), values(5));
        assert_ne!(values(5), values(6));
    }

    #[test]
    fn neighbours_are_spread_over_the_whole_range() {
        let length = 1_000_000;
        let shuffle = Permutation::new(length, 9);
        // Of 4,000 positions in a row a fair shuffle puts 1,000 into each
        // quarter, give or take 27 (one standard deviation).
        let mut quarters = [0u32; 4];
        for position in 0..4_000 {
            let quarter = shuffle.at(position) * 4 / length;
            quarters[usize::try_from(quarter).unwrap_or_default()] += 1;
        }
        assert!(
            quarters.iter().all(|count| (850..1_150).contains(count)),
            "{quarters:?}"
        );
    }
}
