//! The runtime against real files, real rings and real threads.

#![allow(clippy::unwrap_used)]

mod buffers;
mod cache;
mod clients;
mod damage;
mod dataset;
mod every_type;
mod opened;
mod options;
mod promises;
mod shards;
mod takes;
