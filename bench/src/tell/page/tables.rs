//! Tables of a page.

use maud::{Markup, html};

/// A table of words and numbers; the first column names its row.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for cell in head { th { (cell) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (place, cell) in row.iter().enumerate() {
                                @if place == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table that is opened when it is wanted.
pub(super) fn numbers(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        details { summary { "The numbers" } (table(head, rows)) }
    }
}
