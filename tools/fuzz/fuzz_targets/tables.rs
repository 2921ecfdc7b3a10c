//! Fuzzes unchecked tables of offsets and validity: rows must lie within their files.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringtake_storage::dataset::{Dataset, Table, TableCheck};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::verify::{verify_places, verify_table};

const MANIFEST: &[u8] = include_bytes!("../../../storage/tests/golden/v1/blocks/MANIFEST");

fuzz_target!(|bytes: &[u8]| {
    let manifest = Manifest::decode(Path::new("m"), MANIFEST).expect("the golden manifest");
    let mut left = bytes;
    let mut findings = Vec::new();
    let mut tables = Vec::new();
    let dataset = Dataset::new(
        Path::new("d"),
        manifest.clone(),
        TableCheck::Skip,
        |_, entry| {
            let mut table = vec![0; entry.bytes as usize];
            let take = table.len().min(left.len());
            table[..take].copy_from_slice(&left[..take]);
            left = &left[take..];
            tables.push((entry.clone(), table.clone()));
            Ok(Table::new(Arc::new(table)))
        },
    );
    let dataset = dataset.expect("unchecked tables of the right length");
    for (entry, table) in &tables {
        verify_table(&manifest, entry, table, &mut findings);
    }
    let of = |kind, group: usize| {
        let found = tables
            .iter()
            .find(|(entry, _)| entry.kind == kind && entry.of as usize == group);
        found.map_or(&[][..], |(_, table)| &table[..])
    };
    for group in 0..dataset.layout().groups.len() {
        use ringtake_storage::layout::TableKind;
        let (starts, ends) = (of(TableKind::Starts, group), of(TableKind::Ends, group));
        verify_places(&manifest, group, starts, ends, &mut findings);
        let locator = dataset.locator(group);
        let file_bytes = dataset.layout().groups[group].file_bytes();
        for row in 0..dataset.rows() {
            if let Ok(extent) = locator.locate(row) {
                let end = extent.offset + u64::from(extent.bytes);
                // A row that stores nothing is not read.
                let within = end <= file_bytes[extent.dir as usize];
                assert!(extent.bytes == 0 || within, "a row lies past its file");
            }
            let _ = locator.value_bytes(row);
        }
        for block in 0..dataset
            .layout()
            .rows
            .div_ceil(u64::from(dataset.layout().block_rows))
        {
            let _ = locator.block_pages(block);
        }
    }
});
