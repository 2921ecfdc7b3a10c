//! How numbers are written for people.

/// The word in a table for a missing number.
pub(crate) const NOT_AVAILABLE: &str = "n/a";

/// A whole number with commas between thousands.
pub(crate) fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number to about three digits, whole from 100 on.
pub(crate) fn rounded(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        whole(value.round() as u64)
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 || size == 0.0 {
        format!("{value:.2}")
    } else if size >= 0.001 {
        format!("{value:.4}")
    } else {
        format!("{value:.6}")
    }
}

/// A number that may not be had.
pub(crate) fn rounded_or_not(value: Option<f64>) -> String {
    value.map_or_else(|| NOT_AVAILABLE.to_owned(), rounded)
}

/// Microseconds in the unit that suits them.
pub(crate) fn latency(us: f64) -> String {
    if us >= 1e6 {
        format!("{} s", rounded(us / 1e6))
    } else if us >= 1e3 {
        format!("{} ms", rounded(us / 1e3))
    } else {
        format!("{} µs", rounded(us))
    }
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if value < 1024 {
        return format!("{value} bytes");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(whole(value), text);
        }
    }

    #[test]
    fn small_numbers_keep_their_digits_and_large_ones_lose_them() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.000_04, "0.000040"),
            (0.0123, "0.0123"),
            (1.0, "1.00"),
            (12.34, "12.3"),
            (54_321.6, "54,322"),
        ] {
            assert_eq!(rounded(value), text);
        }
        assert_eq!(rounded_or_not(None), "n/a");
    }

    #[test]
    fn times_and_sizes_choose_their_unit() {
        assert_eq!(latency(4.0), "4.00 µs");
        assert_eq!(latency(4_000.0), "4.00 ms");
        assert_eq!(latency(2_500_000.0), "2.50 s");
        assert_eq!(bytes(1_023), "1023 bytes");
        assert_eq!(bytes(3_072), "3.0 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }
}
