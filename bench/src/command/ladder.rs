//! `bench ladder`: each scheduler with each read path, in turn, under one load.

mod picture;
mod rung;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use ringtake_runtime::{ReadPathChoice, Scheduler};

use crate::command::args::RoundsArgs;
use crate::command::file_read::FileReadArgs;
use crate::error::Error;
use crate::measure::rounds::{Spread, in_turn};
use crate::tell::output::emit;
use rung::Rung;

/// The read paths that are measured by default.
const READ_PATHS: &str =
    "ring-per-shard,glommio,shared-rings:1,shared-rings:2,shared-rings:4,thread-pool:16,mmap";

const SCHEDULERS: [Scheduler; 2] = [Scheduler::PerRead, Scheduler::Batched];

/// Flags of `bench ladder`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LadderArgs {
    /// The runs.
    #[command(flatten)]
    runs: RoundsArgs,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    shards: Option<usize>,
    /// The read paths to measure
    #[arg(long, value_name = "P,P", value_delimiter = ',', default_value = READ_PATHS)]
    read_paths: Vec<ReadPathChoice>,
    /// Draw the result, for light and dark pages, to this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(args: &LadderArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    let combinations: Vec<(Scheduler, ReadPathChoice)> = SCHEDULERS
        .iter()
        .flat_map(|scheduler| args.read_paths.iter().map(|path| (*scheduler, *path)))
        .collect();
    let results = in_turn(combinations.len(), args.runs.rounds.get(), |index| {
        let (scheduler, read_path) = combinations[index];
        let mut file_read = FileReadArgs::of_rounds(&args.runs);
        file_read.store.shards = args.shards;
        file_read.store.read_path = read_path;
        file_read.reads.scheduler = scheduler;
        eprintln!("{read_path} ({scheduler})");
        match file_read.measure(interrupted) {
            // What this machine or the store does not offer is reported in the table.
            Err(Error::Store(refused)) => Ok(Err(refused.to_string())),
            other => other.map(Ok),
        }
    })?;
    let rungs: Vec<Rung> = combinations
        .into_iter()
        .zip(results)
        .map(|((scheduler, read_path), results)| Rung::of(scheduler, read_path, results))
        .collect();
    emit(args.runs.json.path(), &text(&rungs), &rungs)?;
    match &args.svg {
        Some(path) => picture::write(path, &rungs),
        None => Ok(()),
    }
}

fn text(rungs: &[Rung]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "read path",
        "scheduler",
        "rows/s",
        "CPU per row, µs",
        "context switches per row",
        "p99, µs",
        "rounds not proven",
    ]);
    let mut reasons = String::new();
    for rung in rungs {
        table.add_row([
            rung.read_path.clone(),
            rung.scheduler.clone(),
            Spread::text(rung.rows_per_s),
            Spread::text(rung.cpu_us_per_row),
            Spread::text(rung.context_switches_per_row),
            Spread::text(rung.p99_us),
            format!("{} of {}", rung.invalid_rounds, rung.records.len()),
        ]);
        for reason in rung.refused.iter().chain(&rung.invalid_reason) {
            reasons.push_str(&format!(
                "{} ({}): {reason}\n",
                rung.read_path, rung.scheduler
            ));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("medians over the rounds, with their range\n{table}\n{reasons}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    #[test]
    fn unproven_rounds_are_told_and_left_out_of_the_median() {
        let good = record_of(&measurement());
        let mut bad = good.clone();
        (bad.valid, bad.rates.rows_per_s) = (false, 1e9);
        bad.invalid_reason = Some("somebody read the drive".to_owned());
        let path = ReadPathChoice::RingPerShard;
        let results = vec![Ok(good), Ok(bad)];
        let rung = Rung::of(Scheduler::Batched, path, results);
        assert_eq!(rung.rows_per_s.unwrap().max, 25_000.0);
        assert_eq!(rung.invalid_rounds, 1);
        assert!(text(&[rung]).contains("somebody read the drive"));
    }

    #[test]
    fn combination_that_is_refused_has_no_numbers_and_says_why() {
        let results = vec![Err("not here".to_owned())];
        let rung = Rung::of(Scheduler::PerRead, ReadPathChoice::Glommio, results);
        assert_eq!(rung.rows_per_s, None);
        let text = text(&[rung]);
        assert!(
            text.contains("n/a") && text.contains("glommio (per-read): not here"),
            "{text}"
        );
    }
}
