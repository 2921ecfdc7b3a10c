//! The Ringtake dataset format: what the bytes mean.
//!
//! This crate turns row ids into byte ranges to read ([`plan`]) and bytes into Arrow
//! ([`assemble`]), and holds the writer ([`mod@write`]). Reading rows never waits here: that
//! part has no thread, no clock, no file handle and no ring; `ringtake-runtime` brings those.
//! [`mod@file`] opens what a dataset is made of.
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

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
