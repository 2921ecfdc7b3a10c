//! The corruption matrix: every field of every header changed, every file cut at every page or put
//! in another's place. Each is reported with the file that is wrong, and no row comes back wrong.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use ringtake_runtime::{Config, CpuChoice, Error, IndexOptions, Store};
use ringtake_storage::checksum::xxh3;

use crate::damage::{copy_all, files_below};
use crate::dataset::{self, COLUMNS, Shape};

const ROWS: u64 = 700;
const PAGE: u64 = 4096;

/// A dataset with its index, and what its rows and searches are.
struct Whole {
    _dir: tempfile::TempDir,
    path: PathBuf,
    rows: RecordBatch,
    found: RecordBatch,
}

fn config() -> Config {
    Config {
        shards: Some(1),
        cpus: CpuChoice::Unpinned,
        queue_depth: 16,
        result_memory_bytes: 0,
        ..Config::default()
    }
}

fn search(store: &Store) -> Result<RecordBatch, Error> {
    let dims = store.indexes().first().map_or(1, |index| index.dims);
    let query = vec![3.0; dims];
    let search = store.search(&query).k(5).nprobes(usize::MAX);
    search.refine_factor(200).wait()
}

impl Whole {
    fn new(rows: u64) -> Whole {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dataset");
        dataset::write(&path, &Shape::of(rows));
        let store = Store::open(&path, config()).unwrap();
        let options = IndexOptions {
            partitions: Some(4),
            iterations: 2,
            ..IndexOptions::default()
        };
        let go_on = &mut |_| std::ops::ControlFlow::Continue(());
        store.build_index("vector", &options, go_on).unwrap();
        let store = Store::open(&path, config()).unwrap();
        let ids: Vec<u64> = (0..rows).collect();
        Whole {
            _dir: dir,
            path,
            rows: dataset::expected(&ids, &COLUMNS),
            found: search(&store).unwrap(),
        }
    }

    /// Reads the dataset at `path`, a copy in which `file` was changed. Returns whether an error or
    /// a warning names the file. No row may come back wrong.
    fn is_reported(&self, path: &Path, file: &Path, what: &str) -> bool {
        let name = file.file_name().unwrap().to_str().unwrap();
        let names_it = |text: &str| {
            assert!(!text.contains('\n'), "{what}: {text}");
            text.contains(name) || text.contains("not a Ringtake dataset")
        };
        let store = match Store::open(path, config()) {
            Ok(store) => store,
            Err(error) => {
                let text = error.to_string();
                assert!(names_it(&text), "{what}: {text}");
                return true;
            }
        };
        let mut reported = store.info().warnings.iter().any(|text| names_it(text));
        let ids: Vec<u64> = (0..store.row_count()).collect();
        match store.take(&ids, &store.all_columns()).wait() {
            Ok(taken) => assert!(taken == self.rows, "{what}: wrong rows"),
            Err(error) => {
                assert!(names_it(&error.to_string()), "{what}: {error}");
                reported = true;
            }
        }
        match search(&store) {
            Ok(found) => assert!(found == self.found, "{what}: wrong neighbours"),
            Err(error) => {
                assert!(names_it(&error.to_string()), "{what}: {error}");
                reported = true;
            }
        }
        reported
    }
}

/// A field of a header: where it is and how many bytes it has.
type Field = (usize, usize);

/// The values that a number may be changed into.
fn changed(bytes: &[u8], (at, length): Field, neighbour: Field) -> Vec<Vec<u8>> {
    let field = &bytes[at..at + length];
    let mut plus = field.to_vec();
    plus[0] = plus[0].wrapping_add(1);
    let mut minus = field.to_vec();
    minus[0] = minus[0].wrapping_sub(1);
    let mut beside = vec![0; length];
    let from = &bytes[neighbour.0..neighbour.0 + neighbour.1];
    let common = length.min(from.len());
    beside[..common].copy_from_slice(&from[..common]);
    let all = [vec![0; length], vec![0xff; length], plus, minus, beside];
    all.into_iter().filter(|value| value != field).collect()
}

/// Fields of the headers that all files but tables begin with, as far as there are any, up to the
/// header's own checksum at 56; of data files also what follows it.
fn fields(name: &str) -> Vec<Field> {
    let is_data = name.ends_with(".rows") || name.ends_with(".values");
    if !(is_data || name == "MANIFEST" || name.ends_with(".index")) {
        return Vec::new();
    }
    let mut fields = vec![(0, 8), (8, 4), (12, 4)];
    fields.extend((16..64).step_by(8).map(|at| (at, 8)));
    fields.extend(is_data.then_some((64, 8)));
    fields
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The files that say something, relative to the dataset.
fn files_of(path: &Path) -> Vec<PathBuf> {
    let files = files_below(path).into_iter();
    let relative = files.map(|file| file.strip_prefix(path).unwrap().to_owned());
    relative.filter(|file| name_of(file) != "LOCK").collect()
}

#[test]
fn every_corruption_is_told_with_its_file_and_no_row_comes_back_wrong() {
    let whole = Whole::new(ROWS);
    let other = Whole::new(ROWS);
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("dataset");
    copy_all(&whole.path, &copy);
    let files = files_of(&whole.path);
    assert!(files.len() > 8, "{files:?}");
    let (mut made, mut reported) = (0, 0);
    let mut missed = Vec::new();
    let mut try_with = |file: &Path, bytes: &[u8], what: String| {
        let path = copy.join(file);
        fs::write(&path, bytes).unwrap();
        made += 1;
        match whole.is_reported(&copy, file, &what) {
            true => reported += 1,
            false => missed.push(what),
        }
        fs::copy(whole.path.join(file), &path).unwrap();
    };
    for file in &files {
        let bytes = fs::read(whole.path.join(file)).unwrap();
        let shown = file.display();
        let fields = fields(&name_of(file));
        for (place, &field) in fields.iter().enumerate() {
            let neighbour = fields[(place + 1) % fields.len()];
            for value in changed(&bytes, field, neighbour) {
                let mut changed = bytes.clone();
                changed[field.0..field.0 + field.1].copy_from_slice(&value);
                try_with(file, &changed, format!("{shown} at {}: {value:?}", field.0));
                // And behind a checksum that fits.
                if field.0 < 56 {
                    let hash = xxh3(&changed[..56]);
                    changed[56..64].copy_from_slice(&hash.to_le_bytes());
                    let what = format!("{shown} at {}, sealed: {value:?}", field.0);
                    try_with(file, &changed, what);
                }
            }
        }
        let pages = (bytes.len() as u64).div_ceil(PAGE);
        for page in 0..pages {
            let cut = &bytes[..(page * PAGE) as usize];
            try_with(file, cut, format!("{shown} cut before page {page}"));
        }
        for (what, length) in [
            ("one byte less", bytes.len() - 1),
            ("one byte more", bytes.len() + 1),
        ] {
            let mut resized = bytes.clone();
            resized.resize(length, 0);
            // Data files may be longer than they need to be.
            let is_data = matches!(
                file.extension().and_then(|extension| extension.to_str()),
                Some("rows" | "values")
            );
            if !(is_data && length > bytes.len()) {
                try_with(file, &resized, format!("{shown}: {what}"));
            }
        }
        // The file of the same name of a dataset of the same shape, and the others of this one.
        let same = files_of(&other.path);
        let twin = same.iter().find(|twin| name_of(twin) == name_of(file));
        let twin = fs::read(other.path.join(twin.unwrap())).unwrap();
        if twin != bytes && name_of(file) != "MANIFEST" {
            try_with(file, &twin, format!("{shown} of another dataset"));
        }
        for brother in files.iter().filter(|brother| *brother != file) {
            let theirs = fs::read(whole.path.join(brother)).unwrap();
            if theirs != bytes {
                try_with(file, &theirs, format!("{shown} is {}", brother.display()));
            }
        }
    }
    println!("corruptions made {made}, reported {reported}");
    assert!(missed.is_empty(), "{} missed: {missed:#?}", missed.len());
    assert!(made > 400, "{made}");
}
