//! `bench plan`: an estimate for another machine, from one measurement.
//!
//! It multiplies. Every number says where it comes from, and the assumptions stand below the table.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::command::args::{JsonArgs, parse_positive, parse_seconds};
use crate::command::file_read::FileReadArgs;
use crate::error::Error;
use crate::numbers::{rounded, whole};
use crate::record::proof::Cache;
use crate::tell::grid::grid;
use crate::tell::output::emit;

/// With fewer rows in a message than this, the cost of the message matters.
const ROWS_PER_MESSAGE_MIN: f64 = 8.0;

/// Bytes that pass memory for a row besides those the drive moves into it: the row is read from
/// there, written to the output, and read by the client.
const ROW_PASSES: f64 = 3.0;

/// Flags of `bench plan`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlanArgs {
    /// Cores of the machine to plan for
    #[arg(long, value_name = "N")]
    cores: NonZeroUsize,
    /// Reads per second of its drives together
    #[arg(long, value_name = "R", value_parser = parse_positive)]
    iops: f64,
    /// Bytes per second of its drives together, in units of 10^9 [default: no limit]
    #[arg(long, value_name = "GB", value_parser = parse_positive)]
    drive_gb_per_s: Option<f64>,
    /// A record that `bench file-read --json` has written
    #[arg(long, value_name = "FILE", conflicts_with = "dataset")]
    from: Option<PathBuf>,
    /// Measure this dataset now, with one shard
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    dataset: Option<PathBuf>,
    /// Duration of that run
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Where the estimate goes.
    #[command(flatten)]
    json: JsonArgs,
}

/// The cost of a row, from a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Measured {
    /// The record, or how it was measured.
    source: String,
    valid: bool,
    shard_cpu_us_per_row: f64,
    client_cpu_us_per_row: f64,
    reads_per_row: f64,
    read_bytes_per_row: f64,
    row_bytes: Option<f64>,
    rows_per_query: f64,
    messages_per_query: f64,
    shards: f64,
}

/// The machine to plan for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Machine {
    cores: f64,
    reads_per_s: f64,
    drive_bytes_per_s: Option<f64>,
}

/// The estimate.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Estimate {
    workload: &'static str,
    measured: Measured,
    machine: Machine,
    shards: f64,
    client_cores: f64,
    rows_per_s_by_cpu: f64,
    rows_per_s_by_reads: Option<f64>,
    rows_per_s_by_bytes: Option<f64>,
    rows_per_s: f64,
    limit: &'static str,
    messages_per_query: f64,
    rows_per_message: f64,
    memory_bytes_per_s: f64,
}

/// Estimates from a record, or from a run of its own, and prints the estimate.
pub(crate) fn run(args: &PlanArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    let measured = match (&args.from, &args.dataset) {
        (Some(path), _) => Measured::read(path)?,
        (None, Some(dataset)) => {
            let mut file_read = FileReadArgs::of_dataset(dataset, Cache::Cold);
            file_read.bound.seconds = Some(args.seconds);
            file_read.store.shards = Some(1);
            let record = file_read.measure(interrupted)?;
            let json = serde_json::to_value(&record).unwrap_or_default();
            Measured::of(&json, "measured now, one shard".to_owned())
                .ok_or(Error::NothingToPlanFrom)?
        }
        // The command line asks for one of them.
        (None, None) => return Err(Error::NothingToPlanFrom),
    };
    let machine = Machine {
        cores: args.cores.get() as f64,
        reads_per_s: args.iops,
        drive_bytes_per_s: args.drive_gb_per_s.map(|gb| gb * 1e9),
    };
    let estimate = Estimate::of(measured, machine);
    emit(args.json.path(), &estimate.text(), &estimate)
}

impl Measured {
    fn read(path: &Path) -> Result<Measured, Error> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let json: Value = serde_json::from_str(&text).map_err(|_| Error::NotARecord {
            path: path.to_path_buf(),
        })?;
        // A quick run writes a list, the cold record first.
        let record = json.get(0).unwrap_or(&json);
        Measured::of(record, path.display().to_string()).ok_or_else(|| Error::NotARecord {
            path: path.to_path_buf(),
        })
    }

    fn of(record: &Value, source: String) -> Option<Measured> {
        let number = |name: &str| record.get(name)?.as_f64();
        let config = record.get("config")?;
        let counters = record.get("store_counters")?;
        let rows = number("rows").filter(|rows| *rows > 0.0)?;
        let client = number("client_cpu_us_per_row")?;
        Some(Measured {
            source,
            valid: record.get("valid")?.as_bool()?,
            shard_cpu_us_per_row: (number("cpu_us_per_row")? - client).max(0.0),
            client_cpu_us_per_row: client,
            reads_per_row: number("store_reads_per_row")?,
            read_bytes_per_row: counters.get("read_bytes")?.as_f64()? / rows,
            row_bytes: config.get("row_bytes").and_then(Value::as_f64),
            rows_per_query: config.get("rows_per_query")?.as_f64()?,
            messages_per_query: counters.get("parts")?.as_f64()? / number("queries")?,
            shards: config.get("store")?.get("shards")?.as_f64()?,
        })
    }

    fn cpu_us_per_row(&self) -> f64 {
        self.shard_cpu_us_per_row + self.client_cpu_us_per_row
    }
}

impl Estimate {
    fn of(measured: Measured, machine: Machine) -> Estimate {
        let cpu_us = measured.cpu_us_per_row().max(f64::MIN_POSITIVE);
        let by_cpu = machine.cores * 1e6 / cpu_us;
        let over = |limit: f64, per_row: f64| (per_row > 0.0).then(|| limit / per_row);
        let by_reads = over(machine.reads_per_s, measured.reads_per_row);
        let by_bytes = machine
            .drive_bytes_per_s
            .and_then(|limit| over(limit, measured.read_bytes_per_row));
        let mut least = (by_cpu, "CPU");
        for (rows, limit) in [
            (by_reads, "the drive's reads"),
            (by_bytes, "the drive's bytes"),
        ] {
            if let Some(rows) = rows
                && rows < least.0
            {
                least = (rows, limit);
            }
        }
        let shards = (machine.cores * measured.shard_cpu_us_per_row / cpu_us)
            .round()
            .clamp(1.0, machine.cores);
        // Rows fall on shards at random; a shard that none falls on gets no message.
        let touched = shards * (1.0 - (1.0 - 1.0 / shards).powf(measured.rows_per_query));
        let row_bytes = measured.row_bytes.unwrap_or(measured.read_bytes_per_row);
        let (rows_per_s, limit) = least;
        Estimate {
            workload: "plan",
            machine,
            shards,
            client_cores: machine.cores - shards,
            rows_per_s_by_cpu: by_cpu,
            rows_per_s_by_reads: by_reads,
            rows_per_s_by_bytes: by_bytes,
            rows_per_s,
            limit,
            messages_per_query: touched,
            rows_per_message: measured.rows_per_query / touched,
            memory_bytes_per_s: rows_per_s * (measured.read_bytes_per_row + ROW_PASSES * row_bytes),
            measured,
        }
    }

    /// The estimate line by line: a name, a value, and where the value comes from.
    fn lines(&self) -> Vec<(&'static str, String, &str)> {
        let (measured, machine) = (&self.measured, &self.machine);
        let source = measured.source.as_str();
        let per_row = [
            ("shard CPU per row, µs", measured.shard_cpu_us_per_row),
            ("client CPU per row, µs", measured.client_cpu_us_per_row),
            ("drive reads per row", measured.reads_per_row),
            ("drive bytes per row", measured.read_bytes_per_row),
            ("messages per query, measured", measured.messages_per_query),
        ];
        let estimated = [
            (
                "shards",
                self.shards,
                "cores, in proportion to the CPU of shards and clients",
            ),
            (
                "cores for clients",
                self.client_cores,
                "the rest of the cores",
            ),
            (
                "rows/s by CPU",
                self.rows_per_s_by_cpu,
                "cores over CPU per row",
            ),
        ];
        let limit = |rows: Option<f64>| rows.map_or_else(|| "no limit".to_owned(), rounded);
        let messages = [
            (
                "messages per query",
                self.messages_per_query,
                "shards that random rows of a query fall on",
            ),
            (
                "rows per message",
                self.rows_per_message,
                "rows per query over messages",
            ),
        ];
        let by_reads = limit(self.rows_per_s_by_reads);
        let by_bytes = limit(self.rows_per_s_by_bytes);
        let memory = whole(self.memory_bytes_per_s as u64);
        let line = |(name, value, from)| (name, rounded(value), from);
        let mut lines: Vec<_> = per_row
            .map(|(name, value)| (name, rounded(value), source))
            .into();
        lines.push(("cores", rounded(machine.cores), "--cores"));
        lines.push(("drive reads/s", whole(machine.reads_per_s as u64), "--iops"));
        lines.extend(estimated.map(line));
        lines.push((
            "rows/s by drive reads",
            by_reads,
            "--iops over reads per row",
        ));
        lines.push((
            "rows/s by drive bytes",
            by_bytes,
            "--drive-gb-per-s over bytes per row",
        ));
        lines.extend(messages.map(line));
        lines.push((
            "memory bytes/s",
            memory,
            "rows/s times bytes read, and the row three times",
        ));
        let rows_per_s = whole(self.rows_per_s as u64);
        lines.push(("ROWS PER SECOND", rows_per_s, "the least of the limits"));
        lines
    }

    fn text(&self) -> String {
        let rows = self.lines().into_iter();
        let rows = rows.map(|(name, value, from)| vec![name.to_owned(), value, from.to_owned()]);
        let table = grid(&["what", "value", "where it comes from"], rows, 1..=1);
        let mut text = format!("{table}\nlimited by {}\n", self.limit);
        let _ = writeln!(
            text,
            "assumed: a row costs each of {} shards what it cost each of {}; cores are alike and none \
             is shared by two threads; the drive keeps its rate at the depth of all shards together; \
             memory has the bandwidth",
            rounded(self.shards),
            rounded(self.measured.shards),
        );
        if self.rows_per_message < ROWS_PER_MESSAGE_MIN {
            let _ = writeln!(
                text,
                "warning: {} rows to a message are few, and a message costs as much as some rows; \
                 measure with this few rows per query before you believe the estimate",
                rounded(self.rows_per_message)
            );
        }
        if !self.measured.valid {
            let _ = writeln!(text, "warning: the measurement was not proven");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    fn measured() -> Measured {
        let mut record = record_of(&measurement());
        record.config.store = serde_json::json!({ "shards": 1 });
        if let Some(counters) = &mut record.store_counters {
            counters.parts = 100;
        }
        let json = serde_json::to_value(&record).unwrap();
        Measured::of(&json, "test".to_owned()).unwrap()
    }

    fn machine(cores: f64, reads_per_s: f64) -> Machine {
        Machine {
            cores,
            reads_per_s,
            drive_bytes_per_s: None,
        }
    }

    #[test]
    fn record_gives_the_cost_of_a_row_on_either_side() {
        let measured = measured();
        assert_eq!(measured.client_cpu_us_per_row, 1.0);
        assert_eq!(measured.shard_cpu_us_per_row, 9.0);
        assert_eq!(measured.reads_per_row, 1.0);
        assert_eq!(measured.read_bytes_per_row, 4096.0);
        assert_eq!(measured.messages_per_query, 1.0);
    }

    #[test]
    fn the_least_limit_is_the_answer() {
        let by_cpu = Estimate::of(measured(), machine(10.0, 1e9));
        assert_eq!((by_cpu.rows_per_s, by_cpu.limit), (1e6, "CPU"));
        assert_eq!((by_cpu.shards, by_cpu.client_cores), (9.0, 1.0));
        let by_drive = Estimate::of(measured(), machine(10.0, 5e5));
        assert_eq!(by_drive.rows_per_s, 5e5);
        assert_eq!(by_drive.limit, "the drive's reads");
        let narrow = Machine {
            drive_bytes_per_s: Some(4096.0 * 1e5),
            ..machine(10.0, 5e5)
        };
        let by_bytes = Estimate::of(measured(), narrow);
        assert_eq!(by_bytes.limit, "the drive's bytes");
        assert!((by_bytes.rows_per_s - 1e5).abs() < 1e-6);
    }

    #[test]
    fn small_queries_over_many_shards_are_warned_about() {
        let mut small = measured();
        small.rows_per_query = 4.0;
        let estimate = Estimate::of(small, machine(48.0, 1e9));
        assert!(estimate.messages_per_query > 3.5 && estimate.messages_per_query < 4.0);
        assert!(
            estimate.text().contains("warning: 1.0"),
            "{}",
            estimate.text()
        );
        assert!(
            !Estimate::of(measured(), machine(8.0, 1e9))
                .text()
                .contains("warning")
        );
    }
}
