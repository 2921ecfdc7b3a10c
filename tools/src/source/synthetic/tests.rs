//! Generated values depend on seed, column and row alone.

use arrow::compute::concat_batches;

use super::*;

fn shape(rows: u64, columns: &str) -> RowShape {
    RowShape {
        rows,
        vector: Some((3, VectorType::F16)),
        clusters: None,
        columns: parse_columns(columns).unwrap(),
        null_share: 0.25,
        seed: 7,
    }
}

const ALL: &str = "int8,int16,int32,int64,uint8,uint16,uint32,uint64,float16,float32,float64,bool,\
    date32,date64,time32,time64,timestamp,duration,decimal128,fixedbinary5,utf8,largeutf8,binary,\
    largebinary";

fn rows(shape: &RowShape) -> RecordBatch {
    let mut source = Synthetic::new(shape).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = source.next_batch().unwrap() {
        batches.push(batch);
    }
    concat_batches(&source.schema(), &batches).unwrap()
}

#[test]
fn fewer_rows_are_the_beginning_of_more_rows() {
    let more = rows(&shape(70_000, ALL));
    let fewer = rows(&shape(2_500, ALL));
    assert_eq!(more.num_rows(), 70_000);
    assert_eq!(more.slice(0, 2_500), fewer);
}

#[test]
fn later_columns_and_null_shares_do_not_change_the_values() {
    let some = rows(&shape(100, "int64,utf8"));
    let more = rows(&shape(100, "int64,utf8,binary:3"));
    assert_eq!(some.columns(), &more.columns()[..3]);
    let full = rows(&RowShape {
        null_share: 0.0,
        ..shape(100, "int64")
    });
    let int64 = |batch: &RecordBatch| {
        use arrow::array::AsArray;
        batch["int64_0"]
            .as_primitive::<arrow::datatypes::Int64Type>()
            .values()
            .to_vec()
    };
    assert_eq!(int64(&full), int64(&some));
}

#[test]
fn another_seed_gives_other_rows() {
    let one = rows(&shape(100, "int64"));
    let other = rows(&RowShape {
        seed: 8,
        ..shape(100, "int64")
    });
    assert_ne!(one, other);
}

#[test]
fn the_share_of_nulls_is_as_asked_for() {
    let batch = rows(&shape(20_000, "int64"));
    let nulls = batch["int64_0"].null_count();
    assert!((4_600..5_400).contains(&nulls), "{nulls}");
    let none = rows(&RowShape {
        null_share: 0.0,
        ..shape(100, ALL)
    });
    assert!(none.columns().iter().all(|column| column.null_count() == 0));
    assert!(
        none.schema()
            .fields()
            .iter()
            .all(|field| !field.is_nullable())
    );
}

#[test]
fn columns_are_numbered_by_kind() {
    let source = Synthetic::new(&shape(1, "int64:2,utf8,int64")).unwrap();
    let schema = source.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["vector", "int64_0", "int64_1", "utf8_0", "int64_2"]);
}

#[test]
fn clustered_vectors_are_the_same_for_more_rows_and_every_float() {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, Float64Type};
    let of = |rows_wanted, vector_type| {
        let shape = RowShape {
            vector: Some((6, vector_type)),
            clusters: Some(4),
            null_share: 0.0,
            ..shape(rows_wanted, "int64")
        };
        rows(&shape)
    };
    let (more, fewer) = (of(3_000, VectorType::F32), of(1_500, VectorType::F32));
    assert_eq!(more.slice(0, 1_500), fewer);
    let single = fewer["vector"].as_fixed_size_list();
    let double = of(1_500, VectorType::F64);
    let double = double["vector"].as_fixed_size_list();
    let single = single.values().as_primitive::<Float32Type>().values();
    let double = double.values().as_primitive::<Float64Type>().values();
    assert!(single.iter().zip(double).all(|(s, d)| f64::from(*s) == *d));
    // Independent numbers end at 1.
    assert!(single.iter().any(|number| number.abs() > 1.0));
}

#[test]
fn senseless_shapes_are_refused() {
    let refused = |shape: RowShape| Synthetic::new(&shape).err().unwrap().to_string();
    let nothing = RowShape {
        vector: None,
        ..shape(1, "")
    };
    assert!(refused(nothing).contains("no column"));
    let share = RowShape {
        null_share: 1.5,
        ..shape(1, "")
    };
    assert!(refused(share).contains("1.5"));
    let flat = RowShape {
        vector: Some((0, VectorType::F32)),
        ..shape(1, "")
    };
    assert!(refused(flat).contains("dimensions"));
    let none = RowShape {
        clusters: Some(0),
        ..shape(1, "")
    };
    assert!(refused(none).contains("--clusters"));
    let bytes = RowShape {
        clusters: Some(2),
        vector: Some((3, VectorType::U8)),
        ..shape(1, "")
    };
    assert!(refused(bytes).contains("--vector-type"));
}
