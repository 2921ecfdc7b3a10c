//! Variants of a measurement over several rounds, and a table and JSON of the figures that differ.
//!
//! Figures are medians over the proven rounds. Variants take turns (A B C A B C), so that a machine
//! that changes its speed changes all of them.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use crate::error::Error;
use crate::measure::rounds::{Spread, in_turn};
use crate::record::Record;

/// A figure of each record: a field of the JSON and a column of the table.
pub(crate) struct Figure {
    pub(crate) field: &'static str,
    pub(crate) title: &'static str,
    pub(crate) of: fn(&Record) -> Option<f64>,
}

/// One variant over all rounds.
pub(crate) struct Variant {
    /// Names of what is varied, and their values here.
    pub(crate) labels: Vec<(&'static str, String)>,
    figures: &'static [Figure],
    /// Why it cannot be measured here.
    pub(crate) refused: Option<String>,
    pub(crate) records: Vec<Record>,
}

/// Measures each of `variants` once in every round. A store that refuses a variant ends that
/// variant, not the experiment.
///
/// # Errors
/// Any other error of a measurement.
pub(crate) fn run<V>(
    variants: &[V],
    rounds: usize,
    figures: &'static [Figure],
    labels: impl Fn(&V) -> Vec<(&'static str, String)>,
    mut measure: impl FnMut(&V) -> Result<Record, Error>,
) -> Result<Vec<Variant>, Error> {
    let results = in_turn(variants.len(), rounds, |index| {
        match measure(&variants[index]) {
            Err(Error::Store(refused)) => Ok(Err(refused.to_string())),
            other => other.map(Ok),
        }
    })?;
    let variants = variants.iter().zip(results);
    Ok(variants
        .map(|(variant, results)| Variant::new(labels(variant), figures, results))
        .collect())
}

impl Variant {
    pub(crate) fn new(
        labels: Vec<(&'static str, String)>,
        figures: &'static [Figure],
        results: Vec<Result<Record, String>>,
    ) -> Variant {
        let mut variant = Variant {
            labels,
            figures,
            refused: None,
            records: Vec::new(),
        };
        for result in results {
            match result {
                Ok(record) => variant.records.push(record),
                Err(reason) => variant.refused = Some(reason),
            }
        }
        variant
    }

    /// A figure over the proven rounds.
    pub(crate) fn spread(&self, of: fn(&Record) -> Option<f64>) -> Option<Spread> {
        Spread::of(
            self.records
                .iter()
                .filter(|record| record.valid)
                .filter_map(of),
        )
    }

    /// Rounds whose proof failed; no figure counts them.
    pub(crate) fn invalid_rounds(&self) -> usize {
        self.records.iter().filter(|record| !record.valid).count()
    }

    /// Why the first of them failed.
    pub(crate) fn invalid_reason(&self) -> Option<&String> {
        let mut reasons = self.records.iter().map(|record| &record.invalid_reason);
        reasons.find_map(Option::as_ref)
    }

    /// The cells of its row: labels, figures, rounds that are not proven.
    pub(crate) fn row(&self) -> Vec<String> {
        let labels = self.labels.iter().map(|(_, value)| value.clone());
        let figures = self.figures.iter();
        let figures = figures.map(|figure| Spread::text(self.spread(figure.of)));
        let unproven = format!("{} of {}", self.invalid_rounds(), self.records.len());
        labels.chain(figures).chain([unproven]).collect()
    }
}

impl Serialize for Variant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.labels {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("refused", &self.refused)?;
        for figure in self.figures {
            map.serialize_entry(figure.field, &self.spread(figure.of))?;
        }
        map.serialize_entry("invalid_rounds", &self.invalid_rounds())?;
        map.serialize_entry("invalid_reason", &self.invalid_reason())?;
        map.serialize_entry("records", &self.records)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{measurement, record_of};

    const FIGURES: &[Figure] = &[Figure {
        field: "rows_per_s",
        title: "rows/s",
        of: |record| Some(record.rates.rows_per_s),
    }];

    fn variant(results: Vec<Result<Record, String>>) -> Variant {
        Variant::new(vec![("path", "ring".to_owned())], FIGURES, results)
    }

    #[test]
    fn unproven_rounds_are_counted_and_left_out_of_the_median() {
        let good = record_of(&measurement());
        let mut bad = good.clone();
        (bad.valid, bad.rates.rows_per_s) = (false, 1e9);
        bad.invalid_reason = Some("another program read the drive".to_owned());
        let variant = variant(vec![Ok(good), Ok(bad)]);
        let json = serde_json::to_value(&variant).unwrap();
        assert_eq!(json["rows_per_s"]["max"], 25_000.0);
        assert_eq!(json["invalid_rounds"], 1);
        assert_eq!(json["invalid_reason"], "another program read the drive");
        assert_eq!(json["records"].as_array().unwrap().len(), 2);
        assert_eq!(variant.row(), ["ring", "25,000", "1 of 2"]);
    }

    #[test]
    fn variant_that_is_refused_has_no_figures_and_says_why() {
        let variant = variant(vec![Err("not here".to_owned())]);
        let json = serde_json::to_value(&variant).unwrap();
        assert_eq!(json["path"], "ring");
        assert_eq!(json["refused"], "not here");
        assert!(json["rows_per_s"].is_null());
        assert_eq!(variant.row(), ["ring", "n/a", "0 of 0"]);
    }
}
