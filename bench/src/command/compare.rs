//! `bench compare`: whether two sets of measurements differ, in words and as an exit status.

use std::path::PathBuf;

use clap::Args;

use crate::command::args::JsonArgs;
use crate::error::Error;
use crate::numbers::NOT_AVAILABLE;
use crate::record::archive::ArchivedRecord;
use crate::tell::comparison::{Condition, compare, met, text};
use crate::tell::output::emit;

/// The fields of a record that two runs must share to be comparable.
const SAME: [&str; 5] = [
    "config.dataset_rows",
    "config.rows_used",
    "config.row_bytes",
    "config.rows_per_query",
    "config.distribution",
];

pub(crate) const EXAMPLES: &str = "\
Examples:
  bench compare before.json after.json
  bench compare before.json after.json --fail-if 'rows_per_s < 0.95x' --fail-if 'latency_us.p99 > 5000'

A file holds a record or a JSON list of them; three or more of a kind on each side
separate a difference from noise. The exit status is 1 if a condition holds, 2 if it cannot be
checked.";

/// Flags of `bench compare`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// Records before the change
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// Records after the change
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// End with status 1 if this holds for the second side's median, with 2 if it cannot be checked;
    /// `x` is the first side's median
    #[arg(long, value_name = "FIELD < NUMBER[x]")]
    fail_if: Vec<Condition>,
    /// Compare even if the two sides were measured on different rows
    #[arg(long)]
    force: bool,
    /// Where the comparison goes.
    #[command(flatten)]
    json: JsonArgs,
}

/// Compares the files, prints the differences, and fails if a condition is met.
pub(crate) fn run(args: &CompareArgs) -> Result<(), Error> {
    let before = ArchivedRecord::read(&args.before)?;
    let after = ArchivedRecord::read(&args.after)?;
    let conditions = &args.fail_if;
    for condition in conditions {
        let known = |records: &[ArchivedRecord]| {
            let mut records = records.iter();
            records.any(|record| record.number(&condition.field).is_some())
        };
        if !(known(&before) && known(&after)) {
            return Err(Error::NoSuchFigure {
                field: condition.field.clone(),
            });
        }
    }
    if !args.force {
        same_workload(&before, &after)?;
    }
    let comparisons = compare(&before, &after);
    if comparisons.is_empty() {
        return Err(Error::NothingToCompare);
    }
    emit(args.json.path(), &text(&comparisons), &comparisons)?;
    let met = met(conditions, &before, &after)?;
    match met.is_empty() {
        true => Ok(()),
        false => Err(Error::ConditionMet { met }),
    }
}

fn same_workload(before: &[ArchivedRecord], after: &[ArchivedRecord]) -> Result<(), Error> {
    for name in SAME {
        let of = |records: &[ArchivedRecord]| {
            let first = records.first().and_then(|record| record.at(name));
            first.map_or_else(|| NOT_AVAILABLE.to_owned(), ToString::to_string)
        };
        let (before, after) = (of(before), of(after));
        if before != after {
            return Err(Error::OtherWorkload {
                field: name,
                before,
                after,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::record::archive::tests::recorded;

    #[test]
    fn other_rows_are_not_compared_unless_forced() {
        let of = |rows: u64| vec![recorded(json!({ "config": { "rows_used": rows } }))];
        same_workload(&of(10), &of(10)).unwrap();
        let refused = same_workload(&of(10), &of(11)).unwrap_err().to_string();
        assert!(refused.contains("config.rows_used") && refused.contains("--force"));
    }
}
