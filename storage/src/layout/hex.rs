//! Numbers that the manifest's JSON spells in hexadecimal digits, as serde reads and writes them.

/// A `u64` as 16 digits.
pub(super) mod number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::layout) fn serialize<S: Serializer>(
        value: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:016x}"))
    }

    pub(in crate::layout) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 16 || text.starts_with('+') {
            return Err(D::Error::custom("not 16 hex digits"));
        }
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Sixteen bytes as 32 digits.
pub(super) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::layout) fn serialize<S: Serializer>(
        value: &[u8; 16],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(*value)))
    }

    pub(in crate::layout) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 || text.starts_with('+') {
            return Err(D::Error::custom("not 32 hex digits"));
        }
        let value = u128::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        Ok(value.to_be_bytes())
    }
}
