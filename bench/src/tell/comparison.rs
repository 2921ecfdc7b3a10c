//! Two sets of records, compared figure by figure.
//!
//! `comparison/difference.rs` separates a difference from noise; `comparison/condition.rs` parses
//! `--fail-if`.

mod condition;
mod difference;

use serde::Serialize;

use crate::error::Error;
use crate::numbers::rounded;
use crate::record::archive::ArchivedRecord;
use crate::tell::grid::grid;

pub(crate) use condition::Condition;
use difference::{Difference, median};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// The fields of a record that are compared, and which way each is better.
const FIGURES: [(&str, Better); 13] = [
    ("rows_per_s", Better::More),
    ("queries_per_s", Better::More),
    ("recall_at_k", Better::More),
    ("rows_per_s_per_core", Better::More),
    ("latency_us.p50", Better::Less),
    ("latency_us.p99", Better::Less),
    ("latency_us.p999", Better::Less),
    ("cpu_us_per_row", Better::Less),
    ("sys_us_per_row", Better::Less),
    ("device_reads_per_row", Better::Less),
    ("device_bytes_per_row", Better::Less),
    ("context_switches_per_row", Better::Less),
    ("syscalls_per_row", Better::Less),
];

/// One figure of both sides.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) difference: Difference,
    /// The result in words: better, worse, no difference, or unknown.
    pub(crate) words: String,
}

/// Both sides of one setup.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    pub(crate) setup: String,
    /// Measurements of each side.
    pub(crate) measurements: [usize; 2],
    pub(crate) figures: Vec<Compared>,
    pub(crate) notes: Vec<String>,
}

/// The measurements of a setup that count.
fn proven<'a>(records: &'a [ArchivedRecord], setup: &str) -> Vec<&'a ArchivedRecord> {
    let of_setup = records.iter().filter(|record| record.setup() == setup);
    of_setup
        .filter(|record| record.is_valid() && !record.is_partial())
        .collect()
}

/// Each setup that both sides have.
pub(crate) fn compare(before: &[ArchivedRecord], after: &[ArchivedRecord]) -> Vec<Comparison> {
    let mut setups: Vec<String> = before.iter().map(ArchivedRecord::setup).collect();
    setups.sort();
    setups.dedup();
    let sides = setups.into_iter().filter_map(|setup| {
        let (one, two) = (proven(before, &setup), proven(after, &setup));
        let there = after.iter().any(|record| record.setup() == setup);
        there.then(|| comparison(setup, &one, &two, [before, after]))
    });
    sides.collect()
}

fn comparison(
    setup: String,
    before: &[&ArchivedRecord],
    after: &[&ArchivedRecord],
    all: [&[ArchivedRecord]; 2],
) -> Comparison {
    let numbers = |records: &[&ArchivedRecord], name: &str| -> Vec<f64> {
        let numbers = records.iter().filter_map(|record| record.number(name));
        numbers.collect()
    };
    let figures = FIGURES.into_iter().filter_map(|(name, better)| {
        let (one, two) = (numbers(before, name), numbers(after, name));
        let (before, after) = (median(&one)?, median(&two)?);
        let difference = Difference::of(&one, &two);
        Some(Compared {
            name,
            before,
            after,
            words: words(&difference, better),
            difference,
        })
    });
    let notes = ["the first", "the second"].into_iter().zip(all);
    let notes = notes.filter_map(|(side, records)| {
        let left_out = records.iter().filter(|record| {
            record.setup() == setup && (!record.is_valid() || record.is_partial())
        });
        let count = left_out.count();
        (count > 0).then(|| {
            format!(
                "{count} of {side} side are left out: they are not proven, or only part of a run"
            )
        })
    });
    Comparison {
        measurements: [before.len(), after.len()],
        figures: figures.collect(),
        notes: notes.collect(),
        setup,
    }
}

fn words(difference: &Difference, better: Better) -> String {
    match difference {
        Difference::Same => "no difference",
        Difference::FromZero | Difference::Unmeasured { .. } => "unknown",
        Difference::Measured { low, high, .. } if *low <= 1.0 && *high >= 1.0 => "no difference",
        Difference::Measured { low, .. } => match ((*low > 1.0), better) {
            (true, Better::More) | (false, Better::Less) => "better",
            (true, Better::Less) | (false, Better::More) => "worse",
        },
    }
    .to_owned()
}

/// The conditions that the medians of the second side meet, in words.
///
/// # Errors
/// A condition that nothing can be held against, since one side has no measurement that counts.
pub(crate) fn met(
    conditions: &[Condition],
    before: &[ArchivedRecord],
    after: &[ArchivedRecord],
) -> Result<Vec<String>, Error> {
    let mut setups: Vec<String> = before.iter().map(ArchivedRecord::setup).collect();
    setups.sort();
    setups.dedup();
    let mut met = Vec::new();
    for condition in conditions {
        let has_field = |setup: &&String| {
            let mut records = before.iter().filter(|record| record.setup() == **setup);
            records.any(|record| record.number(&condition.field).is_some())
        };
        for setup in setups.iter().filter(has_field) {
            let middle = |records: &[ArchivedRecord]| {
                let records = proven(records, setup).into_iter();
                let numbers = records.filter_map(|record| record.number(&condition.field));
                median(&numbers.collect::<Vec<_>>())
            };
            let Some((one, two)) = middle(before).zip(middle(after)) else {
                return Err(Error::NothingProven {
                    condition: condition.to_string(),
                    setup: setup.clone(),
                });
            };
            if condition.is_met(one, two) {
                let (one, two) = (rounded(one), rounded(two));
                met.push(format!("{condition} ({setup}: {two} after {one})"));
            }
        }
    }
    Ok(met)
}

pub(crate) fn text(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        let [before, after] = comparison.measurements;
        text += &format!("{}: {before} and {after} measurements\n", comparison.setup);
        let rows = comparison.figures.iter().map(|figure| {
            vec![
                figure.name.to_owned(),
                rounded(figure.before),
                rounded(figure.after),
                figure.difference.text(),
                figure.words.clone(),
            ]
        });
        let head = ["", "first", "second", "second over first", ""];
        let table = grid(&head, rows, 0..0);
        text += &format!("{table}\n");
        let few = comparison.measurements.iter().any(|count| *count < 3);
        if few {
            text += "note: fewer than three measurements on a side cannot separate a difference from noise; \
                     put several into one file, as a JSON list\n";
        }
        for note in &comparison.notes {
            text += &format!("note: {note}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::archive::tests::recorded;
    use serde_json::json;

    fn rates(rates: &[f64]) -> Vec<ArchivedRecord> {
        let of = |rate: &f64| recorded(json!({ "rows_per_s": rate }));
        rates.iter().map(of).collect()
    }

    fn verdict(before: &[f64], after: &[f64]) -> String {
        let comparisons = compare(&rates(before), &rates(after));
        comparisons[0].figures[0].words.clone()
    }

    #[test]
    fn difference_beyond_the_noise_is_told_and_one_within_is_not() {
        let quiet = [100.0, 101.0, 99.0, 100.5, 99.5];
        let more: Vec<f64> = quiet.iter().map(|rate| rate * 1.1).collect();
        assert_eq!(verdict(&quiet, &more), "better");
        assert_eq!(verdict(&more, &quiet), "worse");
        assert_eq!(verdict(&quiet, &quiet), "no difference");
        let noisy = [60.0, 150.0, 100.0, 80.0, 130.0];
        assert_eq!(verdict(&quiet, &noisy), "no difference");
        assert_eq!(verdict(&[100.0], &[200.0]), "unknown");
    }

    #[test]
    fn what_is_not_proven_is_left_out_and_said() {
        let mut after = rates(&[100.0, 100.0]);
        after.push(recorded(json!({ "rows_per_s": 1.0, "valid": false })));
        after.push(recorded(json!({ "rows_per_s": 1.0, "partial": true })));
        let comparison = &compare(&rates(&[100.0]), &after)[0];
        assert_eq!(comparison.measurements, [1, 2]);
        assert_eq!(comparison.figures[0].after, 100.0);
        assert!(comparison.notes[0].starts_with("2 of the second side are left out"));
    }

    #[test]
    fn setups_are_compared_each_with_its_own() {
        let both = |cold: f64, warm: f64| {
            vec![
                recorded(json!({ "rows_per_s": cold })),
                recorded(json!({ "rows_per_s": warm, "cache": "warm" })),
            ]
        };
        let comparisons = compare(&both(1.0, 2.0), &both(10.0, 40.0));
        let ratios: Vec<f64> = comparisons
            .iter()
            .map(|comparison| comparison.figures[0].after / comparison.figures[0].before)
            .collect();
        assert_eq!(ratios, [10.0, 20.0]);
    }

    #[test]
    fn condition_is_checked_against_the_median_of_the_second_side() {
        let condition: Condition = "rows_per_s < 0.95x".parse().unwrap();
        let met = |after: &[f64]| {
            let conditions = std::slice::from_ref(&condition);
            met(conditions, &rates(&[100.0, 100.0, 100.0]), &rates(after)).unwrap()
        };
        assert!(met(&[96.0, 96.0, 10.0]).is_empty());
        let conditions = met(&[94.0, 94.0, 200.0]);
        assert_eq!(conditions.len(), 1);
        assert!(
            conditions[0].contains("rows_per_s < 0.95x"),
            "{conditions:?}"
        );
    }

    #[test]
    fn condition_that_no_proven_run_can_be_held_against_is_no_pass() {
        let condition: Condition = "rows_per_s < 0.95x".parse().unwrap();
        let unproven = [recorded(json!({ "rows_per_s": 1.0, "valid": false }))];
        let conditions = std::slice::from_ref(&condition);
        let refused = met(conditions, &rates(&[100.0]), &unproven).unwrap_err();
        assert!(
            refused.to_string().contains("rows_per_s < 0.95x"),
            "{refused}"
        );
        // A setup that is fine does not make up for one that is not there.
        let both = [
            recorded(json!({ "rows_per_s": 1.0 })),
            recorded(json!({ "rows_per_s": 1.0, "cache": "warm" })),
        ];
        let refused = met(conditions, &both, &both[1..]).unwrap_err().to_string();
        assert!(refused.contains("file-read, cold"), "{refused}");
        assert!(met(conditions, &both, &both).unwrap().is_empty());
    }
}
