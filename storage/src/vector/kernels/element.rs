//! Element types as types, so that a loop is compiled once for each.

use crate::vector::Element;

/// A type that stands for one element type.
pub(super) trait Stored {
    const ELEMENT: Element;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct I8;
pub(super) struct U8;

impl Stored for F32 {
    const ELEMENT: Element = Element::F32;
}
impl Stored for F16 {
    const ELEMENT: Element = Element::F16;
}
impl Stored for I8 {
    const ELEMENT: Element = Element::I8;
}
impl Stored for U8 {
    const ELEMENT: Element = Element::U8;
}
