//! The columns that a take returns, resolved into fields of the record of each column group.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::dataset::Dataset;
use crate::layout::{Group, column_index};
use crate::{Error, Result};

/// How a take treats a row id at or past the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// The take fails with an error that names the id.
    #[default]
    Error,
    /// The row is returned with null in every column.
    Null,
}

/// Columns of one dataset version, in the order wanted. Cheap to clone.
///
/// Every batch counts a reference to the schema of the projection it was taken with. Threads that
/// take single rows at a high rate do better with a projection each, made by name, than with
/// clones of one.
#[derive(Debug, Clone)]
pub struct Projection {
    resolved: Arc<Resolved>,
}

#[derive(Debug)]
struct Resolved {
    columns: Vec<usize>,
    groups: Vec<GroupProjection>,
    schema: SchemaRef,
    generation: u64,
}

/// The part of a projection that one column group holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupProjection {
    /// Ordinal of the column group.
    pub group: usize,
    /// Fields to copy from each record.
    pub fields: Vec<FieldProjection>,
}

/// Place of a column in the record of its group, and its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldProjection {
    /// Place of the column in the projection.
    pub output: usize,
    /// Offset of the field in the record.
    pub offset_bytes: u32,
    /// Bytes per value; `None` if the record is one value of variable width.
    pub width_bytes: Option<u32>,
}

impl Projection {
    /// All columns of `dataset`.
    pub fn all(dataset: &Dataset) -> Projection {
        Projection::of(dataset, (0..dataset.columns().len()).collect())
    }

    /// The columns named `names`, in that order.
    ///
    /// # Errors
    /// A name that the dataset does not have, a name given twice, no name.
    pub fn named<S: AsRef<str>>(dataset: &Dataset, names: &[S]) -> Result<Projection> {
        if names.is_empty() {
            return Err(Error::NoColumns);
        }
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let column = column_index(dataset.schema(), name.as_ref())?;
            if columns.contains(&column) {
                return Err(Error::DuplicateColumn {
                    column: name.as_ref().to_owned(),
                });
            }
            columns.push(column);
        }
        Ok(Projection::of(dataset, columns))
    }

    fn of(dataset: &Dataset, columns: Vec<usize>) -> Projection {
        let mut groups: Vec<GroupProjection> = Vec::new();
        for (output, &column) in columns.iter().enumerate() {
            let group = dataset.columns()[column].group;
            let field = FieldProjection {
                output,
                offset_bytes: offset_in_record(dataset, group, column),
                width_bytes: dataset.columns()[column].shape.width_bytes(),
            };
            match groups.iter_mut().find(|known| known.group == group) {
                Some(known) => known.fields.push(field),
                None => groups.push(GroupProjection {
                    group,
                    fields: vec![field],
                }),
            }
        }
        let fields: Vec<_> = columns
            .iter()
            .map(|&column| own_field(dataset.schema().field(column)))
            .collect();
        let schema = Schema::new_with_metadata(fields, dataset.schema().metadata().clone());
        Projection {
            resolved: Arc::new(Resolved {
                columns,
                groups,
                schema: Arc::new(schema),
                generation: dataset.layout().generation,
            }),
        }
    }

    /// Ordinals of the columns in the dataset's schema.
    pub fn columns(&self) -> &[usize] {
        &self.resolved.columns
    }

    /// Column groups to read, each with one read per row.
    pub fn groups(&self) -> &[GroupProjection] {
        &self.resolved.groups
    }

    /// Whether the projection was made from this version of this dataset.
    pub fn belongs_to(&self, dataset: &Dataset) -> bool {
        self.resolved.generation == dataset.layout().generation
    }

    /// Schema of the batches that a take returns. Every field is nullable if missing rows are
    /// nulls.
    pub fn schema(&self, missing: Missing) -> SchemaRef {
        match missing {
            Missing::Error => self.resolved.schema.clone(),
            Missing::Null => {
                let schema = &self.resolved.schema;
                let fields: Vec<Field> = schema
                    .fields()
                    .iter()
                    .map(|field| field.as_ref().clone().with_nullable(true))
                    .collect();
                Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
            }
        }
    }
}

/// Copies `field` so that the two share no reference count.
fn own_field(field: &Field) -> Field {
    let own = match field.data_type() {
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(Arc::new(own_field(item)), *size)
        }
        other => other.clone(),
    };
    field.clone().with_data_type(own)
}

fn offset_in_record(dataset: &Dataset, group: usize, column: usize) -> u32 {
    match &dataset.layout().groups[group] {
        Group::Variable(_) => 0,
        Group::Fixed(fixed) => fixed
            .columns
            .iter()
            .take_while(|&&other| other as usize != column)
            .filter_map(|&other| dataset.columns()[other as usize].shape.width_bytes())
            .sum(),
    }
}
