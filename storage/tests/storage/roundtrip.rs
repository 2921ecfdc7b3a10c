//! Rows are read as they were written, for every type, with nulls, slices and several directories.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use proptest::prelude::*;
use ringtake_storage::column::stored_type;
use ringtake_storage::layout::{GroupOptions, LayoutPolicy};
use ringtake_storage::write::{WriteOptions, WriteSummary, Writer};

use crate::columns::{Nulls, Seeded, all_types, array};
use crate::naive;

/// A schema with one column for each of `types`.
pub(crate) fn schema_of(types: &[DataType]) -> SchemaRef {
    let field = |(column, data_type): (usize, &DataType)| {
        Field::new(format!("c{column}"), data_type.clone(), true)
    };
    Arc::new(Schema::new(
        types.iter().enumerate().map(field).collect::<Vec<_>>(),
    ))
}

/// Batches of these rows.
pub(crate) fn batches_of(
    schema: &SchemaRef,
    rows: &[usize],
    nulls: &[Nulls],
    seeded: &mut Seeded,
) -> Vec<RecordBatch> {
    let batch = |&rows: &usize| {
        let column =
            |(field, &nulls): (&Arc<Field>, &Nulls)| array(field.data_type(), rows, nulls, seeded);
        let columns = schema.fields().iter().zip(nulls).map(column).collect();
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    rows.iter().map(batch).collect()
}

/// Writes `batches` to `path`.
pub(crate) fn write(
    path: &Path,
    schema: &Schema,
    batches: &[RecordBatch],
    options: WriteOptions,
) -> WriteSummary {
    let mut writer = Writer::create(path, schema, options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap()
}

fn unpacked(array: &ArrayRef) -> ArrayRef {
    cast(array, &stored_type(array.data_type())).unwrap()
}

/// Says that the dataset at `path` holds `batches`.
pub(crate) fn assert_holds(path: &Path, schema: &Schema, batches: &[RecordBatch]) {
    let dataset = naive::read(path);
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(dataset.rows, rows as u64);
    for (column, field) in schema.fields().iter().enumerate() {
        assert_eq!(dataset.schema.field(column).name(), field.name());
        let found = &dataset.columns[column];
        assert_eq!(found.data_type(), &stored_type(field.data_type()));
        if rows == 0 {
            continue;
        }
        let given: Vec<ArrayRef> = batches
            .iter()
            .map(|batch| unpacked(batch.column(column)))
            .collect();
        let given: Vec<&dyn Array> = given.iter().map(AsRef::as_ref).collect();
        let given = concat(&given).unwrap();
        assert_eq!(
            found,
            &given,
            "column {column} of type {}",
            field.data_type()
        );
    }
}

fn nulls() -> impl Strategy<Value = Nulls> {
    prop_oneof![
        Just(Nulls::None),
        (2_u64..50).prop_map(Nulls::Some),
        Just(Nulls::Some(5000)),
        Just(Nulls::All),
    ]
}

fn policy() -> impl Strategy<Value = LayoutPolicy> {
    prop_oneof![
        Just(LayoutPolicy::Auto),
        Just(LayoutPolicy::Page),
        Just(LayoutPolicy::Packed)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(
        chosen in proptest::collection::vec((proptest::sample::select(all_types()), nulls()), 1..8),
        rows in proptest::collection::vec(0_usize..900, 0..5),
        policy in policy(),
        block_rows in proptest::option::of(prop_oneof![Just(256_u32), Just(512), Just(2048)]),
        dirs in 0_usize..4,
        seed in any::<u64>(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let (types, nulls): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
        let schema = schema_of(&types);
        let batches = batches_of(&schema, &rows, &nulls, &mut Seeded(seed));
        let data_dirs: Vec<_> = (0..dirs).map(|dir| root.path().join(format!("drive{dir}"))).collect();
        for dir in &data_dirs {
            std::fs::create_dir(dir).unwrap();
        }
        let path = root.path().join("dataset");
        let options = WriteOptions {
            block_rows,
            grouping: GroupOptions { policy, ..GroupOptions::default() },
            data_dirs,
            ..WriteOptions::default()
        };
        write(&path, &schema, &batches, options);
        assert_holds(&path, &schema, &batches);
    }
}

#[test]
fn every_type_survives_with_and_without_nulls() {
    let root = tempfile::tempdir().unwrap();
    let types = all_types();
    let schema = schema_of(&types);
    for (name, nulls) in [
        ("none", Nulls::None),
        ("some", Nulls::Some(4)),
        ("all", Nulls::All),
    ] {
        let nulls = vec![nulls; types.len()];
        let batches = batches_of(&schema, &[300, 0, 1, 700], &nulls, &mut Seeded(7));
        let path = root.path().join(name);
        let options = WriteOptions {
            block_rows: Some(256),
            ..WriteOptions::default()
        };
        write(&path, &schema, &batches, options);
        assert_holds(&path, &schema, &batches);
    }
}

#[test]
fn one_null_after_many_rows_begins_a_bitmap_of_ones() {
    let root = tempfile::tempdir().unwrap();
    let schema = schema_of(&[DataType::Int8]);
    let mut seeded = Seeded(3);
    // Not a multiple of 64, of 8 or of anything else.
    let mut batches = batches_of(&schema, &[9973, 101], &[Nulls::None], &mut seeded);
    batches.extend(batches_of(&schema, &[1], &[Nulls::All], &mut seeded));
    batches.extend(batches_of(&schema, &[77], &[Nulls::None], &mut seeded));
    let path = root.path().join("dataset");
    write(&path, &schema, &batches, WriteOptions::default());
    assert_holds(&path, &schema, &batches);
}

#[test]
fn no_rows_are_a_dataset_too() {
    let root = tempfile::tempdir().unwrap();
    let schema = schema_of(&all_types());
    let path = root.path().join("dataset");
    let summary = write(&path, &schema, &[], WriteOptions::default());
    assert_eq!((summary.rows, summary.table_bytes), (0, 0));
    assert_holds(&path, &schema, &[]);
}
