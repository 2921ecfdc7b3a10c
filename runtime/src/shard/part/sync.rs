//! The primitives of the finish. The model checker puts its own in their place.

pub(super) use atomic_waker::AtomicWaker;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
