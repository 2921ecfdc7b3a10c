//! `ringtake verify`: checks every checksum and all padding of a dataset and its indexes, and
//! reports all findings.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use ringtake_storage::Error;
use ringtake_storage::dataset::dir_path;
use ringtake_storage::file::open_regular;
use ringtake_storage::layout::{PAGE_BYTES, TableKind};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::index::indexed_column;
use ringtake_storage::verify::{
    Damage, FileVerifier, Finding, GroupTables, verify_index, verify_places, verify_table,
};
use rustix::fs::{Advice, fadvise};
use serde::Serialize;

use crate::failure::Failure;
use crate::grid::counted;
use crate::interrupt;
use crate::notice::note;
use crate::output::Output;
use crate::progress::{Progress, Visibility};

/// Check every checksum of a dataset and its indexes and report all damage
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Directory of the dataset
    dataset: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Print no progress bar and no summary
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringtake verify embeddings.ringtake
  ringtake verify embeddings.ringtake --json | jq .findings

Exit status: 1 if anything is damaged, 0 if every byte is as written.";

/// Bytes read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Result of a verification. Its JSON form is for scripts, so keys are only ever added.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    rows: u64,
    files: u64,
    bytes: u64,
    findings: Vec<ReportedFinding>,
}

/// One finding, with the whole path of its file.
#[derive(Debug, Serialize)]
struct ReportedFinding {
    file: PathBuf,
    page: u64,
    group: Option<u32>,
    row: Option<u64>,
    what: String,
}

impl std::fmt::Display for ReportedFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (page {}", self.file.display(), self.page)?;
        if let Some(group) = self.group {
            write!(f, ", column group {group}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        write!(f, "): {}", self.what)
    }
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        interrupt::listen();
        let manifest = Manifest::read(&self.dataset)?;
        let layout = &manifest.layout;
        let files = layout.groups.iter().flat_map(|group| group.file_bytes());
        let tables = layout.tables.iter().map(|table| &table.bytes);
        let indexes = indexes(&self.dataset)?;
        let bytes_of = |index: &(usize, PathBuf)| index.1.metadata().map_or(0, |file| file.len());
        let index_bytes: u64 = indexes.iter().map(bytes_of).sum();
        let bytes = files.chain(tables).sum::<u64>() + index_bytes;
        let mut examination = Examination {
            path: &self.dataset,
            manifest: &manifest,
            findings: Vec::new(),
            files: 0,
            bytes: 0,
            progress: Progress::start_bytes(bytes, Visibility::quiet(self.quiet))?,
        };
        examination.all()?;
        for (column, path) in indexes {
            examination.index(column, &path)?;
        }
        let report = examination.report();
        let (output, mut writer) = Output::standard();
        let written = if self.json {
            serde_json::to_string_pretty(&report)
                .map_err(io::Error::from)
                .and_then(|text| writeln!(writer, "{text}"))
        } else {
            report
                .findings
                .iter()
                .try_for_each(|finding| writeln!(writer, "{finding}"))
        };
        output.close(written.and_then(|()| writer.flush()))?;
        if !self.quiet {
            let found = match report.findings.len() {
                0 => "everything is as written".to_owned(),
                count => counted(count as u64, "finding", "findings"),
            };
            let files = counted(report.files, "file", "files");
            note(&format!("{files}, {}: {found}", HumanBytes(report.bytes)));
        }
        if report.findings.is_empty() {
            Ok(())
        } else {
            Err(Failure::Reported)
        }
    }
}

/// A running verification.
struct Examination<'a> {
    path: &'a Path,
    manifest: &'a Manifest,
    findings: Vec<Finding>,
    files: u64,
    bytes: u64,
    progress: Progress,
}

/// Result of reading a file. A file that cannot be read is a finding, and does not end the
/// verification.
enum FileRead<T> {
    There(T),
    Not(NotRead),
}

/// Reason why a file was not read.
enum NotRead {
    Missing,
    Because(io::Error),
}

impl<T> FileRead<T> {
    fn there(self) -> Option<T> {
        match self {
            FileRead::There(found) => Some(found),
            FileRead::Not(_) => None,
        }
    }
}

impl Examination<'_> {
    /// Checks every table, and every data file against its tables.
    fn all(&mut self) -> Result<(), Failure> {
        let layout = &self.manifest.layout;
        for entry in &layout.tables {
            // The tables of groups are read again below, one group at a time, to bound memory.
            match self.table(entry.kind, entry.of)? {
                FileRead::There(table) => {
                    self.files += 1;
                    self.count(table.len());
                    verify_table(self.manifest, entry, &table, &mut self.findings);
                }
                FileRead::Not(why) => self.not_read(entry.file_name(), Some(0), None, why),
            }
        }
        for group in 0..layout.groups.len() {
            let of = group as u32;
            let table = |kind| -> Result<Vec<u8>, Failure> {
                let named = layout
                    .tables
                    .iter()
                    .any(|entry| entry.kind == kind && entry.of == of);
                if !named {
                    return Ok(Vec::new());
                }
                // Its damage was reported above.
                Ok(self.table(kind, of)?.there().unwrap_or_default())
            };
            let sums = table(TableKind::Sums)?;
            let starts = table(TableKind::Starts)?;
            let ends = table(TableKind::Ends)?;
            verify_places(self.manifest, group, &starts, &ends, &mut self.findings);
            let tables = GroupTables {
                sums: &sums,
                starts: &starts,
                ends: &ends,
            };
            for dir in 0..layout.dirs.len() {
                self.data_file(group, dir, tables)?;
            }
        }
        Ok(())
    }

    fn data_file(
        &mut self,
        group: usize,
        dir: usize,
        tables: GroupTables<'_>,
    ) -> Result<(), Failure> {
        let layout = &self.manifest.layout;
        let name = layout.groups[group].file_name(group);
        let path = dir_path(self.path, layout, dir).join(&name);
        let file = match self.open(&path)? {
            FileRead::There(file) => file,
            FileRead::Not(why) => {
                self.not_read(name, Some(dir), Some(group as u32), why);
                return Ok(());
            }
        };
        self.files += 1;
        let mut verifier = FileVerifier::new(self.manifest, group, dir, tables);
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        loop {
            if let Some(number) = interrupt::pending() {
                return Err(Failure::Interrupted(number));
            }
            let read = read_piece(&file, &mut piece, offset);
            match read {
                Piece::Bytes(0) => break,
                Piece::Bytes(count) => {
                    verifier.feed(&piece[..count], &mut self.findings);
                    offset += count as u64;
                    self.count(count);
                }
                Piece::Unreadable => {
                    verifier.feed_unreadable(PAGE_BYTES, &mut self.findings);
                    offset += PAGE_BYTES;
                    self.count(PAGE_BYTES as usize);
                }
            }
            // A file that is far too long has been reported; the rest of it has no meaning.
            let expected = layout.groups[group].file_bytes()[dir];
            if offset > expected.saturating_add(PIECE_BYTES as u64) {
                break;
            }
        }
        verifier.finish(&mut self.findings);
        Ok(())
    }

    /// Checks the index of a column. An index removed in the meantime is not a finding.
    fn index(&mut self, column: usize, path: &Path) -> Result<(), Failure> {
        if let Some(number) = interrupt::pending() {
            return Err(Failure::Interrupted(number));
        }
        let bytes = match self.read(path)? {
            FileRead::There(bytes) => bytes,
            FileRead::Not(NotRead::Missing) => return Ok(()),
            FileRead::Not(why) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.not_read(name.into_owned(), None, None, why);
                return Ok(());
            }
        };
        self.files += 1;
        self.count(bytes.len());
        let before = self.findings.len();
        verify_index(self.manifest, column, &bytes, &mut self.findings);
        if self.findings.len() > before {
            // A writer that replaces the dataset removes its indexes last.
            self.check_not_replaced()?;
        }
        Ok(())
    }

    /// Reads a table.
    fn table(&self, kind: TableKind, of: u32) -> Result<FileRead<Vec<u8>>, Failure> {
        let name = ringtake_storage::layout::table_file_name(kind, of);
        self.read(&dir_path(self.path, &self.manifest.layout, 0).join(name))
    }

    /// Reads a file.
    fn read(&self, path: &Path) -> Result<FileRead<Vec<u8>>, Failure> {
        let mut file = match self.open(path)? {
            FileRead::There(file) => file,
            FileRead::Not(why) => return Ok(FileRead::Not(why)),
        };
        let mut bytes = Vec::new();
        Ok(match io::Read::read_to_end(&mut file, &mut bytes) {
            Ok(_) => FileRead::There(bytes),
            Err(cause) => FileRead::Not(NotRead::Because(cause)),
        })
    }

    fn check_not_replaced(&self) -> Result<(), Failure> {
        let now = Manifest::read(self.path)?;
        if now.layout.generation == self.manifest.layout.generation {
            Ok(())
        } else {
            Err(Failure::Replaced(self.path.to_owned()))
        }
    }

    /// Opens a file and drops it from the page cache, so that its bytes come from the drive.
    fn open(&self, path: &Path) -> Result<FileRead<File>, Failure> {
        match open_regular(path) {
            Ok(file) => {
                // Bytes in the page cache prove nothing about the drive. The kernel may ignore the
                // advice.
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
                Ok(FileRead::There(file))
            }
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.check_not_replaced()?;
                Ok(FileRead::Not(NotRead::Missing))
            }
            Err(Error::Io { source, .. }) => Ok(FileRead::Not(NotRead::Because(source))),
            Err(error) => Err(error.into()),
        }
    }

    fn not_read(&mut self, file: String, dir: Option<usize>, group: Option<u32>, why: NotRead) {
        let what = match why {
            NotRead::Missing => "the file is missing".to_owned(),
            NotRead::Because(cause) => format!("it cannot be read: {cause}"),
        };
        self.findings.push(Finding {
            file,
            dir,
            page: 0,
            group,
            row: None,
            what: Damage::Header(what),
        });
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.progress.add_bytes(bytes);
    }

    fn report(self) -> Report {
        let layout = &self.manifest.layout;
        let reported = self.findings.into_iter().map(|finding| ReportedFinding {
            file: match finding.dir {
                Some(dir) => dir_path(self.path, layout, dir).join(&finding.file),
                None => self.path.join(&finding.file),
            },
            page: finding.page,
            group: finding.group,
            row: finding.row,
            what: finding.what.to_string(),
        });
        Report {
            path: self.path.to_owned(),
            rows: layout.rows,
            files: self.files,
            bytes: self.bytes,
            findings: reported.collect(),
        }
    }
}

/// Paths of the indexes beside the dataset at `path`, by column. An unfinished index has another
/// name, and the next build removes it.
fn indexes(path: &Path) -> Result<Vec<(usize, PathBuf)>, Failure> {
    let failed = || Failure::io("list", path);
    let mut indexes = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if let Some(column) = entry.file_name().to_str().and_then(indexed_column) {
            indexes.push((column, entry.path()));
        }
    }
    indexes.sort();
    Ok(indexes)
}

enum Piece {
    Bytes(usize),
    /// The page at the offset cannot be read.
    Unreadable,
}

/// Reads a whole piece, or, around a bad sector, page by page.
fn read_piece(file: &File, piece: &mut [u8], offset: u64) -> Piece {
    if let Ok(count) = file.read_at(piece, offset) {
        return Piece::Bytes(count);
    }
    match file.read_at(&mut piece[..PAGE_BYTES as usize], offset) {
        Ok(count) => Piece::Bytes(count),
        Err(cause) => {
            tracing::debug!(offset, %cause, "a page cannot be read");
            Piece::Unreadable
        }
    }
}
