//! Records drawn as one page that needs nothing else: the parameters of each run, its limit, and
//! every chart with its numbers beside it.
//!
//! `page/run.rs` is one run and `page/over_time.rs` its course, `page/overview.rs` the
//! summary of several, `page/charts.rs` the pictures, `page/style.rs` how it looks.

mod charts;
mod flamegraphs;
mod over_time;
mod overview;
mod run;
mod style;
mod tables;

use std::path::{Path, PathBuf};

pub(crate) use flamegraphs::PROFILED;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::error::Error;
use crate::record::archive::ArchivedRecord;
use crate::tell::output::{goes_to_stdout, print};

/// Writes the page over the records of the files `runs` to `output`.
pub(crate) fn write(runs: &[PathBuf], output: &Path) -> Result<(), Error> {
    let files = runs.iter().map(|path| ArchivedRecord::read(path));
    let files = files.collect::<Result<Vec<_>, Error>>()?;
    let page = page(&files).into_string();
    if goes_to_stdout(output) {
        return print(&page);
    }
    std::fs::write(output, page).map_err(Error::io("write", output))?;
    print(&format!("{}\n", output.display()))
}

/// The records of one file after the other.
fn page(files: &[Vec<ArchivedRecord>]) -> Markup {
    let runs: Vec<&ArchivedRecord> = files.iter().flatten().collect();
    let names = names(&runs);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Ringtake: " (names.join("; ")) }
                style { (PreEscaped(style::SHEET)) }
            }
            body {
                main {
                    h1 { "Where the time goes" }
                    @if runs.len() > 1 {
                        (overview::overview(&runs, &names))
                        (overview::comparisons(files))
                    }
                    @for (number, (run, name)) in runs.iter().zip(&names).enumerate() {
                        (run::section(run, name, number))
                    }
                    @for file in files { (flamegraphs::of(file)) }
                }
            }
        }
    }
}

/// A name for each run that no other has.
fn names(runs: &[&ArchivedRecord]) -> Vec<String> {
    let setups: Vec<String> = runs.iter().map(|run| run.setup()).collect();
    let named = |(number, setup): (usize, &String)| {
        let path = match setups.iter().filter(|other| *other == setup).count() {
            1 => String::new(),
            _ => format!(" ({})", runs[number].path.display()),
        };
        let named = format!("{setup}{path}");
        let before = (0..number).filter(|&earlier| {
            setups[earlier] == *setup && runs[earlier].path == runs[number].path
        });
        match before.count() {
            0 => named,
            before => format!("{named} #{}", before + 1),
        }
    };
    setups.iter().enumerate().map(named).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::archive::tests::recorded;
    use serde_json::json;

    fn seen() -> serde_json::Value {
        let stage = |name: &str, kind: &str, share: f64| {
            json!({
                "name": name, "kind": kind, "seconds": share, "share": share, "times": 3,
                "p50_us": 1.5, "p99_us": 2.5, "max_us": null,
            })
        };
        let queue = |at_s: f64| json!({ "at_s": at_s, "inbox": 1, "waiting_parts": 2, "in_flight": 120, "completions": 8 });
        let rate = |at_s: f64| {
            json!({
                "at_s": at_s, "queries_per_s": 100.0, "rows_per_s": 50_000.0, "p99_us": 900.0,
                "permits_held": 4,
            })
        };
        let device = |at_s: f64| {
            json!({
                "at_s": at_s, "reads_per_s": 50_000.0, "bytes_per_read": 4096.0, "merges_per_s": 0.0,
                "queue": 119.5, "wait_us": 2400.0, "utilisation": 1.0,
            })
        };
        json!({
            "verdict": {
                "limit": "device", "words": "the device is the limit",
                "rests_on": ["the queue is full <b>"],
            },
            "observations": {
                "shards": [{
                    "shard": 0,
                    "stages": [stage("submit", "busy", 0.25), stage("device", "wait", 0.75)],
                    "waits": [{
                        "name": "clat", "times": 5, "mean_us": 1.0, "p50_us": 1.0, "p90_us": 1.0,
                        "p99_us": 1.0, "p999_us": 1.0, "max_us": 1.0,
                    }],
                    "longest_stall_us": 30.0, "longest_stall_stage": "plan",
                    "queues": [queue(0.1), queue(0.2)],
                    "counters": [{
                        "name": "cycles", "value": null, "ran": null,
                        "missing": "this machine has no PMU", "by_stage": [],
                    }],
                }],
                "rate": [rate(0.1), rate(0.2)],
                "device": [device(0.1), device(0.2)],
                "latency": [
                    { "share": 0.5, "us": 900.0 }, { "share": 0.99, "us": 2000.0 },
                    { "share": 1.0, "us": 9000.0 },
                ],
            },
        })
    }

    fn drawn(files: &[Vec<ArchivedRecord>]) -> String {
        page(files).into_string()
    }

    #[test]
    fn every_picture_and_every_number_is_on_the_page() {
        let text = drawn(&[vec![recorded(seen())]]);
        for part in [
            "the device is the limit",
            "Latency",
            "Rate over time",
            "Queues over time",
            "Time by stage",
            "Device over time",
            "this machine has no PMU",
            "50,000",
            "clat",
            "width:75.00%",
        ] {
            assert!(text.contains(part), "{part}");
        }
        // Latency, rate, its latency, permits, one shard's queues, four of the device.
        assert_eq!(text.matches("<svg").count(), 9);
        assert_eq!(text.matches("</html>").count(), 1);
        for foreign in ["http://", "https://", "<script", "<link"] {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn counters_are_shown_for_each_row() {
        let mut counted = seen();
        counted["rows"] = json!(1000);
        let counter = |name: &str, value: f64| {
            json!({
                "name": name, "value": value, "ran": 1.0, "missing": null,
                "by_stage": [["plan", 0.25], ["decode", 0.75]],
            })
        };
        counted["observations"]["shards"][0]["counters"] = json!([
            counter("task-clock", 3_000_000.0),
            counter("cycles", 8_000.0),
            counter("instructions", 12_000.0),
        ]);
        let text = drawn(&[vec![recorded(counted)]]);
        for part in [
            "CPU µs a row</th><td>3.00",
            "cycles a row</th><td>8.00",
            "instructions a cycle</th><td>1.50",
            "plan 25%, decode 75%",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn words_of_a_record_are_words_on_the_page() {
        let mut hostile = seen();
        hostile["invalid_reason"] = json!("<script>alert(1)</script>");
        hostile["valid"] = json!(false);
        hostile["config"] = json!({ "dataset": "<img src=x>" });
        let text = drawn(&[vec![recorded(hostile)]]);
        assert!(!text.contains("<script>") && !text.contains("<img"));
        assert!(text.contains("&lt;script&gt;") && text.contains("full &lt;b&gt;"));
        assert!(text.contains("Not proven"));
    }

    #[test]
    fn record_of_an_older_version_has_a_page_that_says_what_is_missing() {
        let text = drawn(&[vec![recorded(json!({}))]]);
        assert!(
            text.contains("50,000") && text.contains("does not say"),
            "{text}"
        );
        assert_eq!(text.matches("<svg").count(), 0);
    }

    #[test]
    fn several_runs_are_told_apart_and_compared() {
        let of = |rates: [f64; 3]| -> Vec<ArchivedRecord> {
            let rates = rates.into_iter();
            rates
                .map(|rate| recorded(json!({ "rows_per_s": rate })))
                .collect()
        };
        let text = drawn(&[of([100.0, 101.0, 99.0]), of([100.5, 99.5, 100.0])]);
        assert!(text.contains("no difference"));
        assert!(text.contains("#3"));
        assert_eq!(text.matches("class=\"run\"").count(), 6);
    }
}
