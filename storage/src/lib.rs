//! The Ringtake dataset format: reading it, checking it and writing it.
//!
//! This crate turns row ids into byte ranges to read ([`plan`]) and bytes into Arrow
//! ([`assemble`]), and holds the writer ([`mod@write`]). The read path has no thread, no clock, no
//! file handle and no ring; `ringtake-runtime` brings those. [`mod@file`] opens metadata files.
//! `FORMAT.md` beside this crate says where each byte is.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod assemble;
pub mod checksum;
pub mod column;
pub mod dataset;
pub mod error;
pub mod file;
pub mod layout;
pub mod manifest;
pub mod plan;
pub mod projection;
pub mod vector;
pub mod verify;
pub mod write;

pub use error::Error;

/// Result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
