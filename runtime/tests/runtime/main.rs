//! The runtime against real files, real rings and real threads.

#![allow(clippy::unwrap_used)]

mod admission;
mod buffered;
mod buffers;
mod cache;
mod clients;
mod configuration;
mod corruption;
mod damage;
mod dataset;
mod every_type;
mod futures;
mod hard_places;
mod limits;
mod local;
mod metrics;
mod no_ring;
mod opened;
mod options;
mod paths;
mod pinned;
mod places;
mod promises;
mod reads;
mod replaced;
mod search;
mod shards;
mod takes;
