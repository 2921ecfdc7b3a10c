//! Which rows each query asks for.
//!
//! A uniform run draws rows without replacement: it walks a shuffle of the dataset and
//! cuts it into queries. The end of the shuffle is kept for the warm-up, so no
//! measured query asks for a row the warm-up has asked for. When the run is
//! longer than the measured part, that part is shuffled anew and walked again,
//! and [`Workload::unique_rows`] says how many rows were different.
//!
//! A run by popularity draws each query anew, rows of low rank more often; the
//! ranks are scattered over the dataset by the same shuffle, so that popular rows
//! are not neighbours. Rows then repeat from query to query, never within one.
//!
//! Where a query is a number and not rows, as in a search, the numbers are drawn in the same way,
//! one a query.
//!
//! Everything here follows from the row count, the rows per query and the seed:
//! query number i is the same rows whatever thread asks for it and however the
//! rows are read.

pub(crate) mod dataset;
pub(crate) mod distribution;
pub(crate) mod made_dataset;
pub(crate) mod permutation;
pub(crate) mod read_plan;
pub(crate) mod row_checksum;
pub(crate) mod search;

use crate::error::Error;
use crate::workload::distribution::{Distribution, Ranks};
use crate::workload::permutation::{Permutation, mix};

/// The warm-up gets this share of the queries of one pass...
const WARM_UP_SHARE: u64 = 8;

/// ...and no more than this many.
const WARM_UP_QUERIES_MAX: u64 = 64;

/// The queries of one dataset under one seed.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    rows_per_query: u64,
    seed: u64,
    warm_up_queries: u64,
    pass_queries: u64,
    base: Permutation,
    /// Draws the rows of each query anew; `None` walks the shuffle.
    ranks: Option<Ranks>,
}

/// Marks the warm-up's draws, which are none of the run's.
const WARM_UP_STREAM: u64 = 1 << 63;

impl Workload {
    /// Cuts `rows` rows into queries of `rows_per_query`.
    pub(crate) fn new(rows: u64, rows_per_query: u64, seed: u64) -> Result<Workload, Error> {
        if rows == 0 || rows_per_query == 0 || rows < rows_per_query {
            return Err(Error::TooFewRows {
                rows,
                rows_per_query,
            });
        }
        let queries = rows / rows_per_query;
        let warm_up_queries = (queries / WARM_UP_SHARE).min(WARM_UP_QUERIES_MAX);
        Ok(Workload {
            rows_per_query,
            seed,
            warm_up_queries,
            pass_queries: queries - warm_up_queries,
            base: Permutation::new(rows, seed),
            ranks: None,
        })
    }

    /// A workload whose rows are drawn by popularity, and so repeat between queries.
    pub(crate) fn drawn(
        rows: u64,
        rows_per_query: u64,
        seed: u64,
        distribution: Distribution,
    ) -> Result<Workload, Error> {
        Ok(Workload {
            ranks: Some(Ranks::new(rows, distribution)),
            ..Workload::new(rows, rows_per_query, seed)?
        })
    }

    /// Rows of each query.
    pub(crate) fn rows_per_query(&self) -> u64 {
        self.rows_per_query
    }

    /// Queries kept for the warm-up.
    pub(crate) fn warm_up_queries(&self) -> u64 {
        self.warm_up_queries
    }

    /// Queries a run can ask before it meets a row for the second time.
    pub(crate) fn pass_queries(&self) -> u64 {
        self.pass_queries
    }

    /// Puts the rows of measured query `index` into `rows`.
    pub(crate) fn query(&self, index: u64, rows: &mut Vec<u64>) {
        if let Some(ranks) = &self.ranks {
            return self.draw(ranks, index, rows);
        }
        let pass = index / self.pass_queries;
        let start = (index % self.pass_queries) * self.rows_per_query;
        let positions = start..start + self.rows_per_query;
        rows.clear();
        if pass == 0 {
            rows.extend(positions.map(|position| self.base.at(position)));
            return;
        }
        // A query never holds rows of two passes, so it never repeats a row.
        let again = Permutation::new(
            self.pass_queries * self.rows_per_query,
            mix(self.seed ^ mix(pass)),
        );
        rows.extend(positions.map(|position| self.base.at(again.at(position))));
    }

    /// Puts the rows of warm-up query `index` into `rows`; beyond
    /// [`Workload::warm_up_queries`] they repeat, unless they are drawn.
    pub(crate) fn warm_up_query(&self, index: u64, rows: &mut Vec<u64>) {
        rows.clear();
        if let Some(ranks) = &self.ranks {
            return self.draw(ranks, index | WARM_UP_STREAM, rows);
        }
        if self.warm_up_queries == 0 {
            return;
        }
        let query = self.pass_queries + index % self.warm_up_queries;
        let start = query * self.rows_per_query;
        rows.extend((start..start + self.rows_per_query).map(|position| self.base.at(position)));
    }

    /// Different rows among those of the first `queries` measured queries.
    pub(crate) fn unique_rows(&self, queries: u64) -> u64 {
        if self.ranks.is_none() {
            return queries.min(self.pass_queries) * self.rows_per_query;
        }
        let mut seen = vec![0_u64; self.base.length().div_ceil(64) as usize];
        let mut rows = Vec::new();
        for index in 0..queries {
            self.query(index, &mut rows);
            for row in &rows {
                seen[(row / 64) as usize] |= 1 << (row % 64);
            }
        }
        seen.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn draw(&self, ranks: &Ranks, stream: u64, rows: &mut Vec<u64>) {
        ranks.draw(
            self.rows_per_query as usize,
            mix(self.seed ^ mix(stream)),
            rows,
        );
        for row in rows {
            *row = self.base.at(*row);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    fn rows_of(workload: &Workload, queries: std::ops::Range<u64>) -> Vec<u64> {
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        for index in queries {
            workload.query(index, &mut rows);
            assert_eq!(rows.len() as u64, workload.rows_per_query);
            all.extend_from_slice(&rows);
        }
        all
    }

    #[test]
    fn one_pass_asks_for_no_row_twice() {
        let workload = Workload::new(10_007, 50, 1).unwrap();
        let rows = rows_of(&workload, 0..workload.pass_queries());
        let unique: HashSet<u64> = rows.iter().copied().collect();
        assert_eq!(unique.len(), rows.len());
        assert_eq!(
            workload.unique_rows(workload.pass_queries()),
            rows.len() as u64
        );
        assert!(rows.iter().all(|row| *row < 10_007));
    }

    #[test]
    fn warm_up_and_run_share_no_row_in_any_pass() {
        let workload = Workload::new(10_007, 50, 1).unwrap();
        assert!(workload.warm_up_queries() > 0);
        let (mut warm, mut rows) = (HashSet::new(), Vec::new());
        for index in 0..workload.warm_up_queries() {
            workload.warm_up_query(index, &mut rows);
            warm.extend(rows.iter().copied());
        }
        assert_eq!(warm.len() as u64, workload.warm_up_queries() * 50);
        let measured = rows_of(&workload, 0..3 * workload.pass_queries());
        assert!(measured.iter().all(|row| !warm.contains(row)));
    }

    #[test]
    fn second_pass_asks_for_the_same_rows_in_another_order() {
        let workload = Workload::new(1_000, 10, 4).unwrap();
        let pass = workload.pass_queries();
        let first = rows_of(&workload, 0..pass);
        let second = rows_of(&workload, pass..2 * pass);
        assert_ne!(first, second);
        let set = |rows: &[u64]| rows.iter().copied().collect::<HashSet<u64>>();
        assert_eq!(set(&first), set(&second));
        assert_eq!(workload.unique_rows(2 * pass), first.len() as u64);
    }

    #[test]
    fn no_query_repeats_a_row_even_where_passes_meet() {
        let workload = Workload::new(103, 10, 4).unwrap();
        for index in 0..5 * workload.pass_queries() {
            let rows = rows_of(&workload, index..index + 1);
            assert_eq!(rows.iter().collect::<HashSet<_>>().len(), 10);
        }
    }

    #[test]
    fn dataset_of_one_query_has_no_warm_up_and_still_runs() {
        let workload = Workload::new(10, 10, 0).unwrap();
        assert_eq!(workload.warm_up_queries(), 0);
        assert_eq!(workload.pass_queries(), 1);
        let mut rows = vec![1];
        workload.warm_up_query(0, &mut rows);
        assert!(rows.is_empty());
        assert_eq!(rows_of(&workload, 3..4).len(), 10);
    }

    #[test]
    fn dataset_smaller_than_a_query_is_refused() {
        for (rows, rows_per_query) in [(0, 1), (9, 10), (10, 0)] {
            assert!(matches!(
                Workload::new(rows, rows_per_query, 0),
                Err(Error::TooFewRows { .. })
            ));
        }
    }

    #[test]
    fn popular_rows_repeat_between_queries_and_are_scattered_over_the_dataset() {
        let zipf = Distribution::Zipf(0.99);
        let workload = Workload::drawn(100_000, 100, 3, zipf).unwrap();
        let mut counts = std::collections::HashMap::new();
        for index in 0..1_000 {
            let rows = rows_of(&workload, index..index + 1);
            assert_eq!(rows.iter().collect::<HashSet<_>>().len(), 100);
            for row in rows {
                *counts.entry(row).or_insert(0_u64) += 1;
            }
        }
        assert_eq!(workload.unique_rows(1_000), counts.len() as u64);
        assert!(counts.len() < 60_000, "{}", counts.len());
        let mut popular: Vec<(u64, u64)> = counts.into_iter().map(|(row, n)| (n, row)).collect();
        popular.sort_unstable_by(|a, b| b.cmp(a));
        let quarters: HashSet<u64> = popular[..64].iter().map(|(_, row)| row / 25_000).collect();
        assert_eq!(quarters.len(), 4);
        let mut ids: Vec<u64> = popular[..64].iter().map(|(_, row)| *row).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).filter(|pair| pair[1] - pair[0] < 10).count() < 8);
    }

    #[test]
    fn drawn_warm_up_is_other_queries_than_the_run() {
        let workload = Workload::drawn(1_000, 10, 3, Distribution::Uniform).unwrap();
        let (mut warm, mut run) = (Vec::new(), Vec::new());
        workload.warm_up_query(5, &mut warm);
        workload.query(5, &mut run);
        assert_ne!(warm, run);
        workload.query(5, &mut warm);
        assert_eq!(warm, run);
    }
}
