//! The commands, one file each with its arguments, its examples and its code.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod index;
pub(crate) mod info;
pub(crate) mod search;
pub(crate) mod take;
pub(crate) mod verify;
