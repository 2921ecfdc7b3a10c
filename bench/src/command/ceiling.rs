//! `bench ceiling`: the reads of a workload with nothing above them.
//!
//! The queries are those of `bench file-read`, and the reads those of the store for the largest
//! column group. One thread per CPU goes over a plan that was made beforehand; on a bare ring,
//! or by copying the rows out of the page cache into one output after another in the same
//! memory. What comes is touched and not decoded.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::command::args::{BoundArgs, PartArgs, RowsArgs, RunArgs};
use crate::drive::clients::Clients;
use crate::drive::copy_loop::CopyLoop;
use crate::drive::load::Load;
use crate::drive::ring_loop::RingLoop;
use crate::drive::yardstick::{Source, Yardstick};
use crate::error::Error;
use crate::measure::Bench;
use crate::measure::options::Options;
use crate::record::Record;
use crate::record::proof::Cache;
use crate::workload::read_plan::LargestGroup;

/// Flags of `bench ceiling`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CeilingArgs {
    /// The rows, whose largest column group is read.
    #[command(flatten)]
    rows: RowsArgs,
    /// The part of the dataset.
    #[command(flatten)]
    part: PartArgs,
    /// How rows are read
    #[arg(long, value_enum, default_value_t = Source::Ring)]
    by: Source,
    /// The end of the run.
    #[command(flatten)]
    bound: BoundArgs,
    /// Threads, each with a ring of its own and on a CPU of its own
    #[arg(long, value_name = "T", default_value = "1")]
    threads: NonZeroUsize,
    /// Reads that each ring keeps in flight
    #[arg(long, value_name = "D", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    queue_depth: u32,
    /// The run.
    #[command(flatten)]
    run: RunArgs,
}

/// Measures and prints the record.
pub(crate) fn run(args: &CeilingArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    args.run.output.emit(&measure(args, interrupted)?)
}

fn measure(args: &CeilingArgs, interrupted: &AtomicBool) -> Result<Record, Error> {
    let group = Arc::new(LargestGroup::of(&args.rows.dataset, &args.rows.columns)?);
    let rows_per_query = args.rows.rows_per_query.get();
    let options = Options {
        workload: "ceiling",
        cache: match args.by {
            Source::Ring => Cache::Cold,
            Source::Mmap | Source::Pread => Cache::Warm,
        },
        load: Load {
            threads: args.threads,
            in_flight: NonZeroUsize::MIN,
            bound: args.bound.bound(),
        },
        dataset_rows: group.rows(),
        rows: args.part.rows_used(group.rows()),
        rows_per_query,
        seed: args.run.seed,
        attempts: args.run.attempts,
        dataset: args.rows.dataset.clone(),
        columns: group.columns.clone(),
        row_bytes: group.row_bytes(),
        ..Options::default()
    };
    let workload = options.workload()?;
    let open = || Yardstick::open(args.by, group, &workload, args.queue_depth);
    let bench = Bench::open(interrupted, open)?;
    bench.fill(&options)?;
    let mut record = bench.measure_by(&*clients(&bench.subject), &options)?;
    // A plan that has no room for a whole pass begins anew sooner.
    let planned = bench.subject.queries() * rows_per_query;
    record.unique_rows = record.unique_rows.map(|rows| rows.min(planned));
    if record.rows_checksum_rows == 0 && !record.is_partial() {
        record.notes.push(
            "there is no checksum over rows: they are not stored as Arrow has them; \
             choose one column without nulls with --columns"
                .to_owned(),
        );
    }
    Ok(record)
}

/// The loop over the plan of `yardstick`.
fn clients(yardstick: &Yardstick) -> Box<dyn Clients + '_> {
    match yardstick.ring_files() {
        Some(files) => Box::new(RingLoop { yardstick, files }),
        None => Box::new(CopyLoop(yardstick)),
    }
}
