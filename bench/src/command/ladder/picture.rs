//! The ladder as a picture: one line for each rung, from the one that takes most CPU to the one
//! that takes least.
//!
//! The SVG stands alone, in a README or a page. A style sheet in it sets its colours for light and
//! for dark surroundings, and it paints its own background, so that it is readable in both.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::command::ladder::figures::{cpu_us_per_row, rows_per_s};
use crate::error::Error;
use crate::measure::experiment::Variant;
use crate::measure::rounds::Spread;
use crate::numbers::{bytes, rounded, whole};
use crate::record::Record;

const WIDTH: i32 = 880;
const HEAD_HEIGHT: i32 = 96;
const RUNG_HEIGHT: i32 = 44;
const FOOT_HEIGHT: i32 = 40;
const MARGIN: i32 = 20;
const BAR_HEIGHT: i32 = 20;
/// Room for the number behind the longest bar.
const NUMBER_WIDTH: i32 = 74;

/// Left edges of the columns of bars, and their width with the numbers.
const COLUMNS: [i32; 2] = [300, 590];
const COLUMN_WIDTH: i32 = 270;

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(28, 30, 33);
const DIM: RGBColor = RGBColor(93, 99, 107);
const OTHER_BAR: RGBColor = RGBColor(170, 176, 184);
/// Blue of Okabe and Ito.
const DEFAULT_BAR: RGBColor = RGBColor(0, 114, 178);

/// Colours in dark surroundings.
const DARK: [(RGBColor, &str); 5] = [
    (PAPER, "#141618"),
    (INK, "#e4e6e9"),
    (DIM, "#a2a9b1"),
    (OTHER_BAR, "#5a6068"),
    (DEFAULT_BAR, "#3b9fd9"),
];

/// Draws the rungs that have numbers and writes them to `path`.
pub(super) fn write(path: &Path, rungs: &[Variant]) -> Result<(), Error> {
    let svg = drawn(rungs).map_err(|error| {
        let reason = std::io::Error::other(error.to_string());
        Error::io("draw the ladder for", path)(reason)
    })?;
    std::fs::write(path, svg).map_err(Error::io("write", path))
}

/// One line of the picture.
struct Line<'a> {
    rung: &'a Variant,
    rows_per_s: Spread,
    cpu_us_per_row: Spread,
}

fn lines(rungs: &[Variant]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = rungs
        .iter()
        .filter_map(|rung| {
            Some(Line {
                rung,
                rows_per_s: rung.spread(rows_per_s)?,
                cpu_us_per_row: rung.spread(cpu_us_per_row)?,
            })
        })
        .collect();
    let cpu = |line: &Line<'_>| line.cpu_us_per_row.median;
    lines.sort_by(|one, two| cpu(two).total_cmp(&cpu(one)));
    lines
}

type DrawError = DrawingAreaErrorKind<std::io::Error>;

fn drawn(rungs: &[Variant]) -> Result<String, DrawError> {
    let lines = lines(rungs);
    let height = HEAD_HEIGHT + RUNG_HEIGHT * lines.len() as i32 + FOOT_HEIGHT;
    let mut svg = String::new();
    {
        let size = (WIDTH as u32, height as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&PAPER)?;
        let canvas = Canvas { area: &area };
        canvas.head(&lines)?;
        let most = |of: fn(&Line<'_>) -> Spread| {
            let ends = lines.iter().map(|line| of(line).max);
            ends.fold(f64::MIN_POSITIVE, f64::max)
        };
        let scales = [
            most(|line| line.rows_per_s),
            most(|line| line.cpu_us_per_row),
        ];
        for (line, number) in lines.iter().zip(0..) {
            let middle = HEAD_HEIGHT + RUNG_HEIGHT * number + RUNG_HEIGHT / 2;
            canvas.rung(line, middle, scales)?;
        }
        canvas.foot(&lines, height)?;
        area.present()?;
    }
    Ok(styled(&svg))
}

/// Adds the colours of dark surroundings, right behind the first tag.
fn styled(svg: &str) -> String {
    let rules: String = DARK
        .iter()
        .map(|(RGBColor(red, green, blue), dark)| {
            let light = format!("#{red:02X}{green:02X}{blue:02X}");
            format!("[fill='{light}']{{fill:{dark}}}[stroke='{light}']{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<style>@media (prefers-color-scheme: dark){{{rules}}}</style>");
    match svg.find('>') {
        Some(end) => format!("{}\n{style}{}", &svg[..=end], &svg[end + 1..]),
        None => svg.to_owned(),
    }
}

struct Canvas<'a, 'b> {
    area: &'a DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
}

impl Canvas<'_, '_> {
    fn head(&self, lines: &[Line<'_>]) -> Result<(), DrawError> {
        let title = "Random rows from a drive, one way of reading to each line";
        self.text(title, (MARGIN, 28), 20, INK, HPos::Left)?;
        let records = lines.iter().flat_map(|line| &line.rung.records);
        if let Some(record) = records.clone().next() {
            self.text(&subtitle(record), (MARGIN, 54), 14, DIM, HPos::Left)?;
        }
        for (column, name) in COLUMNS.iter().zip(["rows per second", "CPU per row"]) {
            self.text(name, (*column, 82), 14, INK, HPos::Left)?;
        }
        Ok(())
    }

    fn rung(&self, line: &Line<'_>, middle: i32, scales: [f64; 2]) -> Result<(), DrawError> {
        let rung = line.rung;
        let (way, how) = words(label(rung, "read_path"), label(rung, "scheduler"));
        self.text(&way, (MARGIN, middle - 8), 15, INK, HPos::Left)?;
        self.text(&how, (MARGIN, middle + 10), 12, DIM, HPos::Left)?;
        let colour = match is_default(rung) {
            true => DEFAULT_BAR,
            false => OTHER_BAR,
        };
        let columns = [
            (
                line.rows_per_s,
                whole(line.rows_per_s.median.round() as u64),
            ),
            (
                line.cpu_us_per_row,
                format!("{} µs", rounded(line.cpu_us_per_row.median)),
            ),
        ];
        for ((left, scale), (spread, number)) in COLUMNS.into_iter().zip(scales).zip(columns) {
            let bars_width = f64::from(COLUMN_WIDTH - NUMBER_WIDTH);
            let at = |value: f64| left + (value / scale * bars_width).round() as i32;
            let (top, bottom) = (middle - BAR_HEIGHT / 2, middle + BAR_HEIGHT / 2);
            let bar = [(left, top), (at(spread.median).max(left + 1), bottom)];
            self.area.draw(&Rectangle::new(bar, colour.filled()))?;
            let range = [(at(spread.min), middle), (at(spread.max), middle)];
            self.area.draw(&PathElement::new(range, INK))?;
            let end = at(spread.max.max(spread.median)) + 6;
            self.text(&number, (end, middle), 14, INK, HPos::Left)?;
        }
        Ok(())
    }

    fn foot(&self, lines: &[Line<'_>], height: i32) -> Result<(), DrawError> {
        let rounds = lines.iter().map(|line| line.rung.records.len()).max();
        let words = format!(
            "median and range, rounds in turn: {}; blue is the default of this store",
            rounds.unwrap_or(0)
        );
        self.text(&words, (MARGIN, height - 18), 12, DIM, HPos::Left)
    }

    fn text(
        &self,
        text: &str,
        at: (i32, i32),
        size: u32,
        colour: RGBColor,
        horizontal: HPos,
    ) -> Result<(), DrawError> {
        let style = ("sans-serif", size).into_font().color(&colour);
        let style = style.pos(Pos::new(horizontal, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), at, style))
    }
}

/// The workload and the machine.
fn subtitle(record: &Record) -> String {
    let config = &record.config;
    let devices: Vec<&str> = record
        .environment
        .devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    let row = config
        .row_bytes
        .map_or_else(String::new, |row_bytes| format!(" of {}", bytes(row_bytes)));
    format!(
        "queries of {} rows{row} each, {}, {} rows on {}; {}",
        config.rows_per_query,
        record.cache,
        whole(config.rows_used),
        match devices.as_slice() {
            [] => "no drive".to_owned(),
            devices => devices.join(", "),
        },
        record
            .environment
            .cpu_model
            .as_deref()
            .unwrap_or("unknown CPU"),
    )
}

/// The way of a rung in plain words, and as the flags name it.
fn words(read_path: &str, scheduler: &str) -> (String, String) {
    let (kind, count) = read_path.split_once(':').unwrap_or((read_path, ""));
    let reading = match kind {
        "thread-pool" => format!("{count} threads that call pread"),
        "mmap" => "a memory map".to_owned(),
        "glommio" => "files of a thread-per-core library".to_owned(),
        "shared-rings" if count == "1" => "1 ring for all shards".to_owned(),
        "shared-rings" => format!("{count} rings for all shards"),
        "ring-per-shard" => "a ring of its own in each shard".to_owned(),
        other => other.to_owned(),
    };
    let order = match scheduler {
        "per-read" => "a task for each read",
        _ => "reads planned together",
    };
    (reading, format!("{read_path}, {scheduler}: {order}"))
}

fn label<'a>(rung: &'a Variant, name: &str) -> &'a str {
    let mut labels = rung.labels.iter();
    let label = labels.find(|(label, _)| *label == name);
    label.map_or("", |(_, value)| value)
}

/// Whether a rung is the default configuration of a store.
fn is_default(rung: &Variant) -> bool {
    label(rung, "read_path") == "ring-per-shard" && label(rung, "scheduler") == "batched"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::command::ladder::figures::{FIGURES, labels};
    use crate::record::tests::{measurement, record_of};
    use ringtake_runtime::{ReadPathChoice, Scheduler};

    fn refused_or(
        scheduler: Scheduler,
        read_path: ReadPathChoice,
        result: Result<Record, String>,
    ) -> Variant {
        Variant::new(labels(&(scheduler, read_path)), FIGURES, vec![result])
    }

    fn rung(scheduler: Scheduler, read_path: ReadPathChoice, cpu_us_per_row: f64) -> Variant {
        let mut record = record_of(&measurement());
        record.per_row.cpu_us_per_row = Some(cpu_us_per_row);
        refused_or(scheduler, read_path, Ok(record))
    }

    #[test]
    fn rungs_go_from_most_cpu_to_least_and_those_without_numbers_are_left_out() {
        let rungs = [
            rung(Scheduler::Batched, ReadPathChoice::RingPerShard, 3.0),
            refused_or(
                Scheduler::PerRead,
                ReadPathChoice::Glommio,
                Err("no".to_owned()),
            ),
            rung(
                Scheduler::PerRead,
                ReadPathChoice::ThreadPool { threads: 16 },
                9.5,
            ),
        ];
        let svg = drawn(&rungs).unwrap();
        let at = |words: &str| {
            svg.find(words)
                .unwrap_or_else(|| panic!("{words} in {svg}"))
        };
        assert!(at("16 threads that call pread") < at("a ring of its own in each shard"));
        assert!(at("9.50 µs") < at("3.00 µs"));
        assert!(!svg.contains("glommio"), "{svg}");
    }

    #[test]
    fn every_colour_of_the_picture_has_one_for_dark_surroundings() {
        let rungs = [
            rung(Scheduler::Batched, ReadPathChoice::RingPerShard, 3.0),
            rung(Scheduler::Batched, ReadPathChoice::Mmap, 9.5),
        ];
        let svg = drawn(&rungs).unwrap();
        let (style, picture) = svg.split_once("</style>").unwrap();
        for attribute in ["fill=\"", "stroke=\""] {
            for colour in picture.split(attribute).skip(1) {
                let colour = colour.split('"').next().unwrap();
                let has_dark = colour == "none" || style.contains(&format!("'{colour}'"));
                assert!(has_dark, "{colour}");
            }
        }
    }
}
