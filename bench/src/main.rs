//! The `bench` binary: measures a store from outside and proves what it measured.

#![forbid(unsafe_code)]
#![allow(dead_code)]

mod device;
mod driver;
mod environment;
mod error;
mod permutation;
mod process;
mod proof;
mod row_checksum;
mod system_calls;
mod workload;

fn main() {}
