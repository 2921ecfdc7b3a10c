//! Prefetch hints: they ask the processor for memory before it is needed. They change no result, and
//! do nothing on processors without them.

/// Lines requested at once for writing; more would not fit into the processor's queue of misses.
const WRITTEN_LINES_MAX: usize = 64;
const LINE_BYTES: usize = 64;

/// Asks for the line at `address`, which will be read.
#[inline]
pub(crate) fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and writes nothing, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the line at `address`, which will be written.
#[inline]
fn line_for_write(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and writes nothing, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the first `lines_max` lines of `bytes`, which will be read.
#[inline]
pub(crate) fn bytes(bytes: &[u8], lines_max: usize) {
    for chunk in bytes.chunks(LINE_BYTES).take(lines_max) {
        line(chunk.as_ptr());
    }
}

/// Asks for the element at `place`, which will be read, if there is one.
#[inline]
pub(crate) fn element<T>(of: &[T], place: usize) {
    if let Some(element) = of.get(place) {
        line(std::ptr::from_ref(element).cast());
    }
}

/// Asks for `bytes` bytes that will be written.
#[inline]
pub(crate) fn for_write(start: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(LINE_BYTES).min(WRITTEN_LINES_MAX) {
        line_for_write(start.wrapping_add(line * LINE_BYTES));
    }
}
