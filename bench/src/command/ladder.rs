//! `bench ladder`: each scheduler with each read path, in turn, under one load.

mod figures;
mod picture;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use ringtake_runtime::{ReadPathChoice, Scheduler};

use crate::command::args::RoundsArgs;
use crate::command::file_read::FileReadArgs;
use crate::error::Error;
use crate::measure::experiment::{self, Variant};
use crate::tell::grid::grid;
use crate::tell::output::emit;
use figures::{FIGURES, labels};

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
    let rounds = args.runs.rounds.get();
    let rungs = experiment::run(&combinations, rounds, FIGURES, labels, |combination| {
        let (scheduler, read_path) = *combination;
        let mut file_read = FileReadArgs::of_rounds(&args.runs);
        file_read.store.shards = args.shards;
        file_read.store.read_path = read_path;
        file_read.reads.scheduler = scheduler;
        eprintln!("{read_path} ({scheduler})");
        file_read.measure(interrupted)
    })?;
    emit(args.runs.json.path(), &text(&rungs), &rungs)?;
    match &args.svg {
        Some(path) => picture::write(path, &rungs),
        None => Ok(()),
    }
}

fn text(rungs: &[Variant]) -> String {
    let mut head = vec!["read path", "scheduler"];
    head.extend(FIGURES.iter().map(|figure| figure.title));
    head.push("rounds not proven");
    let table = grid(&head, rungs.iter().map(Variant::row), 2..);
    let mut reasons = String::new();
    for rung in rungs {
        for reason in rung.refused.iter().chain(rung.invalid_reason()) {
            let labels: Vec<&str> = rung.labels.iter().map(|(_, value)| &**value).collect();
            reasons.push_str(&format!("{}: {reason}\n", labels.join(" ")));
        }
    }
    format!("medians over the rounds, with their range\n{table}\n{reasons}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combination_that_is_refused_is_in_the_table_with_its_reason() {
        let combination = (Scheduler::PerRead, ReadPathChoice::Glommio);
        let results = vec![Err("not here".to_owned())];
        let text = text(&[Variant::new(labels(&combination), FIGURES, results)]);
        assert!(
            text.contains("n/a") && text.contains("glommio per-read: not here"),
            "{text}"
        );
    }
}
