//! How the Arrow type of a column is stored: the width of its values, and the types that a dataset
//! cannot hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::{Error, Result};

/// How a column's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnShape {
    /// Plain bytes of one width, as Arrow stores them.
    Plain {
        /// Bytes per value.
        width_bytes: u32,
    },
    /// One byte per value, 0 or 1; Arrow packs them into bits.
    Boolean,
    /// A list of `items` plain values.
    List {
        /// Items per value.
        items: u32,
        /// Bytes per item.
        item_bytes: u32,
    },
    /// Byte strings of varying length.
    Variable {
        /// Width of Arrow's offsets.
        offsets: OffsetWidth,
        /// Whether the bytes must be UTF-8.
        utf8: bool,
    },
}

/// Width of the offsets of an Arrow array of variable width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetWidth {
    /// 32 bits: `Utf8`, `Binary`.
    I32,
    /// 64 bits: `LargeUtf8`, `LargeBinary`.
    I64,
}

impl OffsetWidth {
    /// Bytes of one offset.
    pub fn bytes(self) -> usize {
        match self {
            OffsetWidth::I32 => 4,
            OffsetWidth::I64 => 8,
        }
    }
}

impl ColumnShape {
    /// The shape of `field`, whose type must be one that [`stored_type`] returns.
    ///
    /// # Errors
    /// [`Error::UnsupportedColumn`] for a type that cannot be stored, [`Error::TooLarge`] for
    /// values wider than [`VALUE_BYTES_MAX`].
    pub fn of(field: &Field) -> Result<ColumnShape> {
        let unsupported = || Error::UnsupportedColumn {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        };
        let too_large = |bytes: u64| Error::TooLarge {
            what: format!("a value of column `{}`", field.name()),
            bytes,
            bytes_max: VALUE_BYTES_MAX,
            remedy: "leave the column out with `--columns`",
        };
        Ok(match field.data_type() {
            DataType::Boolean => ColumnShape::Boolean,
            DataType::Utf8 => variable(OffsetWidth::I32, true),
            DataType::LargeUtf8 => variable(OffsetWidth::I64, true),
            DataType::Binary => variable(OffsetWidth::I32, false),
            DataType::LargeBinary => variable(OffsetWidth::I64, false),
            DataType::FixedSizeBinary(width) => ColumnShape::Plain {
                width_bytes: u32::try_from(*width)
                    .ok()
                    .filter(|&width| width > 0)
                    .ok_or_else(unsupported)?,
            },
            DataType::FixedSizeList(item, items) => {
                let item_bytes = item.data_type().primitive_width().ok_or_else(unsupported)? as u64;
                let items = u32::try_from(*items)
                    .ok()
                    .filter(|&items| items > 0)
                    .ok_or_else(unsupported)?;
                let bytes = item_bytes * u64::from(items);
                if bytes > VALUE_BYTES_MAX {
                    return Err(too_large(bytes));
                }
                ColumnShape::List {
                    items,
                    item_bytes: item_bytes as u32,
                }
            }
            other => ColumnShape::Plain {
                width_bytes: other.primitive_width().ok_or_else(unsupported)? as u32,
            },
        })
    }

    /// Bytes of one stored value, or `None` where they vary.
    pub fn width_bytes(self) -> Option<u32> {
        match self {
            ColumnShape::Plain { width_bytes } => Some(width_bytes),
            ColumnShape::Boolean => Some(1),
            ColumnShape::List { items, item_bytes } => Some(items * item_bytes),
            ColumnShape::Variable { .. } => None,
        }
    }
}

/// Widest fixed-width value, in bytes: far wider than any vector, and so narrow that 32-bit
/// arithmetic on records cannot overflow.
pub const VALUE_BYTES_MAX: u64 = 16 << 20;

fn variable(offsets: OffsetWidth, utf8: bool) -> ColumnShape {
    ColumnShape::Variable { offsets, utf8 }
}

/// The type a column has once stored: dictionaries, run-end encodings and views are unpacked,
/// everything else stays as it is.
pub fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => stored_type(values),
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type()),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// The schema of the dataset that holds columns of `schema`.
///
/// # Errors
/// No columns, a column of a type that cannot be stored, two columns of one name.
pub fn stored_schema(schema: &Schema) -> Result<SchemaRef> {
    if schema.fields().is_empty() {
        return Err(Error::NoColumns);
    }
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut names = std::collections::HashSet::new();
    for field in schema.fields() {
        if !names.insert(field.name().as_str()) {
            return Err(Error::DuplicateColumn {
                column: field.name().clone(),
            });
        }
        let stored = stored_type(field.data_type());
        let stored = Field::new(field.name(), stored, field.is_nullable())
            .with_metadata(field.metadata().clone());
        ColumnShape::of(&stored)?;
        fields.push(Arc::new(stored));
    }
    Ok(Arc::new(Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(data_type: DataType) -> Result<ColumnShape> {
        ColumnShape::of(&Field::new("c", data_type, true))
    }

    fn list(item: DataType, items: i32) -> DataType {
        DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), items)
    }

    #[test]
    fn widths_are_those_of_arrow() {
        use arrow::datatypes::{IntervalUnit, TimeUnit};
        for (data_type, width_bytes) in [
            (DataType::Boolean, 1),
            (DataType::Int8, 1),
            (DataType::UInt64, 8),
            (DataType::Float16, 2),
            (DataType::Date64, 8),
            (DataType::Time32(TimeUnit::Second), 4),
            (
                DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                8,
            ),
            (DataType::Duration(TimeUnit::Second), 8),
            (DataType::Interval(IntervalUnit::MonthDayNano), 16),
            (DataType::Decimal128(38, 10), 16),
            (DataType::Decimal256(70, 10), 32),
            (DataType::FixedSizeBinary(7), 7),
            (list(DataType::Float16, 5), 10),
            (list(DataType::UInt8, 3), 3),
        ] {
            assert_eq!(
                shape(data_type.clone()).unwrap().width_bytes(),
                Some(width_bytes),
                "{data_type}"
            );
        }
        assert_eq!(shape(DataType::Utf8).unwrap().width_bytes(), None);
    }

    #[test]
    fn a_type_without_width_is_refused_by_name() {
        for data_type in [
            DataType::Null,
            DataType::FixedSizeBinary(0),
            list(DataType::Utf8, 3),
            list(DataType::Float32, 0),
            list(DataType::Boolean, 8),
            DataType::List(Arc::new(Field::new("item", DataType::Int8, true))),
            DataType::Struct(vec![Field::new("x", DataType::Int8, true)].into()),
        ] {
            let message = shape(data_type).unwrap_err().to_string();
            assert!(
                message.contains("column `c`") && message.contains("--columns"),
                "{message}"
            );
        }
        let wide = shape(list(DataType::Float64, 1 << 24)).unwrap_err();
        assert!(matches!(wide, Error::TooLarge { .. }));
    }

    #[test]
    fn dictionaries_and_views_are_unpacked() {
        let schema = Schema::new(vec![
            Field::new(
                "d",
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View)),
                true,
            ),
            Field::new("v", DataType::BinaryView, false),
        ]);
        let stored = stored_schema(&schema).unwrap();
        assert_eq!(stored.field(0).data_type(), &DataType::Utf8);
        assert_eq!(stored.field(1).data_type(), &DataType::Binary);
        assert!(!stored.field(1).is_nullable());
    }

    #[test]
    fn names_must_differ_and_there_must_be_one() {
        let twice = Schema::new(vec![
            Field::new("a", DataType::Int8, true),
            Field::new("a", DataType::Int8, true),
        ]);
        assert!(matches!(
            stored_schema(&twice),
            Err(Error::DuplicateColumn { .. })
        ));
        assert!(matches!(
            stored_schema(&Schema::empty()),
            Err(Error::NoColumns)
        ));
    }
}
