//! The summary of several runs.

use maud::{Markup, html};

use super::tables::table;
use crate::numbers::{latency, rounded, rounded_or_not};
use crate::record::archive::ArchivedRecord;
use crate::tell::comparison::{Comparison, compare};

/// All runs, a line each.
pub(super) fn overview(runs: &[&ArchivedRecord], names: &[String]) -> Markup {
    let rows = runs.iter().zip(names).map(|(run, name)| {
        let p99 = run.number("latency_us.p99").map(latency);
        vec![
            name.clone(),
            rounded_or_not(run.number("rows_per_s")),
            rounded_or_not(run.number("queries_per_s")),
            p99.unwrap_or_else(|| rounded_or_not(None)),
            rounded_or_not(run.number("cpu_us_per_row")),
            if run.is_valid() { "yes" } else { "no" }.to_owned(),
            run.verdict()
                .map_or_else(String::new, |verdict| verdict.words),
        ]
    });
    let head = [
        "run",
        "rows/s",
        "queries/s",
        "p99",
        "CPU µs a row",
        "proven",
        "verdict",
    ];
    html! {
        h3 { "All runs" }
        div.words { (table(&head, &rows.collect::<Vec<_>>())) }
    }
}

/// The first file against each other one.
pub(super) fn comparisons(files: &[Vec<ArchivedRecord>]) -> Markup {
    let [first, others @ ..] = files else {
        return html! {};
    };
    let sides = others.iter().filter_map(|other| {
        let comparisons = compare(first, other);
        let path = &other.first()?.path;
        (!comparisons.is_empty()).then(|| (path.display().to_string(), comparisons))
    });
    let before = first
        .first()
        .map(|record| record.path.display().to_string());
    html! {
        @for (path, comparisons) in sides {
            h3 { (before.clone().unwrap_or_default()) " and " (path) }
            @for comparison in &comparisons { (one(comparison)) }
        }
    }
}

fn one(comparison: &Comparison) -> Markup {
    let rows = comparison.figures.iter().map(|figure| {
        vec![
            figure.name.to_owned(),
            rounded(figure.before),
            rounded(figure.after),
            figure.difference.text(),
            figure.words.clone(),
        ]
    });
    let [before, after] = comparison.measurements;
    html! {
        p.what { (comparison.setup) ": medians of " (before) " and " (after) " measurements; \
            the ratio with the interval that holds it in 95 of 100 cases" }
        (table(&["", "first", "second", "ratio", ""], &rows.collect::<Vec<_>>()))
        @for note in &comparison.notes { p.note { (note) } }
    }
}
