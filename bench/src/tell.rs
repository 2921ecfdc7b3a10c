//! Records as people read them: a table on the terminal, a page, a comparison.

pub(crate) mod comparison;
pub(crate) mod grid;
pub(crate) mod output;
pub(crate) mod page;
pub(crate) mod table;
