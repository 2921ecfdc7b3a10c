//! Rows as tables for people. Vectors and long values are shortened, so programs should not parse
//! them.

use std::io::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{RowWriter, encode};
use crate::failure::Failure;
use crate::grid;
use crate::output::OutputWriter;

const FORMAT: &str = "a table";
/// Rows per table; a table is in memory until the widths of its columns are known.
const TABLE_ROWS: usize = 1_000;
/// Most characters of a cell.
const CELL_CHARS_MAX: usize = 48;
/// Most items of a vector that are shown.
const ITEMS_SHOWN: usize = 4;

/// Writes tables of at most `TABLE_ROWS` rows.
pub(super) struct Table {
    writer: OutputWriter,
    names: Vec<String>,
    rows: Vec<Vec<String>>,
    tables: u64,
}

impl Table {
    pub(super) fn new(writer: OutputWriter, schema: &SchemaRef) -> Self {
        Table {
            writer,
            names: schema
                .fields()
                .iter()
                .map(|field| shown(field.name()))
                .collect(),
            rows: Vec::new(),
            tables: 0,
        }
    }

    fn print(&mut self) -> Result<(), Failure> {
        let table = grid::bordered(&self.names, std::mem::take(&mut self.rows));
        self.tables += 1;
        writeln!(self.writer, "{table}").map_err(encode(FORMAT))
    }
}

impl RowWriter for Table {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let options = FormatOptions::default().with_null("null");
        let columns: Result<Vec<Vec<String>>, ArrowError> = batch
            .columns()
            .iter()
            .map(|column| cells(column.as_ref(), &options))
            .collect();
        let columns = columns.map_err(encode(FORMAT))?;
        for row in 0..batch.num_rows() {
            self.rows
                .push(columns.iter().map(|cells| cells[row].clone()).collect());
            if self.rows.len() == TABLE_ROWS {
                self.print()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        if !self.rows.is_empty() || self.tables == 0 {
            self.print()?;
        }
        self.writer.flush().map_err(encode(FORMAT))
    }
}

fn cells(column: &dyn Array, options: &FormatOptions<'_>) -> Result<Vec<String>, ArrowError> {
    let Some(lists) = column.as_fixed_size_list_opt() else {
        let formatter = ArrayFormatter::try_new(column, options)?;
        let texts = (0..column.len()).map(|row| shown(&formatter.value(row).to_string()));
        return Ok(texts.collect());
    };
    let items = lists.values();
    let formatter = ArrayFormatter::try_new(items.as_ref(), options)?;
    let length = usize::try_from(lists.value_length()).unwrap_or(0);
    let texts = (0..lists.len()).map(|row| {
        if lists.is_null(row) {
            return "null".to_owned();
        }
        let start = lists.value_offset_at(row);
        let first: Vec<String> = (start..start + length.min(ITEMS_SHOWN))
            .map(|at| formatter.value(at).to_string())
            .collect();
        if length > ITEMS_SHOWN {
            format!("[{}, ... {length}]", first.join(", "))
        } else {
            format!("[{}]", first.join(", "))
        }
    });
    Ok(texts.collect())
}

/// A value on one line, with control characters escaped.
fn shown(text: &str) -> String {
    let mut short = String::new();
    for (ordinal, character) in text.chars().enumerate() {
        if ordinal == CELL_CHARS_MAX {
            short.push_str("...");
            break;
        }
        if character.is_control() {
            short.extend(character.escape_default());
        } else {
            short.push(character);
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_and_control_characters_are_shown_safely() {
        assert_eq!(shown("a\tb\u{1b}[31m"), "a\\tb\\u{1b}[31m");
        let long = "x".repeat(100);
        assert_eq!(shown(&long).len(), CELL_CHARS_MAX + 3);
    }
}
