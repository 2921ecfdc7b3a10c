//! Each damaged bit of a dataset is found, and nothing is found in a sound one.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use ringtake_storage::layout::TableKind;
use ringtake_storage::manifest::Manifest;
use ringtake_storage::verify::{
    Damage, FileVerifier, Finding, GroupTables, verify_places, verify_table,
};
use ringtake_storage::write::WriteOptions;

use crate::columns::{Nulls, Seeded, list};
use crate::roundtrip::{batches_of, schema_of, write};

/// A table by its place in the manifest, and what to do to it.
type Change<'a> = (usize, &'a dyn Fn(&mut Vec<u8>));

struct Sample {
    path: PathBuf,
    _root: Option<tempfile::TempDir>,
    manifest: Manifest,
}

fn sample() -> (SchemaRef, Vec<RecordBatch>) {
    let schema = schema_of(&[
        DataType::Int32,
        DataType::Binary,
        list(DataType::UInt8, 600),
    ]);
    let nulls = [Nulls::Some(9), Nulls::Some(9), Nulls::Some(9)];
    let batches = batches_of(&schema, &[700, 135], &nulls, &mut Seeded(4));
    (schema, batches)
}

/// Everything that is found in the dataset at `path`.
pub(crate) fn findings_of(path: &Path) -> Vec<Finding> {
    let bytes = fs::read(path.join("MANIFEST")).unwrap();
    let manifest = Manifest::decode(path, &bytes).unwrap();
    let sample = Sample {
        path: path.to_owned(),
        manifest,
        _root: None,
    };
    let mut findings = sample.verify_tables(None);
    for (group, dir, path) in sample.data_files() {
        let bytes = fs::read(path).unwrap();
        findings.extend(sample.verify_file(group, dir, &bytes, 1 << 20));
    }
    findings
}

impl Sample {
    fn new(dirs: usize) -> Sample {
        let root = tempfile::tempdir().unwrap();
        let (schema, batches) = sample();
        let data_dirs: Vec<PathBuf> = (0..dirs)
            .map(|dir| root.path().join(format!("drive{dir}")))
            .collect();
        for dir in &data_dirs {
            fs::create_dir(dir).unwrap();
        }
        let path = root.path().join("dataset");
        let options = WriteOptions {
            block_rows: Some(256),
            data_dirs,
            ..WriteOptions::default()
        };
        write(&path, &schema, &batches, options);
        let bytes = fs::read(path.join("MANIFEST")).unwrap();
        let manifest = Manifest::decode(&path, &bytes).unwrap();
        Sample {
            path,
            _root: Some(root),
            manifest,
        }
    }

    fn dir(&self, dir: usize) -> PathBuf {
        self.path.join(&self.manifest.layout.dirs[dir])
    }

    fn table(&self, kind: TableKind, of: usize) -> Vec<u8> {
        let entry = |table: &&ringtake_storage::layout::TableEntry| {
            table.kind == kind && table.of as usize == of
        };
        match self.manifest.layout.tables.iter().find(entry) {
            Some(table) => fs::read(self.dir(0).join(table.file_name())).unwrap(),
            None => Vec::new(),
        }
    }

    /// Every data file: group, directory, path.
    fn data_files(&self) -> Vec<(usize, usize, PathBuf)> {
        let layout = &self.manifest.layout;
        let mut files = Vec::new();
        for (ordinal, group) in layout.groups.iter().enumerate() {
            for dir in 0..layout.dirs.len() {
                files.push((ordinal, dir, self.dir(dir).join(group.file_name(ordinal))));
            }
        }
        files
    }

    fn verify_file(
        &self,
        group: usize,
        dir: usize,
        bytes: &[u8],
        piece_bytes: usize,
    ) -> Vec<Finding> {
        let tables = [TableKind::Sums, TableKind::Starts, TableKind::Ends];
        let [sums, starts, ends] = tables.map(|kind| self.table(kind, group));
        let tables = GroupTables {
            sums: &sums,
            starts: &starts,
            ends: &ends,
        };
        let mut findings = Vec::new();
        let mut verifier = FileVerifier::new(&self.manifest, group, dir, tables);
        for piece in bytes.chunks(piece_bytes) {
            verifier.feed(piece, &mut findings);
        }
        verifier.finish(&mut findings);
        findings
    }

    fn verify_tables(&self, changed: Option<Change<'_>>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (place, entry) in self.manifest.layout.tables.iter().enumerate() {
            let mut table = fs::read(self.dir(0).join(entry.file_name())).unwrap();
            if let Some((changed, change)) = changed
                && changed == place
            {
                change(&mut table);
            }
            verify_table(&self.manifest, entry, &table, &mut findings);
        }
        findings
    }
}

#[test]
fn a_sound_dataset_has_no_findings_however_it_is_fed() {
    for dirs in [0, 1, 3] {
        let sample = Sample::new(dirs);
        for (group, dir, path) in sample.data_files() {
            let bytes = fs::read(path).unwrap();
            for piece_bytes in [1, 511, 4096, 10_000, 1 << 20] {
                let findings = sample.verify_file(group, dir, &bytes, piece_bytes);
                assert_eq!(findings, [], "group {group}, pieces of {piece_bytes}");
            }
        }
        assert_eq!(sample.verify_tables(None), []);
        for (group, kind) in sample.manifest.layout.groups.iter().enumerate() {
            let mut findings = Vec::new();
            if let ringtake_storage::layout::Group::Variable(_) = kind {
                let (starts, ends) = (
                    sample.table(TableKind::Starts, group),
                    sample.table(TableKind::Ends, group),
                );
                verify_places(&sample.manifest, group, &starts, &ends, &mut findings);
            }
            assert_eq!(findings, []);
        }
    }
}

#[test]
fn each_flipped_bit_is_one_finding_at_its_page() {
    let sample = Sample::new(2);
    for (group, dir, path) in sample.data_files() {
        let sound = fs::read(path).unwrap();
        let mut rows_found = 0;
        for at in (0..sound.len()).step_by(67.max((sound.len() / 400) | 1)) {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            let findings = sample.verify_file(group, dir, &bytes, 5000);
            let [finding] = &findings[..] else {
                panic!("byte {at} of group {group}: {findings:?}");
            };
            assert_eq!(
                (finding.group, finding.dir),
                (Some(group as u32), Some(dir))
            );
            // A value of many pages is named by its first.
            assert!(finding.page <= at as u64 / 4096 && finding.page + 3 > at as u64 / 4096);
            match &finding.what {
                Damage::Header(_) => assert!(at < 4096),
                Damage::Checksum => rows_found += 1,
                Damage::Padding => assert_eq!((finding.row, sound[at]), (None, 0)),
                other => panic!("{other:?}"),
            }
            assert_eq!(finding.row.is_some(), finding.what == Damage::Checksum);
        }
        assert!(rows_found > 10, "group {group}");
    }
}

#[test]
fn the_row_of_a_finding_is_the_row_that_was_damaged() {
    let sample = Sample::new(2);
    // Int32 with its checksum: records of 8 bytes, 64 to a unit of 512. Row 600 is the 88th of
    // block 2, which is the second block of directory 0.
    let (group, dir, path) = sample.data_files().swap_remove(0);
    let mut bytes = fs::read(path).unwrap();
    let at = 4096 + 4096 + 512 + (88 - 64) * 8;
    bytes[at] ^= 1;
    let findings = sample.verify_file(group, dir, &bytes, 1000);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].row, Some(600));
    assert_eq!(
        findings[0].to_string(),
        "g0.rows in data directory 0, page 2, column group 0, row 600: the checksum does not match"
    );
}

#[test]
fn swapped_pages_and_swapped_files_are_found() {
    let sample = Sample::new(2);
    let files = sample.data_files();
    let (group, dir, path) = &files[0];
    let sound = fs::read(path).unwrap();
    let mut swapped = sound.clone();
    swapped[4096..8192].copy_from_slice(&sound[8192..12288]);
    let rows = sample.verify_file(*group, *dir, &swapped, 4096).len();
    assert!(rows > 200, "each of a block's rows, not {rows}");
    let other = fs::read(&files[1].2).unwrap();
    let findings = sample.verify_file(*group, *dir, &other, 4096);
    assert!(matches!(findings[0].what, Damage::Header(_)));
}

#[test]
fn a_file_of_another_length_is_found() {
    let sample = Sample::new(0);
    for (group, dir, path) in sample.data_files() {
        let sound = fs::read(path).unwrap();
        for bytes in [0, 100, 4096, sound.len() - 1] {
            let findings = sample.verify_file(group, dir, &sound[..bytes], 1 << 20);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(matches!(findings[0].what, Damage::Length { .. }));
        }
        let longer = [&sound[..], &[0]].concat();
        let findings = sample.verify_file(group, dir, &longer, 1 << 20);
        assert!(matches!(findings[0].what, Damage::Length { .. }));
    }
}

#[test]
fn rows_of_an_unreadable_page_are_named_and_the_others_checked() {
    let sample = Sample::new(0);
    let (group, dir, path) = sample.data_files().swap_remove(0);
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 4096;
    bytes[last] ^= 1;
    let mut findings = Vec::new();
    let mut verifier = FileVerifier::new(&sample.manifest, group, dir, GroupTables::default());
    verifier.feed(&bytes[..4096], &mut findings);
    verifier.feed_unreadable(4096, &mut findings);
    verifier.feed(&bytes[8192..], &mut findings);
    verifier.finish(&mut findings);
    let unreadable: Vec<_> = findings
        .iter()
        .filter(|finding| finding.what == Damage::Unreadable)
        .filter_map(|finding| finding.row)
        .collect();
    assert_eq!(unreadable, (0..256).collect::<Vec<u64>>());
    assert_eq!(findings.last().unwrap().what, Damage::Checksum);
}

#[test]
fn each_changed_table_is_found() {
    let sample = Sample::new(0);
    for place in 0..sample.manifest.layout.tables.len() {
        let file = sample.manifest.layout.tables[place].file_name();
        let findings = sample.verify_tables(Some((place, &|table| table[3] ^= 4)));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (&findings[0].file, &findings[0].what),
            (&file, &Damage::TableHash)
        );
        let findings = sample.verify_tables(Some((place, &|table| {
            table.pop();
        })));
        assert_eq!(findings.len(), 1);
        assert!(
            matches!(findings[0].what, Damage::Length { .. }),
            "{findings:?}"
        );
    }
}

#[test]
fn bits_past_the_last_row_are_found() {
    let sample = Sample::new(0);
    let tables = &sample.manifest.layout.tables;
    let place = tables
        .iter()
        .position(|table| table.kind == TableKind::Valid)
        .unwrap();
    // 835 rows: the last byte has three bits.
    let findings = sample.verify_tables(Some((place, &|table| *table.last_mut().unwrap() |= 8)));
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[1].what, Damage::Padding);
}

#[test]
fn places_that_cannot_be_are_found_and_verified_without_panic() {
    let sample = Sample::new(2);
    let group = 2;
    let (starts, ends) = (
        sample.table(TableKind::Starts, group),
        sample.table(TableKind::Ends, group),
    );
    assert!(!ends.is_empty());
    let path = sample
        .dir(0)
        .join(sample.manifest.layout.groups[group].file_name(group));
    let bytes = fs::read(path).unwrap();
    let mut seeded = Seeded(11);
    for round in 0..400 {
        let (mut starts, mut ends) = (starts.clone(), ends.clone());
        let table = if round % 2 == 0 {
            &mut starts
        } else {
            &mut ends
        };
        let at = seeded.below(table.len() as u64) as usize;
        table[at] ^= 1 << seeded.below(8);
        let mut findings = Vec::new();
        verify_places(&sample.manifest, group, &starts, &ends, &mut findings);
        let tables = GroupTables {
            sums: &[],
            starts: &starts,
            ends: &ends,
        };
        let mut verifier = FileVerifier::new(&sample.manifest, group, 0, tables);
        verifier.feed(&bytes, &mut findings);
        verifier.finish(&mut findings);
        let mut other = FileVerifier::new(&sample.manifest, group, 1, tables);
        let path = sample
            .dir(1)
            .join(sample.manifest.layout.groups[group].file_name(group));
        other.feed(&fs::read(path).unwrap(), &mut findings);
        assert!(!findings.is_empty(), "round {round}, byte {at}");
    }
}

#[test]
fn blocks_that_overlap_or_begin_within_a_page_are_found() {
    let sample = Sample::new(0);
    let group = 2;
    let starts = sample.table(TableKind::Starts, group);
    let ends = sample.table(TableKind::Ends, group);
    let first = u64::from_le_bytes(starts[..8].try_into().unwrap());
    for wrong in [first, first - 4096, first + 1] {
        let mut starts = starts.clone();
        starts[8..16].copy_from_slice(&wrong.to_le_bytes());
        let mut findings = Vec::new();
        verify_places(&sample.manifest, group, &starts, &ends, &mut findings);
        let what = Damage::Place(format!("block 1 cannot begin at offset {wrong}"));
        assert_eq!(findings[0].what, what);
    }
}

#[test]
fn tables_of_any_length_are_verified_without_panic() {
    let sample = Sample::new(0);
    for (group, dir, path) in sample.data_files() {
        let bytes = fs::read(Path::new(&path)).unwrap();
        for table_bytes in [0, 1, 7, 8, 100] {
            let table = vec![0xFF; table_bytes];
            let tables = GroupTables {
                sums: &table,
                starts: &table,
                ends: &table,
            };
            let mut findings = Vec::new();
            let mut verifier = FileVerifier::new(&sample.manifest, group, dir, tables);
            verifier.feed(&bytes, &mut findings);
            verifier.finish(&mut findings);
            verify_places(&sample.manifest, group, &table, &table, &mut findings);
        }
    }
}
