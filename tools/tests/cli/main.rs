//! Runs the `ringtake` command as a user would.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod conventions;
mod damage;
mod doctor;
mod formats;
mod harness;
mod index_files;
mod indexing;
mod interruption;
mod real_files;
mod round_trip;
mod samples;
mod searching;
mod taking;
