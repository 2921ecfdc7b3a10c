//! The primitives of the protocol. The model checker puts its own in their place.

pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
