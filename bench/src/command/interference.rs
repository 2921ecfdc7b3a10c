//! `bench interference`: the latency that bulk work adds to urgent takes.
//!
//! Urgent takes of one row arrive at a fixed rate, alone and beside bulk takes in a closed loop,
//! in turn on one store. Latency counts from the planned arrival, so a take that had to wait for
//! a client that bulk work had driven off its CPU is charged for that too; how late takes were
//! started is kept beside it.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use ringtake_runtime::LatencyClass;
use serde::Serialize;

use crate::command::args::{JsonArgs, RowsArgs, parse_positive, parse_seconds};
use crate::command::file_read::FileReadArgs;
use crate::count::device::Devices;
use crate::count::environment::Environment;
use crate::drive::clients::{Clients as _, Work};
use crate::drive::live::Live;
use crate::drive::load::Rate;
use crate::drive::load::{Bound, Load, Pace};
use crate::drive::run::Run;
use crate::drive::store_subject::StoreSubject;
use crate::drive::subject::Subject as _;
use crate::drive::threads::Threads;
use crate::error::Error;
use crate::measure::rounds::{Spread, in_turn};
use crate::numbers::rounded;
use crate::record::latency::LatencyUs;
use crate::record::proof::Cache;
use crate::tell::output::emit;
use crate::workload::Workload;

/// Bulk work begins this share of the run before the urgent takes, and ends as much after them.
const BULK_LEAD_SHARE: f64 = 0.1;

/// Flags of `bench interference`.
#[derive(Debug, Clone, Args)]
pub(crate) struct InterferenceArgs {
    /// The rows of bulk takes.
    #[command(flatten)]
    rows: RowsArgs,
    /// Duration of each run
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Runs of each variant
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: NonZeroUsize,
    /// Urgent takes of one row that arrive per second
    #[arg(long, value_name = "R", default_value = "1000", value_parser = parse_positive)]
    rate: f64,
    /// Bulk takes in flight
    #[arg(long, value_name = "C", default_value = "4")]
    in_flight: NonZeroUsize,
    /// Shards of the store [default: one per CPU]
    #[arg(long, value_name = "K")]
    shards: Option<usize>,
    /// Seed of the rows and of the times of arrival
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Where the result goes.
    #[command(flatten)]
    json: JsonArgs,
}

/// One run of urgent takes.
#[derive(Debug, Clone, Copy, Serialize)]
struct Urgent {
    takes: u64,
    latency_us: LatencyUs,
    /// From the planned arrival to the start of the take: the client's share of the latency.
    start_late_us: Option<LatencyUs>,
    /// Rate of the bulk work beside it; `None` if there was none.
    bulk_rows_per_s: Option<f64>,
}

/// A percentile over the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Percentile {
    name: &'static str,
    alone_us: Option<Spread>,
    beside_bulk_us: Option<Spread>,
    /// Beside bulk work over alone, round by round.
    ratio: Option<Spread>,
}

/// The latency of urgent takes alone and beside bulk work.
#[derive(Debug, Serialize)]
pub(crate) struct Interference {
    workload: &'static str,
    rate_per_s: f64,
    bulk_rows_per_query: u64,
    bulk_in_flight: usize,
    percentiles: [Percentile; 3],
    bulk_rows_per_s: Option<Spread>,
    alone: Vec<Urgent>,
    beside_bulk: Vec<Urgent>,
    read_path: String,
    environment: Environment,
    store: serde_json::Value,
}

/// Measures and prints.
pub(crate) fn run(args: &InterferenceArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    let mut file_read = FileReadArgs::of_dataset(&args.rows.dataset, Cache::Cold);
    file_read.rows = args.rows.clone();
    file_read.store.shards = args.shards;
    file_read.arrivals.rate = Some(Rate::PerSecond(args.rate));
    let subject = file_read.open()?;
    let files = subject.observed().files()?;
    let bench = Bench {
        args,
        bulk: subject.with_class(LatencyClass::Bulk),
        one_row: Workload::new(subject.rows(), 1, args.seed)?,
        many_rows: Workload::new(subject.rows(), args.rows.rows_per_query.get(), !args.seed)?,
        urgent: subject,
        interrupted,
    };
    let mut runs = in_turn(2, args.rounds.get(), |index| match index {
        0 => bench.urgent_takes(),
        _ => bench.urgent_takes_beside_bulk(),
    })?;
    let beside_bulk = runs.pop().unwrap_or_default();
    let alone = runs.pop().unwrap_or_default();
    let devices = Devices::holding(&files);
    let interference = Interference {
        workload: "interference",
        rate_per_s: args.rate,
        bulk_rows_per_query: args.rows.rows_per_query.get(),
        bulk_in_flight: args.in_flight.get(),
        percentiles: percentiles(&alone, &beside_bulk),
        bulk_rows_per_s: Spread::of(beside_bulk.iter().filter_map(|run| run.bulk_rows_per_s)),
        alone,
        beside_bulk,
        read_path: bench.urgent.observed().read_path(),
        environment: Environment::observe(devices.map(|d| d.describe()).unwrap_or_default()),
        store: bench.urgent.observed().configuration(),
    };
    emit(args.json.path(), &interference.text(), &interference)
}

struct Bench<'a> {
    args: &'a InterferenceArgs,
    urgent: StoreSubject,
    bulk: StoreSubject,
    one_row: Workload,
    many_rows: Workload,
    interrupted: &'a AtomicBool,
}

impl Bench<'_> {
    fn run(
        &self,
        subject: &StoreSubject,
        load: Load,
        pace: Pace,
        workload: &Workload,
    ) -> Result<Run, Error> {
        let work = Work {
            load,
            pace,
            workload,
            interrupted: self.interrupted,
            live: &Live::default(),
        };
        Threads(subject).run(work, &mut || ())?.whole()
    }

    fn urgent_takes(&self) -> Result<Urgent, Error> {
        let load = Load {
            threads: NonZeroUsize::MIN,
            in_flight: NonZeroUsize::MIN,
            bound: Bound::Time(self.args.seconds),
        };
        let pace = Pace::Open {
            rate_per_s: self.args.rate,
            seed: self.args.seed,
        };
        let workload = &self.one_row;
        let run = self.run(&self.urgent, load, pace, workload)?;
        Ok(Urgent {
            takes: run.queries,
            latency_us: LatencyUs::of(&run.latency_ns),
            start_late_us: run
                .arrivals
                .map(|arrivals| LatencyUs::of(&arrivals.start_late_ns)),
            bulk_rows_per_s: None,
        })
    }

    fn urgent_takes_beside_bulk(&self) -> Result<Urgent, Error> {
        let lead = self.args.seconds.mul_f64(BULK_LEAD_SHARE);
        std::thread::scope(|scope| {
            let bulk = scope.spawn(|| self.bulk_takes(self.args.seconds + 2 * lead));
            std::thread::sleep(lead);
            let urgent = self.urgent_takes();
            let bulk_rows_per_s = bulk
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(Urgent {
                bulk_rows_per_s: Some(bulk_rows_per_s),
                ..urgent?
            })
        })
    }

    fn bulk_takes(&self, time: Duration) -> Result<f64, Error> {
        let load = Load {
            threads: NonZeroUsize::MIN,
            in_flight: self.args.in_flight,
            bound: Bound::Time(time),
        };
        let workload = &self.many_rows;
        let pace = Pace::Closed;
        let run = self.run(&self.bulk, load, pace, workload)?;
        Ok(run.rows as f64 / run.duration.as_secs_f64().max(f64::MIN_POSITIVE))
    }
}

fn percentiles(alone: &[Urgent], beside_bulk: &[Urgent]) -> [Percentile; 3] {
    let of = |name, of: fn(&LatencyUs) -> f64| {
        let spread = |runs: &[Urgent]| Spread::of(runs.iter().map(|run| of(&run.latency_us)));
        let rounds = alone.iter().zip(beside_bulk);
        let pairs = rounds.map(|(alone, beside)| (of(&alone.latency_us), of(&beside.latency_us)));
        Percentile {
            name,
            alone_us: spread(alone),
            beside_bulk_us: spread(beside_bulk),
            ratio: Spread::of_ratios(pairs),
        }
    };
    [
        of("p50", |latency| latency.p50),
        of("p99", |latency| latency.p99),
        of("p99.9", |latency| latency.p999),
    ]
}

impl Interference {
    fn text(&self) -> String {
        let mut text = format!(
            "urgent takes of one row, {} per second, alone and beside {} bulk takes of {} rows in flight;\n\
             median and range over the rounds, latency in µs:\n",
            rounded(self.rate_per_s),
            self.bulk_in_flight,
            self.bulk_rows_per_query,
        );
        for percentile in &self.percentiles {
            text.push_str(&format!(
                "{:6} alone {}, beside bulk {}, ratio {}\n",
                percentile.name,
                Spread::text(percentile.alone_us),
                Spread::text(percentile.beside_bulk_us),
                Spread::text(percentile.ratio),
            ));
        }
        text.push_str(&format!(
            "bulk rows/s beside them: {}\n",
            Spread::text(self.bulk_rows_per_s)
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::drive::latency::latency_histogram;

    fn run(us: u64) -> Urgent {
        let mut latency_ns = latency_histogram();
        latency_ns.record(us * 1_000).unwrap();
        Urgent {
            takes: 1,
            latency_us: LatencyUs::of(&latency_ns),
            start_late_us: None,
            bulk_rows_per_s: None,
        }
    }

    #[test]
    fn ratios_are_made_round_by_round() {
        let (alone, beside) = (
            [run(100), run(200), run(300)],
            [run(200), run(200), run(900)],
        );
        let [_, p99, _] = percentiles(&alone, &beside);
        let ratio = p99.ratio.unwrap();
        assert_eq!(p99.name, "p99");
        assert!((ratio.median - 2.0).abs() < 0.01, "{ratio:?}");
        assert!(
            (ratio.min - 1.0).abs() < 0.01 && (ratio.max - 3.0).abs() < 0.01,
            "{ratio:?}"
        );
    }
}
