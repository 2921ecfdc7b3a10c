//! Tables on the terminal.

use std::ops::RangeBounds;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// A table with a head and rows. The columns of `numbers` are aligned to the right.
pub(crate) fn grid(
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    numbers: impl RangeBounds<usize>,
) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head)
        .add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
