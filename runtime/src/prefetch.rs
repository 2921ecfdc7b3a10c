//! Asking the processor for memory before it is needed. A hint: it changes no result, and where
//! the processor has none it does nothing.

/// Lines asked for at once, beyond which the processor's queue of misses is full anyway.
#[cfg(target_arch = "x86_64")]
const LINES_MAX: usize = 64;
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Asks for `bytes` bytes that will be written.
#[inline]
pub(crate) fn for_write(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..bytes.div_ceil(LINE_BYTES).min(LINES_MAX) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch reads and writes nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(start.wrapping_add(line * LINE_BYTES).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// Asks for the element at `place`, which will be read, if there is one.
#[inline]
pub(crate) fn element<T>(of: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    if place < of.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads and writes nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(of.as_ptr().wrapping_add(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (of, place);
}
