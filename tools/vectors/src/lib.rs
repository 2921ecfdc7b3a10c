//! Vectors outside of datasets: generated ones ([`Mixture`]), and `.npy` files ([`npy`]).
//!
//! The bench and the tools share this crate, because neither may depend on the other.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod mixture;
pub mod npy;

pub use mixture::{Mixture, MixtureShape};
