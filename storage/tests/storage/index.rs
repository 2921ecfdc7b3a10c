//! The index of a column: what the writer puts on disk, read back by the letter of `FORMAT.md` and
//! by the crate; each damage refused, each stopped writer survived.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch};
use arrow::datatypes::Float32Type;
use ringtake_storage::dataset::{Dataset, Table, TableCheck};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::index::writer::IndexWriter;
use ringtake_storage::vector::index::{Index, IndexLayout, IndexedColumn, Section};
use ringtake_storage::vector::kmeans::Centroids;
use ringtake_storage::vector::quantiser::{ENTRIES, Quantiser};
use ringtake_storage::vector::rotation::Rotation;
use ringtake_storage::vector::{Element, Metric};
use ringtake_storage::verify::{Finding, verify_index};
use ringtake_storage::write::faulty::{Fault, FaultyFileSystem, Lost};
use ringtake_storage::write::file_system::{FileSystem, RealFileSystem};
use ringtake_storage::write::{Overwrite, WriteOptions, Writer};
use ringtake_storage::{Error, Result};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

const DIMS: usize = 8;
/// Partitions of every index here; the third is empty.
const PARTITIONS: usize = 4;
const ROWS: u32 = 40;

/// Rows with two columns of vectors; row 5 of each is null.
pub(crate) fn vectors() -> RecordBatch {
    let column = |scale: f32| -> ArrayRef {
        let vector = |row: u32| (0..DIMS).map(move |dim| Some(row as f32 * scale + dim as f32));
        let rows = (0..ROWS).map(|row| (row != 5).then(|| vector(row)));
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, DIMS as i32))
    };
    let columns = [("a", column(0.5), true), ("b", column(-1.0), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// What an index here is made of: numbers that say where they belong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    axes: Option<Vec<f32>>,
    centroids: Vec<f32>,
    ends: Vec<u32>,
    codebooks: Vec<f32>,
    errors: [f32; ENTRIES],
    /// Rows and codes of each partition.
    lists: Vec<(Vec<u32>, Vec<u8>)>,
    seed: u64,
}

impl Parts {
    /// `seed` chooses the pieces, and with them whether codes end in half a byte, and whether
    /// there are axes.
    pub(crate) fn new(seed: u64) -> Parts {
        let ends = [vec![2, 3, 8], vec![4, 8], vec![1, 2, 3, 4, 5, 6, 7, 8]];
        let ends = ends[seed as usize % 3].clone();
        // Two axes change places and one turns round.
        let axes = (0..DIMS * DIMS).map(|at| match (at / DIMS, at % DIMS) {
            (0, 1) | (1, 0) => 1.0,
            (2, 2) => -1.0,
            (axis, dim) if axis > 2 && axis == dim => 1.0,
            _ => 0.0,
        });
        let code_bytes = (ends.len() + 1).div_ceil(2);
        let odd = ends.len() % 2 == 0;
        let list = |partition: u32| {
            let rows = (0..ROWS).filter(|&row| {
                let home = [0, 1, 3][row as usize % 3];
                row != 5 && home == partition
            });
            let rows: Vec<u32> = rows.collect();
            let codes = rows.iter().flat_map(|&row| {
                (0..code_bytes).map(move |at| {
                    let last = odd && at + 1 == code_bytes;
                    (row as u8).wrapping_mul(7).wrapping_add(at as u8) & if last { 15 } else { 255 }
                })
            });
            let codes = codes.collect();
            (rows, codes)
        };
        Parts {
            axes: (seed % 2 == 1).then(|| axes.collect()),
            centroids: (0..PARTITIONS * DIMS).map(|at| at as f32 + 0.25).collect(),
            codebooks: (0..DIMS * ENTRIES)
                .map(|at| at as f32 / 16.0 - 4.0)
                .collect(),
            errors: std::array::from_fn(|entry| entry as f32 * 0.5),
            lists: (0..PARTITIONS as u32).map(list).collect(),
            ends,
            seed,
        }
    }

    fn rows_indexed(&self) -> u64 {
        self.lists.iter().map(|(rows, _)| rows.len() as u64).sum()
    }

    pub(crate) fn write(
        &self,
        file_system: Arc<dyn FileSystem>,
        dataset: &Dataset,
    ) -> Result<IndexLayout> {
        let layout = IndexLayout {
            column: 1,
            element: Element::F32,
            dims: DIMS as u32,
            metric: Metric::Cosine,
            rows: ROWS.into(),
            rows_indexed: 0,
            partitions: 0,
            codes: 0,
            seed: self.seed,
            rotation: Section::default(),
            centroids: Section::default(),
            ends: Section::default(),
            codebooks: Section::default(),
            errors: Section::default(),
            counts: Section::default(),
            lists: Section::default(),
        };
        let centroids = Centroids::new(DIMS, self.centroids.clone());
        let rotation = self.axes.clone().map(|axes| Rotation::new(DIMS, axes));
        let (ends, codebooks) = (self.ends.clone(), self.codebooks.clone());
        let quantiser = Quantiser::new(DIMS, rotation, ends, codebooks, self.errors);
        let mut writer = IndexWriter::create(file_system, dataset, layout, &centroids, &quantiser)?;
        for (rows, codes) in &self.lists {
            writer.push_list(rows, codes)?;
        }
        writer.commit()
    }

    /// Says that `index` is made of these.
    pub(crate) fn assert_are(&self, index: &Index, file: &[u8]) {
        let quantiser = index.quantiser();
        assert_eq!(index.centroids().values(), self.centroids);
        assert_eq!(
            quantiser.rotation().map(Rotation::axes),
            self.axes.as_deref()
        );
        assert_eq!(quantiser.ends(), self.ends);
        assert_eq!(quantiser.codebooks(), self.codebooks);
        assert_eq!(quantiser.errors(), &self.errors);
        for (partition, (rows, codes)) in self.lists.iter().enumerate() {
            let list = index.list(file, partition).unwrap();
            assert_eq!((list.rows, list.codes), (&rows[..], &codes[..]));
            assert_eq!(index.list_rows(partition) as usize, rows.len());
        }
        let layout = index.layout();
        assert_eq!(
            (layout.rows, layout.rows_indexed),
            (ROWS.into(), self.rows_indexed())
        );
        assert_eq!((layout.column, layout.dims), (1, DIMS as u32));
        assert_eq!(
            (layout.element, layout.metric),
            (Element::F32, Metric::Cosine)
        );
        assert_eq!(
            (layout.partitions, layout.codes as usize),
            (4, self.ends.len() + 1)
        );
        assert_eq!(layout.seed, self.seed);
    }
}

/// A file system that works and does not wait for the drive.
fn quick() -> Arc<FaultyFileSystem> {
    Arc::new(FaultyFileSystem::sound())
}

fn write_rows(path: &Path, overwrite: Overwrite) {
    let options = WriteOptions {
        overwrite,
        ..WriteOptions::default()
    };
    let mut writer = Writer::create_in(quick(), path, &vectors().schema(), options).unwrap();
    writer.write(&vectors()).unwrap();
    writer.finish().unwrap();
}

/// The dataset at `path`.
pub(crate) fn open_dataset(path: &Path) -> Dataset {
    let load = |path: &Path, _: &_| Ok(Table::new(Arc::new(fs::read(path).unwrap())));
    Dataset::new(path, manifest(path), TableCheck::Verify, load).unwrap()
}

fn manifest(path: &Path) -> Manifest {
    Manifest::decode(path, &fs::read(path.join("MANIFEST")).unwrap()).unwrap()
}

/// A dataset in a directory of its own.
struct Place {
    _root: tempfile::TempDir,
    dataset: Dataset,
    manifest: Manifest,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("dataset");
        write_rows(&path, Overwrite::Refuse);
        Place {
            dataset: open_dataset(&path),
            manifest: manifest(&path),
            _root: root,
        }
    }

    /// The same with an index of these parts, and its bytes.
    fn indexed(parts: &Parts) -> (Place, Vec<u8>) {
        let place = Place::new();
        parts.write(quick(), &place.dataset).unwrap();
        let bytes = fs::read(place.index()).unwrap();
        (place, bytes)
    }

    fn index(&self) -> PathBuf {
        self.dataset.path().join("c1.index")
    }

    fn open(&self, bytes: &[u8], check: TableCheck) -> Result<Index> {
        let of = IndexedColumn::of(&self.dataset, 1);
        Index::open(Path::new("c1.index"), bytes, &of, check)
    }

    fn findings(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut findings = Vec::new();
        verify_index(&self.manifest, 1, bytes, &mut findings);
        findings
    }

    /// Says that these bytes are no index, and that a finding has all `needles`.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], needles: &[&str]) {
        let error = self
            .open(bytes, TableCheck::Verify)
            .unwrap_err()
            .to_string();
        let findings = self.findings(bytes);
        let found = findings.iter().any(|finding| {
            let finding = finding.to_string();
            needles.iter().all(|needle| finding.contains(needle))
        });
        assert!(found, "{needles:?} in {findings:?}");
        for needle in needles {
            assert!(error.contains(needle), "{needle} in {error}");
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dataset.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn xxh3(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn footer_at(bytes: &[u8]) -> usize {
    bytes.len() - 32 - u64_at(bytes, bytes.len() - 32) as usize
}

fn footer(bytes: &[u8]) -> Value {
    serde_json::from_slice(&bytes[footer_at(bytes)..bytes.len() - 32]).unwrap()
}

/// The file with another footer, and whatever follows from it.
fn with_footer(bytes: &[u8], footer: &Value) -> Vec<u8> {
    let footer = serde_json::to_vec(footer).unwrap();
    let mut file = bytes[..footer_at(bytes)].to_vec();
    file.extend(&footer);
    let file_bytes = file.len() as u64 + 32;
    let mut trailer = [footer.len() as u64, xxh3(&footer), file_bytes]
        .map(u64::to_le_bytes)
        .concat();
    trailer.extend(xxh3(&trailer).to_le_bytes());
    file.extend(trailer);
    file
}

/// The file with `change` made to section `name`, and its checksum to match.
fn with_section(bytes: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut footer = footer(bytes);
    let section = &mut footer[name];
    let range = section["offset"].as_u64().unwrap() as usize;
    let range = range..range + section["bytes"].as_u64().unwrap() as usize;
    change(&mut file[range.clone()]);
    section["xxh3"] = xxh3(&file[range]).into();
    with_footer(&file, &footer)
}

/// The file with `change` made to its header, and its hash to match.
fn with_header(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut file = bytes.to_vec();
    change(&mut file[..56]);
    let hash = xxh3(&file[..56]);
    file[56..64].copy_from_slice(&hash.to_le_bytes());
    file
}

fn all_parts() -> impl Iterator<Item = Parts> {
    (0..6).map(Parts::new)
}

/// Reads an index by the letter of `FORMAT.md`, without the crate.
pub(crate) fn read_naively(bytes: &[u8], dataset: &Dataset) -> Parts {
    let mut used = vec![false; bytes.len()];
    assert_eq!(&bytes[..8], b"RTINDEX1");
    assert_eq!((u32_at(bytes, 8), u32_at(bytes, 12)), (1, 0));
    assert_eq!(bytes[16..32], dataset.layout().dataset);
    assert_eq!(u64_at(bytes, 32), dataset.layout().generation);
    assert_eq!(bytes[40..56], [0; 16]);
    assert_eq!(u64_at(bytes, 56), xxh3(&bytes[..56]));
    used[..64].fill(true);
    let trailer = &bytes[bytes.len() - 32..];
    assert_eq!(u64_at(trailer, 16), bytes.len() as u64);
    assert_eq!(u64_at(trailer, 24), xxh3(&trailer[..24]));
    let from = footer_at(bytes);
    assert_eq!(u64_at(trailer, 8), xxh3(&bytes[from..bytes.len() - 32]));
    used[from..].fill(true);
    let footer = footer(bytes);
    let mut section = |name: &str| {
        let section = &footer[name];
        let [offset, length, hash] =
            ["offset", "bytes", "xxh3"].map(|key| section[key].as_u64().unwrap());
        if length == 0 {
            assert_eq!((offset, hash), (0, 0));
            return Vec::new();
        }
        assert_eq!(offset % 64, 0);
        let range = offset as usize..(offset + length) as usize;
        assert!(!used[range.clone()].contains(&true), "{name} overlaps");
        used[range.clone()].fill(true);
        assert_eq!(xxh3(&bytes[range.clone()]), hash, "{name}");
        bytes[range].to_vec()
    };
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        bytes
            .chunks(4)
            .map(|four| f32::from_bits(u32_at(four, 0)))
            .collect()
    };
    let u32s =
        |bytes: Vec<u8>| -> Vec<u32> { bytes.chunks(4).map(|four| u32_at(four, 0)).collect() };
    let axes = floats(section("rotation"));
    let centroids = floats(section("centroids"));
    let ends = u32s(section("ends"));
    let codebooks = floats(section("codebooks"));
    let errors = floats(section("errors"));
    let counts = u32s(section("counts"));
    let lists = section("lists");
    assert!(
        used.iter()
            .zip(bytes)
            .all(|(&used, &byte)| used || byte == 0)
    );
    let codes = footer["codes"].as_u64().unwrap() as usize;
    let c = codes.div_ceil(2);
    let mut at = 0;
    let list = |&rows: &u32| {
        let rows = rows as usize;
        let ids: Vec<u32> = lists[at..at + 4 * rows]
            .chunks(4)
            .map(|id| u32_at(id, 0))
            .collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        at += 4 * rows;
        let of_rows = lists[at..at + c * rows].to_vec();
        assert!(codes.is_multiple_of(2) || of_rows.chunks(c).all(|code| code[c - 1] < 16));
        at += c * rows;
        let end = at.next_multiple_of(8);
        assert!(lists[at..end].iter().all(|&byte| byte == 0));
        at = end;
        (ids, of_rows)
    };
    let of_partitions: Vec<_> = counts.iter().map(list).collect();
    assert_eq!(at, lists.len());
    let parts = Parts {
        axes: (!axes.is_empty()).then_some(axes),
        centroids,
        ends,
        codebooks,
        errors: errors.try_into().unwrap(),
        lists: of_partitions,
        seed: footer["seed"].as_u64().unwrap(),
    };
    for (key, value) in [
        ("column", json!(1)),
        ("element", json!("f32")),
        ("dims", DIMS.into()),
        ("metric", json!("cosine")),
        ("rows", ROWS.into()),
        ("rows_indexed", parts.rows_indexed().into()),
        ("partitions", PARTITIONS.into()),
        ("codes", (parts.ends.len() + 1).into()),
    ] {
        assert_eq!(footer[key], value, "{key}");
    }
    assert_eq!(
        footer.as_object().unwrap().len(),
        16,
        "no key but those of FORMAT.md"
    );
    parts
}

#[test]
fn what_is_written_is_what_is_read() {
    for parts in all_parts() {
        let (place, bytes) = Place::indexed(&parts);
        assert_eq!(read_naively(&bytes, &place.dataset), parts);
        for check in [TableCheck::Verify, TableCheck::Skip] {
            let index = place.open(&bytes, check).unwrap();
            parts.assert_are(&index, &bytes);
            assert_eq!(index.file_bytes(), bytes.len() as u64);
        }
        assert_eq!(place.findings(&bytes), []);
        let names = place.names();
        assert!(
            !names.iter().any(|name| name.ends_with(".new")),
            "{names:?}"
        );
    }
}

#[test]
fn an_index_replaces_the_one_before() {
    let (place, before) = Place::indexed(&Parts::new(0));
    let names = place.names();
    let old = place.open(&before, TableCheck::Verify).unwrap();
    Parts::new(1).write(quick(), &place.dataset).unwrap();
    assert_eq!(place.names(), names);
    let now = fs::read(place.index()).unwrap();
    Parts::new(1).assert_are(&place.open(&now, TableCheck::Verify).unwrap(), &now);
    Parts::new(0).assert_are(&old, &before);
}

#[test]
fn a_dataset_that_is_being_written_gets_no_index_meanwhile() {
    let place = Place::new();
    let lock = RealFileSystem
        .lock(&place.dataset.path().join("LOCK"))
        .unwrap();
    let refused = Parts::new(0).write(quick(), &place.dataset);
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    drop(lock);
    Parts::new(0).write(quick(), &place.dataset).unwrap();
}

#[test]
fn each_flipped_bit_is_found_and_none_is_believed() {
    for parts in [Parts::new(0), Parts::new(1)] {
        let (place, whole) = Place::indexed(&parts);
        let mut padding = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_ne!(place.findings(&bytes), [], "byte {at}");
            // Between the sections there is nothing to believe.
            match place.open(&bytes, TableCheck::Verify) {
                Ok(index) => {
                    parts.assert_are(&index, &bytes);
                    padding += 1;
                }
                Err(error) => assert!(error.to_string().contains("c1.index"), "{error}"),
            }
            // Whatever is believed without checksums, nothing panics.
            if let Ok(index) = place.open(&bytes, TableCheck::Skip) {
                for partition in 0..index.layout().partitions as usize {
                    let _ = index.list(&bytes, partition);
                }
            }
        }
        assert!((1..64 * 8).contains(&padding), "{padding} bytes of padding");
    }
}

#[test]
fn a_file_cut_short_or_too_long_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let cuts = (0..whole.len()).step_by(64).chain([1, 95, whole.len() - 1]);
    for bytes in cuts {
        place.refuses(&whole[..bytes], &["it does not"]);
        place.open(&whole[..bytes], TableCheck::Skip).unwrap_err();
    }
    for more in [1, 64] {
        let mut longer = whole.clone();
        longer.resize(whole.len() + more, 0);
        place.refuses(&longer, &["it does not end"]);
    }
}

#[test]
fn each_field_of_the_header_is_checked_behind_its_hash() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    let foreign = "another version of this one";
    for (range, needle) in [
        (0..8, "begin as an index does"),
        (12..16, "header"),
        (16..32, foreign),
        (32..40, foreign),
        (40..56, "header"),
    ] {
        for at in range {
            place.refuses(&with_header(&whole, |header| header[at] ^= 1), &[needle]);
        }
    }
    place.refuses(&with_header(&whole, |header| header[8] = 0), &["header"]);
    for version in [2_u32, 9, u32::MAX] {
        let newer = with_header(&whole, |header| {
            header[8..12].copy_from_slice(&version.to_le_bytes());
        });
        place.refuses(&newer, &[&format!("version {version}"), "upgrade"]);
    }
    // The hash alone.
    for at in 56..64 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        place.refuses(&bytes, &["header"]);
    }
}

#[test]
fn each_field_of_the_trailer_is_checked_behind_its_hash() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    for (field, lies) in [
        (
            0,
            vec![0, 1, 1 << 20, (1 << 20) + 1, whole.len() as u64, u64::MAX],
        ),
        (8, vec![0, 1, u64::MAX]),
        (
            16,
            vec![0, whole.len() as u64 - 1, whole.len() as u64 + 1, u64::MAX],
        ),
    ] {
        for lie in lies {
            let mut bytes = whole.clone();
            let trailer = whole.len() - 32;
            bytes[trailer + field..][..8].copy_from_slice(&lie.to_le_bytes());
            let hash = xxh3(&bytes[trailer..trailer + 24]);
            bytes[trailer + 24..].copy_from_slice(&hash.to_le_bytes());
            place.refuses(&bytes, &["c1.index"]);
        }
    }
}

/// The sections: their keys in the footer and what errors call them.
const SECTIONS: [(&str, &str); 7] = [
    ("rotation", "axes"),
    ("centroids", "centroids"),
    ("ends", "ends"),
    ("codebooks", "codebooks"),
    ("errors", "errors"),
    ("counts", "counts"),
    ("lists", "lists"),
];

/// A change of the footer and a word of the refusal.
type Lie = (&'static str, Value, &'static str);

#[test]
fn a_footer_that_contradicts_dataset_or_file_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let sound = footer(&whole);
    assert_eq!(with_footer(&whole, &sound).len(), whole.len());
    place
        .open(&with_footer(&whole, &sound), TableCheck::Verify)
        .unwrap();
    let lies: [Lie; 23] = [
        ("column", json!(0), "it is of column 0"),
        ("column", json!(7), "it is of column 7"),
        ("column", json!(-1), "footer"),
        ("element", json!("f16"), "not those of the column"),
        ("element", json!("f64"), "footer"),
        ("dims", json!(7), "not those of the column"),
        ("dims", json!(0), "not those of the column"),
        (
            "dims",
            json!(u64::from(u32::MAX)),
            "not those of the column",
        ),
        ("metric", json!("hamming"), "footer"),
        ("rows", json!(41), "it counts 41 rows"),
        ("rows", json!(u64::MAX), "it counts"),
        ("rows", json!(38), "it counts 38 rows"),
        ("rows_indexed", json!(38), "39 rows instead of 38"),
        ("rows_indexed", json!(40), "39 rows instead of 40"),
        ("rows_indexed", json!(41), "it counts 40 rows"),
        ("partitions", json!(0), "it has 0 partitions"),
        ("partitions", json!(3), "its centroids take"),
        ("partitions", json!(5), "its centroids take"),
        ("partitions", json!((1 << 20) + 1), "partitions"),
        ("codes", json!(1), "it has 1 codes"),
        ("codes", json!(4), "its ends take"),
        ("codes", json!(10), "it has 10 codes"),
        ("seed", json!("none"), "footer"),
    ];
    for (key, lie, needle) in lies {
        let mut lying = sound.clone();
        lying[key] = lie;
        place.refuses(&with_footer(&whole, &lying), &[needle]);
    }
    for (key, _) in sound.as_object().unwrap() {
        let mut without = sound.clone();
        without.as_object_mut().unwrap().remove(key);
        place.refuses(&with_footer(&whole, &without), &["footer", key]);
    }
    let mut more = sound.clone();
    more["colour"] = json!("red");
    place.refuses(&with_footer(&whole, &more), &["footer", "colour"]);
}

#[test]
fn sections_that_are_elsewhere_or_of_another_length_are_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let sound = footer(&whole);
    for (key, called) in SECTIONS {
        let offset = sound[key]["offset"].as_u64().unwrap();
        let bytes = sound[key]["bytes"].as_u64().unwrap();
        let elsewhere = [
            offset + 4,
            offset + 8,
            whole.len() as u64,
            u64::MAX - 63,
            u64::MAX,
        ];
        for lie in elsewhere {
            let mut lying = sound.clone();
            lying[key]["offset"] = lie.into();
            place.refuses(&with_footer(&whole, &lying), &[called]);
            let _ = place.open(&with_footer(&whole, &lying), TableCheck::Skip);
        }
        for lie in [1, bytes - 4, bytes + 4, bytes + 64, u64::MAX - 3] {
            let mut lying = sound.clone();
            lying[key]["bytes"] = lie.into();
            let lying = with_footer(&whole, &lying);
            let refused = place
                .open(&lying, TableCheck::Verify)
                .unwrap_err()
                .to_string();
            assert!(refused.contains(called), "{refused}");
            assert_ne!(place.findings(&lying), []);
            let _ = place.open(&lying, TableCheck::Skip);
        }
        let mut lying = sound.clone();
        lying[key]["xxh3"] = (sound[key]["xxh3"].as_u64().unwrap() ^ 1).into();
        place.refuses(&with_footer(&whole, &lying), &[called, "checksum"]);
        let of_another = sound["errors"].clone();
        if key != "errors" {
            let mut lying = sound.clone();
            lying[key] = of_another;
            place
                .open(&with_footer(&whole, &lying), TableCheck::Verify)
                .unwrap_err();
        }
    }
}

#[test]
fn a_section_that_begins_at_no_multiple_of_64_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    for (key, _) in SECTIONS {
        let mut footer = footer(&whole);
        let from = footer[key]["offset"].as_u64().unwrap() as usize;
        let bytes = footer[key]["bytes"].as_u64().unwrap() as usize;
        // The same bytes once more, behind all others.
        for (short, sound) in [(0, true), (8, false)] {
            let mut file = whole[..footer_at(&whole)].to_vec();
            file.resize(file.len().next_multiple_of(64) + short, 0);
            footer[key]["offset"] = file.len().into();
            file.extend_from_slice(&whole[from..from + bytes]);
            // What `with_footer` takes for the old footer and trailer.
            let end = file.len();
            file.resize(end + 32, 0);
            let moved = with_footer(&file, &footer);
            match sound {
                true => drop(place.open(&moved, TableCheck::Verify).unwrap()),
                false => place.refuses(&moved, &["where its footer says"]),
            }
        }
    }
}

#[test]
fn numbers_that_cannot_be_are_refused_behind_their_checksums() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    for section in ["rotation", "centroids", "codebooks", "errors"] {
        for lie in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let lying = with_section(&whole, section, |bytes| {
                bytes[8..12].copy_from_slice(&lie.to_le_bytes());
            });
            place.refuses(&lying, &["no numbers"]);
        }
    }
    for lie in [0_u32, 4, 9, u32::MAX] {
        let lying = with_section(&whole, "ends", |bytes| {
            bytes[4..8].copy_from_slice(&lie.to_le_bytes());
        });
        place.refuses(&lying, &["pieces are impossible"]);
    }
    let fuller = |lie: u32| {
        with_section(&whole, "counts", |bytes| {
            bytes[..4].copy_from_slice(&lie.to_le_bytes())
        })
    };
    place.refuses(&fuller(u32::MAX), &["rows instead of 39"]);
    // As many rows in other partitions.
    let swapped = with_section(&whole, "counts", |bytes| bytes.rotate_left(4));
    let believed = place.open(&swapped, TableCheck::Verify);
    let lists = believed.and_then(|index| {
        (0..PARTITIONS).try_for_each(|partition| index.list(&swapped, partition).map(|_| ()))
    });
    lists.unwrap_err();
    assert_ne!(place.findings(&swapped), []);
}

/// What verifying finds in the lists with `change` made to them.
fn in_lists(change: impl Fn(&mut [u8])) -> Vec<String> {
    // Two pieces and the error: three codes, so that two half bytes are not used.
    let (place, whole) = Place::indexed(&Parts::new(4));
    let lying = with_section(&whole, "lists", change);
    let findings = place.findings(&lying);
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn rows_twice_past_the_end_or_out_of_order_are_found() {
    assert_eq!(in_lists(|_| ()), [""; 0]);
    let put = |place: usize, row: u32| {
        in_lists(move |lists| lists[place * 4..][..4].copy_from_slice(&row.to_le_bytes()))
    };
    // The first list is 0, 3, 6, ..., 39.
    for (place, row) in [(13, 40), (13, u32::MAX), (1, 0), (1, 6), (1, 7)] {
        let findings = put(place, row);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].contains("rows of partition 0 are impossible"),
            "{findings:?}"
        );
    }
    // Row 4 is in the second list.
    let findings = put(1, 4);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].contains("row 4: it is in partition 1 and in one before"),
        "{findings:?}"
    );
    // Row 5, which is null, takes the place of row 3: each is there once.
    assert_eq!(put(1, 5), [""; 0]);
}

#[test]
fn bits_behind_codes_and_lists_are_zero() {
    // 14 rows of 4 + 2 bytes take 84, and 4 more are zeros.
    for at in [84, 87] {
        let findings = in_lists(|lists| lists[at] = 1);
        assert!(
            findings.len() == 1 && findings[0].contains("not zero"),
            "{findings:?}"
        );
    }
    let findings = in_lists(|lists| lists[4 * 14 + 1] |= 0x40);
    assert!(
        findings.len() == 1 && findings[0].contains("not zero"),
        "{findings:?}"
    );
}

#[test]
fn axes_that_are_no_rotation_are_found() {
    let (place, whole) = Place::indexed(&Parts::new(1));
    let skew = with_section(&whole, "rotation", |bytes| {
        bytes[..4].copy_from_slice(&0.5_f32.to_le_bytes());
    });
    let findings = place.findings(&skew);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].to_string().contains("right angles"),
        "{findings:?}"
    );
}

#[test]
fn an_index_of_another_column_or_without_one_is_refused() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    for column in [0, 2] {
        let of = IndexedColumn::of(&place.dataset, column);
        let refused = Index::open(Path::new("x"), &whole, &of, TableCheck::Verify);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("it is of column 1"), "{message}");
    }
}

#[test]
fn rows_that_have_been_replaced_get_no_index() {
    let (place, _) = Place::indexed(&Parts::new(0));
    let path = place.dataset.path();
    write_rows(path, Overwrite::Replace);
    let now = open_dataset(path);
    Parts::new(1).write(quick(), &now).unwrap();
    let (index, names) = (fs::read(place.index()).unwrap(), place.names());
    let refused = Parts::new(0).write(quick(), &place.dataset);
    assert!(
        matches!(refused, Err(Error::Replaced { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(place.index()).unwrap(), index);
    assert_eq!(place.names(), names);
}

#[test]
fn an_index_goes_with_the_version_of_the_dataset_that_it_is_of() {
    let (place, whole) = Place::indexed(&Parts::new(0));
    let path = place.dataset.path().to_owned();
    fs::write(path.join("c0.index.new"), b"not whole").unwrap();
    write_rows(&path, Overwrite::Replace);
    let names = place.names();
    assert!(
        !names.iter().any(|name| name.contains("index")),
        "{names:?}"
    );
    let now = open_dataset(&path);
    let of = IndexedColumn::of(&now, 1);
    let refused = Index::open(Path::new("x"), &whole, &of, TableCheck::Verify);
    assert!(
        matches!(refused, Err(Error::ForeignIndex { .. })),
        "{refused:?}"
    );
}

fn operations(replaces: bool) -> u64 {
    let place = Place::new();
    if replaces {
        Parts::new(0).write(quick(), &place.dataset).unwrap();
    }
    let file_system = FaultyFileSystem::sound();
    let parts = Parts::new(1);
    parts
        .write(Arc::new(file_system.clone()), &place.dataset)
        .unwrap();
    let operations = file_system.operations();
    assert!(
        operations > 15,
        "{operations} operations are too few to be all of them"
    );
    operations
}

/// Stops the writing of an index at each operation, lets `after` do its damage, and looks. Gives
/// how often the new index was not there and how often it was.
fn stopped_at_each_operation(
    replaces: bool,
    fault: Fault,
    after: impl Fn(u64, &Result<IndexLayout>, &FaultyFileSystem, &Place),
) -> [u32; 2] {
    let (old, new) = (Parts::new(0), Parts::new(1));
    let mut outcomes = [0, 0];
    for operation in 0..operations(replaces) {
        let place = Place::new();
        if replaces {
            old.write(quick(), &place.dataset).unwrap();
        }
        let file_system = FaultyFileSystem::failing_at(operation, fault);
        let result = new.write(Arc::new(file_system.clone()), &place.dataset);
        after(operation, &result, &file_system, &place);
        let is_new = match fs::read(place.index()) {
            Err(_) => {
                assert!(!replaces, "operation {operation}: the old index is gone");
                false
            }
            Ok(bytes) => {
                assert_eq!(place.findings(&bytes), [], "operation {operation}");
                let index = place.open(&bytes, TableCheck::Verify).unwrap();
                let is_new = index.layout().seed == new.seed;
                let parts = if is_new { &new } else { &old };
                parts.assert_are(&index, &bytes);
                is_new
            }
        };
        let told = is_new || result.is_err();
        assert!(told, "operation {operation}: success was reported");
        outcomes[usize::from(is_new)] += 1;
        // The next build finds a way and cleans up.
        new.write(quick(), &place.dataset)
            .unwrap_or_else(|error| panic!("after operation {operation}: {error}"));
        let names = place.names();
        assert!(
            !names.iter().any(|name| name.ends_with(".new")),
            "{names:?}"
        );
    }
    outcomes
}

#[test]
fn a_build_killed_at_any_operation_leaves_the_old_index_or_the_new() {
    for replaces in [false, true] {
        let [without, with] = stopped_at_each_operation(replaces, Fault::Crash, |_, _, _, _| ());
        assert!(without > 10 && with > 0, "{without} {with}");
    }
}

#[test]
fn a_power_loss_during_a_build_loses_no_index() {
    for lost in [Lost::Bytes, Lost::BytesAndNames] {
        for replaces in [false, true] {
            stopped_at_each_operation(replaces, Fault::Crash, |_, _, file_system, place| {
                file_system
                    .lose_unsynced(lost, place.dataset.path())
                    .unwrap();
            });
        }
    }
}

#[test]
fn a_power_loss_after_a_build_loses_nothing() {
    for lost in [Lost::Bytes, Lost::BytesAndNames] {
        let (place, _) = Place::indexed(&Parts::new(0));
        let file_system = FaultyFileSystem::sound();
        let parts = Parts::new(1);
        parts
            .write(Arc::new(file_system.clone()), &place.dataset)
            .unwrap();
        file_system
            .lose_unsynced(lost, place.dataset.path())
            .unwrap();
        let bytes = fs::read(place.index()).unwrap();
        parts.assert_are(&place.open(&bytes, TableCheck::Verify).unwrap(), &bytes);
    }
}

#[test]
fn an_error_at_any_operation_of_a_build_is_reported_and_leaves_nothing_behind() {
    for fault in [Fault::InputOutput, Fault::DiskFull] {
        for replaces in [false, true] {
            stopped_at_each_operation(replaces, fault, |operation, result, _, place| {
                let names = place.names();
                let new = names.iter().any(|name| name.ends_with(".new"));
                assert!(!new, "operation {operation}: {names:?}");
                if let Err(error) = result {
                    let reason = match fault {
                        Fault::DiskFull => "free some space",
                        _ => "Input/output error",
                    };
                    assert!(
                        error.to_string().contains(reason),
                        "operation {operation}: {error}"
                    );
                }
            });
        }
    }
}
