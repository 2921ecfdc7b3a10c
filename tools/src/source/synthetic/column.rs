//! The kinds of generated columns, and their names on the command line.

use arrow::datatypes::{DataType, TimeUnit};

use crate::source::element::Element;

/// Kinds without a parameter, by their name on the command line.
const PLAIN: &[(&str, DataType)] = &[
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float16", DataType::Float16),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("bool", DataType::Boolean),
    ("date32", DataType::Date32),
    ("date64", DataType::Date64),
    ("time32", DataType::Time32(TimeUnit::Millisecond)),
    ("time64", DataType::Time64(TimeUnit::Microsecond)),
    (
        "timestamp",
        DataType::Timestamp(TimeUnit::Microsecond, None),
    ),
    ("duration", DataType::Duration(TimeUnit::Microsecond)),
    ("decimal128", DataType::Decimal128(20, 4)),
    ("utf8", DataType::Utf8),
    ("largeutf8", DataType::LargeUtf8),
    ("binary", DataType::Binary),
    ("largebinary", DataType::LargeBinary),
];
/// The kind that has its width in its name, as in `fixedbinary16`.
const FIXED_BINARY: &str = "fixedbinary";
/// Widest FixedSizeBinary that can be generated, in bytes.
const FIXED_BINARY_BYTES_MAX: u32 = 65_536;
/// Most columns of one kind.
const COLUMNS_MAX: u32 = 10_000;
/// Estimated size of a string, for the size of batches.
const STRING_BYTES: usize = 48;

/// The number type of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum VectorType {
    F16,
    F32,
    F64,
    I8,
    U8,
}

impl VectorType {
    /// The element type of raw files for these numbers.
    pub(crate) fn element(self) -> Element {
        match self {
            VectorType::F16 => Element::Float16,
            VectorType::F32 => Element::Float32,
            VectorType::F64 => Element::Float64,
            VectorType::I8 => Element::Int8,
            VectorType::U8 => Element::UInt8,
        }
    }
}

/// One kind of column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A place in the table of plain kinds.
    Plain(usize),
    /// FixedSizeBinary of this number of bytes.
    FixedBinary(u32),
    Vector(VectorType, u32),
}

impl Kind {
    fn parse(word: &str) -> Result<Kind, String> {
        if let Some(place) = PLAIN.iter().position(|(name, _)| *name == word) {
            return Ok(Kind::Plain(place));
        }
        if let Some(width) = word.strip_prefix(FIXED_BINARY) {
            return match width.parse() {
                Ok(bytes) if (1..=FIXED_BINARY_BYTES_MAX).contains(&bytes) => {
                    Ok(Kind::FixedBinary(bytes))
                }
                _ => Err(format!(
                    "{word:?} needs its width in bytes, as in {FIXED_BINARY}16"
                )),
            };
        }
        let names: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).collect();
        Err(format!(
            "there is no column type {word:?}; there are {} and {FIXED_BINARY}N",
            names.join(", ")
        ))
    }

    /// Name of the kind, which also begins the names of its columns.
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Plain(place) => PLAIN[place].0.to_owned(),
            Kind::FixedBinary(bytes) => format!("{FIXED_BINARY}{bytes}"),
            Kind::Vector(..) => crate::source::VECTOR_COLUMN.to_owned(),
        }
    }

    /// The Arrow type.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Kind::Plain(place) => PLAIN[place].1.clone(),
            Kind::FixedBinary(bytes) => DataType::FixedSizeBinary(bytes.cast_signed()),
            Kind::Vector(element, dimension) => element.element().vector_type(dimension),
        }
    }

    /// Estimated size of a value in bytes.
    pub(crate) fn bytes(self) -> usize {
        crate::source::fixed_bytes(&self.data_type()).unwrap_or(STRING_BYTES)
    }
}

/// Parses `int64:8,utf8:2`: kinds of columns and the number of each, 1 by default.
pub(crate) fn parse_columns(text: &str) -> Result<Vec<(Kind, u32)>, String> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (name, count) = word.split_once(':').unwrap_or((word, "1"));
            let kind = Kind::parse(&name.to_ascii_lowercase())?;
            match count.parse() {
                Ok(count) if (1..=COLUMNS_MAX).contains(&count) => Ok((kind, count)),
                _ => Err(format!(
                    "{word:?} asks for {count:?} columns, from 1 to {COLUMNS_MAX} make sense"
                )),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_words_are_parsed() {
        let parsed = parse_columns("int64:8, utf8,fixedbinary16:2").unwrap();
        let shown: Vec<(String, u32)> = parsed
            .iter()
            .map(|(kind, count)| (kind.name(), *count))
            .collect();
        assert_eq!(
            shown,
            [
                ("int64".to_owned(), 8),
                ("utf8".to_owned(), 1),
                ("fixedbinary16".to_owned(), 2),
            ]
        );
    }

    #[test]
    fn senseless_column_words_are_refused() {
        for text in [
            "int65",
            "int64:0",
            "int64:x",
            "int64:-1",
            "fixedbinary",
            "fixedbinary0",
            "fixedbinaryx",
            "int64:10001",
            "struct:2",
        ] {
            assert!(parse_columns(text).is_err(), "{text}");
        }
    }
}
