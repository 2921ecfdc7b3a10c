//! The commands, one file each, with the flags that it alone has.

pub(crate) mod args;
pub(crate) mod ceiling;
pub(crate) mod compare;
pub(crate) mod file_read;
pub(crate) mod interference;
pub(crate) mod ladder;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod quick;
pub(crate) mod report;
pub(crate) mod scaling;
pub(crate) mod scratch;
pub(crate) mod vector_search;
