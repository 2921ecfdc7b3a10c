//! Fuzzes indexes: any bytes, and any contents behind matching checksums.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ringtake_storage::checksum::xxh3;
use ringtake_storage::dataset::TableCheck;
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::index::{Index, IndexedColumn};
use ringtake_storage::verify::verify_index;

const MANIFEST: &[u8] = include_bytes!("../../../storage/tests/golden/index-v1/MANIFEST");

/// The bytes with a header that names the dataset, and a trailer with matching checksums.
fn sealed(bytes: &[u8], manifest: &Manifest) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    if sealed.len() < 64 + 32 {
        sealed.resize(64 + 32, 0);
    }
    sealed[..8].copy_from_slice(b"RTINDEX1");
    sealed[8..12].copy_from_slice(&1_u32.to_le_bytes());
    sealed[12..16].fill(0);
    sealed[16..32].copy_from_slice(&manifest.layout.dataset);
    sealed[32..40].copy_from_slice(&manifest.layout.generation.to_le_bytes());
    sealed[40..56].fill(0);
    let hash = xxh3(&sealed[..56]);
    sealed[56..64].copy_from_slice(&hash.to_le_bytes());
    let length = sealed.len();
    let trailer = length - 32;
    let room = (trailer - 64) as u64;
    let claimed = u64::from_le_bytes(
        sealed[trailer..trailer + 8]
            .try_into()
            .expect("eight bytes"),
    );
    let footer_bytes = claimed.min(room) as usize;
    sealed[trailer..trailer + 8].copy_from_slice(&(footer_bytes as u64).to_le_bytes());
    let footer = xxh3(&sealed[trailer - footer_bytes..trailer]);
    sealed[trailer + 8..trailer + 16].copy_from_slice(&footer.to_le_bytes());
    sealed[trailer + 16..trailer + 24].copy_from_slice(&(length as u64).to_le_bytes());
    let hash = xxh3(&sealed[trailer..trailer + 24]);
    sealed[trailer + 24..].copy_from_slice(&hash.to_le_bytes());
    sealed
}

fn look(bytes: &[u8], manifest: &Manifest) {
    let of = IndexedColumn {
        layout: &manifest.layout,
        schema: &manifest.schema,
        column: 1,
    };
    for check in [TableCheck::Verify, TableCheck::Skip] {
        let Ok(mut index) = Index::open(Path::new("i"), bytes, &of, check) else {
            continue;
        };
        for partition in 0..index.layout().partitions as usize {
            if let Ok(list) = index.list(bytes, partition) {
                assert!(
                    list.rows
                        .iter()
                        .all(|&row| u64::from(row) < manifest.layout.rows)
                );
                assert_eq!(
                    list.codes.len(),
                    list.rows.len() * index.layout().code_bytes()
                );
            }
        }
        index.centre();
    }
    let mut findings = Vec::new();
    verify_index(manifest, 1, bytes, &mut findings);
}

fuzz_target!(|bytes: &[u8]| {
    let manifest = Manifest::decode(Path::new("m"), MANIFEST).expect("the golden manifest");
    look(bytes, &manifest);
    look(&sealed(bytes, &manifest), &manifest);
});
