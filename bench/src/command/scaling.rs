//! `bench scaling`: the gain of a second shard.
//!
//! One shard and two in turn, under the same load. On a machine where the clients share the
//! shards' CPUs the rate alone says little: the clients of two shards take the CPU that the
//! second shard needs. So the clients' CPU is counted apart, and the ratio held against the goal
//! is that of what the shards could do on CPUs of their own: shards over shard CPU per row.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::command::args::RoundsArgs;
use crate::command::file_read::FileReadArgs;
use crate::error::Error;
use crate::measure::rounds::{Spread, in_turn};
use crate::record::Record;
use crate::tell::output::emit;

/// Shards of the two that are compared.
const SHARDS: [usize; 2] = [1, 2];

/// Two shards compared with one.
#[derive(Debug, Serialize)]
pub(crate) struct Scaling {
    workload: &'static str,
    /// Rows/s of two shards over those of one, round by round.
    rows_ratio: Option<Spread>,
    /// The ratio if the shards had CPUs of their own: shards over shard CPU per row.
    shard_capacity_ratio: Option<Spread>,
    /// Shard CPU per row of one shard and of two.
    shard_cpu_us_per_row: [Option<Spread>; 2],
    /// Client CPU per row of one shard and of two.
    client_cpu_us_per_row: [Option<Spread>; 2],
    /// Runs whose proof failed; they are left out.
    invalid_runs: usize,
    records: Vec<Vec<Record>>,
}

/// Measures and prints.
pub(crate) fn run(args: &RoundsArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    let mut file_read = FileReadArgs::of_rounds(args);
    let records = in_turn(SHARDS.len(), args.rounds.get(), |index| {
        file_read.store.shards = Some(SHARDS[index]);
        file_read.measure(interrupted)
    })?;
    let scaling = Scaling::of(records);
    let text = scaling.text(args.load.threads);
    emit(args.json.path(), &text, &scaling)
}

/// CPU that the shards took for a row.
pub(crate) fn shard_cpu_us_per_row(record: &Record) -> Option<f64> {
    Some((record.per_row.cpu_us_per_row? - record.per_row.client_cpu_us_per_row?).max(0.0))
}

impl Scaling {
    fn of(records: Vec<Vec<Record>>) -> Scaling {
        let rounds = records[0].iter().zip(&records[1]);
        let proven: Vec<(&Record, &Record)> =
            rounds.filter(|(one, two)| one.valid && two.valid).collect();
        let ratio = |of: fn(&Record) -> Option<f64>| {
            let pairs = proven.iter();
            Spread::of_ratios(pairs.filter_map(|(one, two)| of(one).zip(of(two))))
        };
        let each = |of: fn(&Record) -> Option<f64>| {
            [
                Spread::of(proven.iter().filter_map(|(one, _)| of(one))),
                Spread::of(proven.iter().filter_map(|(_, two)| of(two))),
            ]
        };
        Scaling {
            workload: "scaling",
            rows_ratio: ratio(|record| Some(record.rates.rows_per_s)),
            shard_capacity_ratio: ratio(|record| {
                let shards = record.config.store["shards"].as_f64()?;
                Some(shards / shard_cpu_us_per_row(record)?)
            }),
            shard_cpu_us_per_row: each(shard_cpu_us_per_row),
            client_cpu_us_per_row: each(|record| record.per_row.client_cpu_us_per_row),
            invalid_runs: records
                .iter()
                .flatten()
                .filter(|record| !record.valid)
                .count(),
            records,
        }
    }

    fn text(&self, threads: NonZeroUsize) -> String {
        let [one, two] = self.shard_cpu_us_per_row.map(Spread::text);
        let [client_one, client_two] = self.client_cpu_us_per_row.map(Spread::text);
        format!(
            "two shards over one, median and range over the rounds, {threads} client thread(s):\n\
             rows/s                                {}\n\
             with the clients' CPU counted apart   {}\n\
             shard CPU per row, µs                 {one} with one shard, {two} with two\n\
             client CPU per row, µs                {client_one} with one shard, {client_two} with two\n\
             runs left out because unproven        {}\n",
            Spread::text(self.rows_ratio),
            Spread::text(self.shard_capacity_ratio),
            self.invalid_runs,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    fn record(shards: u64, rows_per_s: f64, cpu: f64, client: f64) -> Record {
        let mut record = record_of(&measurement());
        record.config.store = serde_json::json!({ "shards": shards });
        record.rates.rows_per_s = rows_per_s;
        record.per_row.cpu_us_per_row = Some(cpu);
        record.per_row.client_cpu_us_per_row = Some(client);
        record
    }

    #[test]
    fn clients_that_take_the_second_shards_cpu_do_not_lower_its_ratio() {
        let one = record(1, 100.0, 5.0, 1.0);
        let two = record(2, 120.0, 6.0, 2.0);
        let scaling = Scaling::of(vec![vec![one], vec![two]]);
        assert_eq!(scaling.rows_ratio.unwrap().median, 1.2);
        assert_eq!(scaling.shard_capacity_ratio.unwrap().median, 2.0);
    }

    #[test]
    fn unproven_rounds_are_left_out() {
        let one = vec![record(1, 100.0, 5.0, 1.0), record(1, 100.0, 5.0, 1.0)];
        let mut two = vec![record(2, 150.0, 5.0, 1.0), record(2, 900.0, 5.0, 1.0)];
        two[1].valid = false;
        let scaling = Scaling::of(vec![one, two]);
        assert_eq!(scaling.rows_ratio.unwrap().max, 1.5);
        assert_eq!(scaling.invalid_runs, 1);
    }
}
