//! `--fail-if`: a field, a relation, and a number or a multiple of the value before.

use std::fmt;
use std::str::FromStr;

/// The relation of the field to the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The number on the right-hand side.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Number(f64),
    TimesBefore(f64),
}

/// A condition on a field of records.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    /// As records name it, names of parts after dots.
    pub(crate) field: String,
    relation: Relation,
    bound: Bound,
}

const RELATIONS: [(&str, Relation); 4] = [
    // Longer ones first: `<=` begins with `<`.
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Less),
    (">", Relation::More),
];

impl Condition {
    /// Whether it holds of a field that was `before` and is `after`.
    pub(crate) fn is_met(&self, before: f64, after: f64) -> bool {
        let bound = match self.bound {
            Bound::Number(number) => number,
            Bound::TimesBefore(factor) => factor * before,
        };
        match self.relation {
            Relation::Less => after < bound,
            Relation::AtMost => after <= bound,
            Relation::More => after > bound,
            Relation::AtLeast => after >= bound,
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let wrong = |what: &str| {
            format!(
                "{what}; write a condition such as `rows_per_s < 0.95x` or `latency_us.p99 > 5000`"
            )
        };
        let found = RELATIONS
            .iter()
            .filter_map(|(sign, relation)| text.find(sign).map(|at| (at, sign, relation)));
        // Where two begin at the same place, the longer one, which is the first.
        let Some((at, sign, relation)) = found.min_by_key(|(at, _, _)| *at) else {
            return Err(wrong("there is no <, <=, > or >= in it"));
        };
        let field = text[..at].trim();
        let is_name = |name: &str| {
            let mut letters = name.chars();
            !name.is_empty()
                && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        if !field.split('.').all(is_name) {
            return Err(wrong(&format!("`{field}` is not the name of a field")));
        }
        let number = text[at + sign.len()..].trim();
        let (digits, times) = match number.strip_suffix('x') {
            Some(digits) => (digits.trim_end(), true),
            None => (number, false),
        };
        let parsed = digits
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite());
        let parsed = parsed.ok_or_else(|| wrong(&format!("`{number}` is not a number")))?;
        Ok(Condition {
            field: field.to_owned(),
            relation: *relation,
            bound: match times {
                true => Bound::TimesBefore(parsed),
                false => Bound::Number(parsed),
            },
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = RELATIONS
            .iter()
            .find(|(_, relation)| *relation == self.relation);
        let sign = sign.map_or("", |(sign, _)| sign);
        match self.bound {
            Bound::Number(number) => write!(f, "{} {sign} {number}", self.field),
            Bound::TimesBefore(factor) => write!(f, "{} {sign} {factor}x", self.field),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_hold_where_they_say() {
        for (text, before, after, met) in [
            ("rows_per_s < 0.95x", 100.0, 94.9, true),
            ("rows_per_s < 0.95x", 100.0, 95.1, false),
            ("rows_per_s<=0.95x", 100.0, 95.0, true),
            ("latency_us.p99 > 5000", 1.0, 5_001.0, true),
            ("latency_us.p99 > 5000", 1.0, 5_000.0, false),
            ("latency_us.p99 >= 5e3", 1.0, 5_000.0, true),
            ("cpu_us_per_row > 1.5 x", 2.0, 3.1, true),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.is_met(before, after), met, "{text}");
        }
    }

    #[test]
    fn condition_is_printed_as_it_is_written() {
        for text in ["rows_per_s < 0.95x", "a.b_2 >= 10", "x <= 1.5", "y > -3x"] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_an_example() {
        for text in [
            "",
            "rows_per_s",
            "rows_per_s = 3",
            "< 3",
            "a b < 3",
            "a < ",
            "a < x",
            "a < 3y",
            "a < NaN",
            "a..b < 3",
            "a < inf",
        ] {
            let refused = text.parse::<Condition>().unwrap_err();
            assert!(
                refused.contains("such as `rows_per_s < 0.95x`"),
                "{text}: {refused}"
            );
        }
    }
}
