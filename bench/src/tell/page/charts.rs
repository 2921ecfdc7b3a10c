//! Pictures: lines over time, or over percentiles, as inline SVG. Their colours are those of the
//! page, whose style sheet has the last word on axes and letters.

use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use crate::numbers::{latency, rounded};

/// The colours of Okabe and Ito, which colour-blind readers can distinguish (Color universal design,
/// 2008), without black and yellow.
pub(super) const COLOURS: [(u8, u8, u8); 6] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
];

const SIZE: (u32, u32) = (640, 240);
/// More points than pixels would only be longer.
const POINTS_MAX: usize = 600;

/// One line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// The horizontal axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Across {
    /// Seconds since the run began.
    Seconds,
    /// Nines of the queries: 1 is 90 of 100, 2 is 99 of 100.
    Nines,
}

/// The vertical axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Up {
    /// Numbers from zero.
    Count,
    /// Microseconds, each step ten times the last.
    Latency,
}

/// A picture with the names of its lines above it; nothing if there is no point.
pub(super) fn chart(title: &str, lines: &[Line], across: Across, up: Up) -> Markup {
    if lines.iter().all(|line| line.points.is_empty()) {
        return html! {};
    }
    let svg = match drawn(lines, across, up) {
        Ok(svg) => svg,
        // Numbers that cannot be drawn are in the table still.
        Err(error) => return html! { p.note { (title) " cannot be drawn: " (error.to_string()) } },
    };
    html! {
        figure.plot role="img" aria-label=(title) {
            figcaption {
                (title)
                @if lines.len() > 1 {
                    @for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
                        span.key { i style=(format!("background:{}", css(*colour))) {} (line.name) }
                    }
                }
            }
            div.scroll { (PreEscaped(svg)) }
        }
    }
}

pub(super) fn css((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// An axis: from where to where, and the places that are named.
#[derive(Clone)]
struct Axis {
    range: Range<f64>,
    named: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.named.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

fn drawn(
    lines: &[Line],
    across: Across,
    up: Up,
) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let height = |value: f64| match up {
        Up::Count => value,
        // The axis has the exponents.
        Up::Latency => value.max(1e-3).log10(),
    };
    let all = || lines.iter().flat_map(|line| &line.points);
    let right = all().map(|point| point.0).fold(0.0, f64::max);
    let heights = || all().map(|point| height(point.1));
    let top = heights().fold(f64::NEG_INFINITY, f64::max);
    let bottom = heights().fold(f64::INFINITY, f64::min);
    let x = match across {
        Across::Seconds => linear(right),
        Across::Nines => nines_axis(right),
    };
    let y = match up {
        Up::Count => linear(top * 1.08),
        Up::Latency => exponents(bottom - 0.1, top + 0.1),
    };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(6)
            .margin_right(16)
            .x_label_area_size(26)
            .y_label_area_size(66)
            .build_cartesian_2d(x, y)?;
        let x_label = |x: &f64| match across {
            Across::Seconds => format!("{} s", short(*x)),
            Across::Nines => percent(*x),
        };
        let y_label = |y: &f64| match up {
            Up::Count => short(*y),
            Up::Latency => latency(10_f64.powf(*y)),
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .axis_style(BLACK.mix(0.4))
            .label_style(("sans-serif", 14))
            .x_label_formatter(&x_label)
            .y_label_formatter(&y_label)
            .draw()?;
        for (line, (red, green, blue)) in lines.iter().zip(COLOURS.into_iter().cycle()) {
            let style = RGBColor(red, green, blue).stroke_width(2);
            let points = thinned(&line.points, POINTS_MAX).into_iter();
            let points = points.map(|(x, y)| (x, height(y)));
            chart.draw_series(LineSeries::new(points, style))?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// From zero, in steps of 1, 2 or 5 times a power of ten, about five of them.
fn linear(end: f64) -> Axis {
    let end = if end > 0.0 { end } else { 1.0 };
    let power = 10_f64.powf((end / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let fits = |step: &f64| end / step <= 6.0;
    let step = steps.into_iter().find(fits).unwrap_or(10.0 * power);
    let named = (0..).map(|number| f64::from(number) * step);
    Axis {
        named: named.take_while(|at| *at <= end).collect(),
        range: 0.0..end,
    }
}

/// Whole nines, from the median on.
fn nines_axis(end: f64) -> Axis {
    let end = end.max(1.0);
    let whole = (1..).map(f64::from).take_while(|nines| *nines <= end);
    Axis {
        named: std::iter::once(NINES_FROM).chain(whole).collect(),
        range: NINES_FROM..end,
    }
}

/// Powers of ten; where there are few, twice and five times them too.
fn exponents(from: f64, to: f64) -> Axis {
    let between: &[f64] = match to - from < 1.5 {
        true => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        false if to - from < 3.0 => &[1.0, 2.0, 5.0],
        false => &[1.0],
    };
    let powers = (from.floor() as i32)..=(to.ceil() as i32);
    let all = powers.flat_map(|power| {
        let at = move |times: &f64| f64::from(power) + times.log10();
        between.iter().map(at)
    });
    Axis {
        named: all.filter(|at| (from..to).contains(at)).collect(),
        range: from..to,
    }
}

/// The median.
const NINES_FROM: f64 = 0.301;

/// How many nines a share has; the last of the queries has `most`.
pub(super) fn nines(share: f64, most: f64) -> f64 {
    match share < 1.0 {
        true => (1.0 / (1.0 - share)).log10().min(most),
        false => most,
    }
}

fn percent(nines: f64) -> String {
    let share = 100.0 * (1.0 - 10_f64.powf(-nines));
    let digits = (nines.ceil() as usize).saturating_sub(2);
    format!("{share:.digits$}%")
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{} M", trimmed(value / 1e6)),
        size if size >= 1e4 => format!("{} k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() < 1e4 {
        true => format!("{value}"),
        false => rounded(value),
    }
}

/// At most about `most` of the points, evenly chosen, the last among them.
pub(super) fn thinned<T: Copy>(points: &[T], most: usize) -> Vec<T> {
    let step = points.len().div_ceil(most).max(1);
    let mut thinned: Vec<T> = points.iter().copied().step_by(step).collect();
    if let Some(last) = points.last()
        && !(points.len() - 1).is_multiple_of(step)
    {
        thinned.push(*last);
    }
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_nines_and_back() {
        for (share, expected, label) in [
            (0.5, 0.301, "50%"),
            (0.9, 1.0, "90%"),
            (0.99, 2.0, "99%"),
            (0.999, 3.0, "99.9%"),
            (1.0, 4.0, "99.99%"),
        ] {
            let nines = nines(share, 4.0);
            assert!((nines - expected).abs() < 1e-3, "{share}: {nines}");
            assert_eq!(percent(nines), label);
        }
    }

    #[test]
    fn points_are_thinned_evenly_and_the_last_stays() {
        let points: Vec<u32> = (0..1001).collect();
        let few = thinned(&points, 60);
        assert!(few.len() <= 61 && few.len() > 50);
        assert_eq!((few[0], few[few.len() - 1]), (0, 1000));
        assert_eq!(thinned(&points, 2000), points);
        assert!(thinned::<u32>(&[], 5).is_empty());
    }

    #[test]
    fn axes_name_round_places_within_their_range() {
        assert_eq!(linear(5.08).named, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(linear(130.0).named, [0.0, 50.0, 100.0]);
        assert_eq!(linear(0.0).named[0], 0.0);
        assert_eq!(nines_axis(3.4).named, [NINES_FROM, 1.0, 2.0, 3.0]);
        let wide = exponents(-0.5, 4.5).named;
        assert_eq!(wide, [0.0, 1.0, 2.0, 3.0, 4.0]);
        for axis in [exponents(2.9, 3.2), exponents(1.0, 2.9), linear(0.7)] {
            assert!(
                axis.named.len() >= 2,
                "{:?} of {:?}",
                axis.named,
                axis.range
            );
            let within = |at: &f64| (axis.range.start..=axis.range.end).contains(at);
            assert!(axis.named.iter().all(within));
        }
    }

    #[test]
    fn numbers_on_axes_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (0.25, "0.25"),
            (50_000.0, "50 k"),
            (2_500_000.0, "2.50 M"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
