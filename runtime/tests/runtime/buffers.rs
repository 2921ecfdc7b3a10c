//! Takes into the caller's own buffers bring the same bytes.

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use ringtake_runtime::{ColumnBuffer, Error, ReadPathChoice, Store};

use crate::dataset::{self, Shape};
use crate::every_type;
use crate::opened::{READ_PATHS, draw, open, seeded};

/// The caller's memory for one column.
#[derive(Debug, Default, PartialEq)]
struct Memory {
    values: Vec<u8>,
    offsets: Option<Vec<i64>>,
}

impl Memory {
    fn lend(&mut self) -> ColumnBuffer<'_> {
        match &mut self.offsets {
            None => ColumnBuffer::Fixed(&mut self.values),
            Some(offsets) => ColumnBuffer::Variable {
                values: &mut self.values,
                offsets,
            },
        }
    }

    /// The contents that a take into memory must leave there for the rows of `array`.
    fn expected(array: &ArrayData) -> Memory {
        let rows = array.len();
        let fixed = |values: Vec<u8>| Memory {
            values,
            offsets: None,
        };
        let variable = |offsets: Vec<i64>| Memory {
            values: array.buffers()[1].as_slice()[..offsets[rows] as usize].to_vec(),
            offsets: Some(offsets),
        };
        match array.data_type() {
            DataType::Boolean => {
                let bits = BooleanBuffer::new(array.buffers()[0].clone(), 0, rows);
                fixed(bits.iter().map(u8::from).collect())
            }
            DataType::FixedSizeList(_, _) => fixed(array.child_data()[0].buffers()[0].to_vec()),
            DataType::Utf8 | DataType::Binary => {
                let offsets = array.buffer::<i32>(0)[..=rows].iter();
                variable(offsets.map(|&offset| i64::from(offset)).collect())
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                variable(array.buffer::<i64>(0)[..=rows].to_vec())
            }
            _ => fixed(array.buffers()[0].to_vec()),
        }
    }

    /// Room for the rows of `array`, filled with something else.
    fn room_for(array: &ArrayData) -> Memory {
        let mut room = Memory::expected(array);
        room.values.fill(0xAB);
        if let Some(offsets) = &mut room.offsets {
            room.values.clear();
            offsets.clear();
            offsets.extend([9, 9, 9]);
        }
        room
    }
}

fn columns(batch: &RecordBatch) -> Vec<ArrayData> {
    batch
        .columns()
        .iter()
        .map(|column| column.to_data())
        .collect()
}

#[test]
fn every_type_lands_in_the_callers_buffers_as_in_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    every_type::write(&path);
    let mut rng = seeded(14);
    for read_path in READ_PATHS {
        let store = open(&path, 2, read_path);
        let all = store.all_columns();
        for ids in [draw(&mut rng, every_type::ROWS, 250), Vec::new()] {
            let expected = columns(&every_type::rows(&ids));
            let mut memory: Vec<Memory> = expected.iter().map(Memory::room_for).collect();
            let mut buffers: Vec<ColumnBuffer<'_>> = memory.iter_mut().map(Memory::lend).collect();
            store.take(&ids, &all).wait_into(&mut buffers).unwrap();
            for (column, (memory, array)) in memory.iter().zip(&expected).enumerate() {
                assert_eq!(memory, &Memory::expected(array), "{}", array.data_type());
                let nulls = store.nulls(&ids, &all, column);
                assert_eq!(
                    nulls.as_ref(),
                    array.nulls().filter(|nulls| nulls.null_count() > 0)
                );
            }
        }
    }
}

#[test]
fn buffers_used_again_keep_their_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(1_000));
    let store = open(&path, 2, ReadPathChoice::Auto);
    let projection = store.projection(&["name"]).unwrap();
    let (mut values, mut offsets) = (Vec::new(), Vec::new());
    let mut take = |ids: &[u64]| {
        let mut buffers = [ColumnBuffer::Variable {
            values: &mut values,
            offsets: &mut offsets,
        }];
        store
            .take(ids, &projection)
            .wait_into(&mut buffers)
            .unwrap();
        let expected = columns(&dataset::expected(ids, &["name"]));
        let expected = Memory::expected(&expected[0]);
        assert_eq!(values, expected.values);
        assert_eq!(Some(&offsets), expected.offsets.as_ref());
        (
            values.as_ptr(),
            values.capacity(),
            offsets.as_ptr(),
            offsets.capacity(),
        )
    };
    let many: Vec<u64> = (0..1_000).rev().collect();
    let first = take(&many);
    for few in [&many[..10], &[], &many[500..], &many] {
        assert_eq!(take(few), first);
    }
}

fn refused(store: &Store, column: &str, buffers: &mut [ColumnBuffer<'_>]) -> (usize, String) {
    let projection = store.projection(&[column]).unwrap();
    match store.take(&[1, 2, 3], &projection).wait_into(buffers) {
        Err(Error::Buffer { column, reason }) => (column, reason),
        other => panic!("{column}: {other:?}"),
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    dataset::write(&path, &Shape::of(10));
    let store = open(&path, 1, ReadPathChoice::Auto);
    let mut bytes = [0; 32];
    for wrong in [0, 23, 25] {
        let mut buffers = [ColumnBuffer::Fixed(&mut bytes[..wrong])];
        let (column, reason) = refused(&store, "id", &mut buffers);
        assert_eq!(column, 0);
        assert!(
            reason.contains(&format!("{wrong} bytes")) && reason.contains("24"),
            "{reason}"
        );
    }
    let (_, reason) = refused(&store, "name", &mut [ColumnBuffer::Fixed(&mut bytes)]);
    assert!(reason.contains("variable width"), "{reason}");
    let (mut values, mut offsets) = (Vec::new(), Vec::new());
    let variable = ColumnBuffer::Variable {
        values: &mut values,
        offsets: &mut offsets,
    };
    let (_, reason) = refused(&store, "id", &mut [variable]);
    assert!(reason.contains("fixed width"), "{reason}");
    let (_, reason) = refused(&store, "id", &mut []);
    assert!(reason.contains("0 buffers for 1 columns"), "{reason}");
    let error = store
        .take(&[10], &store.all_columns())
        .wait_into(&mut [])
        .unwrap_err();
    assert!(
        matches!(error, Error::NoSuchRow { id: 10, rows: 10 }),
        "{error}"
    );
}
