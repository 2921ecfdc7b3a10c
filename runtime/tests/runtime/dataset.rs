//! Datasets whose every value says where it belongs.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Int64Array, LargeBinaryArray,
    RecordBatch, StringArray, UInt16Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use ringtake_storage::Error;
use ringtake_storage::layout::{GroupOptions, LayoutPolicy};
use ringtake_storage::write::{Overwrite, WriteOptions, Writer};

/// Items per vector.
pub(crate) const DIM: usize = 192;

/// The rows `rows` as one batch: what the dataset holds, made without the code under test.
pub(crate) fn rows(ids: impl Iterator<Item = u64> + Clone) -> RecordBatch {
    let id: Int64Array = ids
        .clone()
        .map(|id| (id % 7 != 3).then_some(id as i64))
        .collect();
    let short: UInt16Array = ids.clone().map(|id| Some((id % 60_000) as u16)).collect();
    let flag: BooleanArray = ids.clone().map(|id| Some(id % 3 == 0)).collect();
    let items: Float32Array = ids
        .clone()
        .flat_map(|id| (0..DIM).map(move |item| Some(id as f32 + item as f32 / 1000.0)))
        .collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vector = FixedSizeListArray::new(item, DIM as i32, Arc::new(items), None);
    let name: StringArray = ids
        .clone()
        .map(|id| match id % 11 {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("row {id} ").repeat((id % 40) as usize)),
        })
        .collect();
    let blob: LargeBinaryArray = ids
        .map(|id| {
            Some(vec![
                id as u8;
                if id % 997 == 5 {
                    300_000
                } else {
                    (id % 90) as usize
                }
            ])
        })
        .collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(id), true),
        ("short", Arc::new(short), false),
        ("flag", Arc::new(flag), false),
        ("vector", Arc::new(vector), false),
        ("name", Arc::new(name), true),
        ("blob", Arc::new(blob), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The names of all columns, in order.
pub(crate) const COLUMNS: [&str; 6] = ["id", "short", "flag", "vector", "name", "blob"];

/// The rows `ids` with the columns `names`, in that order.
pub(crate) fn expected(ids: &[u64], names: &[&str]) -> RecordBatch {
    let all = rows(ids.iter().copied());
    let places: Vec<usize> = names
        .iter()
        .map(|name| all.schema().index_of(name).unwrap())
        .collect();
    all.project(&places).unwrap()
}

/// How a test wants its dataset.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) rows: u64,
    pub(crate) policy: LayoutPolicy,
    /// Columns that share a record, beside those that the writer groups itself.
    pub(crate) groups: Vec<Vec<String>>,
    pub(crate) data_dirs: Vec<std::path::PathBuf>,
    pub(crate) overwrite: Overwrite,
}

impl Shape {
    pub(crate) fn of(rows: u64) -> Shape {
        Shape {
            rows,
            policy: LayoutPolicy::Auto,
            groups: Vec::new(),
            data_dirs: Vec::new(),
            overwrite: Overwrite::Refuse,
        }
    }
}

/// Writes the dataset with small blocks, so that few rows reach every shard.
pub(crate) fn write(path: &Path, shape: &Shape) {
    write_batches(path, shape, |ids| rows(ids.into_iter()));
}

/// The same with rows of `make`'s.
pub(crate) fn write_batches(path: &Path, shape: &Shape, make: impl Fn(Vec<u64>) -> RecordBatch) {
    let schema: Arc<Schema> = make(vec![0]).schema();
    let options = WriteOptions {
        block_rows: Some(256),
        grouping: GroupOptions {
            policy: shape.policy,
            groups: shape.groups.clone(),
            ..GroupOptions::default()
        },
        data_dirs: shape.data_dirs.clone(),
        overwrite: shape.overwrite,
    };
    // A process that another test is just starting holds a copy of the writer's lock until it
    // runs its own program.
    let mut writer = loop {
        match Writer::create(path, &schema, options.clone()) {
            Err(Error::Locked { .. }) => std::thread::yield_now(),
            created => break created.unwrap(),
        }
    };
    let mut from = 0;
    while from < shape.rows {
        let to = (from + 777).min(shape.rows);
        writer.write(&make((from..to).collect())).unwrap();
        from = to;
    }
    writer.finish().unwrap();
}
