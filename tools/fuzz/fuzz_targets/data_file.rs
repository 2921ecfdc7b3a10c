//! Fuzzes the verification of data files: headers and pages.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ringtake_storage::manifest::{DataFileHeader, Manifest};
use ringtake_storage::verify::{FileVerifier, GroupTables};

const MANIFEST: &[u8] = include_bytes!("../../../storage/tests/golden/v1/sums/MANIFEST");

fuzz_target!(|bytes: &[u8]| {
    let manifest = Manifest::decode(Path::new("m"), MANIFEST).expect("the golden manifest");
    let header = DataFileHeader::expected(&manifest.layout, 0, 0);
    let whole = header.check(bytes).is_ok();
    let cut = bytes.get(..4096).unwrap_or(bytes);
    assert!(!whole || header.encode()[..64] == cut[..64]);
    let mut findings = Vec::new();
    let sums = vec![0; manifest.layout.rows as usize * 4];
    let tables = GroupTables {
        sums: &sums,
        starts: &[],
        ends: &[],
    };
    let mut verifier = FileVerifier::new(&manifest, 0, 0, tables);
    for piece in bytes.chunks(1 + bytes.first().map_or(0, |&byte| usize::from(byte) * 7)) {
        verifier.feed(piece, &mut findings);
    }
    verifier.feed_unreadable(17, &mut findings);
    verifier.finish(&mut findings);
    assert!(
        !findings.is_empty(),
        "nothing is wrong with arbitrary bytes"
    );
});
