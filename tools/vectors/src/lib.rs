//! Vectors outside of datasets: made up ([`Mixture`]), and in `.npy` files ([`npy`]).
//!
//! Both the bench and the tools need them, and neither may need the other.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod mixture;
pub mod npy;

pub use mixture::{Mixture, Shape};
