//! The choice of a cache, and sizes in bytes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::ConfigError;

/// The rows that shards keep in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheChoice {
    /// None: every take reads.
    #[default]
    Off,
    /// Pages that were read, up to this many bytes over all shards. A larger cache answers more
    /// rows from memory. Finding a page takes memory beside it: some for each page kept, and a
    /// little for each page of the dataset.
    Bytes(u64),
    /// Every row, read and checked when the store is opened, so that takes read nothing. A row
    /// that cannot be read then is read from the drive each time it is taken. A small take is
    /// copied by the calling thread at once and does not count towards the limits of work in
    /// flight.
    Pinned,
}

const CACHE_FORMS: &str =
    "it must be `off`, `pinned`, or a size such as 4GiB, 512MiB or a number of bytes";

impl CacheChoice {
    /// The part of it that belongs to each of `shards` shards.
    pub(crate) fn share(self, shards: usize) -> CacheChoice {
        match self {
            CacheChoice::Bytes(bytes) => CacheChoice::Bytes(bytes / shards as u64),
            choice => choice,
        }
    }
}

impl FromStr for CacheChoice {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "off" => Ok(CacheChoice::Off),
            "pinned" => Ok(CacheChoice::Pinned),
            _ => match ByteSize::parse(text) {
                Some(ByteSize(bytes)) => Ok(CacheChoice::Bytes(bytes)),
                None => Err(ConfigError {
                    field: "cache",
                    value: format!("`{text}`"),
                    reason: CACHE_FORMS.to_owned(),
                }),
            },
        }
    }
}

impl fmt::Display for CacheChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CacheChoice::Off => f.write_str("off"),
            CacheChoice::Pinned => f.write_str("pinned"),
            CacheChoice::Bytes(bytes) => ByteSize(bytes).fmt(f),
        }
    }
}

impl Serialize for CacheChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number of bytes, printed exactly: with the largest unit of which it is a whole number.
struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl ByteSize {
    fn parse(text: &str) -> Option<ByteSize> {
        let (number, unit_bytes) = SIZE_UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
            .unwrap_or((text, 1));
        let number: u64 = number.trim_end().parse().ok()?;
        number.checked_mul(unit_bytes).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ByteSize(bytes) = *self;
        let whole = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
        match SIZE_UNITS.iter().find(whole) {
            Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
            None => write!(f, "{bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches_are_read_as_they_are_printed() {
        for text in [
            "off", "pinned", "0", "12345678", "4GiB", "3MiB", "5KiB", "1TiB",
        ] {
            assert_eq!(text.parse::<CacheChoice>().unwrap().to_string(), text);
        }
        assert_eq!("512 MiB".parse(), Ok(CacheChoice::Bytes(512 << 20)));
        for text in ["", "on", "GiB", "-1", "1.5GiB", "99999999TiB"] {
            let error = text.parse::<CacheChoice>().unwrap_err().to_string();
            assert!(error.contains("pinned") && error.contains(text), "{error}");
        }
    }
}
