//! The arithmetic against a naive model, and layouts that must be refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::Error;
use crate::column::ColumnShape;

fn fixed_size_binaries(widths: &[u32]) -> Schema {
    let field = |(column, &width): (usize, &u32)| {
        let data_type = DataType::FixedSizeBinary(width as i32);
        Field::new(format!("c{column}"), data_type, true)
    };
    Schema::new(widths.iter().enumerate().map(field).collect::<Vec<_>>())
}

fn options(policy: LayoutPolicy) -> GroupOptions {
    GroupOptions {
        policy,
        ..GroupOptions::default()
    }
}

fn group_of_width(width_bytes: u32, policy: LayoutPolicy) -> FixedGroup {
    let groups = choose_groups(&fixed_size_binaries(&[width_bytes]), &options(policy)).unwrap();
    match &groups[..] {
        [Group::Fixed(group)] => group.clone(),
        other => panic!("{other:?}"),
    }
}

fn policies() -> impl Strategy<Value = LayoutPolicy> {
    proptest::sample::select(vec![
        LayoutPolicy::Auto,
        LayoutPolicy::Page,
        LayoutPolicy::Packed,
    ])
}

/// A complete layout for `rows` rows of these groups over `dirs` directories, all of whose
/// tables are there.
fn complete(
    schema: &Schema,
    mut groups: Vec<Group>,
    rows: u64,
    block_rows: u32,
    dirs: usize,
) -> Layout {
    let mut tables = Vec::new();
    let mut table = |kind, of: usize| {
        tables.push(TableEntry {
            kind,
            of: of as u32,
            bytes: 0,
            xxh3: 0x0123_4567_89AB_CDEF,
        });
    };
    for (ordinal, group) in groups.iter_mut().enumerate() {
        match group {
            Group::Fixed(group) if group.checksum == ChecksumPlace::Table => {
                table(TableKind::Sums, ordinal);
            }
            Group::Fixed(_) => {}
            Group::Variable(group) => {
                group.file_bytes = vec![2 * PAGE_BYTES; dirs];
                table(TableKind::Starts, ordinal);
                table(TableKind::Ends, ordinal);
            }
        }
    }
    for (column, field) in schema.fields().iter().enumerate() {
        table(TableKind::Valid, column);
        if let DataType::FixedSizeList(..) = field.data_type() {
            table(TableKind::Items, column);
        }
    }
    let mut layout = Layout {
        dataset: *b"0123456789abcdef",
        generation: 0x00AB_CDEF_0123_4567,
        rows,
        block_rows,
        dirs: (0..dirs).map(|dir| format!("dir{dir}")).collect(),
        groups,
        tables,
    };
    let shapes: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| ColumnShape::of(field).unwrap())
        .collect();
    for place in 0..layout.tables.len() {
        let (kind, of) = (layout.tables[place].kind, layout.tables[place].of);
        layout.tables[place].bytes = layout.table_bytes(&shapes, kind, of).unwrap();
    }
    for ordinal in 0..layout.groups.len() {
        if let Group::Fixed(group) = &layout.groups[ordinal] {
            let lengths = (0..dirs)
                .map(|dir| layout.fixed_file_bytes(group, dir))
                .collect();
            *layout.groups[ordinal].file_bytes_mut() = lengths;
        }
    }
    layout
}

fn sample() -> (Schema, Layout) {
    let list = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 200);
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", list, true),
    ]);
    let groups = choose_groups(&schema, &GroupOptions::default()).unwrap();
    let layout = complete(&schema, groups, 1000, 256, 2);
    layout.validate(&schema).unwrap();
    (schema, layout)
}

/// Where each record of a file begins, found by walking: `(row, offset)` and the file's length.
fn walk(
    group: &FixedGroup,
    rows: u64,
    block_rows: u32,
    dirs: usize,
) -> Vec<(Vec<(u64, u64)>, u64)> {
    let mut files = vec![(Vec::new(), PAGE_BYTES); dirs];
    // Where the next block of each directory begins.
    let mut blocks = vec![PAGE_BYTES; dirs];
    let mut row = 0;
    while row < rows {
        let dir = (row / u64::from(block_rows)) as usize % dirs;
        let mut unit = blocks[dir];
        let mut in_unit = 0;
        for _ in 0..block_rows {
            if in_unit == group.rows_per_unit {
                unit += u64::from(group.unit_bytes);
                in_unit = 0;
            }
            if row < rows {
                let at = unit + u64::from(in_unit * group.record_bytes);
                files[dir].0.push((row, at));
                let end = at + u64::from(group.record_bytes);
                files[dir].1 = end.div_ceil(PAGE_BYTES) * PAGE_BYTES;
                row += 1;
            }
            in_unit += 1;
        }
        blocks[dir] = (unit + u64::from(group.unit_bytes)).div_ceil(PAGE_BYTES) * PAGE_BYTES;
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_are_where_a_walk_over_the_file_finds_them(
        widths in proptest::collection::vec(prop_oneof![1_u32..40, 1_u32..600, 4000_u32..9000], 1..6),
        together in any::<bool>(),
        policy in policies(),
        rows in 0_u64..3000,
        block_rows in proptest::sample::select(vec![256_u32, 512, 1024]),
        dirs in 1_usize..4,
    ) {
        let schema = fixed_size_binaries(&widths);
        let mut options = options(policy);
        if together {
            options.groups = vec![schema.fields().iter().map(|field| field.name().clone()).collect()];
        }
        let groups = choose_groups(&schema, &options).unwrap();
        let layout = complete(&schema, groups, rows, block_rows, dirs);
        prop_assert_eq!(layout.validate(&schema), Ok(()));
        for group in &layout.groups {
            let Group::Fixed(group) = group else { continue };
            for (dir, (records, file_bytes)) in walk(group, rows, block_rows, dirs).into_iter().enumerate() {
                prop_assert_eq!(layout.fixed_file_bytes(group, dir), file_bytes);
                let mut free_from = PAGE_BYTES;
                for (row, at) in records {
                    let (block, row_in_block) = (row / u64::from(block_rows), row % u64::from(block_rows));
                    prop_assert_eq!(block as usize % dirs, dir);
                    let start = PAGE_BYTES + block / dirs as u64 * group.block_bytes(block_rows);
                    prop_assert_eq!(start % PAGE_BYTES, 0);
                    prop_assert_eq!(start + group.offset_in_block(row_in_block as u32), at);
                    prop_assert!(at >= free_from, "row {} overlaps the one before", row);
                    free_from = at + u64::from(group.record_bytes);
                    prop_assert!(free_from <= file_bytes);
                }
            }
        }
    }

    #[test]
    fn an_aligned_read_of_any_row_has_room_in_what_is_said_to_be_enough(
        width_bytes in prop_oneof![1_u32..600, 1_u32..20_000, Just(3072), Just(4096)],
        policy in policies(),
        align_bytes in proptest::sample::select(vec![512_u32, 4096, 16_384]),
        rows in proptest::collection::vec((0_u64..50, 0_u32..1024), 1..200),
    ) {
        let group = group_of_width(width_bytes, policy);
        let align = u64::from(align_bytes);
        let span = |(block, row): (u64, u32)| {
            let at = PAGE_BYTES + block * group.block_bytes(1024) + group.offset_in_block(row);
            let end = at + u64::from(group.record_bytes);
            end.next_multiple_of(align) - at / align * align
        };
        let most = rows.into_iter().map(span).max().unwrap_or(0);
        prop_assert!(most <= u64::from(group.read_bytes_max(align_bytes)), "{most}");
    }

    #[test]
    fn no_row_crosses_a_page_or_sector_that_it_need_not(
        width_bytes in 1_u32..20_000,
        row_in_block in 0_u32..65_536,
    ) {
        let group = group_of_width(width_bytes, LayoutPolicy::Page);
        let first = group.offset_in_block(row_in_block);
        let last = first + u64::from(group.record_bytes) - 1;
        let pages = last / PAGE_BYTES - first / PAGE_BYTES + 1;
        prop_assert_eq!(pages, u64::from(group.record_bytes).div_ceil(PAGE_BYTES));
        if group.unit_bytes == 512 {
            prop_assert_eq!(first / 512, last / 512);
        }
        prop_assert!(group.rows_per_unit * group.record_bytes <= group.unit_bytes);
    }
}

#[test]
fn a_packed_record_is_its_own_unit() {
    let group = group_of_width(96, LayoutPolicy::Packed);
    assert_eq!((group.unit_bytes, group.rows_per_unit), (100, 1));
    assert_eq!(group.offset_in_block(41), 4100);
}

#[test]
fn auto_keeps_rows_within_pages_only_where_that_wastes_little() {
    for (width_bytes, policy) in [
        (8, LayoutPolicy::Page),
        (3072, LayoutPolicy::Page),
        (4096, LayoutPolicy::Page),
        // A third of the page would be lost, and then some.
        (2600, LayoutPolicy::Packed),
        // A second page for one byte.
        (4097, LayoutPolicy::Packed),
        (8000, LayoutPolicy::Page),
    ] {
        let group = group_of_width(width_bytes, LayoutPolicy::Auto);
        assert_eq!(group.policy, policy, "{width_bytes}");
    }
}

#[test]
fn a_checksum_is_in_the_record_up_to_a_sector() {
    let place = |width_bytes| group_of_width(width_bytes, LayoutPolicy::Auto).checksum;
    assert_eq!(place(508), ChecksumPlace::Inline);
    assert_eq!(place(509), ChecksumPlace::Table);
}

#[test]
fn wide_columns_and_columns_of_variable_width_stand_alone() {
    let schema = Schema::new(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("wide", DataType::FixedSizeBinary(512), true),
        Field::new("a", DataType::Int8, true),
        Field::new("b", DataType::Int64, true),
        Field::new("c", DataType::Int16, true),
    ]);
    let columns = |options: &GroupOptions| -> Vec<Vec<u32>> {
        let groups = choose_groups(&schema, options).unwrap();
        groups
            .iter()
            .map(|group| group.columns().to_vec())
            .collect()
    };
    let mut options = GroupOptions::default();
    assert_eq!(columns(&options), [vec![2, 3, 4], vec![1], vec![0]]);
    options.groups = vec![vec!["c".to_owned(), "wide".to_owned()]];
    assert_eq!(columns(&options), [vec![4, 1], vec![2, 3], vec![0]]);
    let refused = |groups: &[&[&str]]| {
        let groups = groups
            .iter()
            .map(|names| names.iter().map(|&name| name.to_owned()).collect())
            .collect();
        let options = GroupOptions {
            groups,
            ..GroupOptions::default()
        };
        choose_groups(&schema, &options).unwrap_err()
    };
    assert!(matches!(
        refused(&[&["a", "text"]]),
        Error::VariableColumnInGroup { .. }
    ));
    assert!(matches!(
        refused(&[&["a"], &["a"]]),
        Error::DuplicateColumn { .. }
    ));
    assert!(matches!(refused(&[&["z"]]), Error::UnknownColumn { .. }));
}

/// A change of a sound layout, with a name for messages.
type Change = (&'static str, fn(&mut Layout));

fn fixed(layout: &mut Layout) -> &mut FixedGroup {
    match &mut layout.groups[0] {
        Group::Fixed(group) => group,
        Group::Variable(_) => panic!("group 0 is fixed"),
    }
}

const CHANGES: &[Change] = &[
    ("one row more", |layout| layout.rows += 1),
    ("a row less", |layout| layout.rows -= 1),
    ("more rows than there can be", |layout| {
        layout.rows = u64::MAX
    }),
    ("blocks of no power of two", |layout| {
        layout.block_rows = 300
    }),
    ("blocks too small", |layout| layout.block_rows = 128),
    ("blocks too large", |layout| layout.block_rows = 1 << 17),
    ("no blocks", |layout| layout.block_rows = 0),
    ("other blocks", |layout| layout.block_rows = 512),
    ("a directory more", |layout| {
        layout.dirs.push("more".to_owned())
    }),
    ("a directory less", |layout| drop(layout.dirs.pop())),
    ("no directories", |layout| layout.dirs.clear()),
    ("a group less", |layout| drop(layout.groups.pop())),
    ("a group twice", |layout| {
        layout.groups.push(layout.groups[0].clone())
    }),
    ("another column", |layout| fixed(layout).columns = vec![1]),
    ("a column of another group", |layout| {
        fixed(layout).columns.push(2)
    }),
    ("a column that is not there", |layout| {
        fixed(layout).columns = vec![3]
    }),
    ("no columns", |layout| fixed(layout).columns.clear()),
    ("a policy that decides nothing", |layout| {
        fixed(layout).policy = LayoutPolicy::Auto
    }),
    ("a wider record", |layout| fixed(layout).record_bytes += 1),
    ("no record", |layout| fixed(layout).record_bytes = 0),
    ("a wider unit", |layout| fixed(layout).unit_bytes = 2048),
    ("a narrower unit", |layout| fixed(layout).unit_bytes = 256),
    ("no unit", |layout| fixed(layout).unit_bytes = 0),
    ("a huge unit", |layout| fixed(layout).unit_bytes = u32::MAX),
    ("no rows in a unit", |layout| {
        fixed(layout).rows_per_unit = 0
    }),
    ("too many rows in a unit", |layout| {
        fixed(layout).rows_per_unit = 65
    }),
    ("rows without end in a unit", |layout| {
        fixed(layout).rows_per_unit = u32::MAX
    }),
    ("fewer rows in a unit", |layout| {
        fixed(layout).rows_per_unit = 31
    }),
    ("another place of the checksum", |layout| {
        fixed(layout).checksum = ChecksumPlace::Table
    }),
    ("a longer file", |layout| {
        fixed(layout).file_bytes[1] += PAGE_BYTES
    }),
    ("a shorter file", |layout| {
        fixed(layout).file_bytes[1] -= PAGE_BYTES
    }),
    ("a file of half a page", |layout| {
        fixed(layout).file_bytes[0] -= 1
    }),
    ("a file less", |layout| fixed(layout).file_bytes.truncate(1)),
    ("values of no pages", |layout| {
        layout.groups[2].file_bytes_mut()[0] = 0
    }),
    ("values of half a page", |layout| {
        layout.groups[2].file_bytes_mut()[0] -= 1
    }),
    ("a table twice", |layout| {
        layout.tables.push(layout.tables[0].clone())
    }),
];

#[test]
fn each_single_change_of_a_layout_is_refused() {
    let (schema, sound) = sample();
    for (what, change) in CHANGES {
        let mut changed = sound.clone();
        change(&mut changed);
        assert_ne!(changed, sound);
        assert!(changed.validate(&schema).is_err(), "{what} was accepted");
    }
}

#[test]
fn each_change_of_a_table_is_refused() {
    let (schema, sound) = sample();
    for place in 0..sound.tables.len() {
        let kind = sound.tables[place].kind;
        let mut changed = sound.clone();
        changed.tables[place].bytes += 1;
        assert!(changed.validate(&schema).is_err(), "a longer {kind:?}");
        changed.tables[place].bytes -= 1;
        changed.tables[place].of = 77;
        assert!(changed.validate(&schema).is_err(), "{kind:?} of nothing");
        changed.tables.remove(place);
        let optional = matches!(kind, TableKind::Valid | TableKind::Items);
        assert_eq!(
            changed.validate(&schema).is_ok(),
            optional,
            "without {kind:?}"
        );
    }
}

#[test]
fn sizes_that_would_overflow_are_refused() {
    let item = Arc::new(Field::new("item", DataType::UInt8, true));
    let list = DataType::FixedSizeList(item, 16 << 20);
    let schema = Schema::new(vec![Field::new("a", list, true)]);
    let groups = choose_groups(&schema, &GroupOptions::default()).unwrap();
    let mut layout = complete(&schema, groups, 10, 256, 1);
    layout.validate(&schema).unwrap();
    for rows in [ROWS_MAX, ROWS_MAX - 1, 1 << 39] {
        layout.rows = rows;
        layout.validate(&schema).unwrap_err();
    }
}

#[test]
fn the_json_of_version_1_is_what_it_was() {
    let (_, layout) = sample();
    let json = serde_json::to_string(&layout).unwrap();
    let expected = concat!(
        r#"{"dataset":"30313233343536373839616263646566","generation":"00abcdef01234567","#,
        r#""rows":1000,"block_rows":256,"dirs":["dir0","dir1"],"groups":["#,
        r#"{"kind":"fixed","columns":[0],"policy":"page","record_bytes":8,"unit_bytes":512,"#,
        r#""rows_per_unit":64,"checksum":"inline","file_bytes":[12288,12288]},"#,
        r#"{"kind":"fixed","columns":[2],"policy":"page","record_bytes":800,"unit_bytes":4096,"#,
        r#""rows_per_unit":5,"checksum":"table","file_bytes":[430080,409600]},"#,
        r#"{"kind":"variable","column":1,"file_bytes":[8192,8192]}],"tables":["#,
        r#"{"kind":"sums","of":1,"bytes":4000,"xxh3":"0123456789abcdef"},"#,
        r#"{"kind":"starts","of":2,"bytes":32,"xxh3":"0123456789abcdef"},"#,
        r#"{"kind":"ends","of":2,"bytes":4000,"xxh3":"0123456789abcdef"},"#,
        r#"{"kind":"valid","of":0,"bytes":125,"xxh3":"0123456789abcdef"},"#,
        r#"{"kind":"valid","of":1,"bytes":125,"xxh3":"0123456789abcdef"},"#,
        r#"{"kind":"valid","of":2,"bytes":125,"xxh3":"0123456789abcdef"},"#,
        r#"{"kind":"items","of":2,"bytes":25000,"xxh3":"0123456789abcdef"}]}"#,
    );
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Layout>(expected).unwrap(), layout);
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    let (_, layout) = sample();
    let sound = serde_json::to_string(&layout).unwrap();
    for place in [
        r#""rows":"#,
        r#""record_bytes":"#,
        r#""column":"#,
        r#""xxh3":"#,
    ] {
        let changed = sound.replacen(place, &format!(r#""surprise":1,{place}"#), 1);
        assert_ne!(changed, sound);
        assert!(
            serde_json::from_str::<Layout>(&changed).is_err(),
            "beside {place}"
        );
    }
    for wrong in ["+0abcdef01234567", "abcdef01234567", "0x", ""] {
        let changed = sound.replace("00abcdef01234567", wrong);
        assert!(serde_json::from_str::<Layout>(&changed).is_err(), "{wrong}");
    }
}

#[test]
fn blocks_are_at_least_sixteen_pages_of_the_narrowest_group() {
    for (width_bytes, block_rows) in [(1, 16_384), (4, 8192), (3072, 256), (100, 1024)] {
        let groups = [Group::Fixed(group_of_width(
            width_bytes,
            LayoutPolicy::Auto,
        ))];
        assert_eq!(choose_block_rows(&groups), block_rows, "{width_bytes}");
    }
}

#[test]
fn a_row_that_fits_its_page_or_sectors_needs_no_room_beyond_it() {
    let page = group_of_width(3072, LayoutPolicy::Page);
    assert_eq!(page.read_bytes_max(4096), 4096);
    assert_eq!(page.read_bytes_max(512), 3072);
    assert_eq!(
        group_of_width(3072, LayoutPolicy::Packed).read_bytes_max(4096),
        8192
    );
}
