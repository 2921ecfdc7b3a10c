//! Row ids given by the user: a list, ranges, a file, or standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

/// Why row ids could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum RowIdError {
    #[error("row id {word} is negative{place}; row ids count from 0")]
    Negative { word: String, place: WordPlace },

    #[error("{word:?} is not a row id{place}; give numbers such as 5,7 or ranges such as 3..10")]
    NotANumber { word: String, place: WordPlace },

    #[error("the range {word} ends before it begins{place}")]
    Backwards { word: String, place: WordPlace },

    #[error("row {id} does not exist{place}: the dataset has {rows} rows{}", last(*.rows))]
    PastTheEnd {
        id: u64,
        rows: u64,
        place: WordPlace,
    },

    #[error("cannot read row ids from {origin}: {reason}")]
    Unreadable { origin: String, reason: String },
}

fn last(rows: u64) -> String {
    match rows {
        0 => String::new(),
        rows => format!(", 0 to {}", rows - 1),
    }
}

/// File and line of a word; `None` for the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WordPlace(Option<(String, u64)>);

impl std::fmt::Display for WordPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some((origin, line)) => write!(f, " (line {line} of {origin})"),
            None => Ok(()),
        }
    }
}

/// Origin of row ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowIdOrigin {
    /// Ids and ranges on the command line.
    Given(String),
    /// A file of ids and ranges, separated by new lines, spaces or commas.
    File(PathBuf),
    StandardInput,
}

impl RowIdOrigin {
    /// Parses an option: `-` is standard input, `@file` a file, anything else the ids themselves.
    pub(crate) fn parse(text: &str) -> RowIdOrigin {
        if text == "-" {
            RowIdOrigin::StandardInput
        } else if let Some(path) = text.strip_prefix('@') {
            RowIdOrigin::File(PathBuf::from(path))
        } else {
            RowIdOrigin::Given(text.to_owned())
        }
    }

    /// Reads all ids of a dataset of `rows` rows.
    pub(crate) fn read(&self, rows: u64, past_the_end: PastTheEnd) -> Result<RowIds, RowIdError> {
        let mut ids = RowIds {
            ranges: Vec::new(),
            rows,
            past_the_end,
        };
        match self {
            RowIdOrigin::Given(text) => ids.push_line(text, WordPlace::default)?,
            RowIdOrigin::StandardInput => ids.push_lines("standard input", io::stdin().lock())?,
            RowIdOrigin::File(path) => {
                let origin = path.display().to_string();
                let file = File::open(path).map_err(|cause| RowIdError::Unreadable {
                    origin: origin.clone(),
                    reason: cause.to_string(),
                })?;
                ids.push_lines(&origin, BufReader::new(file))?;
            }
        }
        Ok(ids)
    }
}

/// Treatment of an id past the last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PastTheEnd {
    Refused,
    Accepted,
}

/// Longest line of ids in bytes, so that a file of something else does not fill the memory.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Most characters of a wrong word that a message repeats.
const WORD_SHOWN_MAX: usize = 40;

/// Row ids in the order given, with duplicates. Runs of ids are stored as ranges, so that all rows
/// of a large dataset take no memory.
#[derive(Debug)]
pub(crate) struct RowIds {
    ranges: Vec<Range<u64>>,
    rows: u64,
    past_the_end: PastTheEnd,
}

impl RowIds {
    /// Every row of a dataset.
    pub(crate) fn all(rows: u64) -> RowIds {
        RowIds {
            ranges: std::iter::once(0..rows).collect(),
            rows,
            past_the_end: PastTheEnd::Refused,
        }
    }

    /// Number of ids.
    #[cfg(test)]
    fn count(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .fold(0, u64::saturating_add)
    }

    /// The ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().cloned().flatten()
    }

    /// The ids, at most `count` at a time.
    pub(crate) fn chunks(&self, count: usize) -> impl Iterator<Item = Vec<u64>> {
        let mut ids = self.iter();
        std::iter::from_fn(move || {
            let chunk: Vec<u64> = ids.by_ref().take(count).collect();
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    /// Reads the ids in lines of text.
    #[cfg(fuzzing)]
    pub(crate) fn of_lines(
        lines: impl BufRead,
        rows: u64,
        past_the_end: PastTheEnd,
    ) -> Result<RowIds, RowIdError> {
        let mut ids = RowIds {
            ranges: Vec::new(),
            rows,
            past_the_end,
        };
        ids.push_lines("lines", lines)?;
        Ok(ids)
    }

    fn push_lines(&mut self, origin: &str, mut reader: impl BufRead) -> Result<(), RowIdError> {
        let unreadable = |reason: String| RowIdError::Unreadable {
            origin: origin.to_owned(),
            reason,
        };
        let mut line = String::new();
        for number in 1_u64.. {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
            if read.map_err(|cause| unreadable(cause.to_string()))? == 0 {
                break;
            }
            if line.len() as u64 == LINE_BYTES_MAX {
                return Err(unreadable(format!("line {number} is too long")));
            }
            self.push_line(&line, || WordPlace(Some((origin.to_owned(), number))))?;
        }
        Ok(())
    }

    fn push_line(&mut self, line: &str, place: impl Fn() -> WordPlace) -> Result<(), RowIdError> {
        let words = line.split(|c: char| c == ',' || c.is_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let range = parse_word(word, self.rows, &place)?;
            if range.end > self.rows && self.past_the_end == PastTheEnd::Refused {
                return Err(RowIdError::PastTheEnd {
                    id: range.start.max(self.rows),
                    rows: self.rows,
                    place: place(),
                });
            }
            match self.ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ if range.is_empty() => {}
                _ => self.ranges.push(range),
            }
        }
        Ok(())
    }
}

/// `7`, `3..10` (10 not included), `3..=10`, `3..`, `..10` or `..`.
fn parse_word(
    word: &str,
    rows: u64,
    place: &impl Fn() -> WordPlace,
) -> Result<Range<u64>, RowIdError> {
    let shown = || match word.char_indices().nth(WORD_SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &word[..end]),
        None => word.to_owned(),
    };
    let number = |text: &str| -> Result<u64, RowIdError> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.strip_prefix('-') {
            Some(digits) if is_number(digits) => Err(RowIdError::Negative {
                word: shown(),
                place: place(),
            }),
            // Digits alone: a leading plus is more likely a mistake than a number. The largest
            // u64 is refused because no range could include it.
            _ => text
                .parse()
                .ok()
                .filter(|id| is_number(text) && *id < u64::MAX)
                .ok_or_else(|| RowIdError::NotANumber {
                    word: shown(),
                    place: place(),
                }),
        }
    };
    let Some((start, end)) = word.split_once("..") else {
        let id = number(word)?;
        return Ok(id..id + 1);
    };
    let start = match start {
        "" => 0,
        start => number(start)?,
    };
    let end = match (end, end.strip_prefix('=')) {
        ("", _) => rows.max(start),
        (_, Some(last)) => number(last)? + 1,
        (end, None) => number(end)?,
    };
    if end < start {
        return Err(RowIdError::Backwards {
            word: shown(),
            place: place(),
        });
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str, rows: u64) -> Result<Vec<u64>, RowIdError> {
        let origin = RowIdOrigin::Given(text.to_owned());
        let ids = origin.read(rows, PastTheEnd::Refused)?;
        Ok(ids.chunks(3).flatten().collect())
    }

    #[test]
    fn words_lists_and_ranges_are_parsed_in_order() {
        for (text, expected) in [
            ("", vec![]),
            ("5", vec![5]),
            ("5,7 5\n\t6,,", vec![5, 7, 5, 6]),
            ("3..6", vec![3, 4, 5]),
            ("3..=6", vec![3, 4, 5, 6]),
            ("97..", vec![97, 98, 99]),
            ("..3,0", vec![0, 1, 2, 0]),
            ("4..4", vec![]),
            ("100..", vec![]),
            ("0099", vec![99]),
        ] {
            assert_eq!(
                parsed(text, 100).as_deref(),
                Ok(expected.as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn senseless_words_are_named() {
        for (text, needle) in [
            ("5,-7", "row id -7 is negative"),
            ("-1..3", "row id -1"),
            ("x", "\"x\" is not a row id"),
            ("1.5", "\"1.5\" is not a row id"),
            ("1e3", "not a row id"),
            ("+5", "not a row id"),
            ("18446744073709551615", "not a row id"),
            ("99999999999999999999999", "not a row id"),
            ("9..3", "ends before it begins"),
            (
                "99,100",
                "row 100 does not exist: the dataset has 100 rows, 0 to 99",
            ),
            ("98..103", "row 100 does not exist"),
            ("200..203", "row 200 does not exist"),
        ] {
            let error = parsed(text, 100).unwrap_err().to_string();
            assert!(error.contains(needle), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_in_a_file_names_its_line() {
        let mut ids = RowIds {
            ranges: vec![],
            rows: 10,
            past_the_end: PastTheEnd::Refused,
        };
        let error = ids
            .push_lines("ids.txt", "1\n2 3\n4,y\n".as_bytes())
            .unwrap_err();
        assert!(error.to_string().contains("line 3 of ids.txt"), "{error}");
    }

    #[test]
    fn ids_past_the_end_are_kept_where_they_are_accepted() {
        let origin = RowIdOrigin::Given("3,12".to_owned());
        let ids = origin.read(10, PastTheEnd::Accepted).unwrap();
        assert_eq!(ids.chunks(10).next(), Some(vec![3, 12]));
    }

    proptest! {
        #[test]
        fn any_list_comes_back(ids in prop::collection::vec(0_u64..1000, 0..50), chunk in 1_usize..7) {
            let text: Vec<String> = ids.iter().map(u64::to_string).collect();
            let origin = RowIdOrigin::Given(text.join(","));
            let read = origin.read(1000, PastTheEnd::Refused).unwrap();
            prop_assert_eq!(read.count(), ids.len() as u64);
            let chunks: Vec<Vec<u64>> = read.chunks(chunk).collect();
            prop_assert!(chunks.iter().all(|ids| ids.len() <= chunk));
            prop_assert_eq!(chunks.concat(), ids);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9.,= \u{e9}x]{0,40}") {
            let _ = parsed(&text, 50);
        }
    }
}
