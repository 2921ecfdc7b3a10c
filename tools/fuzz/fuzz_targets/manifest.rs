//! Fuzzes manifests: any bytes, and any layout and schema behind matching checksums.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringtake_storage::checksum::xxh3;
use ringtake_storage::dataset::{Dataset, Table, TableCheck};
use ringtake_storage::manifest::Manifest;

/// The bytes behind a header with their checksums and lengths. The layout is the body up to the
/// mark.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.get(64..).unwrap_or_default();
    let layout = body
        .windows(2)
        .position(|pair| pair == b"}\n" || pair == b"}\xff")
        .map_or(body.len(), |at| at + 1);
    let mut sealed = vec![0; 64];
    sealed[..8].copy_from_slice(b"RINGTAKE");
    sealed[8..12].copy_from_slice(&1_u32.to_le_bytes());
    sealed[16..24].copy_from_slice(&(layout as u64).to_le_bytes());
    sealed[24..32].copy_from_slice(&((body.len() - layout) as u64).to_le_bytes());
    sealed[32..40].copy_from_slice(&xxh3(body).to_le_bytes());
    let hash = xxh3(&sealed[..56]);
    sealed[56..].copy_from_slice(&hash.to_le_bytes());
    sealed.extend_from_slice(body);
    sealed
}

fn believed(manifest: Manifest) {
    let encoded = manifest.encode().expect("what was decoded can be encoded");
    let again = Manifest::decode(Path::new("m"), &encoded).expect("and decoded again");
    assert_eq!(manifest, again);
    // Tables of zeros, where they are of a size to make.
    let opened = Dataset::new(Path::new("d"), manifest, TableCheck::Skip, |_, entry| {
        let bytes = usize::try_from(entry.bytes)
            .ok()
            .filter(|bytes| *bytes < 1 << 20);
        match bytes {
            Some(bytes) => Ok(Table::new(Arc::new(vec![0; bytes]))),
            None => Err(ringtake_storage::Error::NoColumns),
        }
    });
    let Ok(dataset) = opened else {
        return;
    };
    let rows = dataset.rows();
    let some = (0..rows.min(64)).chain(rows.saturating_sub(64)..rows);
    for group in 0..dataset.layout().groups.len() {
        let locator = dataset.locator(group);
        let bytes = dataset.layout().groups[group].file_bytes();
        for row in some.clone() {
            if let Ok(extent) = locator.locate(row) {
                let end = extent.offset + u64::from(extent.bytes);
                // A row that stores nothing is not read.
                let within = end <= bytes[extent.dir as usize];
                assert!(extent.bytes == 0 || within, "a row lies past its file");
            }
            let _ = locator.value_bytes(row);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::decode(Path::new("m"), bytes).map(believed);
    let _ = Manifest::decode(Path::new("m"), &sealed(bytes)).map(believed);
});
