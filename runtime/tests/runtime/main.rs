//! The runtime against real files, real rings and real threads.

#![allow(clippy::unwrap_used)]

mod damage;
mod dataset;
mod every_type;
mod opened;
mod shards;
mod takes;
