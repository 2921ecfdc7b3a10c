//! The storage crate from outside: what the writer puts on disk, read back by the letter of
//! `FORMAT.md`.

#![allow(clippy::unwrap_used)]

mod columns;
mod crash;
mod golden;
mod index;
mod kmeans;
mod memory;
mod naive;
mod quantiser;
mod roundtrip;
mod verify;
mod writer;
